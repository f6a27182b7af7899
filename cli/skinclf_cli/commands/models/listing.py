"""`skinclf models list` and `skinclf models show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.options import json_option

if TYPE_CHECKING:
    from skinclf.models.hub.pins import Pin
    from skinclf.models.registry import PublishedModel


@click.command("list", short_help="List the models that are known by name.")
@json_option
def list_(*, as_json: bool) -> None:
    """List the models that are known by name; the first is the default."""
    from skinclf.models.registry import list_models

    known = list_models()
    if as_json:
        console.json_out([{"source": model.source, **model.to_dict()} for model in known])
        return
    rows = [
        (
            model.name,
            "/".join(model.labels.codes) if model.labels else "?",
            model.license,
            model.source,
            "" if model.verified else "third party, unverified",
        )
        for model in known
    ]
    console.table(("name", "labels", "license", "source", ""), rows)


@click.command(short_help="Show labels, preprocessing and source of a model.")
@click.argument("name")
@json_option
def show(*, name: str, as_json: bool) -> None:
    """Show labels, preprocessing, license and source of the model NAME, or of a bundle's folder."""
    from skinclf.models.registry import find_model, get_model

    if find_model(name) is None and (Path(name) / "config.json").is_file():
        _show_bundle(Path(name), as_json=as_json)
        return
    model = get_model(name)
    if as_json:
        pin = _pin(model)
        pinned = {} if model.repo_id is None else {"pinned": None if pin is None else pin.commit}
        console.json_out({"source": model.source, **model.to_dict(), **pinned})
        return
    facts, size = model.file_facts(), model.input_size
    flags = {True: " (malignant)", False: "", None: " (?)"}
    labels = [f"{x.code}: {x.name}{flags[x.malignant]}" for x in model.labels or ()]
    variants = [f"{key}: {json.dumps(dict(value))}" for key, value in model.variants.items()]
    rows = [
        ("name", model.name),
        ("description", model.description),
        ("source", model.source),
        ("revision", model.revision or "of this installation"),
        *_pinned(model),
        ("file", model.filename),
        *_recipe(model),
        ("adapter", model.adapter),
        ("input", f"{size[0]} x {size[1]} px" if size else "unknown"),
        ("parameters", f"{facts[1]:,}" if facts else "known when it is loaded"),
        ("size", f"{facts[0] / 1e6:.1f} MB" if facts else "known when it is downloaded"),
        ("device", "CPU, CUDA or MPS; `--device auto` takes an accelerator where there is one"),
        ("verified", model.verified_words),
        ("license", model.license),
        *zip(("labels", *[""] * len(labels)), labels, strict=False),
        *zip(("preprocess", *[""] * len(variants)), variants, strict=False),
        ("predicted class", _decided_by(model)),
        ("note", model.disclaimer),
    ]
    console.table(("field", "value"), rows)


def _show_bundle(folder: Path, *, as_json: bool) -> None:
    from skinclf.models.bundle import read_spec
    from skinclf_cli.commands.models.bundle_facts import bundle_rows

    spec = read_spec(folder)
    if as_json:
        console.json_out(spec.to_config())
    else:
        console.table(("field", "value"), bundle_rows(spec, folder))


def _pin(model: PublishedModel) -> Pin | None:
    from skinclf.models.hub.pins import read_pin

    return None if model.repo_id is None else read_pin(model.repo_id, model.revision)


def _pinned(model: PublishedModel) -> list[tuple[str, str]]:
    """Row of the commit that the branch stands for; none for a built-in model."""
    if model.repo_id is None:
        return []
    pin = _pin(model)
    if pin is None:
        return [("pinned", "no: the first use pins the branch to its commit")]
    update = f"`skinclf models update {model.name}` takes a newer one"
    return [("pinned", f"commit {pin.commit} since {pin.since[:10]}; {update}")]


def _recipe(model: PublishedModel) -> list[tuple[str, str]]:
    """Rows of the members, mean and views of a recipe; none for one model."""
    if model.folder is None or not model.members:
        return []
    from skinclf.models.bundle import CONFIG
    from skinclf.models.recipe import Recipe
    from skinclf.models.spec import read_config
    from skinclf_cli.commands.models.bundle_facts import recipe_rows

    return list(recipe_rows(Recipe.from_dict(read_config(model.folder / CONFIG)["skinclf"]["recipe"])))


def _decided_by(model: PublishedModel) -> str:
    """Rule for the predicted class, in words."""
    if model.folder is None:
        return "the most probable one, unless its bundle states a rule"
    # The file itself: `ClassDecision` needs NumPy, which asking should not load.
    config = json.loads((model.folder / "config.json").read_text(encoding="utf-8"))
    rule = config["skinclf"].get("decision")
    if rule is None:
        return "the most probable one"
    if "thresholds" not in rule:
        return "the one of least expected cost"
    pairs = zip(rule["codes"], rule["thresholds"], strict=True)
    return "by thresholds per class (" + ", ".join(f"{code} {value:.4g}" for code, value in pairs) + ")"
