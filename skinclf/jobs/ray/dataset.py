"""Ray datasets of images to Ray datasets of predictions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from skinclf.errors import InvalidArgumentError, MissingExtraError
from skinclf.jobs.ray.listing import find_images

if TYPE_CHECKING:
    import ray.data

    from skinclf.inference.metadata.joined import JoinedMetadata
    from skinclf.jobs.ray.worker import Model
    from skinclf.models.spec import ModelSpec

#: Batches per call of an actor: enough to decode ahead, few enough to repeat.
_BATCHES = 8
_LOADING = frozenset({"options", "hub"})
_RUNNING = frozenset({"device", "runtime", "precision", "gate", "gate_marks"})


def predict_dataset(
    ds: ray.data.Dataset,
    *,
    model: Model = None,
    image_column: str = "path",
    name_column: str | None = None,
    index_column: str | None = None,
    keep: Sequence[str] = (),
    top_k: int = 0,
    threshold: float | None = None,
    batch_size: int | None = None,
    concurrency: int | tuple[int, int] | None = None,
    num_cpus: float = 1,
    num_gpus: float | None = None,
    filesystem: Any = None,
    metadata: JoinedMetadata | None = None,
    **options: Any,
) -> ray.data.Dataset:
    """Classify the rows of a Ray dataset, lazily.

    Example:
        >>> ds = ray.data.read_binary_files("s3://bucket/lesions/", include_paths=True)  # doctest: +SKIP
        >>> predict_dataset(ds, image_column="bytes", name_column="path", num_gpus=0.5)  # doctest: +SKIP

    Args:
        ds: Dataset with one image per row.
        model: Name or path that `Predictor` takes, loaded once by every actor; or a function without
            arguments that makes a `Scorer` there (several networks, test-time augmentation).
        image_column: Name of the column of paths or URIs (read by the workers, so that a lost file is a row),
            encoded bytes, or structs of `bytes` and `path`, as the Hub's image datasets have them.
        name_column: Name of the column that becomes `image`; None takes the path, or `image-<index>` for bytes.
        index_column: Name of the column with each row's position, which becomes `index`. Ray keeps no order;
            `predict_paths`, `predict_folder` and `predict_parquet` make this column.
        keep: Names of further columns to copy.
        top_k: Number of most probable classes that are added as columns.
        threshold: Threshold on the probability of malignancy, in [0, 1]; None takes the model's own.
        batch_size: Images per run of the network; None takes 16 on a CPU, 128 on a GPU.
        concurrency: Number of actors, or (least, most); None takes from one to as many as the cluster holds.
        num_cpus: Cores per actor, also its number of decode threads. OpenVINO uses all cores of a machine
            in any case; with it, one actor per machine with all of its cores is fastest.
        num_gpus: GPUs per actor; a fraction lets several share one.
        filesystem: A `pyarrow.fs.FileSystem` for all paths; None takes that of each path's scheme.
        metadata: Age, sex and site by name of the rows, from `skinclf.inference.metadata.joined.join_metadata`; None
            takes the pictures alone.
        **options: Further arguments of `Predictor`, `options`, `hub`, `device`, `runtime`, `precision`, `gate` and
            `gate_marks`.

    Returns:
        A dataset with the columns of the predictions table (`skinclf.inference.schema.Schema`), then `index` and
        `keep`.

    Raises:
        MissingExtraError: Ray is not installed.
        InvalidArgumentError: An argument has an unusable value or a column is missing.
        ModelError: The model's `ModelSpec` cannot be read on this machine.
    """
    data = import_ray().data
    from skinclf.jobs.ray.worker import IN_FLIGHT, Classifier, Plan

    gpu = bool(num_gpus)
    if options.get("device", "auto") == "auto":
        options["device"] = "cuda" if gpu else "cpu"
    elif not gpu and options["device"] != "cpu":
        raise InvalidArgumentError(
            f"Device {options['device']}: set `num_gpus`, the GPUs per actor, too.", parameter="num_gpus"
        )
    plan = Plan(
        model=model,
        image_column=image_column,
        name_column=name_column,
        index_column=index_column,
        keep=tuple(keep),
        top_k=top_k,
        threshold=threshold,
        batch_size=batch_size or (128 if gpu else 16),
        workers=max(1, int(num_cpus)),
        filesystem=filesystem,
        metadata=metadata,
        options=options,
    )
    _check(plan.model, plan.batch_size, threshold, options)
    known = ds.columns(fetch_if_missing=False)
    if known is not None:
        plan.check(known)
    least, most = concurrency if isinstance(concurrency, tuple) else (concurrency or 1, concurrency)
    pool = data.ActorPoolStrategy(min_size=least, max_size=most, max_tasks_in_flight_per_actor=IN_FLIGHT)
    return ds.map_batches(
        Classifier,
        fn_constructor_args=(plan,),
        batch_format="pyarrow",
        batch_size=_BATCHES * plan.batch_size,
        compute=pool,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        udf_modifying_row_count=False,
    )


def predict_paths(paths: Iterable[str | os.PathLike[str]], **options: Any) -> ray.data.Dataset:
    """Classify files by path or URI; the column `index` of the result says where each one stood.

    Args:
        paths: Paths or URIs, read to the end before the run starts; they are kept in Ray's object store.
        **options: Options of `predict_dataset`.

    Raises:
        InvalidArgumentError: `paths` is empty; else as `predict_dataset`.
    """
    ray = import_ray()
    import pyarrow as pa

    batch_size = options.get("batch_size") or (128 if options.get("num_gpus") else 16)
    names, blocks, start = _names(paths), list[Any](), 0
    # Small blocks first, so that short lists reach every worker; larger ones where there are many.
    while chunk := list(islice(names, _BATCHES * batch_size * (1 + len(blocks) // 64))):
        index = pa.array(range(start, start + len(chunk)), pa.int64())
        blocks.append(ray.put(pa.table({"index": index, "path": pa.array(chunk, pa.string())})))
        start += len(chunk)
    if not blocks:
        raise InvalidArgumentError("Nothing to predict: no paths were given.")
    return predict_dataset(ray.data.from_arrow_refs(blocks), index_column="index", **options)


def predict_folder(
    folder: str | os.PathLike[str], *, recursive: bool = False, filesystem: Any = None, **options: Any
) -> ray.data.Dataset:
    """Classify the images of a folder, local or in remote storage (`s3://bucket/folder`), in natural order.

    Args:
        folder: Path that every machine sees, or a URI that pyarrow reads.
        recursive: Whether subfolders are searched too.
        filesystem: A `pyarrow.fs.FileSystem`; None takes that of the scheme.
        **options: Options of `predict_dataset`.

    Raises:
        InvalidArgumentError: The folder cannot be listed or holds no image; else as `predict_dataset`.
    """
    found = find_images([folder], recursive=recursive, filesystem=filesystem)
    return predict_paths(found, filesystem=filesystem, **options)


def import_ray() -> Any:
    """Ray, with Ray Data loaded, and without its usage statistics unless the user asked for them.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray.data
    except ImportError:
        raise MissingExtraError("ray", "Prediction on a Ray cluster") from None
    return ray


