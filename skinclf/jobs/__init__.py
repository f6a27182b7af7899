"""Prediction over files into a table on disk: formats, resume, shards, run manifest, Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "Output",
    "Shard",
    "Stop",
    "Summary",
    "merge",
    "write_predictions",
]

if TYPE_CHECKING:
    from skinclf.jobs.output import Output
    from skinclf.jobs.progress import Stop, Summary
    from skinclf.jobs.run import write_predictions
    from skinclf.jobs.shards import Shard, merge
else:
    from skinclf._utils.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skinclf.jobs.output": ["Output"],
            "skinclf.jobs.progress": ["Stop", "Summary"],
            "skinclf.jobs.run": ["write_predictions"],
            "skinclf.jobs.shards": ["Shard", "merge"],
        },
    )
