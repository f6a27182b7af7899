"""What the inputs of one run go through, whatever the rows are written to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from skinclf._utils.environment import now
from skinclf.errors import ImageError, InvalidArgumentError, SkinclfError
from skinclf.inference.engine import Batch
from skinclf.inference.prediction import Prediction
from skinclf.jobs.formats import Encoder, Row
from skinclf.jobs.progress import Stop, Summary
from skinclf.jobs.shards import Shard

if TYPE_CHECKING:
    from skinclf.inference.predictor import Predictor

OnError: TypeAlias = Literal["record", "fail"]
Progress: TypeAlias = Callable[[Summary], None]
#: An input by name, with its row when that is kept.
Item: TypeAlias = "tuple[str, Row | None]"
Outcome: TypeAlias = "Prediction | Row"


class Work:
    """Inputs in, outcomes out, with counts; for the arguments see `skinclf.jobs.run.write_predictions`.

    Attributes:
        predictor: The model.
        batch_size: Images per call of the network.
        shard: Which part of the inputs is done.
        summary: Counts and times so far.
    """

    def __init__(
        self,
        predictor: Predictor,
        inputs: Iterable[str | os.PathLike[str]],
        *,
        on_error: OnError = "record",
        shard: Shard | None = None,
        stop: Stop | None = None,
        progress: Progress | None = None,
    ) -> None:
        if on_error not in {"record", "fail"}:
            raise InvalidArgumentError(f"on_error is 'record' or 'fail'; received {on_error!r}.")
        self.predictor, self.shard = predictor, shard
        self.batch_size = predictor.batch_size or predictor.scorer.batch_size
        self.summary = Summary()
        self._inputs, self._on_error, self._progress = inputs, on_error, progress
        self._stop = stop or Stop()
        self._roots: Sequence[str] = getattr(inputs, "roots", ())
        self._started = now()
        self._found, self._hash = 0, hashlib.sha256()

    @property
    def stopped(self) -> bool:
        """Whether somebody asked to stop."""
        return self._stop.requested

    def names(self) -> Iterator[str]:
        """Names of this shard's inputs; those of all shards are counted and hashed."""
        for number, item in enumerate(self._stop.guard(self._inputs)):
            name = os.fspath(item)
            self._found = number + 1
            self._hash.update(name.encode("utf-8", "surrogatepass") + b"\0")
            if self.shard is None or self.shard.takes(number):
                yield name

    def compute(self, items: Iterable[Item], *, continued: bool = False) -> Iterator[list[Outcome]]:
        """Outcomes batch by batch, in order: the row of an item that has one, a prediction for all others.

        Args:
            items: Inputs, consumed lazily.
            continued: The table has rows of this run already.

        Raises:
            ImageError: An input failed, with `on_error="fail"`; the outcomes before it have been given.
            SkinclfError: The folder of the inputs vanished.
        """
        batches = self.predictor.batches(
            ((item, item[0] if item[1] is None else None) for item in items),
            batch_size=self.batch_size,
            continued=continued or self.shard is not None,
            times=self.summary.times,
        )
        for batch in batches:
            self._check_roots(batch)
            new = [i for i, (_, row) in enumerate(batch.keys) if row is None]
            fresh = Batch(
                [batch.keys[i][0] for i in new],
                [batch.errors[i] for i in new],
                None if batch.scores is None else batch.scores.take(new),
            )
            predictions = iter(self.predictor.predictions(fresh))
            outcomes = [next(predictions) if row is None else row for _, row in batch.keys]
            if self._on_error == "fail":
                for i, outcome in enumerate(outcomes):
                    if isinstance(outcome, Prediction) and not outcome.ok:
                        yield outcomes[:i]
                        raise ImageError(outcome.status, outcome.error)
            yield outcomes

    @contextmanager
    def writing(self, outcomes: Sequence[Outcome]) -> Iterator[None]:
        """Around the writing of outcomes: when they are safe, they are counted and progress is told."""
        with self.summary.times.add("write"):
            yield
        self.summary.count(
            [x.status for x in outcomes], computed=sum(isinstance(x, Prediction) for x in outcomes)
        )
        if self._progress is not None:
            self._progress(self.summary)

    def inputs_report(self) -> dict[str, Any]:
        """How many inputs were found, in all shards, and the hash of their names."""
        return {"count": self._found, "sha256": self._hash.hexdigest()}

    def report(self, *, complete: bool) -> dict[str, Any]:
        """The part of the manifest that changes."""
        self.summary.complete = complete
        return {
            **self.summary.to_dict(),
            "inputs": self.inputs_report() if complete else None,
            "started": self._started,
            "finished": now() if complete else None,
        }

    def _check_roots(self, batch: Batch[Item]) -> None:
        """A folder that was listed and is gone is no reason to write a million rows that say `missing`."""
        if not any(error is not None and error.code in {"missing", "unreadable"} for error in batch.errors):
            return
        for root in self._roots:
            try:
                with os.scandir(root) as entries:
                    gone = next(entries, None) is None
            except OSError:
                gone = True
            if gone:
                raise SkinclfError(
                    f"{root}: the input folder vanished (moved, emptied, or unmounted?). The complete "
                    "rows of the output are safe; when it is back, run the same command with --resume."
                )


def encode(outcomes: Iterable[Outcome], rows: Encoder) -> bytes:
    """Outcomes as rows; those that were kept stay as they were."""
    return b"".join(x.raw if isinstance(x, Row) else rows.encode([x]) for x in outcomes)