def _check(model: Model, batch_size: int, threshold: float | None, options: Mapping[str, Any]) -> None:
    """Check here what would otherwise stop every worker."""
    unknown = sorted(options.keys() - _LOADING - _RUNNING)
    if unknown:
        known = ", ".join(sorted(_LOADING | _RUNNING))
        raise InvalidArgumentError(f"Unknown options {', '.join(unknown)}; expected {known}.")
    if batch_size < 1:
        raise InvalidArgumentError(
            f"`batch_size` is at least 1; received {batch_size}.", parameter="batch_size"
        )
    if threshold is not None and not 0 <= threshold <= 1:
        raise InvalidArgumentError(
            f"`threshold` is between 0 and 1; received {threshold}.", parameter="threshold"
        )
    if not callable(model):
        load_worker_spec(model, options)


def load_worker_spec(model: str | os.PathLike[str] | None, options: Mapping[str, Any]) -> ModelSpec:
    """The `ModelSpec` of the model that the workers will load.

    Raises:
        ModelError: The `ModelSpec` cannot be read.
    """
    from skinclf.models.load import load_spec

    loading = {key: value for key, value in options.items() if key in _LOADING}
    return load_spec(None if model is None else os.fspath(model), **loading)


def _names(paths: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    for given in paths:
        path = os.fspath(given)
        try:
            path.encode()
        except UnicodeEncodeError:
            raise InvalidArgumentError(
                f"{path!r}: a name that is not UTF-8, which Ray's tables cannot hold; rename the file, or predict "
                "without Ray (`skinclf.write_predictions`)."
            ) from None
        yield path
