"""Log file of a run: everything that the run says, whatever the terminal shows."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOG = "train.log"


class _RunFile(logging.FileHandler):
    """File that a full disk leaves incomplete without a word: the run itself reports the disk."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name of logging
        """Leave the record out."""


@contextmanager
def run_log(run: Path, *, on: bool = True) -> Iterator[None]:
    """Append the log of the body, and the error that ends it, to `train.log` of a run; a resumed run continues it.

    What the terminal shows stays as it was: other handlers get only the records of the level that was set before.

    Args:
        run: Folder of the run.
        on: Whether to write; only one of several processes does.
    """
    if not on:
        yield
        return
    logger, level = logging.getLogger("skinclf"), logging.getLogger("skinclf").level
    shown = logger.getEffectiveLevel()
    others = [*logger.handlers, *logging.getLogger().handlers]
    file = _RunFile(run / LOG, encoding="utf-8", delay=True)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def as_before(record: logging.LogRecord) -> bool:
        return record.levelno >= shown or not record.name.startswith("skinclf")

    for handler in others:
        handler.addFilter(as_before)
    logger.addHandler(file)
    logger.setLevel(min(shown, logging.INFO))
    try:
        yield
    except BaseException as error:
        text = " ".join(str(error).split())
        file.handle(
            logger.makeRecord(logger.name, logging.ERROR, "", 0, f"{type(error).__name__}: {text}", (), None)
        )
        raise
    finally:
        logger.setLevel(level)
        logger.removeHandler(file)
        file.close()
        for handler in others:
            handler.removeFilter(as_before)
