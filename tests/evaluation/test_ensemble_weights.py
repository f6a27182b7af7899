"""Ensembles from predictions tables: greedy weights, paired figures, the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from skinclf.errors import InvalidArgumentError
from skinclf.evaluation.ensemble_weights import choose_weights, combine, measure, read_members
from skinclf.evaluation.evaluate import evaluate
from skinclf.labels import HAM10000
from skinclf_cli.main import run

N, CODES = 240, HAM10000.codes
FAST = {"replicates": 50}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`a.csv` and `b.csv` err independently, `noise.csv` knows nothing; two images to a lesion."""
    folder, rng = tmp_path_factory.mktemp("members"), np.random.default_rng(3)
    truth = np.arange(N) // 2 % 7
    with (folder / "labels.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "lesion_id", "dx", "split"])
        writer.writerows(
            [f"i{i}", f"L{i // 2}", CODES[k], "val" if i < N - 20 else "test"] for i, k in enumerate(truth)
        )
    for name, skill in (("a", 1.2), ("b", 1.1), ("noise", 0.0)):
        logits = rng.normal(size=(N, 7)) + skill * np.eye(7)[truth]
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        with (folder / f"{name}.csv").open("w") as file:
            writer = csv.writer(file)
            writer.writerow(["image", *(f"p_{code}" for code in CODES)])
            # Not in the same order, and `a` has one image that the others lack.
            for i in rng.permutation(N if name == "a" else N - 1):
                writer.writerow([f"i{i}.jpg", *p[i].astype(np.float32)])
    return folder


def members(folder: Path, *names: str, split: str | None = "val") -> list:
    return read_members([folder / f"{name}.csv" for name in names], folder / "labels.csv", split=split)


def test_members_answer_the_same_images(tables: Path) -> None:
    found = members(tables, "a", "b", "noise", split=None)
    assert [len(m) for m in found] == [N - 1] * 3
    assert found[0].ids == found[1].ids == found[2].ids
    assert found[0].grouped
    mean = combine(found[:2], [3, 1])
    np.testing.assert_allclose(
        mean.probabilities, 0.75 * found[0].probabilities + 0.25 * found[1].probabilities, atol=1e-12
    )
    np.testing.assert_allclose(
        mean.score, mean.probabilities[:, list(HAM10000.malignant_indices)].sum(1), atol=1e-6
    )


@pytest.mark.parametrize(
    "figure", ["macro_auc", "balanced_accuracy", "malignant_auc", "malignant_pr_auc", "loss"]
)
def test_weights_help_and_noise_is_left_out(tables: Path, figure: str) -> None:
    found = members(tables, "noise", "a", "b")
    weights = choose_weights(found, figure=figure, rounds=8)
    assert sum(weights) == pytest.approx(1)
    assert weights[0] == 0
    assert min(weights[1:]) > 0.2
    result = measure(found, ["noise", "a", "b"], figure=figure, rounds=8, **FAST)
    assert result.weights == tuple(weights)
    sign = -1 if figure == "loss" else 1
    assert sign * result.value.value > sign * max(result.values, key=lambda v: sign * v)
    assert result.best in {"a", "b"}


def test_a_useless_partner_gets_no_weight(tables: Path) -> None:
    assert choose_weights(members(tables, "a", "noise"), rounds=6) == [1.0, 0.0]


def test_figures_are_those_of_evaluate(tables: Path, tmp_path: Path) -> None:
    """The same draws of lesions, so the very same intervals."""
    found = members(tables, "a", "b")
    result = measure(found, ["a", "b"], weights=[0.5, 0.5], seed=4, **FAST)
    assert not result.chosen
    (tmp_path / "mean.csv").write_bytes(result.table())
    metrics = evaluate(
        tmp_path / "mean.csv",
        tables / "labels.csv",
        split="val",
        compare=tables / f"{result.best}.csv",
        allow_leakage=True,
        seed=4,
        **FAST,
    ).metrics
    whole = metrics["multiclass"]["roc_auc_macro"]
    assert [result.value.value, result.value.low, result.value.high] == pytest.approx(
        list(whole.values()), abs=1e-6
    )
    paired = metrics["comparison"]["differences"]["multiclass.roc_auc_macro"]
    assert result.best_value.value == pytest.approx(paired["b"])
    assert [result.difference.value, result.difference.low, result.difference.high] == pytest.approx(
        list(paired["difference"].values()), abs=1e-6
    )


def test_what_cannot_be_joined_is_named(tables: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="at least two"):
        members(tables, "a")
    (tmp_path / "two.csv").write_text("image,probability_malignant\ni0,0.5\n")
    with pytest.raises(InvalidArgumentError, match=r"two\.csv: has the classes benign, malignant"):
        read_members([tables / "a.csv", tmp_path / "two.csv"], tables / "labels.csv")
    found = members(tables, "a", "b")
    for weights in ([1.0], [0.0, 0.0], [1.0, -1.0], [1.0, float("nan")]):
        with pytest.raises(InvalidArgumentError, match="2 weights of at least 0"):
            measure(found, ["a", "b"], weights=weights, **FAST)
    with pytest.raises(InvalidArgumentError, match="expected one of macro_auc"):
        choose_weights(found, figure="auc")
    rows = np.flatnonzero(found[0].truth == CODES.index("nv"))
    with pytest.raises(InvalidArgumentError, match="do not give malignant_auc"):
        choose_weights([m.take(rows) for m in found], figure="malignant_auc")


def test_the_command(tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "ensemble",
        "--labels",
        str(tables / "labels.csv"),
        "--split",
        "val",
        "--replicates",
        "20",
        "--rounds",
        "4",
    ]
    for name in ("a", "b"):
        words += ["--predictions", str(tables / f"{name}.csv")]
    assert run([*words, "--output", str(tmp_path / "mean.csv")]) == 0
    shown = capsys.readouterr()
    assert "ensemble" in shown.out
    assert "chosen on these images" in shown.err
    assert len((tmp_path / "mean.csv").read_text().splitlines()) == 1 + N - 20
    assert run([*words, "--weights", "3,1", "--json"]) == 0
    shown = capsys.readouterr()
    assert [m["weight"] for m in json.loads(shown.out)["members"]] == [0.75, 0.25]
    assert "flatters" not in shown.err
    assert run([*words, "--weights", "a,b"]) == 2
    assert run([*words, "--weights", "1"]) == 2
    assert run([*words, "--output", "-"]) == 2


def test_predict_takes_weights(tiny_bundle: Path, image_dir: Path, tmp_path: Path) -> None:
    from skinclf.inference.predictor import Predictor

    other = "ham10000-mobilenetv2"
    words = [
        "predict",
        "--image-dir",
        str(image_dir),
        "--model",
        str(tiny_bundle),
        "--model",
        other,
        "-q",
        "--runtime",
        "torch",
        "--device",
        "cpu",
        "--output",
        str(tmp_path / "p.csv"),
    ]
    assert run([*words, "--weights", "3,1"]) == 0
    assert run([*words, "--weights", "1", "--overwrite"]) == 2
    with (tmp_path / "p.csv").open() as file:
        row = next(csv.DictReader(file))
    alone = [
        Predictor(model, runtime="torch", device="cpu", workers=0).predict(image_dir / "img-0.jpg")
        for model in (str(tiny_bundle), other)
    ]
    for code in CODES:
        assert float(row[f"p_{code}"]) == pytest.approx(
            0.75 * alone[0].probabilities[code] + 0.25 * alone[1].probabilities[code], abs=1e-5
        )
