"""`skinclf models`: which models there are, what they say about themselves, fetch, check and convert them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skinclf_cli import console
from skinclf_cli.commands.download import report
from skinclf_cli.options import hub_options, json_option
from skinclf_cli.types import Codes, Device

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from skinclf.models.options import HubOptions

_IMAGES = click.Path(exists=True, path_type=Path)


@click.group()
def models() -> None:
    """List, show, fetch, check, convert and quantise models."""


@models.command("list")
@json_option
def list_(as_json: bool) -> None:  # noqa: FBT001
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


@models.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:  # noqa: FBT001
    """Show what is known of the model NAME."""
    from skinclf.models.registry import get_model

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
def download(name: str, folder: Path | None, hub: HubOptions, as_json: bool) -> None:  # noqa: FBT001
    """Fetch the model NAME into the cache, or with --to into a folder."""
    from skinclf.models.hub.fetch import download_to, resolve

    result = resolve(name, hub=hub) if folder is None else download_to(name, folder, hub=hub)
    report(result, as_json=as_json)


@models.command()
@click.argument("name", required=False)
@click.option("--runtime", default="torch", show_default=True, help="Which runtime to test.")
@click.option("--device", type=Device(), default="cpu", show_default=True, help="Where it runs.")
@json_option
@hub_options
def verify(name: str | None, as_json: bool, **options: Any) -> int:  # noqa: FBT001
    """Replay the golden samples of the model NAME (a name, folder or Hub repository)."""
    from skinclf.conversion.convert import verify_model

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
def convert(
    *,
    source: str,
    folder: Path,
    labels: str | None,
    malignant: Sequence[str] | None,
    preprocess: str | None,
    architecture: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Write SOURCE (a name, file, folder or Hub repository) as a bundle into FOLDER."""
    from skinclf.conversion.convert import convert_model
    from skinclf.models.options import ModelOptions

    stated = ModelOptions(
        labels=labels, preprocess=preprocess, malignant=malignant, architecture=architecture
    )
    spec = convert_model(source, folder, options=stated, **options)
    if as_json:
        console.json_out({"folder": str(folder), **spec.to_config()})
        return
    console.talk(f"{spec.name}: golden sample by {', '.join(golden.source for golden in spec.golden)}.")
    console.out(str(folder))


@models.command()
@click.argument("name", required=False)
@click.option("--images", required=True, type=_IMAGES, help="Folder of images, or a list of paths.")
@click.option("--precision", type=click.Choice(["bf16", "fp16", "int8"]), default="bf16", show_default=True)
@click.option("--runtime", default="auto", show_default=True, help="Which runtime to measure.")
@click.option("--device", type=Device(), default="auto", show_default=True, help="Where it runs.")
@click.option(
    "--limit",
    type=click.IntRange(min=20),
    default=2000,
    show_default=True,
    help="At most so many images, drawn at random but always the same.",
)
@click.option("--store", is_flag=True, help="Record it in the bundle, so that predict can mark rows.")
@json_option
@hub_options
def precision(
    *,
    name: str | None,
    images: Path,
    limit: int,
    store: bool,
    as_json: bool,
    runtime: str,
    device: str,
    precision: str,
    hub: HubOptions,
) -> None:
    """Measure what a reduced precision changes in the model NAME, against float32 on the same images."""
    from skinclf.conversion.precision import choose_images, measure_precision
    from skinclf.models.bundle import write_spec
    from skinclf.models.load import load_model
    from skinclf.models.precision import with_record

    model = load_model(name, hub=hub)
    if store and (model.folder is None or model.spec.revision is not None):
        raise click.UsageError("--store writes into a bundle's folder; make one with skinclf models convert.")
    chosen = choose_images(_images(images), limit)
    with _counter(len(chosen)) as count:
        loss = measure_precision(
            model,
            chosen,
            precision=precision,
            runtime=runtime,
            device=device,
            progress=lambda done: count("measuring", done),
        )
    if store and model.folder is not None:
        kept = model.spec.precisions.get(loss.key, {})
        more = {"quantized": kept["quantized"]} if "quantized" in kept else {}
        write_spec(model.folder, with_record(model.spec, loss, **more))
    _report(str(loss), loss.to_dict(), as_json=as_json)


@models.command()
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--images", required=True, type=_IMAGES, help="Folder of images, or a list of paths.")
@click.option(
    "--calibration",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    help="How many of them set the ranges; the loss is measured on others.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=40),
    default=2300,
    show_default=True,
    help="At most so many images in all, drawn at random but always the same.",
)
@json_option
@hub_options
def quantize(
    *, name: str, folder: Path, images: Path, calibration: int, limit: int, hub: HubOptions, as_json: bool
) -> None:
    """Write the model NAME as a bundle into FOLDER with an int8 network beside it, and say what int8 loses.

    The images should look like those that will be predicted. Afterwards: predict --model FOLDER --precision int8.
    """
    from skinclf.conversion.precision import choose_images
    from skinclf.conversion.quantize import quantize_model
    from skinclf.models.load import load_model

    chosen = choose_images(_images(images), limit)
    with _counter(len(chosen)) as count:
        loss = quantize_model(
            load_model(name, hub=hub), chosen, folder, calibration=calibration, progress=count
        )
    _report(str(loss), loss.to_dict(), as_json=as_json)
    console.talk(f"Written: {folder}")


def _images(given: Path) -> list[str]:
    from skinclf.images.discovery import Inputs

    inputs = Inputs([given], recursive=True) if given.is_dir() else Inputs(listing=given)
    inputs.check()
    return list(inputs)


def _report(text: str, content: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        console.json_out(content)
    else:
        console.out(text)


@contextmanager
def _counter(total: int) -> Iterator[Callable[[str, int], None]]:
    """A bar on stderr, where that is a terminal."""
    from rich.progress import Progress

    shown = console.stderr().is_terminal and console.verbosity() >= 0
    with Progress(console=console.stderr(), transient=True, disable=not shown) as bar:
        task = bar.add_task("", total=total)
        yield lambda what, done: bar.update(task, description=what, completed=done)
