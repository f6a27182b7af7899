"""The predictor with age, sex and site: fused numbers beside those of the picture, thresholds, joins, annotations."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from support.fake_scorer import FakeScorer
from support.metadata import TERMS, fake_terms

from skinclf.errors import InvalidArgumentError, MismatchError, ModelError
from skinclf.inference.annotations import AnnotatedScorer, LabelSets, Referral
from skinclf.inference.conformal_sets import ConformalSets
from skinclf.inference.ensemble import EnsembleScorer
from skinclf.inference.metadata.joined import before_fusion, join_metadata
from skinclf.inference.predictor import Predictor
from skinclf.inference.scorer import ScoredBatch
from skinclf.jobs.run import write_predictions
from skinclf.labels import HAM10000, MALIGNANT
from skinclf.tables.patient_metadata import Patient, read_patients

ELDER = {"age": 70, "sex": "male", "site": "face"}


def with_terms(scorer, **changes):
    scorer.spec = scorer.spec.replace(metadata=replace(fake_terms(scorer.spec), **changes))
    return scorer


@pytest.fixture
def predictor():
    return Predictor(with_terms(FakeScorer()), workers=0)


@pytest.fixture
def paths(image_dir):
    return sorted(image_dir.glob("img-*.jpg"))


def table(folder, rows, header="image,age,sex,localization"):
    path = folder / "metadata.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_one_image_with_its_entries(predictor, paths):
    plain, fused = predictor.predict(paths[0]), predictor.predict(paths[0], metadata=ELDER)
    assert fused.probability_malignant > plain.probability_malignant
    assert fused.extra["p_image_malignant"] == plain.probability_malignant
    odds = [np.log(p / (1 - p)) for p in (fused.probability_malignant, plain.probability_malignant)]
    assert fused.extra["metadata_shift"] == pytest.approx(odds[0] - odds[1], abs=1e-4)
    assert sum(fused.probabilities.values()) == pytest.approx(1, abs=1e-6)
    # The predictor itself is as it was.
    assert predictor.predict(paths[0]).values == plain.values
    assert "metadata_shift" not in predictor.columns


def test_blank_entries_give_the_numbers_of_the_picture_to_the_bit(predictor, paths):
    plain = predictor.predict(paths)
    fused = predictor.predict(paths, metadata=[{"age": "", "sex": None, "site": "unknown"}] * len(paths))
    assert [p.values for p in fused] == [p.values for p in plain]
    assert {p.extra["metadata_shift"] for p in fused} == {0.0}
    assert [p.probability_malignant for p in fused] == [p.extra["p_image_malignant"] for p in fused]


def test_a_table_is_joined_and_rows_without_entries_are_named(predictor, paths, tmp_path):
    source = table(
        tmp_path, [f"{paths[0].stem},70,male,face", f"{paths[1].stem},,,", "elsewhere,20,male,back"]
    )
    joined = predictor.with_metadata(source, paths)
    assert joined.metadata.description["columns"] == {"age": "age", "sex": "sex", "site": "localization"}
    assert joined.metadata.description["without_row"] == len(paths) - 2
    assert f"no row for {len(paths) - 2} of {len(paths)} images" in joined.metadata.notices[0]
    shifts = [p.extra["metadata_shift"] for p in joined.stream(paths)]
    assert shifts[0] > 0
    assert set(shifts[1:]) == {0.0}


def test_a_batch_that_is_not_full_and_an_image_that_fails(predictor, paths, damaged_files):
    bad = damaged_files["truncated_jpeg"].path
    sources = [*paths[:5], bad]
    found = predictor.predict(sources, metadata=[ELDER] * 6)
    single = [predictor.predict(path, metadata=ELDER) for path in paths[:5]]
    assert [p.values for p in found[:5]] == [p.values for p in single]
    assert found[5].status == "truncated"


def test_an_image_that_was_not_joined_is_refused(predictor, paths):
    joined = predictor.with_metadata([ELDER], paths[:1])
    with pytest.raises(InvalidArgumentError, match="not among the images that the metadata was joined with"):
        list(joined.stream(paths))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [([ELDER], "entries of 1 images; 8 images were given"), ([{"dx": "mel"}] * 8, "'dx' is not expected")],
)
def test_metadata_that_does_not_fit_the_images(predictor, paths, metadata, message):
    with pytest.raises(InvalidArgumentError, match=message):
        predictor.predict(paths, metadata=metadata)


def test_thresholds_are_those_measured_with_metadata(paths):
    points = {"p": {"threshold": 0.7}}
    scorer = with_terms(FakeScorer(), operating_points=points, default_operating_point="p")
    own = Predictor(scorer, workers=0)
    assert own.threshold == 0.5
    assert own.with_metadata([ELDER], paths[:1]).threshold == 0.7
    stated = Predictor(scorer, workers=0, threshold=0.2).with_metadata([ELDER], paths[:1])
    assert stated.threshold == 0.2
    assert (
        own.with_metadata([ELDER], paths[:1]).with_threshold(0.3).predict(paths[0]).extra["metadata_shift"]
        > 0
    )
    unmeasured = Predictor(with_terms(FakeScorer()), workers=0).with_metadata([ELDER], paths[:1])
    assert "No threshold was measured with metadata" in unmeasured.threshold_notices[0]


def test_a_threshold_of_the_picture_alone_is_refused_and_the_reverse(predictor, paths):
    from skinclf.decisions.threshold_file import Threshold

    fused = predictor.with_metadata([ELDER], paths[:1])
    image = Threshold(0.3, "image.json", {"schema": 1, "model": predictor.spec.identity.to_dict()})
    both = Threshold(0.3, "fused.json", {"schema": 1, "model": fused.spec.identity.to_dict()})
    image.check(predictor.spec)
    both.check(fused.spec)
    for threshold, spec in ((image, fused.spec), (both, predictor.spec)):
        with pytest.raises(MismatchError, match="other metadata terms"):
            threshold.check(spec)


def test_label_sets_and_referral_follow_the_fused_probabilities(paths):
    scorer = with_terms(FakeScorer())
    sets = ConformalSets(0.9, "class", HAM10000.codes, (0.9,) * 7, (9,) * 7, dict(scorer.spec.fingerprint))
    image_only = Predictor(AnnotatedScorer(scorer, (LabelSets(sets),)), workers=0)
    with pytest.raises(MismatchError, match="other metadata terms"):
        image_only.with_metadata([ELDER], paths[:1])
    p = Predictor(AnnotatedScorer(scorer, (Referral(1.0),)), workers=0)
    top = max(p.predict(paths[0]).values)
    below = float(np.float32(top)) + 1e-6
    marked = Predictor(AnnotatedScorer(scorer, (Referral(below),)), workers=0)
    assert marked.predict(paths[0]).extra["referred"]
    fused = marked.predict(paths[0], metadata=ELDER)
    assert fused.extra["referred"] == (max(fused.values) < np.float32(below))


def test_an_ensemble_takes_terms_fitted_for_it(paths):
    ensemble = EnsembleScorer([FakeScorer(seed=1), FakeScorer(seed=2)])
    predictor = Predictor(ensemble, workers=0)
    with pytest.raises(ModelError, match="has no terms for metadata"):
        predictor.predict(paths[0], metadata=ELDER)
    fused = predictor.with_metadata([ELDER], paths[:1], terms=fake_terms(ensemble.spec)).predict(paths[0])
    assert fused.extra["metadata_shift"] > 0
    assert fused.extra["disagreement"] == predictor.predict(paths[0]).extra["disagreement"]
    with pytest.raises(MismatchError, match="were fitted for fake"):
        predictor.with_metadata([ELDER], paths[:1], terms=fake_terms(FakeScorer().spec))


def test_labels_without_malignancy_leave_the_columns_empty():
    labels = replace(HAM10000, labels=tuple(replace(x, malignant=None) for x in HAM10000), name="custom")
    spec = FakeScorer(labels=labels).spec
    p = np.full((1, 7), 1 / 7, np.float32)
    fused = join_metadata([ELDER], ["a"], TERMS).fuse(["a"], ScoredBatch(p), spec)
    assert np.isnan(fused.columns["p_image_malignant"]).all()
    assert np.isnan(fused.columns["metadata_shift"]).all()


def test_certainty_stays_finite():
    p = np.zeros((2, 7), np.float32)
    p[0, 5] = p[1, 4] = 1
    joined = join_metadata([ELDER, ELDER], ["a", "b"], TERMS)
    fused = joined.fuse(["a", "b"], ScoredBatch(p), FakeScorer().spec)
    assert np.isfinite(fused.probabilities).all()
    assert np.isfinite(fused.columns["metadata_shift"]).all()


def test_the_band_of_a_reduced_precision_is_that_of_the_picture():
    extra = {"p_image_malignant": 0.2, "metadata_shift": 1.0}
    p, threshold = before_fusion(extra, 0.4, 0.5)
    assert p == 0.2
    assert np.log(threshold / (1 - threshold)) == pytest.approx(-1.0)
    assert before_fusion({}, 0.4, 0.5) == (0.4, 0.5)
    assert before_fusion(extra | {"metadata_shift": 0.0}, 0.4, 0.5) == (0.4, 0.5)


def test_the_manifest_says_what_was_used_and_a_run_resumes_only_with_the_same_table(
    predictor, paths, tmp_path
):
    from skinclf.jobs.output import Output

    out = tmp_path / "p.csv"
    source = table(tmp_path, [f"{p.stem},70,male,face" for p in paths])
    write_predictions(predictor.with_metadata(source, paths), paths, out)
    manifest = json.loads((tmp_path / "p.csv.run.json").read_text())
    assert manifest["identity"]["metadata"]["columns"]["site"] == "localization"
    assert manifest["identity"]["model"]["metadata"] == predictor.spec.metadata.fingerprint
    header = out.read_text().splitlines()[0].split(",")
    assert header[-4:] == ["p_image_malignant", "metadata_shift", "status", "error"]
    same = predictor.with_metadata(source, paths)
    assert write_predictions(same, paths, Output(path=out, resume=True)).complete
    table(tmp_path, [f"{p.stem},71,male,face" for p in paths])
    with pytest.raises(MismatchError, match=r"metadata\.sha256"):
        write_predictions(predictor.with_metadata(source, paths), paths, Output(path=out, resume=True))
    with pytest.raises(MismatchError, match="metadata"):
        write_predictions(predictor, paths, Output(path=out, resume=True))


def test_a_predictions_table_with_metadata_has_no_class_more(predictor, paths, tmp_path):
    from skinclf.tables.predictions import read_predictions

    source = table(tmp_path, [f"{p.stem},70,male,face" for p in paths])
    fused = predictor.with_metadata(source, paths)
    write_predictions(fused, paths, tmp_path / "p.csv")
    found = read_predictions(tmp_path / "p.csv")
    assert found.codes == HAM10000.codes
    np.testing.assert_array_equal(found.malignant, [p.probability_malignant for p in fused.stream(paths)])


def test_the_reader_gives_a_table_or_a_path(predictor, paths, tmp_path):
    source = table(tmp_path, [f"{p.stem},70,male,face" for p in paths])
    one = predictor.predict(paths, metadata=source)
    assert [p.values for p in one] == [
        p.values for p in predictor.predict(paths, metadata=read_patients(source))
    ]


def test_ten_thousand_rows_are_fused_in_a_few_calls():
    """Work per batch does not grow with the table: names are looked up, and nothing is joined again."""
    names = [f"i{n}" for n in range(10_000)]
    joined = join_metadata([Patient(70.0, "male", "face")] * len(names), names, TERMS)
    spec = FakeScorer(labels=MALIGNANT).spec.replace(labels=HAM10000)
    p = np.full((16, 7), 1 / 7, np.float32)
    started = time.perf_counter()
    for start in range(0, len(names), 16):
        joined.fuse(names[start : start + 16], ScoredBatch(p[: len(names[start : start + 16])]), spec)
    assert time.perf_counter() - started < 10  # seconds; the network takes minutes for as many
