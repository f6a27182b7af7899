"""Hyperparameter search: many training runs over a space of configurations, in a database that can be resumed.

Every trial is a whole run in a folder of its own. A trial that was killed continues from its checkpoint, and the
parameters of a trial depend only on the random seed, its number and the trials before it: an interrupted search
tries the same parameters as an uninterrupted one.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, Trial, TrialState

from skinclf.errors import InvalidArgumentError, MismatchError, SkinclfError
from skinclf_training.config.schema import LAST_EPOCH, Config
from skinclf_training.data.prepare import Prepared
from skinclf_training.experiments.backends import framework
from skinclf_training.experiments.search_report import Outcome, TrialRow, write_page, write_tables
from skinclf_training.experiments.search_space import Space
from skinclf_training.recipes.batch_progress import BatchProgress
from skinclf_training.recipes.run_folder import read_history
from skinclf_training.recipes.starting_weights import check_starting_weights

log = logging.getLogger("skinclf")
Sampler: TypeAlias = Literal["tpe", "random", "grid"]
Pruner: TypeAlias = Literal["median", "none"]
#: Training of a trial: its configuration, its folder, and the function of its epochs.
_TrainTrial: TypeAlias = Callable[[Config, Path, Callable[[dict[str, float]], bool]], list[dict[str, float]]]
DATABASE, TRIALS, LOCK = "study.db", "trials", "search.lock"
_ASKED, _ERROR, _STUDY = "asked", "error", "skinclf"


def direction(figure: str) -> Literal["minimize", "maximize"]:
    """Direction in which a validation figure improves."""
    return "minimize" if figure == "loss" else "maximize"


def search(
    config: Config,
    prepared: Prepared,
    folder: Path,
    space: Space,
    *,
    trials: int | None = None,
    sampler: Sampler = "tpe",
    pruner: Pruner = "median",
    seed: int = 0,
    keep: Literal["best", "all"] = "best",
    progress: Callable[[int, int], None] | None = None,
    on_batch: Callable[[BatchProgress], None] | None = None,
) -> Outcome:
    """Run trials until `trials` of them have finished, from the start or from the state of the folder.

    The objective is the best epoch's validation figure `config.select`. The test part is not used.

    Args:
        config: Configuration that every trial starts from.
        prepared: Data and split.
        folder: Output folder of `study.db`, `trials/NNN` (a run each), `study.json`, `trials.csv`, `best.yaml` and
            `report.html`.
        space: Keys that vary, with their values.
        trials: Number of finished trials in the end, pruned and failed ones included; None for all points of a grid.
        sampler: Method that proposes parameters: `tpe` (tree-structured Parzen estimator, Bergstra et al. 2011; its
            first ten trials are random), `random`, or `grid` (every combination, in order).
        pruner: Rule that stops a trial early: `median` where its best figure so far is worse than the median of
            earlier trials at the same epoch (after five whole trials, and not in the first quarter of the epochs);
            `none` never.
        seed: Random seed of the sampler; the runs use `config.seed`.
        keep: Trials whose checkpoints are kept: the `best` so far, or `all`.
        progress: Function that is called with (done, total) while images are decoded.
        on_batch: Function that is called after every batch.

    Raises:
        InvalidArgumentError: Options exclude each other, a file of starting weights does not exist, another search is
            running in the folder, or no trial could be trained.
        MismatchError: The folder belongs to another search.
    """
    points = space.grid() if sampler == "grid" else []
    wanted = trials if trials is not None else len(points)
    if wanted < 1 or (points and wanted > len(points)):
        raise InvalidArgumentError(
            f"`trials` is {trials}, but the grid has {len(points)} points."
            if points
            else f"A search by {sampler} needs `trials` of at least 1; received {trials}.",
            parameter="trials",
        )
    if config.optim.devices != 1:
        raise InvalidArgumentError(
            f"A search trains in one process; received optim.devices {config.optim.devices}, expected 1."
        )
    if config.select == LAST_EPOCH:
        raise InvalidArgumentError(
            f"A search compares trials by a figure; received `select: {LAST_EPOCH}`, expected one such as `macro_auc`."
        )
    asked = {
        "config": config.to_dict(),
        "space": dict(space.source),
        "split_sha256": prepared.hash,
        "sampler": sampler,
        "pruner": pruner,
        "seed": seed,
    }
    if not {"model.init", "model.transplant"} & space.source.keys():
        check_starting_weights(config)

    def train(
        resolved: Config, run: Path, on_epoch: Callable[[dict[str, float]], bool]
    ) -> list[dict[str, float]]:
        chosen = framework(resolved.framework)
        return chosen.train(resolved, prepared, run, on_epoch=on_epoch, progress=progress, on_batch=on_batch)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _alone(folder):
        study = _open(folder, asked, direction(config.select))
        study.pruner = _pruner(pruner, config)
        outcome = _outcome(study, asked, config.select)
        while len(outcome.trials) < wanted:
            number = len(outcome.trials)
            trial = _interrupted(study, space) or _next(study, space, points, sampler, seed, number)
            _run(study, trial, config, space, train, _place(folder, trial.number))
            outcome = _outcome(study, asked, config.select)
            if keep == "best":
                _drop_checkpoints(folder, outcome)
            write_tables(outcome, folder, config, space)
        outcome = replace(outcome, importance=_importance(study, outcome, seed))
        write_tables(outcome, folder, config, space)
        write_page(outcome, folder, space)
    if outcome.best is None:
        first = outcome.trials[0]
        raise InvalidArgumentError(
            f"None of {len(outcome.trials)} trials has a figure; the first one: {first.error or first.state}."
        )
    return outcome


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout:
        raise InvalidArgumentError(
            f"{folder}: another search is running there; wait, or choose another folder."
        ) from None


def _open(folder: Path, asked: Mapping[str, Any], way: str) -> optuna.Study:
    """The study of the folder, created or opened; refused where it belongs to another search."""
    if not (folder / DATABASE).is_file() and (folder / TRIALS).is_dir():
        raise InvalidArgumentError(f"{folder}: holds trials without their {DATABASE}; choose another folder.")
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / DATABASE}")
    study = optuna.create_study(storage=storage, study_name=_STUDY, direction=way, load_if_exists=True)
    before = study.user_attrs.get(_ASKED)
    if before is None:
        study.set_user_attr(_ASKED, asked)
        return study
    # As text, for the order of the keys is the order of the draws.
    other = [key for key, value in asked.items() if json.dumps(before[key]) != json.dumps(value)]
    if other and not any(t.intermediate_values for t in study.get_trials(deepcopy=False)):
        log.info("%s: the search that failed there left no epoch behind; its place is taken", folder)
        optuna.delete_study(study_name=_STUDY, storage=storage)
        shutil.rmtree(folder / TRIALS, ignore_errors=True)
        study = optuna.create_study(storage=storage, study_name=_STUDY, direction=way)
        study.set_user_attr(_ASKED, asked)
        return study
    if other:
        raise MismatchError(
            f"{folder}: the search there was started with another {', '.join(other)}; choose another folder."
        )
    return study


def _pruner(kind: Pruner, config: Config) -> optuna.pruners.BasePruner:
    if kind == "none":
        return optuna.pruners.NopPruner()
    # A step is an epoch; before the learning rate has warmed up and the averaged weights follow, figures are noise.
    return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=math.ceil(config.optim.epochs / 4))


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that ended: trained, pruned, or failed with a reason."""
    ends = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return [t for t in ends if t.state is not TrialState.FAIL or _ERROR in t.user_attrs]


