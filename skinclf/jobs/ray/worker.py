"""The Ray worker: loads a model once, then turns tables of images into tables of predictions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from skinclf.errors import ImageError, InvalidArgumentError
from skinclf.images.decode import ImageSource
from skinclf.inference.metadata.joined import JoinedMetadata
from skinclf.inference.prediction import Prediction
from skinclf.inference.predictor import Predictor
from skinclf.inference.schema import Schema
from skinclf.inference.scorer import Scorer
from skinclf.jobs.ray.listing import resolve_path

#: Name or path of a model that every worker can load, or a function that makes a scorer there.
Model: TypeAlias = "str | os.PathLike[str] | Callable[[], Scorer] | None"
#: Concurrent requests for images in remote storage; a request waits and computes nothing.
_FETCHES = 16
#: Calls that Ray may queue at one actor; as many are handled in guarded mode after its process died.
IN_FLIGHT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The options of every worker; see `skinclf.jobs.ray.predict_dataset` for the fields."""

    model: Model
    image_column: str
    name_column: str | None
    index_column: str | None
    keep: tuple[str, ...]
    top_k: int
    threshold: float | None
    batch_size: int
    workers: int
    filesystem: Any
    metadata: JoinedMetadata | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of the columns that the dataset must have."""
        named = (self.image_column, self.name_column, self.index_column, *self.keep)
        return tuple(name for name in named if name is not None)

    def check(self, columns: Sequence[str]) -> None:
        """Check the columns of a dataset.

        Raises:
            InvalidArgumentError: A needed column is missing.
        """
        missing = [name for name in self.needed if name not in columns]
        if missing:
            raise InvalidArgumentError(
                f"The dataset has no column {', '.join(map(repr, missing))}; it has {', '.join(columns)}."
            )

    def predictor(self) -> Predictor:
        """Load the model as a predictor."""
        model = self.model() if callable(self.model) else self.model
        return self.with_metadata(
            Predictor(
                model,
                batch_size=self.batch_size,
                workers=self.workers,
                threshold=self.threshold,
                **self.options,
            )
        )

    def with_metadata(self, predictor: Predictor) -> Predictor:
        """The predictor with the metadata of the run, where it has any."""
        return predictor if self.metadata is None else predictor.with_metadata(self.metadata)


class Classifier:
    """The actor of `map_batches`: loads the model once, then turns tables into tables.

    After its process died, the calls that Ray repeats decode in processes of their own: if an image was the
    cause, it costs its own row (`worker_died`) and not the actor again.
    """

    def __init__(self, plan: Plan) -> None:
        """Load the model; errors of loading reach the caller of the dataset."""
        self._plan = plan
        self._predictor = plan.predictor()
        self._schema = Schema(self._predictor.spec.labels, plan.top_k, self._predictor.columns)
        self._guarded_calls = IN_FLIGHT if _was_restarted() else 0

    def __call__(self, table: Any) -> Any:
        """Predictions for a `pyarrow.Table`, row by row in its order.

        Raises:
            InvalidArgumentError: A column is missing.
        """
        self._plan.check(table.column_names)
        guarded = self._guarded_calls > 0
        self._guarded_calls = max(0, self._guarded_calls - 1)
        predictions = self._predict(table, guarded=guarded)
        return self._table(predictions, table)

    def _predict(self, table: Any, *, guarded: bool) -> list[Prediction]:
        plan = self._plan
        cells = table[plan.image_column].to_pylist()
        names = [_text(name) for name in table[plan.name_column].to_pylist()] if plan.name_column else None
        numbers = table[plan.index_column].to_pylist() if plan.index_column else range(len(cells))
        inputs = [
            _Input.of(cell, names[i] if names else None, number)
            for i, (cell, number) in enumerate(zip(cells, numbers, strict=True))
        ]
        predictor = self._predictor if not guarded else self._guarded_predictor()
        failed: dict[int, ImageError] = {}
        good: list[int] = []

        def sources() -> Iterator[tuple[str, ImageSource]]:
            for i, (item, result) in enumerate(zip(inputs, self._fetched(inputs), strict=True)):
                if isinstance(result, ImageError):
                    failed[i] = result
                else:
                    good.append(i)
                    yield item.name, result

        outcomes: list[Prediction] = []
        for batch in predictor.batches(sources(), batch_size=plan.batch_size, continued=True):
            outcomes += predictor.predictions(batch)
        rows: dict[int, Prediction] = dict(zip(good, outcomes, strict=True))
        for i, error in failed.items():
            rows[i] = Prediction(
                inputs[i].name, predictor.spec.labels, None, predictor.threshold, error.code, str(error)
            )
        return [rows[i] for i in range(len(inputs))]

    def _guarded_predictor(self) -> Predictor:
        """The same model, with decoding in processes of their own."""
        return self._plan.with_metadata(
            Predictor(
                self._predictor.scorer,
                batch_size=self._plan.batch_size,
                workers=max(1, self._plan.workers),
                processes=True,
                threshold=self._predictor.threshold,
            )
        )

    def _fetched(self, inputs: list[_Input]) -> Iterator[ImageSource | ImageError]:
        """The source of each input; remote files are fetched ahead."""
        filesystem = self._plan.filesystem
        remote = [i for i, item in enumerate(inputs) if item.is_remote(filesystem)]
        if not remote:
            yield from (item.source for item in inputs)
            return
        with ThreadPoolExecutor(_FETCHES, thread_name_prefix="skinclf-fetch") as pool:
            ahead: dict[int, Future[ImageSource | ImageError]] = {
                i: pool.submit(_fetch, str(inputs[i].source), filesystem) for i in remote
            }
            for i, item in enumerate(inputs):
                yield ahead.pop(i).result() if i in ahead else item.source

    def _table(self, predictions: list[Prediction], table: Any) -> Any:
        import pyarrow as pa

        kinds = {str: pa.string(), float: pa.float32(), int: pa.int32(), bool: pa.bool_()}
        columns = self._schema.columns
        cells = list(zip(*map(self._schema.values, predictions), strict=True)) or [()] * len(columns)
        arrays = [pa.array(values, kinds[kind]) for kind, values in zip(columns.values(), cells, strict=True)]
        result = pa.Table.from_arrays(arrays, names=list(columns))
        if self._plan.index_column:
            result = result.append_column("index", table[self._plan.index_column].cast(pa.int64()))
        for name in self._plan.keep:
            result = result.append_column(name, table[name])
        return result


@dataclass(frozen=True, slots=True)
class _Input:
    """One cell: a path, encoded bytes, or both as the `image` structs of Hub datasets hold them."""

    name: str
    source: ImageSource | ImageError

    @classmethod
    def of(cls, cell: Any, name: str | None, number: int) -> _Input:
        path = None
        if isinstance(cell, Mapping):
            path = cell.get("path")
            cell = path if cell.get("bytes") is None else cell["bytes"]
        if isinstance(cell, str):
            path = cell
        name = name or path or f"image-{number}"
        if cell is None:
            return cls(name, ImageError("missing", f"{name}: the cell is empty."))
        return cls(name, cell)

    def is_remote(self, filesystem: Any) -> bool:
        return isinstance(self.source, str) and (filesystem is not None or "://" in self.source)


def _fetch(path: str, filesystem: Any) -> ImageSource | ImageError:
    """The bytes of a file in remote storage, or the error."""
    try:
        storage, inside = resolve_path(path, filesystem)
        with storage.open_input_file(inside) as file:
            data: bytes = file.read()
    except FileNotFoundError:
        return ImageError("missing", f"{path}: no such file.")
    except Exception as error:  # every storage has errors of its own
        return ImageError("unreadable", f"{path}: {' '.join(str(error).split())}")
    return data or ImageError("empty", f"{path}: the file is empty.")


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _was_restarted() -> bool:
    import ray

    return bool(ray.get_runtime_context().was_current_actor_reconstructed)
