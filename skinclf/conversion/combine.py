"""`combine`: a recipe, the bundle of models that are averaged, without a copy of their weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from skinclf.errors import InvalidArgumentError, ModelError, OutputError
from skinclf.inference.tta import check_views
from skinclf.models.bundle import is_recipe, read_spec, write_spec
from skinclf.models.combination import spec_of_recipe
from skinclf.models.load import load_model
from skinclf.models.loaded import LoadedModel
from skinclf.models.options import HubOptions
from skinclf.models.recipe import Average, Member, Recipe, relative_path
from skinclf.models.reference import ModelReference
from skinclf.models.spec import ModelSpec

_COMMIT = re.compile(r"[0-9a-f]{40}")


def combine(
    models: Sequence[str | Path],
    output: Path | str,
    *,
    weights: Sequence[float] | None = None,
    average: Average = "probability",
    tta: str = "none",
    name: str | None = None,
    hub: HubOptions = HubOptions(),
) -> ModelSpec:
    """Write a recipe: a folder whose `config.json` names models and says how they are averaged.

    It is loaded as every other bundle, and has a calibration, operating points and a rule for the predicted class of
    its own once they are fitted on its predictions. Each member is recorded with its hashes, which are checked when the
    recipe is loaded: built-in and Hub models by name and commit, folders and files by their path from the recipe's.

    Args:
        models: Names, Hub repositories, folders or files; each loads without further options. One is enough with `tta`.
        output: Folder of the recipe, new or empty; one that holds this very recipe stays as it is.
        weights: One positive number per model; None weighs them equally.
        average: Mean of `probability` (arithmetic) or of `logit` (geometric).
        tta: Views of each image, `none` or a key of `skinclf.inference.tta.VIEWS`.
        name: Name of the recipe; None makes it from the members'.
        hub: Cache and token for the Hub; a revision is written in the model's text, as `user/repo@revision`.

    Returns:
        The contract as written.

    Raises:
        ModelError: A model cannot be loaded, is a recipe itself, or has no hash of its weights.
        InvalidArgumentError: The models have different classes, or an argument cannot be used.
        OutputError: The folder holds something already, or cannot be written.
    """
    folder = Path(output)
    loaded = [load_model(model, hub=hub) for model in models]
    if not loaded:
        raise InvalidArgumentError("A recipe combines at least one model; received none.", parameter="models")
    if weights is not None and len(weights) != len(loaded):
        raise InvalidArgumentError(
            f"A recipe has one weight per model; received {len(weights)} weights for {len(loaded)} models.",
            parameter="weights",
        )
    _check_classes(loaded)
    for model in loaded:
        if tta != "none":
            check_views(tta, model.spec.preprocess)
    recipe = Recipe(
        members=tuple(_member(text, model, folder) for text, model in zip(models, loaded, strict=True)),
        weights=tuple([1.0] * len(loaded) if weights is None else weights),
        average=average,
        tta=tta,
    )
    spec = spec_of_recipe(recipe, [model.spec for model in loaded], name=name).replace(source=str(folder))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if is_recipe(folder) and (own := read_spec(folder)).recipe == recipe and own.name == spec.name:
            return own
        raise OutputError(f"{folder}: not empty; name a new folder.", parameter="output")
    write_spec(folder, spec)
    return spec


def _member(text: str | Path, model: LoadedModel, folder: Path) -> Member:
    spec, reference = model.spec, ModelReference.parse(text)
    if not spec.weights_sha256:
        raise ModelError(
            f"{spec.name}: its weights have no hash, so nothing could say later that they are the same; convert it to "
            "a bundle first (`skinclf.conversion.convert_model`)."
        )
    if reference.kind == "path" and reference.path is not None:
        return Member(fingerprint=spec.fingerprint, path=relative_path(reference.path, folder))
    if reference.kind != "builtin" and not _COMMIT.fullmatch(spec.revision or ""):
        raise ModelError(
            f"{spec.name}: the commit of this model is not known; download it and give the folder."
        )
    return Member(fingerprint=spec.fingerprint, model=str(text).split("@", 1)[0], revision=spec.revision)


def _check_classes(loaded: Sequence[LoadedModel]) -> None:
    first = loaded[0].spec
    for model in loaded:
        spec = model.spec
        if spec.labels.fingerprint != first.labels.fingerprint:
            raise InvalidArgumentError(
                f"The members of a recipe have the same classes in the same order; {first.name} has "
                f"{', '.join(first.labels.codes)} and {spec.name} {', '.join(spec.labels.codes)}, or others of "
                "them are malignant.",
                parameter="models",
            )