def _interrupted(study: optuna.Study, space: Space) -> Trial | None:
    """The trial that a killed search left behind."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if set(trial.params) == set(space.distributions):
            log.info("trial %d was interrupted and continues", trial.number)
            # The database's own number of a trial has no public name.
            return Trial(study, trial._trial_id)
        # Killed before all its parameters were drawn: nothing was trained.
        study.tell(trial.number, state=TrialState.FAIL)
    return None


def _next(
    study: optuna.Study, space: Space, points: list[dict[str, Any]], kind: Sampler, seed: int, number: int
) -> Trial:
    # Seeded by trial: a generator that went on from trial to trial would start over after a resume.
    drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    if points and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.enqueue_trial(points[number])
    samplers = optuna.samplers
    study.sampler = samplers.TPESampler(seed=drawn) if kind == "tpe" else samplers.RandomSampler(seed=drawn)
    return study.ask(fixed_distributions=dict(space.distributions))


def _run(
    study: optuna.Study, trial: Trial, config: Config, space: Space, train: _TrainTrial, run: Path
) -> None:
    """Train one trial and report its result to the study."""
    log.info("trial %d: %s", trial.number, ", ".join(f"{k} {v}" for k, v in trial.params.items()))
    try:
        resolved = space.config(config, trial.params)
        rows, stopped = _train(trial, resolved, train, run)
    except Exception as error:
        trial.set_user_attr(_ERROR, f"{type(error).__name__}: {error}")
        study.tell(trial, state=TrialState.FAIL)
        if not isinstance(error, SkinclfError):
            log.exception(
                "Trial %d failed; running the search again continues with the next one.", trial.number
            )
            raise
        log.warning("trial %d failed: %s", trial.number, error)
        return
    values = {int(row["epoch"]): row[f"val_{config.select}"] for row in rows}
    known = {epoch: value for epoch, value in values.items() if math.isfinite(value)}
    trial.set_user_attr("seconds", sum(row["seconds"] for row in rows))
    if not known:
        trial.set_user_attr(_ERROR, f"val_{config.select} was a number in none of {len(rows)} epochs")
        study.tell(trial, state=TrialState.FAIL)
        return
    best = (min if direction(config.select) == "minimize" else max)(known, key=known.__getitem__)
    trial.set_user_attr("best_epoch", best)
    if stopped:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, known[best])
    log.info(
        "trial %d: %s %.4f at epoch %d%s",
        trial.number,
        config.select,
        known[best],
        best,
        ", pruned" if stopped else "",
    )


def _train(
    trial: Trial, config: Config, train: _TrainTrial, run: Path
) -> tuple[list[dict[str, float]], bool]:
    """Rows of the history, and whether the pruner stopped the run."""
    pruned = False

    def on_epoch(row: dict[str, float]) -> bool:
        nonlocal pruned
        epoch = int(row["epoch"])
        if epoch not in trial.study.trials[trial.number].intermediate_values:
            trial.report(row[f"val_{config.select}"], epoch)
        # After the last epoch there is nothing to save.
        pruned = epoch < config.optim.epochs and trial.should_prune()
        return pruned

    # Rows of an interrupted trial, which the pruner may have stopped at its last row.
    for row in (rows := read_history(run)):
        if on_epoch(row):
            return rows, True
    return train(config, run, on_epoch), pruned


def _place(folder: Path, number: int) -> Path:
    return folder / TRIALS / f"{number:03d}"


def _outcome(study: optuna.Study, asked: Mapping[str, Any], figure: str) -> Outcome:
    rows = tuple(
        TrialRow(
            number=t.number,
            state={TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}.get(t.state, "failed"),
            value=t.value if t.state is TrialState.COMPLETE else None,
            best_epoch=t.user_attrs.get("best_epoch"),
            seconds=t.user_attrs.get("seconds"),
            params=dict(t.params),
            figures=dict(sorted(t.intermediate_values.items())),
            error=t.user_attrs.get(_ERROR, ""),
        )
        for t in _finished(study)
    )
    return Outcome(figure=figure, direction=direction(figure), asked=asked, trials=rows)


def _importance(study: optuna.Study, outcome: Outcome, seed: int) -> dict[str, float]:
    """Share of the figure's variance that each key explains (fANOVA, Hutter et al. 2014); empty where undefined."""
    known = [t for t in outcome.trials if t.value is not None]
    tried = {json.dumps(dict(t.params)) for t in known}
    if min(len(known), len(tried), len({t.value for t in known})) < 3:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _drop_checkpoints(folder: Path, outcome: Outcome) -> None:
    for trial in outcome.trials:
        if trial != outcome.best:
            shutil.rmtree(_place(folder, trial.number) / "checkpoints", ignore_errors=True)
