"""Publish a bundle with its card and evaluation on the Hub: one commit, read back and replayed."""

from __future__ import annotations

import csv
import io
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from skinclf._utils.files import replace_file
from skinclf._utils.public import is_private, short_names, without_paths
from skinclf.conversion.verify import verify_model
from skinclf.decisions.held_out import PREDICTIONS
from skinclf.errors import HubError, InvalidArgumentError, ModelError, SkinclfError
from skinclf.models.bundle import CONFIG, GATE, WEIGHTS, is_bundle, is_recipe, read_spec
from skinclf.models.options import HubOptions
from skinclf.models.spec import ModelSpec
from skinclf.runtimes.int8 import quantized_files
from skinclf_training.experiments.run_report import EVALUATIONS, evaluate_part
from skinclf_training.publishing.card import METRICS, make_card, public_training
from skinclf_training.publishing.upload import Target, upload

log = logging.getLogger("skinclf")
#: Where a run keeps its bundle and its evaluation.
BUNDLE, EVALUATION = "bundle", EVALUATIONS["test"]
_LICENCE = "LICENSE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Result of a push; with `dry_run`, what it would publish.

    Attributes:
        repo_id: Repository, `user/repo`.
        revision: Full commit sha; None after a dry run.
        url: Page of the commit or of the pull request; None after a dry run.
        files: Size in bytes by file name in the repository.
        left_out: Files beside the bundle that are not published.
        card: Text of `README.md`.
    """

    repo_id: str
    revision: str | None
    url: str | None
    files: Mapping[str, int]
    left_out: tuple[str, ...]
    card: str


def push(
    source: Path,
    repo_id: str,
    *,
    metrics: Path | None = None,
    about: Path | None = None,
    private: bool = False,
    create_pr: bool = False,
    revision: str | None = None,
    message: str | None = None,
    token: str | None = None,
    dry_run: bool = False,
) -> Published:
    """Publish a bundle with its card, figures, evaluation and golden sample in one commit.

    The golden sample is replayed before the upload, and after it on what the Hub gives back at the new
    commit. When a step fails before the commit, the repository stays as it was. Of a recipe, which holds no weights,
    configuration, card and figures are published; its members are built-in models or repositories at a commit, and
    their golden samples are replayed.

    Args:
        source: Folder of a bundle, or of a run with its bundle in `bundle/`.
        repo_id: Repository, `user/repo`; created when it does not exist.
        metrics: File `metrics.json` of this bundle; None looks for it beside the bundle and in the run's
            `evaluation/`, where a run without one is evaluated on its test part.
        about: YAML file with the sentences of the card (see `skinclf_training.publishing.card_text`); None takes
            those that come with skinclf for the training data.
        private: Whether a new repository is private; an existing one must be private already.
        create_pr: Whether the commit is proposed as a pull request.
        revision: Branch, created from `main` when it does not exist; None is `main`.
        message: Commit message.
        token: Access token; None for the Hub's own rules (HF_TOKEN, `hf auth login`).
        dry_run: Whether to report what would be published without any request to the Hub.

    Raises:
        InvalidArgumentError: Bundle, evaluation or limitations are missing, or options exclude each other.
        MismatchError: The evaluation is of another model.
        ModelError: The bundle does not replay its golden sample.
        HubError: The Hub refused the commit, or what it returns does not replay.
    """
    target = Target(repo_id, revision=revision, private=private, create_pr=create_pr)
    bundle, evaluation = find_parts(source, metrics)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "repository"
        card = stage(bundle, evaluation, folder, repo_id=repo_id, about=about)
        # Members of a recipe may be on the Hub, which a dry run does not ask.
        report = verify_model(folder, hub=HubOptions(token=token, offline=dry_run))
        if not report.ok:
            raise ModelError(f"{bundle}: does not replay its golden sample, so nothing was published.")
        files = {name: (folder / name).stat().st_size for name in _names(folder)}
        made = Published(
            repo_id=repo_id,
            revision=None,
            url=None,
            files=files,
            left_out=_left_out(bundle, files),
            card=card,
        )
        if dry_run:
            return made
        title = message or f"{read_spec(folder).name}, by skinclf"
        commit = upload(folder, target, message=title, token=token)
        log.info("%s: commit %s; replaying its golden sample", repo_id, commit.sha)
        _replay(repo_id, commit.sha, Path(temporary) / "cache", token)
    return Published(
        repo_id=repo_id, revision=commit.sha, url=commit.url, files=files, left_out=made.left_out, card=card
    )


def find_parts(source: Path, metrics: Path | None = None) -> tuple[Path, Path]:
    """The bundle and the evaluation that belong to a run or a bundle.

    Raises:
        InvalidArgumentError: There is no bundle, a recipe with a member on this machine, or no evaluation and no way
            to make one.
    """
    bundle = source if is_bundle(source) else source / BUNDLE
    if not is_bundle(bundle):
        raise InvalidArgumentError(
            f"{source}: neither a bundle ({CONFIG} and {WEIGHTS}) nor a run with one in {BUNDLE}/. "
            "`skinclf_training.torch.export.export_run` makes a bundle of a run."
        )
    if is_recipe(bundle):
        _check_members(bundle)
    if metrics is not None:
        return bundle, metrics
    run = source if source != bundle else source.parent if source.name == BUNDLE else None
    places = [bundle, *([run, run / EVALUATION] if run is not None else [])]
    found = next((place / METRICS for place in places if (place / METRICS).is_file()), None)
    if found is not None:
        return bundle, found
    if run is None or not (run / "predictions_test.csv").is_file():
        raise InvalidArgumentError(
            f"{source}: no {METRICS}. A model is published with its evaluation on test data: predict "
            "labelled images with it, evaluate them (`skinclf.evaluate`), then name the file as `metrics`.",
            parameter="metrics",
        )
    return bundle, evaluate_part(run, bundle, "test")


def _check_members(bundle: Path) -> None:
    """Refuse a recipe whose members only this machine can find."""
    spec = read_spec(bundle)
    local = [member.path for member in spec.recipe.members if member.path] if spec.recipe else []
    if local:
        raise InvalidArgumentError(
            f"{spec.name}: its member {local[0]} is a path on this machine, where others cannot find it; publish that "
            "model, and combine its repository (`user/repo@commit`)."
        )


def stage(bundle: Path, metrics: Path, folder: Path, *, repo_id: str, about: Path | None = None) -> str:
    """Lay out a repository: safetensors (but of a recipe), a fresh configuration, golden samples, card, evaluation.

    The configuration is written anew from the contract, so that nothing of a base model's is left in it.

    Returns:
        The card's text.

    Raises:
        SkinclfError: As `skinclf_training.publishing.card.make_card`.
    """
    spec = read_spec(bundle)
    if not spec.golden and spec.recipe is None:
        raise InvalidArgumentError(
            f"{bundle}: no golden sample; exporting a run or converting a model records one."
        )
    card = make_card(bundle, metrics, about=about, repo_id=repo_id)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (
        *((WEIGHTS,) if spec.recipe is None else ()),
        *(golden.file for golden in spec.golden),
        *quantized_files(spec),
        *((GATE,) if spec.gate else ()),
        PREDICTIONS,
        _LICENCE,
    ):
        if name in {PREDICTIONS, _LICENCE} and not (bundle / name).is_file():
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name == PREDICTIONS:
            _copy_predictions(bundle / name, target)
        else:
            shutil.copyfile(bundle / name, target)
    _write_config(folder, spec)
    card.write(folder)
    return card.text


def _copy_predictions(source: Path, target: Path) -> None:
    """Copy a predictions table; image names lose the folders of the machine."""
    with source.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    names = [row[0] for row in rows[1:] if row]
    if not any(map(is_private, names)):
        shutil.copyfile(source, target)
        return
    short = iter(short_names(names))
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(
        row if i == 0 or not row else [next(short), *row[1:]] for i, row in enumerate(rows)
    )
    target.write_bytes(buffer.getvalue().encode())


def _write_config(folder: Path, spec: ModelSpec) -> None:
    config = without_paths(spec.replace(training=public_training(spec.training)).to_config())
    replace_file(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())


def _left_out(bundle: Path, files: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(name for name in _names(bundle) if name not in files)


def _names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]


def _replay(repo_id: str, sha: str, cache: Path, token: str | None) -> None:
    """Fetch the commit into an empty cache and replay its golden sample."""
    check = f"`skinclf.conversion.convert.verify_model('{repo_id}@{sha}')`"
    try:
        report = verify_model(f"hf-hub:{repo_id}", hub=HubOptions(revision=sha, cache_dir=cache, token=token))
    except HubError as error:
        raise HubError(
            f"{repo_id}: published as commit {sha}, but not yet checked: {error} Check it later with {check}."
        ) from error
    except SkinclfError as error:
        raise HubError(f"{repo_id}: commit {sha} cannot be used: {error} Push again.") from error
    if not report.ok:
        worst = max(entry.difference for entry in report.checks)
        raise HubError(
            f"{repo_id}: commit {sha} differs by {worst:.2g} on its golden sample. Do not use it; push again."
        )
