"""Options of `skinclf predict`: a frozen dataclass for each group of them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from skinclf_cli.options import FOLDER, device_option, mean_options, packed, runtime_option
from skinclf_cli.types import OutputFile, ShardPart

if TYPE_CHECKING:
    from skinclf.images.dicom.frame_names import Frames
    from skinclf.images.discovery import Inputs
    from skinclf.inference.gate.mode import GateMode
    from skinclf.jobs.job import OnError
    from skinclf.jobs.output import Output
    from skinclf.jobs.shards import Shard
    from skinclf.models.recipe import Average


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOptions:
    """Options that name the images."""

    paths: tuple[str, ...]
    image_dir: str | None
    from_file: str | None
    recursive: bool
    frames: Frames | None

    def inputs(self) -> Inputs:
        """The inputs, checked.

        Raises:
            UsageError: More or less than one source is given.
        """
        from skinclf.images.discovery import Inputs

        if bool(self.paths) + (self.image_dir is not None) + (self.from_file is not None) != 1:
            raise click.UsageError("Give one of PATHS, --image-dir and --from-file.")
        paths: tuple[str, ...] = self.paths
        listing: Any = None
        if self.image_dir is not None:
            paths = (self.image_dir,)
        elif self.from_file is not None:
            listing = sys.stdin.buffer if self.from_file == "-" else Path(self.from_file)
        inputs = Inputs(paths, listing, recursive=self.recursive, frames=self.frames)
        inputs.check()
        return inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """Options of the table that is written."""

    output: Path
    format_: Literal["csv", "jsonl", "parquet", "text"] | None
    resume: bool
    retry_failed: bool
    overwrite: bool
    on_error: OnError
    shard: Shard | None
    top_k: int
    embeddings: Path | None
    dicom_ids: bool
    dicom_sr: Path | None

    def target(self) -> Output | None:
        """The files of the run, checked before a model is loaded; None for stdout.

        Raises:
            UsageError: An option needs a file or stdout, and the table goes to the other.
        """
        from skinclf.jobs.output import Output

        if str(self.output) == "-":
            if (
                self.resume
                or self.retry_failed
                or self.overwrite
                or self.embeddings
                or self.format_ == "parquet"
            ):
                raise click.UsageError("--resume, --overwrite, --embeddings and Parquet need --output FILE.")
            return None
        if self.output.is_dir():
            raise click.UsageError(f"{self.output} is a folder; expected a file.")
        if self.format_ == "text":
            raise click.UsageError("--format text is for stdout.")
        target = Output(
            path=self.output,
            format=self.format_,
            top_k=self.top_k,
            embeddings=self.embeddings,
            resume=self.resume,
            retry_failed=self.retry_failed,
            overwrite=self.overwrite,
        )
        target.check()
        return target


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """Options that name one model or several, and how they are averaged."""

    model: tuple[str, ...]
    average: Average
    weights: tuple[float, ...] | None
    tta: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionOptions:
    """Options of what is decided from the probabilities."""

    threshold: str | None
    force: bool
    conformal: str | None
    refer_below: float | None
    gate: GateMode | None
    gate_marks: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOptions:
    """Options of how the network and its decode workers run."""

    device: str
    runtime: str
    precision: str
    batch_size: int | None
    workers: int | None
    processes: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Options of the engine: this process or a Ray cluster."""

    engine: Literal["local", "ray"]
    concurrency: int | None
    num_gpus: float | None


input_options = packed(
    "source",
    InputOptions,
    click.argument("paths", nargs=-1, type=click.Path()),
    click.option("--image-dir", type=click.Path(file_okay=False, exists=True), help="Folder of images."),
    click.option(
        "--from-file",
        type=click.Path(dir_okay=False, exists=True, allow_dash=True),
        metavar="LIST|-",
        help="File of image paths, one a line or NUL-separated; - for stdin.",
    ),
    click.option("--recursive", is_flag=True, help="Search folders and all of their subfolders."),
    click.option(
        "--frames",
        type=click.Choice(["first", "all"]),
        help="Frames to classify of DICOM files with several, each as a row such as file.dcm#3. Default: such a file "
        "fails.",
    ),
    title="Inputs",
)

