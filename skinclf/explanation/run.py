"""Maps of many images into a folder, resumable: one row for each input, also for those that failed.

Files are written before the row that names them, so that a row never promises what is not there. To resume, the
table's complete rows are compared with the inputs as `predict` does; whole batches stay, the rest is computed again,
and an interrupted folder ends with the same bytes as an uninterrupted one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from skinclf._utils.append_files import AppendFile
from skinclf._utils.environment import versions
from skinclf._utils.notice import NOTICE
from skinclf.errors import ImageError, InvalidArgumentError, OutputError
from skinclf.explanation.explainer import Explainer
from skinclf.explanation.folder import MapFolder, MapRows, Names, failed_row, map_row
from skinclf.explanation.masks import Masks
from skinclf.explanation.overlay import png
from skinclf.explanation.page import write_common_page, write_page
from skinclf.images.decode import load_image
from skinclf.images.discovery import Inputs
from skinclf.inference.metadata.joined import JoinedMetadata, Metadata, join_for
from skinclf.inference.prediction import Prediction
from skinclf.jobs.job import Job, Progress
from skinclf.jobs.manifest import check_identity, read_manifest, write_manifest
from skinclf.jobs.progress import Stop, Summary
from skinclf.jobs.resume import keep_rows
from skinclf.models.metadata_encoding import need_picture_alone
from skinclf.models.metadata_terms import MetadataTerms

Scale: TypeAlias = Literal["image", "common"]


@dataclass(frozen=True, slots=True)
class _Beside:
    """What rows and pictures take into account beside the map."""

    scale: Scale
    masks: Masks | None
    metadata: JoinedMetadata | None

    def parts(self, explainer: Explainer, prediction: Prediction) -> dict[str, float] | None:
        """Contributions of picture and entries; None without metadata."""
        if self.metadata is None or prediction.values is None:
            return None
        malignant = explainer.predictor.spec.labels.malignant_indices or ()
        return self.metadata.contributions(prediction.image, prediction.values, malignant)


def write_explanations(
    explainer: Explainer | Sequence[Explainer],
    inputs: Iterable[str | os.PathLike[str]],
    output: MapFolder | str | os.PathLike[str],
    *,
    scale: Scale = "image",
    masks: str | os.PathLike[str] | None = None,
    metadata: Metadata | None = None,
    terms: MetadataTerms | None = None,
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Explain files into a folder: for each an overlay, the raw map and a row in `maps.csv`; and one page for all.

    Args:
        explainer: Explainer that makes the maps. Several, of different methods, get a folder each inside `output`,
            named as the method, and a page shows them side by side; the inputs are then read once for each.
        inputs: Paths, such as `skinclf.images.discovery.Inputs`; found lazily.
        output: Path of the folder, or `MapFolder` with its options.
        scale: Strongest colour of the overlays: each map's own maximum (`image`), or the largest of all (`common`),
            which makes them comparable.
        masks: Folder of lesion masks named as the images (`<stem>` or `<stem>_segmentation`), for the column
            `inside_mask`; white is lesion.
        metadata: Age, sex and site of the images, as for `Predictor.with_metadata`: adds what the picture and each
            entry contribute to the log-odds of malignancy. Maps are of the picture alone, which is all they can show.
        terms: Metadata terms of the model; None takes its own.
        stop: Request to end the run after the image in progress.
        progress: Function called with the `Summary` after every image.

    Returns:
        Counts and times; `complete` is False only when the run was stopped. Of several explainers: those of the one
        that failed most, or that was stopped.

    Raises:
        InvalidArgumentError: The folder holds something else, or maps and neither `resume` nor `overwrite` is set.
        MismatchError: The maps to resume were made by another run, or from other inputs; or the terms belong to
            another model.
        ModelError: The pass with gradients gives other probabilities than the runtime.
        OutputError: A file cannot be written.
        SkinclfError: The input folder is gone, or the runtime fails.
    """
    if scale not in {"image", "common"}:
        raise InvalidArgumentError(f"`scale` is 'image' or 'common'; received {scale!r}.", parameter="scale")
    folder = output if isinstance(output, MapFolder) else MapFolder(path=Path(output))
    if not isinstance(explainer, Explainer):
        how: dict[str, Any] = {"scale": scale, "masks": masks, "metadata": metadata, "terms": terms}
        how |= {"stop": stop, "progress": progress}
        return _side_by_side(explainer, inputs, folder, **how)
    folder.check()
    found_masks = None if masks is None else Masks.of(Path(masks))
    joined = None
    if metadata is not None:
        inputs = inputs.listed() if isinstance(inputs, Inputs) else list(inputs)
        joined = _joined(explainer, metadata, inputs, terms)
    job = Job(explainer.predictor, inputs, stop=stop, progress=progress)
    old = read_manifest(folder.manifest) if folder.resume and folder.manifest.exists() else None
    if old is not None and explainer.predictor.batch_size is None:
        job.batch_size = int(old["identity"]["batch_size"])
    manifest = _manifest(explainer, job, scale, found_masks, joined)
    if old is not None:
        check_identity(old["identity"], manifest["identity"], what=str(folder.path))
    elif folder.overwrite:
        folder.clear()
    write_manifest(folder.manifest, {**manifest, **job.report(complete=False)})
    with closing(AppendFile(folder.table)) as table:
        try:
            _append(explainer, job, folder, table, _Beside(scale, found_masks, joined))
        except BaseException:
            with suppress(OutputError):
                write_manifest(folder.manifest, {**manifest, **job.report(complete=False)})
            raise
    if not job.stopped:
        if scale == "common":
            _draw_on_one_scale(explainer, folder)
        write_page(folder)
    write_manifest(folder.manifest, {**manifest, **job.report(complete=not job.stopped)})
    return job.summary


