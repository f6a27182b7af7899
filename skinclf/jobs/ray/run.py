"""Prediction over files on a Ray cluster into a folder of Parquet partitions."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from skinclf.errors import InvalidArgumentError, SkinclfError
from skinclf.images.discovery import Inputs
from skinclf.inference.metadata.fused import fused_spec
from skinclf.inference.metadata.joined import Metadata, join_metadata
from skinclf.jobs.ray.dataset import import_ray, load_worker_spec, predict_paths
from skinclf.jobs.ray.listing import find_images
from skinclf.models.metadata_encoding import need_picture_alone
from skinclf.models.metadata_terms import MetadataTerms
from skinclf.models.options import HubOptions, ModelOptions

_ROWS_PER_FILE = 100_000
_RAISED = re.compile(r"skinclf\.errors\.\w+: (.+)")


@dataclass(frozen=True, slots=True)
class ClusterRun:
    """Counts and time of a run on a cluster.

    Attributes:
        statuses: Number of rows by status.
        seconds: Seconds from the call to the last file.
    """

    statuses: Mapping[str, int]
    seconds: float

    @property
    def rows(self) -> int:
        """Number of rows of the table."""
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        """Number of rows of inputs that failed."""
        return self.rows - self.statuses.get("ok", 0)

    def __str__(self) -> str:
        rate = self.rows / max(self.seconds, 1e-9)
        return f"{self.rows:,} images, {self.failed:,} failed; {rate:.1f} img/s on Ray"


def predict_with_ray(
    inputs: Inputs | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    quiet: bool = False,
    rows_per_file: int = _ROWS_PER_FILE,
    metadata: Metadata | None = None,
    metadata_terms: MetadataTerms | None = None,
    **options: Any,
) -> ClusterRun:
    """Classify files on a cluster into a folder of Parquet files, and check that no row is missing.

    Connects to the cluster that `RAY_ADDRESS` names, else uses this machine. The manifest is `_run.json` beside the
    partitions.

    Args:
        inputs: Files and folders as `Inputs` (URIs too), or paths of images.
        output: Folder, local or a URI, visible to all machines.
        overwrite: Whether to replace existing partitions.
        quiet: Whether to hide progress bars.
        rows_per_file: Least number of rows per partition, where there are so many.
        metadata: Age, sex and site as for `Predictor.with_metadata`; None takes the pictures alone.
        metadata_terms: Terms fitted for the model; None takes its own.
        **options: Options of `predict_dataset`.

    Returns:
        Counts and time.

    Raises:
        InvalidArgumentError: `inputs` is empty, or the output exists without `overwrite`.
        OutputError: The output cannot be written, or rows are missing in it.
        SkinclfError: A worker failed.
    """
    started = time.perf_counter()
    ray = import_ray()
    from skinclf.jobs.ray.output import PartitionedOutput

    model = options.get("model")
    if callable(model) and metadata is not None:
        raise InvalidArgumentError(
            "`metadata` needs a model by name or path; a function that makes a scorer says nothing of its terms.",
            parameter="metadata",
        )
    spec = None if callable(model) else load_worker_spec(model, options)
    encodings = () if spec is None or spec.encoding is None else (spec.encoding,)
    if spec is not None and metadata_terms is not None:
        need_picture_alone(spec.encoding, spec.name, "a fusion with metadata terms")
    if spec is not None and metadata is not None and not encodings:
        spec = fused_spec(spec, metadata_terms)
    target = PartitionedOutput.open(os.fspath(output))
    target.check(overwrite=overwrite)
    filesystem = options.get("filesystem")
    if isinstance(inputs, Inputs):
        paths = list(find_images(inputs.paths, recursive=inputs.recursive, filesystem=filesystem))
        inputs = [*paths, *Inputs(listing=inputs.listing)]
    if not ray.is_initialized():
        ray.init(include_dashboard=False)
    names = list(inputs)
    terms = None if spec is None else spec.metadata
    joined = None
    if metadata is not None and (terms is not None or encodings):
        joined = join_metadata(metadata, names, None if encodings else terms, encodings=encodings)
    try:
        ds = predict_paths(names, metadata=joined, **options)
        ds.context.enable_progress_bars = not quiet
        target.clear()
        ds.write_parquet(target.root, filesystem=target.filesystem, min_rows_per_file=rows_per_file)
    except Exception as error:
        raise _worker_error(error) from error
    run = ClusterRun(target.verify(len(names)), time.perf_counter() - started)
    identity = {"model": repr(model) if spec is None else spec.fingerprint}
    if joined is not None:
        identity["metadata"] = dict(joined.description)
    target.write_manifest(_manifest(run, identity, options))
    return run


def _manifest(run: ClusterRun, identity: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in options.items():
        flat.update(asdict(value) if isinstance(value, (ModelOptions, HubOptions)) else {key: value})
    plain = {k: v for k, v in flat.items() if k != "token" and isinstance(v, (str, int, float, type(None)))}
    return {
        "engine": "ray",
        "identity": identity,
        "options": plain,
        "complete": True,
        "counts": {"rows": run.rows, "failed": run.failed, "statuses": dict(run.statuses)},
        "timings": {"seconds": round(run.seconds, 3)},
    }


def _worker_error(error: Exception) -> Exception:
    """A cluster's error as one sentence, without the layers and traces that Ray adds."""
    import ray

    layers: list[BaseException] = []
    inner: BaseException | None = error
    while inner is not None:
        layers.append(inner)
        inner = inner.__cause__
    if not any(isinstance(x, ray.exceptions.RayError) for x in layers):
        return error
    text = "\n".join(map(str, layers))
    # The error of a worker is at the end of a trace, as `skinclf.errors.ModelError: message`.
    raised = _RAISED.findall(text)
    lines = [line for line in text.splitlines() if line.strip()]
    return SkinclfError(f"A Ray worker failed: {raised[-1] if raised else lines[0]}")
