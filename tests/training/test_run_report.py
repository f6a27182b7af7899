"""The diagnosis of a run and its curves."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from PIL import Image

from skinclf.errors import InvalidArgumentError
from skinclf_training.experiments.run_report import best_row, diagnose, draw_curves


def history(*accuracies: tuple[float, float], losses: tuple[float, ...] = ()) -> list[dict[str, float]]:
    return [
        {
            "epoch": i + 1.0,
            "step": i,
            "train_loss": 1.0,
            "train_accuracy": train,
            "val_accuracy": val,
            "val_loss": losses[i] if losses else 1.0,
            "val_macro_auc": val,
            "lr": 1e-3,
            "seconds": 1.0,
        }
        for i, (train, val) in enumerate(accuracies)
    ]


@pytest.mark.parametrize(
    ("accuracies", "verdict", "epoch"),
    [
        ([(0.5, 0.6), (0.8, 0.76), (0.95, 0.7)], "balanced", 2),
        ([(0.5, 0.6), (0.8, 0.73), (0.95, 0.7)], "mild overfitting", 2),
        ([(0.5, 0.6), (0.8, 0.7), (0.9, 0.75)], "overfitting", 3),
        ([(0.5, 0.6), (0.6, 0.7), (0.65, 0.7)], "balanced", 2),
        ([(0.5, 0.6), (0.6, 0.65), (0.65, 0.7)], "underfitting", 3),
    ],
)
def test_the_fit_is_judged_at_the_best_epoch(
    accuracies: list[tuple[float, float]], verdict: str, epoch: int
) -> None:
    found = diagnose(history(*accuracies), "macro_auc")
    assert (found.verdict, found.best_epoch) == (verdict, epoch)
    train, val = accuracies[epoch - 1]
    assert found.gap == pytest.approx(train - val)
    assert f"Best epoch {epoch} of 3 by macro auc ({val:.4f})" in found.sentences[0]
    assert verdict in found.sentences[1]


def test_a_rising_loss_and_few_epochs_are_said() -> None:
    rows = history((0.5, 0.6), (0.6, 0.7), (0.7, 0.7), losses=(1.0, 0.8, 1.0))
    assert "ended 25% above its least" in " ".join(diagnose(rows, "loss").sentences)
    assert diagnose(rows, "loss").best_epoch == 2
    assert "2 epochs are too few" in diagnose(rows[:2], "accuracy").sentences[-1]


def test_a_run_that_exports_its_last_epoch_is_judged_there(tmp_path: Path) -> None:
    rows = history((0.5, 0.6), (0.6, 0.8), (0.6, 0.7), losses=(1.0, 0.8, 0.9))
    found = diagnose(rows, "last")
    assert found.best_epoch == 3
    assert found.verdict == "balanced", "the validation loss rose, so the run did not end too early"
    assert "the last one, is exported" in found.sentences[0]
    draw_curves(rows, "last", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").is_file()


def test_the_best_epoch_needs_a_figure() -> None:
    rows = history((0.5, 0.6), (0.5, 0.7))
    rows[1]["val_macro_auc"] = math.nan
    assert best_row(rows, "macro_auc") is rows[0]
    with pytest.raises(InvalidArgumentError, match="val_malignant_auc"):
        best_row(rows, "malignant_auc")


@pytest.mark.parametrize("epochs", [1, 5])
def test_curves_are_drawn(tmp_path: Path, epochs: int) -> None:
    draw_curves(history(*[(0.5, 0.4 + i / 20) for i in range(epochs)]), "macro_auc", tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > picture.height > 500
        # More than white: lines of several colours.
        assert len(picture.convert("P", palette=Image.Palette.ADAPTIVE).getcolors()) > 20
