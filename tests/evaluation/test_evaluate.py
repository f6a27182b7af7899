"""Evaluation end to end: figures, checks, leakage, subgroups, comparison."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk
from support.evaluation_tables import rows_of, write_folder, write_predictions, write_rows

from skinclf.decisions.threshold_file import Threshold
from skinclf.errors import InvalidArgumentError, LeakageError, MismatchError
from skinclf.evaluation.evaluate import evaluate
from skinclf.evaluation.labelled_predictions import label_predictions
from skinclf.evaluation.leakage import find_overlaps
from skinclf.evaluation.metric_set import MetricSet
from skinclf.evaluation.result import Evaluation
from skinclf.labels import HAM10000, MALIGNANT, MELANOMA, parse_labels
from skinclf.tables.predictions import join, read_labels, read_predictions

FEW = {"replicates": 60}
THRESHOLD = 0.3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(scope="module")
def result(folder: Path) -> Evaluation:
    return evaluate(
        folder / "test.csv",
        folder / "labels.csv",
        split="test",
        threshold=THRESHOLD,
        compare=folder / "test_b.csv",
        **FEW,
    )


def estimates_in(value: object, path: str = "") -> list[tuple[str, dict]]:
    if isinstance(value, dict):
        if {"value", "low", "high"} <= value.keys():
            return [(path, value)]
        return [hit for k, v in value.items() for hit in estimates_in(v, f"{path}.{k}")]
    if isinstance(value, list):
        return [hit for i, v in enumerate(value) for hit in estimates_in(v, f"{path}[{i}]")]
    return []


def test_values_equal_sklearn(folder: Path, result: Evaluation) -> None:
    p = read_predictions(folder / "test.csv").probabilities
    assert p is not None
    p = p.astype(float)
    p /= p.sum(1, keepdims=True)
    truth = np.array([HAM10000.position(row["dx"]) for row in rows_of(folder)])
    answer, got = p.argmax(1), result.metrics["multiclass"]
    for name, value in {
        "accuracy": sk.accuracy_score(truth, answer),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, answer),
        "macro_f1": sk.f1_score(truth, answer, average="macro"),
        "weighted_precision": sk.precision_score(truth, answer, average="weighted"),
        "mcc": sk.matthews_corrcoef(truth, answer),
        "kappa": sk.cohen_kappa_score(truth, answer),
        "roc_auc_macro": sk.roc_auc_score(truth, p, multi_class="ovr", average="macro"),
        "roc_auc_weighted": sk.roc_auc_score(truth, p, multi_class="ovr", average="weighted"),
        "pr_auc_macro": sk.average_precision_score(np.eye(7)[truth], p, average="macro"),
        "log_loss": sk.log_loss(truth, p),
    }.items():
        assert got[name]["value"] == pytest.approx(value, abs=1e-9), name
    assert got["top_k_accuracy"]["2"]["value"] == pytest.approx(
        sk.top_k_accuracy_score(truth, p, k=2), abs=1e-9
    )
    assert got["confusion"] == sk.confusion_matrix(truth, answer).tolist()
    report = sk.classification_report(truth, answer, output_dict=True, target_names=HAM10000.codes)
    for row in result.metrics["per_class"]:
        assert row["recall"]["value"] == pytest.approx(report[row["code"]]["recall"], abs=1e-9)
        assert row["support"] == report[row["code"]]["support"]
    malignant = np.isin(truth, HAM10000.malignant_indices)
    score = read_predictions(folder / "test.csv").score().astype(float)
    binary = result.metrics["binary"]
    assert binary["roc_auc"]["value"] == pytest.approx(sk.roc_auc_score(malignant, score), abs=1e-9)
    assert binary["brier"]["value"] == pytest.approx(sk.brier_score_loss(malignant, score), abs=1e-9)
    point = result.metrics["operating_point"]["image"]
    tn, fp, fn, tp = sk.confusion_matrix(malignant, score >= np.float32(THRESHOLD)).ravel()
    assert (point["tn"], point["fp"], point["fn"], point["tp"]) == (tn, fp, fn, tp)


@pytest.mark.parametrize("brief", [False, True])
@pytest.mark.parametrize("table", ["test.csv", "test_two.csv"])
def test_replicates_with_weights_of_one_equal_the_values(folder: Path, table: str, brief: bool) -> None:
    """The vectorised panel is the same as scikit-learn's, metric by metric."""
    joined = join(read_predictions(folder / table), read_labels(folder / "labels.csv", split="test"))
    panel = MetricSet(label_predictions(joined), THRESHOLD, brief=brief)
    values, once = panel.values(), panel.replicate(np.ones((1, len(joined)), np.float32))
    assert set(values) == set(once)
    for name, value in values.items():
        assert once[name][0] == pytest.approx(value, abs=1e-9, nan_ok=True), name


