"""Cross-validation: one run per fold, and the out-of-fold prediction of every image.

The folds are `fold0`, `fold1`, ... of a folder that `skinclf_training.data.prepare.prepare` wrote with `folds`; each
is a whole run with its own bundle, so that an interrupted fold continues and a finished one is not repeated.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from skinclf._utils.files import replace_file
from skinclf._utils.notice import NOTICE
from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf_training.config.schema import Config
from skinclf_training.data.prepared import FOLDS, Prepared, read_prepared
from skinclf_training.experiments.backends import default_data_name, framework
from skinclf_training.experiments.exported import is_exported
from skinclf_training.experiments.fold_report import fold_report
from skinclf_training.recipes.batch_progress import BatchProgress
from skinclf_training.recipes.run_folder import chosen_on_validation

log = logging.getLogger("skinclf")
#: What a model had not seen of the part that its fold leaves out.
_UNSEEN = {
    "test": "training or validation",
    "val": "training; it chose {chosen} of that model, and the common test part is untouched",
}
OUT_OF_FOLD, EVALUATION = "predictions_oof.csv", "evaluation"
REPORT, REPORT_DATA = "report.md", "report.json"


def is_folds(folder: Path) -> bool:
    """Whether a folder holds folds instead of one split."""
    return (folder / FOLDS).is_file()


def left_out_part(folder: Path) -> str:
    """Part that each fold leaves out: `val` where all folds have the same test part, else `test`."""
    return str(json.loads((folder / FOLDS).read_text(encoding="utf-8")).get("left_out", "test"))


def read_folds(folder: Path) -> list[Prepared]:
    """Read the folds that `skinclf_training.data.prepare.prepare` wrote with `folds`.

    Raises:
        InvalidArgumentError: A fold is missing or cannot be read.
        MismatchError: A fold does not have the hash that was recorded with the others.
    """
    hashes = json.loads((folder / FOLDS).read_text(encoding="utf-8"))["splits"]
    folds = [read_prepared(folder / f"fold{i}") for i in range(len(hashes))]
    for fold, expected in zip(folds, hashes, strict=True):
        if fold.hash != expected:
            raise MismatchError(
                f"{fold.folder}: its split is {fold.hash[:12]}, {folder / FOLDS} says {expected[:12]}; "
                "prepare the folds again."
            )
    return folds


def cross_validate(
    config: Config,
    folder: Path,
    output: Path,
    *,
    resume: Literal["auto", "never"] = "auto",
    max_steps: int = -1,
    golden_image: Path | None = None,
    data_name: str | None = None,
    test_part: bool = False,
    progress: Callable[[int, int], None] | None = None,
    on_batch: Callable[[BatchProgress], None] | None = None,
) -> Path:
    """Train and export every fold, and join the predictions of their left-out parts.

    The left-out part of a fold is its `test`; where all folds have a common test part, it is `val`.

    Args:
        config: Configuration of every run.
        folder: Folder of the folds.
        output: Output folder of `foldN/` (a run each), `predictions_oof.csv` (each image once, with its fold),
            `evaluation/` (of all images together), `report.md` and `report.json` (also fold by fold, and thresholds).
        resume: Use of existing runs, as for `skinclf_training.torch.trainer.train`.
        max_steps: Largest number of steps of a run, as for `skinclf_training.torch.trainer.train`.
        golden_image: Image for the golden samples, as for `skinclf_training.torch.export.export_run`.
        data_name: Name of the training data; None derives it from the labels.
        test_part: Whether every model predicts the common test part too, where folds leave one out.
        progress: Function that is called with (done, total) while images are decoded.
        on_batch: Function that is called after every batch.

    Returns:
        Path of `report.md`.

    Raises:
        InvalidArgumentError: The folds cannot be read, or the configuration asks for several processes.
        MismatchError: A run's folder belongs to another configuration or split, or the folds overlap.
    """
    if config.optim.devices != 1:
        raise InvalidArgumentError(
            f"Folds are trained in one process; received optim.devices {config.optim.devices}, expected 1. "
            f"Or train each fold as a run of its own: {folder / 'fold0'} and so on."
        )
    from skinclf.evaluation.evaluate import evaluate

    chosen, folds = framework(config.framework), read_folds(folder)
    part = left_out_part(folder)
    runs = [output / fold.folder.name for fold in folds]
    for fold, run in zip(folds, runs, strict=True):
        log.info("%s: fold %s of %d", run, fold.folder.name.removeprefix("fold"), len(folds))
        chosen.train(
            config, fold, run, resume=resume, max_steps=max_steps, progress=progress, on_batch=on_batch
        )
        if is_exported(run, part) and (not test_part or is_exported(run, "test")):
            continue
        name = data_name or default_data_name(fold)
        chosen.export(
            run,
            fold,
            run / "bundle",
            golden_image=golden_image,
            name=f"{config.name}-{run.name}",
            data_name=name,
            test_part=test_part or part == "test",
        )
    rows = _joined(runs, part)
    replace_file(output / OUT_OF_FOLD, _table(rows).encode())
    whole = evaluate(
        output / OUT_OF_FOLD,
        folds[0].folder / "split.csv",
        label_set=folds[0].labels,
        name=f"{config.name}, out of fold",
    )
    whole.write(output / EVALUATION)
    tests = [_rows(run / "predictions_test.csv") for run in runs] if test_part and part != "test" else []
    report = fold_report(rows, tests, folds[0].labels, whole.metrics)
    unseen = _UNSEEN[part].format(chosen=chosen_on_validation(config.select))
    head = f"# {config.name}, {len(folds)} folds\n\n{NOTICE}\n"
    tail = f"\nFull report over all images: [{EVALUATION}]({EVALUATION}/report.html)\n"
    replace_file(output / REPORT_DATA, (json.dumps(report.to_dict(), indent=1) + "\n").encode())
    replace_file(output / REPORT, f"{head}\n{report.markdown(unseen)}{tail}".encode())
    return output / REPORT


def _joined(runs: Sequence[Path], part: str) -> list[dict[str, str]]:
    """The left-out rows of all runs, with the fold of each.

    Raises:
        MismatchError: An image was left out twice.
    """
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    for number, run in enumerate(runs):
        rows += [{**row, "fold": str(number)} for row in _rows(run / f"predictions_{part}.csv")]
    for row in rows:
        if row["image"] in seen:
            raise MismatchError(f"{row['image']} is left out by two folds; prepare the folds again.")
        seen.add(row["image"])
    return rows


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