table_options = packed(
    "table",
    TableOptions,
    click.option(
        "-o",
        "--output",
        type=OutputFile(folders=True),
        default="-",
        show_default=True,
        help="Table to write; - for stdout.",
    ),
    click.option(
        "--format",
        "format_",
        type=click.Choice(["csv", "jsonl", "parquet", "text"]),
        help="Format of the table. Default: by the ending of --output; without one CSV, and readable text on a "
        "terminal.",
    ),
    click.option("--resume", is_flag=True, help="Complete an interrupted table, or start one."),
    click.option("--retry-failed", is_flag=True, help="Classify failed inputs again, with --resume."),
    click.option("--overwrite", is_flag=True, help="Replace an existing table."),
    click.option(
        "--on-error",
        type=click.Choice(["record", "fail"]),
        default="record",
        show_default=True,
        help="Response to an unreadable image: record a row that says so, or fail at once.",
    ),
    click.option(
        "--shard",
        type=ShardPart(),
        metavar="I/N",
        help="Part I of N of the inputs; `skinclf merge` joins the parts.",
    ),
    click.option(
        "--top-k",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Number of most probable classes that are added as columns.",
    ),
    click.option("--embeddings", type=OutputFile(), help="File for feature vectors too, .npy or .parquet."),
    click.option(
        "--dicom-ids",
        is_flag=True,
        help="Columns with the UIDs of DICOM files: sop_instance_uid, series_instance_uid, study_instance_uid.",
    ),
    click.option(
        "--dicom-sr",
        type=FOLDER,
        help="Folder for DICOM structured reports, one for each DICOM file that is classified.",
    ),
    title="Output",
)

model_choice_options = packed(
    "choice",
    ModelChoice,
    click.option(
        "--model",
        multiple=True,
        help="Name, Hub repository, folder or file of the model; several are averaged. Default: the built-in "
        "model.",
    ),
    mean_options,
    title="Model",
)

decision_options = packed(
    "decision",
    DecisionOptions,
    click.option(
        "--threshold",
        metavar="FLOAT|FILE|NAME",
        help="Threshold on P(malignant): a number, a threshold file, or an operating point of the model.",
    ),
    click.option(
        "--force", is_flag=True, help="Accept a threshold file that was made for another model or names none."
    ),
    click.option(
        "--conformal",
        metavar="FILE|COVERAGE",
        help="Label sets to add: a file of `skinclf conformal`, or a coverage such as 0.9.",
    ),
    click.option(
        "--refer-below",
        type=click.FloatRange(0, 1, min_open=True),
        metavar="P",
        help="Probability of the most probable class below which an image is marked for referral.",
    ),
    click.option(
        "--gate",
        type=click.Choice(["off", "mark", "refuse"]),
        help="Image gate: mark images that the model should not answer for, or refuse them. Default, where the "
        "model has a gate: mark; `serve` refuses.",
    ),
    click.option(
        "--gate-marks",
        is_flag=True,
        help="Let the gate look for hair, rulers, bubbles and text too, which takes longer.",
    ),
    title="Decisions",
)

execution_options = packed(
    "execution",
    ExecutionOptions,
    device_option("auto"),
    runtime_option("auto"),
    click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16", "fp16", "int8"]),
        default="auto",
        show_default=True,
        help="Arithmetic of the network.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        help="Images per run of the network. Default: 16 on a CPU (more with many cores), 128 on a GPU.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=0),
        help="Number of decode workers; 0 decodes in the main thread. Default: one per core.",
    ),
    click.option(
        "--processes/--threads",
        default=None,
        help="Decode workers as processes or as threads. Default: threads up to 6 workers.",
    ),
    title="Execution",
)

engine_options = packed(
    "engine",
    EngineOptions,
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Engine of the run: this machine, or a Ray cluster, for which --output is a folder of Parquet files.",
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(min=1),
        help="Number of Ray workers. Default: chosen by Ray.",
    ),
    click.option(
        "--num-gpus",
        type=click.FloatRange(min=0),
        help="Number of GPUs of each Ray worker; may be a fraction.",
    ),
    title="Cluster",
)
