"""One job: inputs are decoded and classified, and their outcomes counted, whatever the rows are written to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from skinclf._utils.environment import now
from skinclf.errors import ImageError, InvalidArgumentError, SkinclfError
from skinclf.images.discovery import Inputs
from skinclf.inference.engine import Batch
from skinclf.inference.prediction import Prediction
from skinclf.jobs.formats import Encoder, Row
from skinclf.jobs.progress import Stop, Summary
from skinclf.jobs.shards import Shard

if TYPE_CHECKING:
    from skinclf.inference.predictor import Predictor

OnError: TypeAlias = Literal["record", "fail"]
Progress: TypeAlias = Callable[[Summary], None]
#: Name of an input, with its row when the table has one that stays.
Item: TypeAlias = "tuple[str, Row | None]"
Outcome: TypeAlias = "Prediction | Row"


class Job:
    """Inputs in, outcomes out, with counts; the arguments are those of `skinclf.jobs.run.write_predictions`.

    Attributes:
        predictor: Predictor that classifies the inputs.
        batch_size: Images per call of the network.
        shard: Part of the inputs that this job handles; None for all.
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
        dicom_sr: str | os.PathLike[str] | None = None,
    ) -> None:
        if on_error not in {"record", "fail"}:
            raise InvalidArgumentError(
                f"`on_error` is 'record' or 'fail'; received {on_error!r}.", parameter="on_error"
            )
        self.predictor, self.shard = predictor, shard
        self.batch_size = predictor.batch_size or predictor.scorer.batch_size
        self.summary = Summary(threshold_from=predictor.threshold_from)
        self._inputs, self._on_error, self._progress = inputs, on_error, progress
        self._stop = stop or Stop()
        self._roots = inputs.roots if isinstance(inputs, Inputs) else ()
        self._started = now()
        self._reports = None
        if dicom_sr is not None:
            from skinclf.jobs.structured_report import ReportWriter

            self._reports = ReportWriter(Path(dicom_sr), predictor)
        self._found, self._hash = 0, hashlib.sha256()

    @property
    def stopped(self) -> bool:
        """Whether a stop was requested."""
        return self._stop.requested

    def names(self) -> Iterator[str]:
        """Names of this shard's inputs; the names of all shards are counted and hashed on the way."""
        for number, item in enumerate(self._stop.guard(self._inputs)):
            name = os.fspath(item)
            self._found = number + 1
            self._hash.update(name.encode("utf-8", "surrogatepass") + b"\0")
            if self.shard is None or self.shard.takes(number):
                yield name

    def compute(self, items: Iterable[Item], *, continued: bool = False) -> Iterator[list[Outcome]]:
        """Outcomes batch by batch, in the order of the items: the row of an item that has one, else a prediction.

        Args:
            items: Inputs, consumed lazily.
            continued: Whether the table already has rows of this run.

        Raises:
            ImageError: An input failed, with `on_error="fail"`; the outcomes before it were yielded.
            SkinclfError: The folder of the inputs is gone.
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
                None if batch.scored is None else batch.scored.take(new),
            )
            predictions = iter(self.predictor.predictions(fresh))
            outcomes = [next(predictions) if row is None else row for _, row in batch.keys]
            if self._on_error == "fail":
                for i, outcome in enumerate(outcomes):
                    if isinstance(outcome, Prediction) and not outcome.ok:
                        self._report(outcomes[:i])
                        yield outcomes[:i]
                        raise ImageError(outcome.status, outcome.error)
            self._report(outcomes)
            yield outcomes
        if self._reports is not None:
            self._reports.finish()

    def _report(self, outcomes: Sequence[Outcome]) -> None:
        """Write structured reports, before the rows: a table never has a row without its report."""
        if self._reports is not None:
            self._reports.write([x for x in outcomes if isinstance(x, Prediction)])

    @contextmanager
    def counting(self, outcomes: Sequence[Outcome]) -> Iterator[None]:
        """Count outcomes and report progress once the body has written them."""
        with self.summary.times.add("write"):
            yield
        new = [x for x in outcomes if isinstance(x, Prediction)]
        flagged = sum(bool(x.ok and x.flagged) for x in new)
        self.summary.count([x.status for x in outcomes], computed=len(new), flagged=flagged)
        if self._progress is not None:
            self._progress(self.summary)

    def inputs_report(self) -> dict[str, Any]:
        """Number of inputs in all shards, and the SHA-256 of their names."""
        return {"count": self._found, "sha256": self._hash.hexdigest()}

    def report(self, *, complete: bool) -> dict[str, Any]:
        """The part of the manifest that changes during a run."""
        self.summary.complete = complete
        return {
            **self.summary.to_dict(),
            "inputs": self.inputs_report() if complete else None,
            "started": self._started,
            "finished": now() if complete else None,
        }

    def _check_roots(self, batch: Batch[Item]) -> None:
        """Fail when an input folder is gone, instead of writing `missing` for each of its images."""
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
                    f"{root}: the input folder is gone (moved, emptied, or unmounted?). The complete rows of the "
                    "output are safe; once the folder is back, continue with `resume`.",
                    parameter="resume",
                )


def encode(outcomes: Iterable[Outcome], rows: Encoder) -> bytes:
    """Outcomes as bytes of the table; rows that were kept stay as they were."""
    return b"".join(x.raw if isinstance(x, Row) else rows.encode([x]) for x in outcomes)