def test_everything_has_an_interval_around_it(result: Evaluation) -> None:
    found = estimates_in(result.metrics)
    assert len(found) > 150
    for path, item in found:
        if item["value"] is None or "subgroups" in path:
            continue
        if item["low"] is None:
            assert item["value"] in {0, 1}, path
            continue
        assert item["low"] <= item["high"], path
        if "balanced" not in path and "differences" not in path:
            assert item["low"] - 0.05 <= item["value"] <= item["high"] + 0.05, path


def test_json_has_no_nan_and_is_complete(result: Evaluation) -> None:
    text = json.dumps(result.metrics, allow_nan=False)
    assert json.loads(text) == result.metrics
    assert result.metrics["schema"] == 1
    assert result.metrics["data"]["labels"] == HAM10000.to_dict()["labels"]


def test_the_schema_page_names_every_key(result: Evaluation) -> None:
    page = Path(__file__).parents[2].joinpath("docs", "metrics.md").read_text(encoding="utf-8")
    free = {"support", "flagged_by_class", "differences", "classes"}  # keyed by class or metric

    def keys(value: object) -> set[str]:
        if isinstance(value, list):
            return {key for item in value for key in keys(item)}
        if not isinstance(value, dict):
            return set()
        return set(value) | {key for name, item in value.items() if name not in free for key in keys(item)}

    plain = {"value", "low", "high", "2", "3", "0.8", "0.9", "0.95"}
    missing = {key for key in keys({**result.metrics, "model": None}) - plain if f"`{key}" not in page}
    assert missing == set()


def test_supports_are_the_label_counts(folder: Path, result: Evaluation) -> None:
    counts = Counter(row["dx"] for row in rows_of(folder))
    assert {row["code"]: row["support"] for row in result.metrics["per_class"]} == counts
    assert result.metrics["data"]["support"] == counts
    assert all(check["passed"] for check in result.metrics["checks"])
    assert len(result.metrics["checks"]) == 5
    assert result.metrics["data"]["n"] == sum(counts.values())


def test_seed_fixes_every_figure(folder: Path, result: Evaluation) -> None:
    options = {"split": "test", "threshold": THRESHOLD, **FEW}
    again = evaluate(folder / "test.csv", folder / "labels.csv", compare=folder / "test_b.csv", **options)
    skip = {"created"}
    assert {k: v for k, v in again.metrics.items() if k not in skip} == {
        k: v for k, v in result.metrics.items() if k not in skip
    }
    other = evaluate(folder / "test.csv", folder / "labels.csv", seed=1, subgroups=(), **options)
    assert other.metrics["multiclass"]["mcc"]["value"] == result.metrics["multiclass"]["mcc"]["value"]
    assert other.metrics["multiclass"]["mcc"]["low"] != result.metrics["multiclass"]["mcc"]["low"]


def test_the_package_itself_has_it() -> None:
    import skinclf
    import skinclf.evaluation.evaluate

    assert skinclf.evaluate is evaluate
    assert skinclf.evaluate is evaluate  # also after its module was imported


