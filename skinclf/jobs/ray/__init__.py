"""Prediction on a Ray cluster (extra `ray`).

Each worker is an actor that loads the model once and runs the local engine, so that its numbers are those of one
machine: every batch has the same shape wherever an image lands. Inputs that fail become rows. When a worker's
process is killed, Ray replaces it and repeats its unfinished calls, so every input has exactly one row.

skinclf, the extra `ray` and the runtime in use are installed on every machine; paths are visible to all of them.
Ray's usage statistics are off: `RAY_USAGE_STATS_ENABLED` is set to 0 unless the environment has it. A Ray
that was started before keeps its own setting.
"""

from __future__ import annotations

from skinclf.jobs.ray.dataset import predict_dataset, predict_folder, predict_paths
from skinclf.jobs.ray.parquet import predict_parquet
from skinclf.jobs.ray.run import ClusterRun, predict_with_ray

__all__ = [
    "ClusterRun",
    "predict_dataset",
    "predict_folder",
    "predict_parquet",
    "predict_paths",
    "predict_with_ray",
]
