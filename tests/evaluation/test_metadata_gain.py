"""Fused predictions against those of the picture alone: figures, subgroups that get worse, refusals."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from support.metadata import TERMS, fake_terms

from skinclf.errors import MismatchError, ModelError
from skinclf.evaluation.metadata_gain import LEAST, compare_metadata, store_comparison
from skinclf.labels import HAM10000
from skinclf.metrics.classification import Ranking
from skinclf.metrics.paired_gain import paired_gain
from skinclf.models.bundle import read_spec, write_spec

CODES = HAM10000.codes
MALIGNANT = HAM10000.malignant_indices


def write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def tables(tmp_path, bundle_copy):
    """Predictions and labels where age speaks the truth in men and the opposite in women."""
    random = np.random.default_rng(5)
    spec = read_spec(bundle_copy)
    terms = replace(fake_terms(spec), exponent=1.0)
    write_spec(bundle_copy, spec.replace(metadata=terms))
    labels, predictions = [], []
    for i in range(400):
        truth = int(random.integers(7))
        female = i % 2 == 0
        old = (random.random() < 0.85) == (bool(HAM10000[truth].malignant) != female)
        logits = random.normal(0, 1, 7)
        logits[truth] += 1.5
        p = np.exp(logits) / np.exp(logits).sum()
        labels.append({"image": f"i{i}", "lesion_id": f"l{i // 2}", "dx": CODES[truth], "age": "70" if old else "30",
                       "sex": "female" if female else "", "site": "torso" if i < 8 else ""})  # fmt: skip
        predictions.append(
            {"image": f"i{i}", **{f"p_{c}": f"{x:.6f}" for c, x in zip(CODES, p, strict=True)}}
        )
    return (
        bundle_copy,
        write(tmp_path / "p.csv", predictions),
        write(tmp_path / "l.csv", labels),
    )


def test_a_subgroup_that_gets_worse_is_named(tables):
    bundle, predictions, labels = tables
    result = compare_metadata(predictions, labels, labels, read_spec(bundle), replicates=300)
    verdicts = {group.name: group.verdict for group in result.groups}
    assert verdicts["sex=female"] == "worse"
    assert verdicts["sex=missing"] == "better"
    assert verdicts["site=torso"] == "few"
    assert next(group for group in result.groups if group.name == "site=torso").images < 2 * LEAST
    assert "Worse beyond the interval: sex=female" in result.summary()
    assert sum(group.images for group in result.groups if group.name.startswith("age=")) == 400
    json.dumps(result.to_dict())


def test_figures_are_those_of_the_fused_table(tables):
    bundle, predictions, labels = tables
    result = compare_metadata(predictions, labels, labels, read_spec(bundle), replicates=20)
    rows = list(csv.DictReader(labels.open()))
    truth = np.asarray([HAM10000[CODES.index(row["dx"])].malignant for row in rows])
    p = np.asarray([[float(r[f"p_{c}"]) for c in CODES] for r in csv.DictReader(predictions.open())])
    expected = Ranking.of(truth, p[:, list(MALIGNANT)].sum(axis=1)).summary(np.ones((1, 400)))["roc_auc"][0]
    assert result.groups[0].gains["malignant_roc_auc"].before == pytest.approx(expected, abs=1e-3)


def test_equal_probabilities_gain_exactly_nothing():
    random = np.random.default_rng(0)
    p = random.dirichlet(np.ones(7), 100)
    found = paired_gain(p, p, random.integers(0, 7, 100), np.arange(100), malignant=MALIGNANT, replicates=50)
    for gain in found.values():
        assert (gain.difference.value, gain.difference.low, gain.difference.high) == (0, 0, 0)


def test_the_comparison_travels_with_the_terms_that_it_is_of(tables):
    bundle, predictions, labels = tables
    result = compare_metadata(predictions, labels, labels, read_spec(bundle), replicates=20)
    store_comparison(bundle, result)
    assert read_spec(bundle).metadata.evidence["comparison"]["groups"][0]["name"] == "all"
    write_spec(bundle, read_spec(bundle).replace(metadata=TERMS))
    with pytest.raises(MismatchError, match="other metadata terms"):
        store_comparison(bundle, result)


def test_other_predictions_are_refused(tables):
    bundle, predictions, labels = tables
    spec = read_spec(bundle)
    manifest = {
        "schema": 1,
        "identity": {"model": {**spec.fingerprint, "metadata": "abc"}},
        "model": {"name": "m"},
    }
    beside = predictions.with_name("p.csv.run.json")
    beside.write_text(json.dumps(manifest))
    with pytest.raises(MismatchError, match=r"not made by .* from the picture alone: other metadata terms"):
        compare_metadata(predictions, labels, labels, spec)
    beside.unlink()
    with pytest.raises(ModelError, match="has no terms for metadata"):
        compare_metadata(predictions, labels, labels, spec.replace(metadata=None))