def test_predictions_of_all_splits_are_cut_to_one(folder: Path) -> None:
    got = evaluate(folder / "all.csv", folder / "labels.csv", split="test", subgroups=(), replicates=5)
    assert got.metrics["data"]["n"] == len(rows_of(folder))
    assert got.metrics["data"]["unmatched"] == 0


# --- two classes, other taxonomies ------------------------------------------------------------


def test_two_labels_decide_by_the_threshold(folder: Path) -> None:
    got = evaluate(
        folder / "test_two.csv", folder / "labels.csv", split="test", threshold=0.2, subgroups=(), **FEW
    )
    point = got.metrics["operating_point"]["image"]
    assert got.metrics["multiclass"]["confusion"] == [[point["tn"], point["fp"]], [point["fn"], point["tp"]]]
    assert got.metrics["binary"]["positive"] == ["malignant"]


def test_labels_that_only_say_malignant(folder: Path, tmp_path: Path) -> None:
    rows = [
        {"image": r["image_id"], "label": str(int(r["dx"] in {"mel", "bcc", "akiec"}))}
        for r in rows_of(folder)
    ]
    write_rows(tmp_path / "binary.csv", rows)
    got = evaluate(folder / "test.csv", tmp_path / "binary.csv", threshold=THRESHOLD, **FEW)
    assert got.metrics["multiclass"] is None
    assert got.metrics["per_class"] == []
    assert got.metrics["operating_point"]["lesion"] is None
    assert got.metrics["binary"]["n_positive"] == sum(int(r["label"]) for r in rows)


def test_melanoma_model_on_class_labels(folder: Path, tmp_path: Path) -> None:
    """Carcinomas are not melanoma, although they are malignant."""
    rows = rows_of(folder)
    write_rows(
        tmp_path / "p.csv",
        [{"image": r["image_id"], "p_non_melanoma": "0.25", "p_melanoma": "0.75"} for r in rows],
    )
    got = evaluate(tmp_path / "p.csv", folder / "labels.csv", split="test", subgroups=(), **FEW)
    assert got.metrics["binary"]["n_positive"] == sum(r["dx"] == "mel" for r in rows)
    assert got.metrics["data"]["taxonomy"] == MELANOMA.name
    assert "carcinomas count as non-melanoma" in got.metrics["data"]["note"]


def test_chosen_positive_classes(folder: Path) -> None:
    got = evaluate(
        folder / "test.csv", folder / "labels.csv", split="test", positive=["mel"], subgroups=(), **FEW
    )
    assert got.metrics["binary"]["positive"] == ["mel"]
    assert got.metrics["binary"]["n_positive"] == sum(r["dx"] == "mel" for r in rows_of(folder))


def test_classes_that_cannot_be_brought_together(folder: Path, tmp_path: Path) -> None:
    rows = rows_of(folder)
    write_rows(
        tmp_path / "l.csv",
        [{"image": r["image_id"], "dx": "scc" if i == 0 else r["dx"]} for i, r in enumerate(rows)],
    )
    with pytest.raises(InvalidArgumentError, match="scc"):
        evaluate(
            folder / "test_two.csv", tmp_path / "l.csv", label_set=parse_labels("benign,malignant"), **FEW
        )


def test_rows_that_do_not_sum_to_one(folder: Path, tmp_path: Path) -> None:
    write_rows(
        tmp_path / "p.csv",
        [{"image": r["image_id"], "p_benign": "0.5", "p_malignant": "0.2"} for r in rows_of(folder)],
    )
    with pytest.raises(InvalidArgumentError, match=r"sum to 0\.7000; expected 1"):
        evaluate(tmp_path / "p.csv", folder / "labels.csv", split="test", **FEW)


@pytest.mark.parametrize("code", ["mel", "nv"])
def test_one_kind_only_is_undefined_not_zero(folder: Path, tmp_path: Path, code: str) -> None:
    rows = [row for row in rows_of(folder) if row["dx"] == code]
    write_rows(tmp_path / "l.csv", rows)
    write_predictions(tmp_path / "p.csv", rows)
    got = evaluate(tmp_path / "p.csv", tmp_path / "l.csv", **FEW).metrics
    assert got["binary"]["roc_auc"] == {"value": None, "low": None, "high": None}
    assert got["multiclass"]["mcc"]["value"] is None
    assert got["operating_point"] is None
    assert got["curves"]["roc"]["binary"] is None
    assert got["multiclass"]["balanced_accuracy"]["value"] == got["multiclass"]["accuracy"]["value"]