def _side_by_side(
    explainers: Sequence[Explainer], inputs: Iterable[str | os.PathLike[str]], folder: MapFolder, **how: Any
) -> Summary:
    """Maps of several methods, a folder each, and one page for all."""
    methods = [explainer.method for explainer in explainers]
    if len(set(methods)) < len(methods) or not methods:
        raise InvalidArgumentError(
            f"Several explainers are of different methods; received {', '.join(methods) or 'none'}.",
            parameter="explainer",
        )
    parts = folder.parts(methods)
    images = inputs if isinstance(inputs, Inputs) and inputs.count() is not None else list(inputs)
    summaries = []
    for explainer, part in zip(explainers, parts, strict=True):
        summaries.append(write_explanations(explainer, images, part, **how))
        if not summaries[-1].complete:
            return summaries[-1]
    write_common_page(folder, parts)
    return max(summaries, key=lambda summary: summary.failed)


def _append(explainer: Explainer, job: Job, folder: MapFolder, table: AppendFile, beside: _Beside) -> None:
    """Append the rows that the table lacks, each after its files."""
    rows, names, done, taken = MapRows(), job.names(), 0, Names()
    if table.size:
        kept = keep_rows(table, rows, job)
        names, done = kept.rest, kept.rows
        for before in folder.rows():
            taken.take(before["image"])
    if not done:
        table.truncate(0)
        table.append(rows.header())
    for outcomes in job.compute(((name, None) for name in names), continued=done > 0):
        for outcome in outcomes:
            if not isinstance(outcome, Prediction):
                continue
            if job.stopped:
                return
            status, row = _explain(explainer, outcome, folder, taken.take(outcome.image), beside)
            with job.counting([status]):
                table.append(row)


def _explain(
    explainer: Explainer,
    prediction: Prediction,
    folder: MapFolder,
    name: str,
    beside: _Beside,
) -> tuple[Prediction, bytes]:
    """Write the files of one image; its outcome, and its row."""
    if not prediction.ok:
        return prediction, failed_row(prediction)
    try:
        original = load_image(prediction.image)
        found = explainer.explain(prediction.image, prediction, original=original)
        inside = None if beside.masks is None else beside.masks.share_inside(found)
    except ImageError as error:
        failed = replace(prediction, values=None, status=error.code, error=str(error))
        return failed, failed_row(failed)
    folder.write_map(name, found.map)
    if beside.scale == "image":
        folder.write(f"{name}.png", png(original, found))
    return prediction, map_row(found, name, inside, beside.parts(explainer, prediction))


def _draw_on_one_scale(explainer: Explainer, folder: MapFolder) -> None:
    """Draw every overlay with the largest value of all maps as its strongest colour."""
    top = max((float(row["maximum"]) for row in folder.rows() if row["status"] == "ok"), default=0.0)
    for row in folder.rows():
        if row["status"] == "ok":
            original = load_image(row["image"])
            found = explainer.restored(row, folder.path / row["map"], original.shape[:2])
            folder.write(row["overlay"], png(original, found, scale=top))


def _joined(
    explainer: Explainer,
    metadata: Metadata,
    names: Iterable[str | os.PathLike[str]],
    terms: MetadataTerms | None,
) -> JoinedMetadata:
    """Metadata joined with the images, for a model that it belongs to.

    Raises:
        InvalidArgumentError: The metadata cannot be joined, or the labels have no malignant class.
        ModelError: The network takes the entries itself.
    """
    spec = explainer.predictor.spec
    need_picture_alone(spec.encoding, spec.name, "a share of the log-odds for each entry")
    labels = spec.labels
    if not 0 < len(labels.malignant_indices or ()) < len(labels):
        raise InvalidArgumentError(
            "`metadata` says what picture and entries contribute to the log-odds of malignancy; the labels "
            f"{', '.join(labels.codes)} do not say which of them are malignant. State `malignant`.",
            parameter="metadata",
        )
    return join_for(explainer.predictor.spec, metadata, names, terms)[1]


def _manifest(
    explainer: Explainer, job: Job, scale: Scale, masks: Masks | None, joined: JoinedMetadata | None
) -> dict[str, Any]:
    predictor = explainer.predictor
    return {
        "notice": NOTICE,
        "output": "maps.csv",
        "identity": {
            "model": dict(predictor.scorer.fingerprint),
            "threshold": predictor.threshold,
            "method": explainer.method,
            "target": explainer.target,
            "layer": explainer.layer,
            "scale": scale,
            "masks": None if masks is None else str(masks.folder),
            "metadata": None if joined is None else joined.identity,
            "batch_size": job.batch_size,
        },
        "run": {**predictor.scorer.info, "workers": predictor.workers},
        **({} if joined is None else {"metadata": dict(joined.description)}),
        "versions": versions(),
    }
