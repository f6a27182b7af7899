"""Contract and members of models that are averaged, with a bundle (a recipe) or without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.labels import MALIGNANT, LabelSet, crosswalk
from skinclf.models.loaded import LoadedModel
from skinclf.models.recipe import ARCHITECTURE, Average, Member, Recipe, changed_member, combined_name
from skinclf.models.spec import ModelSpec


def combined_spec(
    specs: Sequence[ModelSpec],
    *,
    tta: str = "none",
    average: Average = "probability",
    weights: Sequence[float] | None = None,
) -> ModelSpec:
    """The contract of models that are averaged.

    It has no calibration, operating point or rule of a member: none of them was measured for the whole.

    Args:
        specs: Contracts of the members.
        tta: Views of each image, or `none`.
        average: Kind of the mean.
        weights: One positive number per member; None weighs them equally.

    Raises:
        InvalidArgumentError: The weights cannot be used, or no crosswalk is declared between the taxonomies.
    """
    try:
        recipe = Recipe(
            members=tuple(Member(fingerprint=spec.fingerprint) for spec in specs),
            weights=tuple([1.0] * len(specs) if weights is None else weights),
            average=average,
            tta=tta,
        )
    except ModelError as error:
        raise InvalidArgumentError(str(error), parameter=error.parameter or "weights") from None
    return spec_of_recipe(recipe, specs)


def spec_of_recipe(recipe: Recipe, specs: Sequence[ModelSpec], *, name: str | None = None) -> ModelSpec:
    """The contract of a recipe.

    Args:
        recipe: The recipe.
        specs: Contracts of its members.
        name: Name; None makes it from the members'.

    Raises:
        InvalidArgumentError: No crosswalk is declared between the taxonomies.
    """
    first = specs[0]
    labels = common_labels([spec.labels for spec in specs])
    return ModelSpec(
        name=name or combined_name([spec.name for spec in specs], recipe.tta),
        architecture=ARCHITECTURE,
        labels=labels,
        preprocess=first.preprocess,
        activation="identity" if labels.exclusive else "independent",
        encoding=first.encoding if len(specs) == 1 else None,
        license="; ".join(dict.fromkeys(spec.license for spec in specs if spec.license)),
        domain=first.domain,
        training=_common_training(specs),
        source="ensemble",
        recipe=recipe,
        weights_sha256=recipe.fingerprint,
    )


def _common_training(specs: Sequence[ModelSpec]) -> dict[str, Any]:
    """Data and split of the members, where all of them say the same."""
    first = specs[0].training
    return {
        key: first[key]
        for key in ("data", "split_sha256")
        if first.get(key) and all(spec.training.get(key) == first[key] for spec in specs)
    }


def common_labels(taxonomies: Sequence[LabelSet]) -> LabelSet:
    """The first taxonomy when every other has a declared crosswalk to it, else benign/malignant.

    Raises:
        InvalidArgumentError: No crosswalk is declared to either.
    """
    for target in (taxonomies[0], MALIGNANT):
        try:
            for labels in taxonomies:
                crosswalk(labels, target)
        except InvalidArgumentError:
            continue
        return target
    names = ", ".join(labels.name for labels in taxonomies)
    raise InvalidArgumentError(f"No crosswalk is declared that brings {names} to one taxonomy.")


def load_members(
    recipe: Recipe, name: str, folder: Path, load: Callable[[str | Path, str | None], LoadedModel]
) -> tuple[LoadedModel, ...]:
    """The members of a recipe, each the very model that the recipe names.

    Args:
        recipe: The recipe.
        name: Name of the recipe, for messages.
        folder: Folder that the members' paths start from.
        load: Function that loads a model at a revision.

    Raises:
        ModelError: A member cannot be loaded.
        MismatchError: A member has changed since the recipe was made.
    """
    members = []
    for member in recipe.members:
        where = folder / member.path if member.path is not None else str(member.model)
        try:
            loaded = load(where, member.revision)
        except ModelError as error:
            raise ModelError(f"{name}: its member {member.named} cannot be loaded: {error}") from error
        if loaded.members:
            raise ModelError(
                f"{name}: its member {member.named} is a recipe itself; name its members instead."
            )
        check_member(name, member, loaded.spec)
        members.append(loaded)
    return tuple(members)


def check_member(name: str, member: Member, spec: ModelSpec) -> None:
    """Refuse a model that is not the recorded member of a recipe.

    Args:
        name: Name of the recipe, for messages.
        member: The member as recorded.
        spec: Contract of the model that was found.

    Raises:
        MismatchError: Weights, preprocessing, labels or calibration are others.
    """
    found = spec.fingerprint
    keys = {**member.fingerprint, **found}
    if changed := [key for key in keys if member.fingerprint.get(key) != found.get(key)]:
        raise changed_member(name, member, changed)