def test_one_image(folder: Path, tmp_path: Path) -> None:
    rows = rows_of(folder)[:1]
    write_rows(tmp_path / "l.csv", rows)
    write_predictions(tmp_path / "p.csv", rows)
    got = evaluate(tmp_path / "p.csv", tmp_path / "l.csv", **FEW).metrics
    assert got["data"]["n"] == 1
    assert got["multiclass"]["accuracy"]["value"] in {0.0, 1.0}


# --- threshold ---------------------------------------------------------------------------------


def test_threshold_file_is_reported_and_bound(folder: Path, tmp_path: Path) -> None:
    content = {
        "threshold": 0.3,
        "criterion": "sensitivity",
        "target": 0.9,
        "combine": "mean",
        "model": {"name": "a", "weights_sha256": "1" * 64},
        "positive": ["mel", "bcc", "akiec"],
    }
    path = tmp_path / "threshold.json"
    path.write_text(json.dumps(content))
    got = evaluate(
        folder / "test.csv", folder / "labels.csv", split="test", threshold=path, subgroups=(), **FEW
    ).metrics
    assert got["threshold"]["value"] == float(np.float32(0.3))
    assert got["threshold"]["source"] == "threshold.json"
    assert got["threshold"]["target"] == 0.9
    assert got["operating_point"]["lesion"]["combine"] == "mean"
    predictions = tmp_path / "p.csv"
    predictions.write_bytes((folder / "test.csv").read_bytes())
    manifest = {"model": {"name": "b", "weights_sha256": "2" * 64}, "identity": {"threshold": 0.25}}
    (tmp_path / "p.csv.run.json").write_text(json.dumps(manifest))
    with pytest.raises(MismatchError, match="made for a, but the predictions come from b: other weights"):
        evaluate(predictions, folder / "labels.csv", split="test", threshold=path, **FEW)
    own = evaluate(predictions, folder / "labels.csv", split="test", subgroups=(), **FEW).metrics
    assert (own["name"], own["threshold"]["value"], own["threshold"]["given"]) == ("b", 0.25, True)
    assert own["model"]["weights_sha256"] == "2" * 64


# --- leakage -----------------------------------------------------------------------------------


def test_lesion_in_two_splits_is_refused_and_named(folder: Path, tmp_path: Path) -> None:
    rows = [dict(row) for split in ("val", "test") for row in rows_of(folder, split)]
    shared = next(r for r in rows if r["split"] == "test")["lesion_id"]
    next(r for r in rows if r["split"] == "val")["lesion_id"] = shared
    write_rows(tmp_path / "labels.csv", rows)
    options = {"split": "test", "subgroups": (), **FEW}
    with pytest.raises(LeakageError, match=f"1 lesions .{shared}.*`allow_leakage`"):
        evaluate(folder / "test.csv", tmp_path / "labels.csv", **options)
    got = evaluate(folder / "test.csv", tmp_path / "labels.csv", allow_leakage=True, **options).metrics
    assert got["leakage"]["lesions"] == [shared]
    assert got["leakage"]["allowed"] is True


