"""`skinclf models`: which models there are, what they say about themselves, fetch, check and convert them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from skinclf_cli import console
from skinclf_cli.commands.download import report
from skinclf_cli.options import hub_options, json_option
from skinclf_cli.types import Codes, Device


@click.group()
def models() -> None:
    """List, show, fetch, check and convert models."""


@models.command("list")
@json_option
def list_(as_json: bool) -> None:  # noqa: FBT001
    """List the models that are known by name; the first is the default."""
    from skinclf.registry import list_models

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


@models.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:  # noqa: FBT001
    """Show what is known of the model NAME."""
    from skinclf.registry import get_model

    model = get_model(name)
    if as_json:
        console.json_out({"source": model.source, **model.to_dict()})
        return
    flags = {True: " (malignant)", False: "", None: " (?)"}
    labels = [f"{x.code}: {x.name}{flags[x.malignant]}" for x in model.labels or ()]
    variants = [f"{key}: {json.dumps(dict(value))}" for key, value in model.variants.items()]
    rows = [
        ("name", model.name),
        ("description", model.description),
        ("source", model.source),
        ("revision", model.revision or "of this installation"),
        ("file", model.filename),
        ("adapter", model.adapter),
        ("verified", "yes" if model.verified else "no: stated by third parties only"),
        ("license", model.license),
        *zip(("labels", *[""] * len(labels)), labels, strict=False),
        *zip(("preprocess", *[""] * len(variants)), variants, strict=False),
        ("note", model.disclaimer),
    ]
    console.table(("field", "value"), rows)


@models.command()
@click.argument("name")
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder to fill.")
@json_option
@hub_options
def download(name: str, folder: Path | None, as_json: bool, **options: Any) -> None:  # noqa: FBT001
    """Fetch the model NAME into the cache, or with --to into a folder."""
    from skinclf.hub import download_to, resolve

    result = resolve(name, **options) if folder is None else download_to(name, folder, **options)
    report(result, as_json=as_json)


@models.command()
@click.argument("name", required=False)
@click.option("--runtime", default="torch", show_default=True, help="Which runtime to test.")
@click.option("--device", type=Device(), default="cpu", show_default=True, help="Where it runs.")
@json_option
@hub_options
def verify(name: str | None, as_json: bool, **options: Any) -> int:  # noqa: FBT001
    """Replay the golden samples of the model NAME (a name, folder or Hub repository)."""
    from skinclf.convert import verify_model

    found = verify_model(name, **options)
    if as_json:
        checks = [
            {
                "file": check.file,
                "source": check.source,
                "difference": check.difference,
                "tolerance": check.tolerance,
                "ok": check.ok,
            }
            for check in found.checks
        ]
        console.json_out({"name": found.name, "runtime": found.runtime, "ok": found.ok, "checks": checks})
    else:
        rows = [
            (c.file, c.source, f"{c.difference:.2g}", f"{c.tolerance:g}", "ok" if c.ok else "DIFFERS")
            for c in found.checks
        ]
        console.table(("sample", "recorded by", "difference", "tolerance", "result"), rows)
    return 0 if found.ok else 1


@models.command()
@click.argument("source")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", help="Name of the bundle.")
@click.option("--labels", help="Labels in output order: ham10000, isic2019, malignant, ... or codes.")
@click.option("--malignant", type=Codes(), help="Codes that count as malignant.")
@click.option("--preprocess", help="caffe, tf, torch, unit, raw or a JSON file.")
@click.option("--architecture", help="For bare weights: the network's name.")
@click.option("--sample", type=click.Path(exists=True, dir_okay=False), help="Picture for the golden sample.")
@json_option
@hub_options
def convert(source: str, folder: Path, as_json: bool, **options: Any) -> None:  # noqa: FBT001
    """Write SOURCE (a name, file, folder or Hub repository) as a bundle into FOLDER."""
    from skinclf.convert import convert_model

    spec = convert_model(source, folder, **options)
    if as_json:
        console.json_out({"folder": str(folder), **spec.to_config()})
        return
    console.talk(f"{spec.name}: golden sample by {', '.join(golden.source for golden in spec.golden)}.")
    console.out(str(folder))
