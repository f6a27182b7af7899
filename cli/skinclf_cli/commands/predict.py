"""`skinclf predict`: classify images and write one row for each."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skinclf_cli import console
from skinclf_cli.running import INTERRUPTED, how_to_resume, progress, stdout_writer, stopping
from skinclf_cli.types import Codes, Device, Numbers, OutputFile, ShardPart

if TYPE_CHECKING:
    from skinclf.images.discovery import Inputs
    from skinclf.inference.predictor import Predictor
    from skinclf.jobs.formats import Encoder
    from skinclf.jobs.job import OnError
    from skinclf.jobs.output import Output
    from skinclf.jobs.progress import Summary
    from skinclf.jobs.shards import Shard

PARTLY_FAILED = 3
_PATH = click.Path(path_type=Path)
_MODEL = (
    *("device", "runtime", "precision", "batch_size", "workers", "processes"),
    *("tta", "average", "weights", "refer_below"),
)
_FORMATS = click.Choice(["csv", "jsonl", "parquet", "text"])


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--image-dir", type=click.Path(file_okay=False, exists=True), help="Folder of images.")
@click.option(
    "--from-file",
    type=click.Path(dir_okay=False, exists=True, allow_dash=True),
    metavar="LIST|-",
    help="Paths, one a line (or NUL-separated); - for stdin.",
)
@click.option("--recursive", is_flag=True, help="Search folders to the bottom.")
@click.option(
    "-o",
    "--output",
    type=OutputFile(folders=True),
    default="-",
    show_default=True,
    help="Table; - for stdout.",
)
@click.option(
    "--format",
    "format_",
    type=_FORMATS,
    help="Default: by the ending of --output; CSV, and readable lines on a terminal.",
)
@click.option("--resume", is_flag=True, help="Complete an interrupted table, or start one.")
@click.option("--retry-failed", is_flag=True, help="With --resume: try failed inputs again.")
@click.option("--overwrite", is_flag=True, help="Replace an existing table.")
@click.option(
    "--on-error",
    type=click.Choice(["record", "fail"]),
    default="record",
    show_default=True,
    help="What an unreadable image does: a row that says so, or the end.",
)
@click.option("--shard", type=ShardPart(), metavar="I/N", help="Do every N-th input; see `skinclf merge`.")
@click.option("--top-k", type=click.IntRange(min=0), default=0, help="Add the K most probable classes.")
@click.option("--embeddings", type=OutputFile(), help="Also write feature vectors: .npy or .parquet file.")
@click.option(
    "--threshold",
    metavar="FLOAT|FILE|NAME",
    help="On P(malignant): number, threshold file, or operating point of the model.",
)
@click.option("--force", is_flag=True, help="Use a threshold file that was made for another model.")
@click.option(
    "--model",
    multiple=True,
    help="Name, Hub repository, folder or file; several are averaged. Default: the built-in.",
)
@click.option(
    "--average",
    type=click.Choice(["probability", "logit"]),
    default="probability",
    show_default=True,
    help="How several models are averaged.",
)
@click.option(
    "--weights",
    type=Numbers(),
    metavar="W,W,...",
    help="Of several models, one each in the order of --model. Default: equal.",
)
@click.option(
    "--tta",
    type=click.Choice(["none", "flips", "d4", "d4+zoom"]),
    default="none",
    show_default=True,
    help="Average over views of each image; adds the column tta_spread.",
)
@click.option(
    "--conformal",
    metavar="FILE|COVERAGE",
    help="Add label sets: a file of `skinclf conformal`, or a rate such as 0.9.",
)
@click.option(
    "--refer-below",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="P",
    help="Mark images whose most probable class is below P.",
)
@click.option("--labels", help="Of a file that does not say: ham10000, malignant, ... or codes in order.")
@click.option("--preprocess", help="Likewise: caffe, tf, torch, unit, raw, or a JSON file.")
@click.option("--malignant", type=Codes(), help="Codes that count as malignant, for custom labels.")
@click.option("--architecture", help="Of bare weights: the network's name, such as efficientnet_b0.")
@click.option("--revision", help="Branch, tag or commit on the Hub.")
@click.option("--offline", is_flag=True, help="Never use the network.")
@click.option("--cache-dir", type=_PATH, help="Where downloads are kept. Default: the Hub's own cache.")
@click.option(
    "--device", type=Device(), default="auto", show_default=True, help="auto, cpu, cuda[:n] or mps."
)
@click.option(
    "--runtime",
    default="auto",
    show_default=True,
    help="auto, torch, torch-compile, openvino, onnxruntime or keras.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16", "int8"]),
    default="auto",
    show_default=True,
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Default: 16 on a CPU (more with many cores), 128 on a GPU.",
)
@click.option("--workers", type=click.IntRange(min=0), help="Decode workers. Default: one per core.")
@click.option("--processes/--threads", default=None, help="What workers are. Default: threads up to 6.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray: a Ray cluster; --output is a folder of Parquet files.",
)
@click.option(
    "--concurrency", type=click.IntRange(min=1), help="Ray: how many workers. Default: Ray's choice."
)
@click.option("--num-gpus", type=click.FloatRange(min=0), help="Ray: GPUs of each worker; may be a fraction.")
@click.option("--json", "as_json", is_flag=True, help="Report the outcome as JSON on stdout.")
def predict(
    *, paths: tuple[str, ...], image_dir: str | None, from_file: str | None, recursive: bool, **options: Any
) -> int:
    """Classify images and write one row for each, whatever happens to it.

    \b
    skinclf predict lesion.jpg
    skinclf predict --image-dir imgs/ --output preds.csv
    find . -name '*.jpg' | skinclf predict --from-file - --output preds.csv --resume
    """  # noqa: D301 - click's paragraph mark
    from skinclf.images.discovery import Inputs

    inputs = Inputs(*_sources(paths, image_dir, from_file), recursive=recursive)
    inputs.check()
    if options["engine"] == "ray":
        return _with_ray(inputs, **options)
    target = _target(**options)
    predictor = _predictor(**options)
    summary = _run(predictor, inputs, target, **options)
    if options["as_json"]:
        console.json_out({"output": str(options["output"]), **summary.to_dict()})
    console.talk(f"{summary}. For research and education; never a diagnosis.")
    if not summary.complete:
        saved = f"Continue with: {how_to_resume()}" if target else "Rows on stdout cannot be continued."
        click.echo(f"Interrupted. {saved}", err=True)
        return INTERRUPTED
    return PARTLY_FAILED if summary.failed else 0


def _with_ray(inputs: Inputs, *, output: Path, overwrite: bool, **options: Any) -> int:
    from skinclf.jobs.ray import predict_with_ray

    local = (
        "resume",
        "retry_failed",
        "shard",
        "embeddings",
        "format_",
        "conformal",
        "refer_below",
        "weights",
    )
    given = [name.rstrip("_").replace("_", "-") for name in local if options[name]]
    if given or options["on_error"] == "fail" or options["tta"] != "none" or len(options["model"]) > 1:
        raise click.UsageError(
            f"--engine ray runs one plain model; leave out {', '.join(given) or 'the rest'}."
        )
    if str(output) == "-":
        raise click.UsageError("--engine ray writes a folder of Parquet files; give --output FOLDER.")
    run = predict_with_ray(
        inputs,
        output,
        overwrite=overwrite,
        quiet=console.verbosity() < 0,
        model=options["model"][0] if options["model"] else None,
        threshold=_ray_threshold(options["threshold"]),
        **_loading(**options),
        **{name: options[name] for name in ("device", "runtime", "precision", "top_k", "batch_size")},
        **{name: options[name] for name in ("concurrency", "num_gpus") if options[name] is not None},
    )
    console.talk(f"{run}. For research and education; never a diagnosis.")
    return PARTLY_FAILED if run.failed else 0


def _loading(
    *,
    labels: str | None,
    preprocess: str | None,
    malignant: Sequence[str] | None,
    architecture: str | None,
    revision: str | None,
    offline: bool,
    cache_dir: Path | None,
    **_: Any,
) -> dict[str, Any]:
    """The arguments `options` and `hub` of `Predictor`."""
    from skinclf.models.options import HubOptions, ModelOptions

    return {
        "options": ModelOptions(
            labels=labels, preprocess=preprocess, malignant=malignant, architecture=architecture
        ),
        "hub": HubOptions(revision=revision, offline=offline, cache_dir=cache_dir),
    }


def _ray_threshold(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        raise click.UsageError("--engine ray takes --threshold as a number.") from None


def _sources(
    paths: tuple[str, ...], image_dir: str | None, from_file: str | None
) -> tuple[tuple[str, ...], Any]:
    if bool(paths) + (image_dir is not None) + (from_file is not None) != 1:
        raise click.UsageError("Give one of PATHS, --image-dir and --from-file.")
    if from_file is not None:
        return (), sys.stdin.buffer if from_file == "-" else Path(from_file)
    return (image_dir,) if image_dir is not None else paths, None


def _target(
    *,
    output: Path,
    format_: str | None,
    top_k: int,
    embeddings: Path | None,
    resume: bool,
    retry_failed: bool,
    overwrite: bool,
    as_json: bool,
    **_: Any,
) -> Output | None:
    """The output, checked before a model is loaded; None for stdout."""
    from skinclf.jobs.output import Output

    if str(output) == "-":
        if resume or retry_failed or overwrite or embeddings or format_ == "parquet":
            raise click.UsageError("--resume, --overwrite, --embeddings and Parquet need --output FILE.")
        if as_json:
            raise click.UsageError("--json reports on stdout, where the rows go; give --output FILE.")
        return None
    if output.is_dir():
        raise click.UsageError(f"{output} is a folder; expected a file.")
    if format_ == "text":
        raise click.UsageError("--format text is for stdout.")
    checked = Output(
        path=output,
        format=format_,  # type: ignore[arg-type]  # click.Choice has checked it
        top_k=top_k,
        embeddings=embeddings,
        resume=resume,
        retry_failed=retry_failed,
        overwrite=overwrite,
    )
    checked.check()
    return checked


def _predictor(
    *, threshold: str | None, force: bool, embeddings: Path | None, conformal: str | None, **options: Any
) -> Predictor:
    """The loaded model, with the threshold that was asked for."""
    from skinclf.inference.predictor import Predictor

    arguments = {name: options[name] for name in _MODEL} | _loading(**options)
    arguments["model"] = list(options["model"]) or None
    if conformal is not None:
        from skinclf.decisions.held_out import label_sets

        arguments["conformal"] = label_sets(conformal, options["model"])
    predictor = Predictor(**arguments, embeddings=embeddings is not None)
    if options["tta"] != "none" or len(options["model"]) > 1:
        console.talk("Operating points were measured without test-time augmentation or ensembles.")
    if threshold is not None:
        from skinclf.decisions.threshold_file import resolve_threshold

        chosen, notices = resolve_threshold(threshold, predictor.spec, force=force)
        for notice in notices:
            console.talk(notice)
        predictor = predictor.with_threshold(chosen.value)
    info = predictor.scorer.info
    chosen_by = " (auto)" if options["device"] == "auto" else ""
    console.talk(
        f"{predictor.spec.name} on {info['device']}{chosen_by}: {info['runtime']}, {info['precision']}"
    )
    if info["precision"] != "fp32":
        console.talk(_about_precision(info))
    return predictor


def _about_precision(info: Mapping[str, Any]) -> str:
    if "band" in info:
        return (
            f"{info['precision']}: where measured, P(malignant) moved by at most {info['band']:.2g}; rows nearer "
            "than that to the threshold are marked near_threshold."
        )
    return (
        f"What {info['precision']} changes was not measured for this model and runtime, so no row is marked: see "
        "skinclf models precision."
    )


def _run(
    predictor: Predictor,
    inputs: Inputs,
    target: Output | None,
    *,
    format_: str | None,
    top_k: int,
    on_error: OnError,
    shard: Shard | None,
    threshold: str | None,
    **_: Any,
) -> Summary:
    from skinclf.jobs.progress import Stop
    from skinclf.jobs.run import write_predictions, write_stream

    stop = Stop()
    with stopping(stop), progress(inputs) as show:
        if target is not None:
            options = {"threshold": threshold, "on_error": on_error, "recursive": inputs.recursive}
            return write_predictions(
                predictor,
                inputs,
                target,
                on_error=on_error,
                shard=shard,
                stop=stop,
                progress=show,
                options=options,
            )
        rows = _encoder(predictor, format_, top_k)
        return write_stream(
            predictor, inputs, rows, stdout_writer(), on_error=on_error, shard=shard, stop=stop, progress=show
        )


def _encoder(predictor: Predictor, format_: str | None, top_k: int) -> Encoder:
    from skinclf.inference.schema import Schema
    from skinclf.jobs.formats import CsvFormat, JsonlFormat, TextFormat

    schema = Schema(predictor.spec.labels, top_k, predictor.columns)
    kind = format_ or ("text" if sys.stdout.isatty() else "csv")
    if kind == "text":
        return TextFormat()
    return JsonlFormat(schema) if kind == "jsonl" else CsvFormat(schema)