def test_tuning_table_that_shares_lesions_by_other_images(folder: Path, tmp_path: Path) -> None:
    """The tuning table names images only; the labels know their lesions."""
    rows = [dict(row) for split in ("val", "test") for row in rows_of(folder, split)]
    first = next(r for r in rows if r["split"] == "test")
    rows.append({**first, "image_id": "sister", "split": ""})
    write_rows(tmp_path / "labels.csv", rows)
    write_rows(tmp_path / "tuned.csv", [{"image": "elsewhere/sister.png", "probability_malignant": "0.1"}])
    with pytest.raises(LeakageError, match=f"tuned.csv shares 1 lesions .{first['lesion_id']}"):
        evaluate(
            folder / "test.csv",
            tmp_path / "labels.csv",
            split="test",
            tuned_on=[tmp_path / "tuned.csv"],
            **FEW,
        )
    clean = evaluate(
        folder / "test.csv",
        folder / "labels.csv",
        split="test",
        tuned_on=[folder / "val.csv"],
        subgroups=(),
        **FEW,
    )
    assert len(clean.metrics["leakage"]["compared_with"]) == 2
    assert clean.metrics["leakage"]["found"] == []


def test_threshold_remembers_what_it_was_tuned_on(folder: Path) -> None:
    from skinclf.decisions.tuning_data import data_identity

    tested = read_labels(folder / "labels.csv", split="test")
    joined = join(read_predictions(folder / "test.csv"), tested)
    truth, score = joined.binary()
    made = data_identity(joined, truth, score, predictions="p", labels="l")
    seen = Threshold(0.5, "t.json", {"data": made})
    everything = read_labels(folder / "labels.csv")
    (overlap,) = find_overlaps(tested, everything, threshold=seen)
    assert set(overlap.lesions) == set(tested.lesion_id or ())
    assert set(overlap.images) == set(tested.ids)
    assert not find_overlaps(read_labels(folder / "labels.csv", split="val"), everything, threshold=seen)[0]


# --- intervals ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_cluster_bootstrap_covers_balanced_accuracy() -> None:
    """Lesions of several images: 95 % intervals cover the population's value about as often as they say."""
    from skinclf.evaluation.labelled_predictions import LabelledPredictions
    from skinclf.metrics.bootstrap import percentile_interval

    rng = np.random.default_rng(3)
    skill = 1.0

    def draw(lesions: int) -> LabelledPredictions:
        kind = rng.integers(0, 2, lesions)
        images = rng.integers(1, 4, lesions)
        groups = np.repeat(np.arange(lesions), images)
        truth = kind[groups]
        # Images of a lesion share most of their noise.
        z = skill * (2 * truth - 1) + rng.normal(size=lesions)[groups] + 0.4 * rng.normal(size=groups.size)
        p = 1 / (1 + np.exp(-z))
        return LabelledPredictions(
            ids=tuple(map(str, range(groups.size))),
            reference_ids=tuple(map(str, range(groups.size))),
            labels=MALIGNANT,
            probabilities=np.stack([1 - p, p], 1),
            truth=truth,
            positive=truth == 1,
            score=p.astype(np.float32),
            positive_codes=("malignant",),
            groups=groups,
            group_by="lesion_id",
            columns={},
        )

    target = MetricSet(draw(200_000), 0.5, brief=True).values()["multiclass.balanced_accuracy"]
    hits = 0
    for trial in range(120):
        panel = MetricSet(draw(80), 0.5, brief=True)
        low, high = percentile_interval(
            panel.replicates(count=200, seed=trial)["multiclass.balanced_accuracy"], confidence=0.95
        )
        hits += low <= target <= high
    assert 0.88 <= hits / 120 <= 0.99


def test_headline_figures_are_attributes(result: Evaluation) -> None:
    data = result.metrics
    for found, written in (
        (result.roc_auc, data["binary"]["roc_auc"]),
        (result.pr_auc, data["binary"]["pr_auc"]),
        (result.sensitivity, data["operating_point"]["image"]["sensitivity"]),
        (result.specificity, data["operating_point"]["image"]["specificity"]),
        (result.accuracy, data["multiclass"]["accuracy"]),
        (result.balanced_accuracy, data["multiclass"]["balanced_accuracy"]),
        (result.roc_auc_macro, data["multiclass"]["roc_auc_macro"]),
        (result.ece, data["multiclass"]["ece_top_label"]),
    ):
        assert found is not None
        assert found.to_dict() == {key: written[key] for key in ("value", "low", "high")}
    assert Evaluation({"binary": None, "multiclass": None}).roc_auc is None
