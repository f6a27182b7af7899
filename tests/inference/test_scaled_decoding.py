"""Pictures that were decoded down: noted, measured against the full decoding, and marked where a decision is near."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from support.fake_scorer import FakeScorer
from support.pictures import encode
from support.run_helpers import manifest, write

from skinclf.conversion import measure_scaled_decoding
from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.images.decode import divisors, load_picture
from skinclf.images.preprocess import Preprocess, scaling
from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference.notes.scaled_decoding import NotedScorer
from skinclf.inference.predictor import Predictor
from skinclf.inference.scorer import ScoredBatch
from skinclf.labels import HAM10000
from skinclf.models import bundle
from skinclf.models.load import load_model
from skinclf.models.precision import log_odds, with_record
from skinclf_cli.main import run

pytestmark = pytest.mark.usefixtures("_own_cache")
EFFECT = {"band": 0.05}


@pytest.fixture
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKINCLF_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Paths of 30 JPEGs that are decoded down for an input of 32 pixels, then of one PNG and one small JPEG."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for seed in range(30):
        pixels = synthetic_lesion(seed, width=320, height=240).astype(np.int16)
        noisy = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
        (folder / f"{seed:02}.jpg").write_bytes(
            encode(noisy, quality=90, progressive=bool(seed % 2), subsampling=2 * (seed % 2))
        )
    large = synthetic_lesion(30, width=320, height=240)
    (folder / "x.png").write_bytes(encode(large, "PNG"))
    (folder / "y.jpg").write_bytes(encode(large[:60, :80], quality=90))
    return sorted(map(str, folder.iterdir()))


@pytest.fixture
def model_folder(tmp_path, bundle_factory):
    """A bundle whose JPEGs may be decoded down."""
    folder = tmp_path / "scaled"
    bundle_factory(folder, HAM10000, scaling("torch", height=32, width=32, scaled_decoding=2))
    return folder


def noted(**options):
    scorer = FakeScorer(**options)
    reduction = Preprocess(height=16, width=16, scaled_decoding=2)
    scorer.prepare = type(scorer.prepare)(reduction)
    return NotedScorer(scorer, EFFECT)


def test_only_jpegs_that_are_decoded_down_leave_a_divisor(photographs):
    for path in photographs:
        reduction = Preprocess(height=32, width=32, scaled_decoding=2).reduction
        with divisors() as found:
            load_picture(path, draft=reduction)
        assert found == ([] if path.endswith(("x.png", "y.jpg")) else [2]), path
    with divisors() as outer:
        with divisors() as inner:
            load_picture(photographs[0], draft=(40, 30))
        load_picture(photographs[0])
    assert (outer, inner) == ([], [8])


@pytest.mark.parametrize("workers", [0, 2])
def test_notes_belong_to_their_picture(photographs, workers):
    paths = [*photographs[29:], "missing.jpg"]
    (batch,) = Predictor(noted(), workers=workers).batches((path, path) for path in paths)
    seen = [bool(batch.scored.scaled[i]) for i, error in enumerate(batch.errors) if error is None]
    assert seen == [True, False, False]
    assert [error is not None for error in batch.errors] == [False, False, False, True]


def test_processes_note_as_well(photographs):
    predictor = Predictor(noted(), workers=1, processes=True)
    rows = [
        row for batch in predictor.batches((p, p) for p in photographs[28:]) for row in batch.scored.scaled
    ]
    assert rows[:4] == [True, True, False, False]


def test_notes_survive_taking_and_joining():
    parts = [
        ScoredBatch(np.full((2, 3), i, np.float32), scaled=np.asarray([bool(i), False])) for i in range(2)
    ]
    joined = ScoredBatch.join(parts)
    assert joined.scaled.tolist() == [False, False, True, False]
    assert joined.take([2, 1]).scaled.tolist() == [True, False]
    assert ScoredBatch.join([ScoredBatch(np.zeros((1, 3), np.float32))]).scaled is None


def test_rows_near_the_threshold_are_marked_only_where_the_picture_was_decoded_down(photographs, tmp_path):
    scorer = noted()
    plain = list(Predictor(scorer.bare).stream(photographs))
    cut = float(np.median([p.probability_malignant for p in plain]))
    out = tmp_path / "o.csv"
    write(out, photographs, predictor=Predictor(scorer, threshold=cut))
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-3:] == ["near_threshold", "status", "error"]
    for row, before, path in zip(rows, plain, photographs, strict=True):
        near = abs(before.probability_malignant - cut) <= EFFECT["band"]
        assert row["near_threshold"] == str(int(near and not path.endswith(("x.png", "y.jpg")))), path
    assert {row["near_threshold"] for row in rows} == {"0", "1"}
    assert manifest(out)["run"]["scaled_decoding"] == EFFECT
    other = NotedScorer(scorer.bare, {"band": 0.1})
    with pytest.raises(MismatchError, match="scaled_decoding"):
        write(out, photographs, predictor=Predictor(other, threshold=cut), resume=True)


def test_the_loss_is_that_of_both_decodings_and_leaves_out_what_is_not_decoded_down(
    model_folder, photographs
):
    model = load_model(model_folder)
    loss = measure_scaled_decoding(model, photographs, device="cpu")
    full = model.spec.replace(preprocess=scaling("torch", height=32, width=32))
    bundle.write_spec(model_folder, full)
    exact = list(Predictor(model_folder, device="cpu").stream(photographs))
    bundle.write_spec(model_folder, model.spec)
    down = list(Predictor(model_folder, device="cpu").stream(photographs))
    moved = [abs(a.probability_malignant - b.probability_malignant) for a, b in zip(exact, down, strict=True)]
    assert moved[30:] == [0, 0]
    assert loss.images == 30
    assert 0 < loss.band == pytest.approx(max(moved), abs=1e-6)
    assert loss.mean_change == pytest.approx(np.mean(moved[:30]), abs=1e-6)
    assert "JPEGs decoded down on 30 images" in str(loss)


def test_a_stored_loss_marks_rows_and_no_decision_changes_unmarked(
    model_folder, photographs, tmp_path, capsys
):
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join(photographs) + "\n")
    plain = Predictor(model_folder, device="cpu")
    assert "near_threshold" not in plain.columns
    command = ["models", "precision", str(model_folder), "--scaled-decoding", "--images", str(listing)]
    assert run([*command, "--device", "cpu", "--store", "--json"]) == 0
    stored = json.loads(capsys.readouterr().out)
    spec = bundle.read_spec(model_folder)
    assert spec.precisions["decoding:scaled"] == stored
    predictor = Predictor(model_folder, device="cpu")
    assert predictor.columns["near_threshold"] is bool
    exact = [p.probability_malignant for p in _in_full(load_model(model_folder), photographs)]
    down = [p.probability_malignant for p in predictor.stream(photographs)]
    for cut in np.quantile(down[:30], np.linspace(0.05, 0.95, 19)):
        rows = predictor.with_threshold(float(cut)).predict(photographs)
        for path, row, before in zip(photographs, rows, exact, strict=True):
            if row.flagged != (before >= np.float32(cut)):
                assert row.extra["near_threshold"], path
            gap = abs(log_odds(row.probability_malignant) - log_odds(np.float32(cut)))
            assert row.extra["near_threshold"] == (
                gap <= stored["band_log_odds"] and not path.endswith(("x.png", "y.jpg"))
            )


def _in_full(model, photographs):
    preprocess = replace(model.spec.preprocess, scaled_decoding=0)
    return Predictor(replace(model, spec=model.spec.replace(preprocess=preprocess)), device="cpu").stream(
        photographs
    )


def test_a_record_of_another_preprocessing_claims_nothing(model_folder, photographs):
    model = load_model(model_folder)
    spec = with_record(model.spec, measure_scaled_decoding(model, photographs, device="cpu"))
    bundle.write_spec(model_folder, spec)
    assert "near_threshold" in Predictor(model_folder, device="cpu").columns
    for ratio in (3, 0):
        changed = spec.replace(preprocess=scaling("torch", height=32, width=32, scaled_decoding=ratio))
        bundle.write_spec(model_folder, changed)
        assert "near_threshold" not in Predictor(model_folder, device="cpu").columns


def test_what_cannot_be_measured_is_said(model_folder, tiny_bundle, photographs, capsys):
    with pytest.raises(InvalidArgumentError, match="decodes every picture in full"):
        measure_scaled_decoding(load_model(tiny_bundle), photographs)
    with pytest.raises(InvalidArgumentError, match="0 of 2 images are decoded down"):
        measure_scaled_decoding(load_model(model_folder), photographs[30:], device="cpu")
    options = ["--scaled-decoding", "--precision", "bf16", "--images", photographs[0]]
    assert run(["models", "precision", str(model_folder), *options]) == 2
    assert "leave one out" in capsys.readouterr().err
