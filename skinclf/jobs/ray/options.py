"""Options of the local engine that prediction on a Ray cluster does not take."""

from __future__ import annotations

import os
from collections.abc import Sequence

from skinclf.errors import InvalidArgumentError
from skinclf.jobs.shards import Shard


def check_ray_options(
    *,
    output: str | os.PathLike[str],
    model: Sequence[str] = (),
    on_error: str = "record",
    tta: str = "none",
    resume: bool = False,
    retry_failed: bool = False,
    shard: Shard | None = None,
    embeddings: str | os.PathLike[str] | None = None,
    format: str | None = None,  # noqa: A002 - the name of the option
    conformal: str | None = None,
    refer_below: float | None = None,
    weights: Sequence[float] | None = None,
    frames: str | None = None,
    dicom_ids: bool = False,
    dicom_sr: str | os.PathLike[str] | None = None,
) -> None:
    """Check the options of a prediction run for `predict_with_ray`.

    Args:
        output: Path or URI of the output folder.
        model: Names or paths of models; at most one.
        on_error: Handling of an input that fails; only `record`.
        tta: Test-time augmentation; only `none`.
        resume: Whether to complete an interrupted table; only False.
        retry_failed: Whether failed inputs are tried again; only False.
        shard: Part of the inputs to handle; only None, as Ray divides the inputs itself.
        embeddings: Path of a file for embeddings; only None.
        format: Format of the table; only None, as the output is Parquet.
        conformal: Label sets; only None.
        refer_below: Probability below which images are marked for referral; only None.
        weights: Weights of several models; only None.
        frames: Frames of DICOM files with several; only None.
        dicom_ids: Whether the table has the UIDs of DICOM files; only False.
        dicom_sr: Folder for structured reports; only None.

    Raises:
        InvalidArgumentError: An option is not supported on a cluster.
    """
    unsupported = {
        "model": len(model) > 1,
        "on_error": on_error != "record",
        "tta": tta != "none",
        "resume": resume,
        "retry_failed": retry_failed,
        "shard": shard is not None,
        "embeddings": embeddings is not None,
        "format": format is not None,
        "conformal": conformal is not None,
        "refer_below": refer_below is not None,
        "weights": weights is not None,
        "frames": frames is not None,
        "dicom_ids": dicom_ids,
        "dicom_sr": dicom_sr is not None,
    }
    given = [name for name, is_given in unsupported.items() if is_given]
    if given:
        names = ", ".join(f"`{name}`" for name in given)
        raise InvalidArgumentError(
            f"Prediction on Ray runs one model without further options; leave out {names}.",
            parameter=given[0],
        )
    if os.fspath(output) == "-":
        raise InvalidArgumentError(
            "Prediction on Ray writes a folder of Parquet files; set `output` to its path.",
            parameter="output",
        )
