"""`Predictor`: one image, many, folders, frames; the same numbers whatever the way."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.fake_scorer import FakeScorer

from skinclf.errors import ImageError, InvalidArgumentError, ModelError
from skinclf.images.decode import load_image
from skinclf.inference.predictor import Predictor
from skinclf.labels import HAM10000
from skinclf.models.class_decision import ClassDecision
from skinclf.models.load import load_model
from skinclf.models.probabilities import probabilities
from skinclf.runtimes.create import create_runtime


@pytest.fixture(scope="module")
def loaded(tiny_bundle):
    return load_model(tiny_bundle)


@pytest.fixture(scope="module")
def predictor(loaded):
    return Predictor(loaded, device="cpu", runtime="torch", workers=0)


def values(predictions):
    return np.array([p.values for p in predictions if p.ok], np.float32)


def test_one_image_in_every_form(predictor, image_dir):
    path = image_dir / "img-0.jpg"
    expected = predictor.predict(path)
    assert expected.image == str(path)
    assert sum(expected.probabilities.values()) == pytest.approx(1, abs=1e-6)
    for source in (str(path), path.read_bytes(), Image.open(path), load_image(path)):
        assert predictor.predict(source).values == expected.values
    assert predictor.predict(path.read_bytes()).image == "image-0"


def test_one_image_is_the_plain_network(predictor, loaded, image_dir):
    import torch

    pixels = loaded.spec.preprocess.pixels(load_image(image_dir / "img-1.jpg"))
    with torch.inference_mode():
        raw = loaded.torch_network()(torch.from_numpy(loaded.spec.preprocess.normalize(pixels[None]))).numpy()
    found = np.array(predictor.predict(image_dir / "img-1.jpg").values)
    assert np.abs(found - probabilities(raw, "softmax")[0]).max() < 1e-5


def test_many_images_give_a_list_with_failures_in_place(predictor, image_dir, damaged_files):
    bad = damaged_files["truncated_jpeg"].path
    sources = [image_dir / "img-0.jpg", bad, (image_dir / "img-1.jpg").read_bytes()]
    found = predictor.predict(iter(sources))
    assert [p.status for p in found] == ["ok", "truncated", "ok"]
    assert [p.image for p in found] == [str(sources[0]), str(bad), "image-2"]
    assert not found[1].ok


def test_one_damaged_image_raises(predictor, damaged_files):
    with pytest.raises(ImageError) as caught:
        predictor.predict(damaged_files["empty"].path)
    assert caught.value.code == "empty"


@pytest.mark.parametrize("where", [0, 11, 20])
def test_a_damaged_file_leaves_every_other_row_bit_equal(predictor, image_dir, damaged_files, where):
    paths = (sorted(image_dir.iterdir()) * 3)[:20]  # with the damaged one, others change places and batches
    clean = predictor.predict(paths)
    paths.insert(where, damaged_files["truncated_jpeg"].path)
    found = predictor.predict(paths)
    assert found[where].status == "truncated"
    assert [p for p in found if p.ok] == clean


def test_batch_size_and_workers_do_not_matter(loaded, image_dir):
    paths = sorted(image_dir.iterdir()) * 5
    expected = None
    for size in (1, 7, 32):
        for workers in (0, 4):
            made = Predictor(loaded, device="cpu", runtime="torch", batch_size=size, workers=workers)
            found = values(made.predict(paths))
            expected = found if expected is None else expected
            assert np.abs(found - expected).max() <= 1e-6


def test_order_does_not_matter(predictor, image_dir):
    paths = sorted(image_dir.iterdir()) * 3
    forward, back = predictor.predict(paths), predictor.predict(paths[::-1])
    assert [p.values for p in forward] == [p.values for p in back[::-1]]


def test_stream_is_lazy(predictor, image_dir):
    paths = sorted(image_dir.iterdir())

    def endless():
        while True:
            yield from paths

    stream = predictor.stream(endless())
    assert [next(stream).image for _ in range(20)] == [str(p) for p in (paths * 3)[:20]]
    stream.close()


def test_a_folder_in_natural_order(predictor, image_dir):
    (image_dir / "img-0.jpg").rename(image_dir / "img-10.jpg")
    names = [Path(p.image).name for p in predictor.predict_dir(image_dir)]
    assert names == [*(f"img-{i}.jpg" for i in range(1, 8)), "img-10.jpg"]
    with pytest.raises(InvalidArgumentError):
        list(predictor.predict_dir(image_dir / "none"))


def test_threshold(loaded, image_dir, predictor):
    path = image_dir / "img-0.jpg"
    p = predictor.predict(path).probability_malignant
    assert predictor.threshold == 0.5
    at = predictor.with_threshold(p)
    assert at.threshold == p
    assert at.predict(path).flagged
    assert not Predictor(loaded, runtime="torch", threshold=min(1, p + 0.01)).predict(path).flagged
    with pytest.raises(InvalidArgumentError, match="between 0 and 1"):
        predictor.with_threshold(1.5)


@pytest.mark.parametrize(
    "bad", [{"batch_size": 0}, {"workers": -1}, {"threshold": -0.1}, {"runtime": "abacus"}]
)
def test_unusable_arguments(loaded, bad):
    with pytest.raises(InvalidArgumentError):
        Predictor(loaded, **bad)


def test_the_default_operating_point_is_used(two_label_bundle, image_dir):
    made = Predictor(two_label_bundle, device="cpu", runtime="torch")
    assert made.threshold == 0.3
    p = made.predict(image_dir / "img-0.jpg")
    assert p.flagged == (np.float32(p.probabilities["malignant"]) >= np.float32(0.3))
    assert p.index == int(p.flagged)


@pytest.mark.parametrize("runtime", ["torch", "openvino", "onnxruntime"])
def test_embeddings(loaded, image_dir, predictor, runtime):
    pytest.importorskip(runtime)
    paths = sorted(image_dir.iterdir())[:3]
    made = Predictor(loaded, device="cpu", runtime=runtime, embeddings=True, batch_size=2)
    found = made.predict(paths)
    assert made.scorer.info["runtime"] == runtime
    plain = Predictor(loaded, device="cpu", runtime=runtime, batch_size=2)
    assert values(found).tobytes() == values(plain.predict(paths)).tobytes()
    assert np.abs(values(found) - values(predictor.predict(paths))).max() < 1e-5
    vectors = np.stack([p.embedding for p in found])
    assert vectors.dtype == np.float32
    # The last layer maps them to the raw scores.
    head = loaded.torch_network().get_classifier()
    raw = vectors @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    assert np.abs(probabilities(raw, "softmax") - values(found)).max() < 1e-5
    assert predictor.predict(paths[0]).embedding is None


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_embeddings_of_a_runtime_that_was_made_without(loaded, runtime):
    pytest.importorskip(runtime)
    made = create_runtime(loaded, runtime=runtime, device="cpu")
    with pytest.raises(ModelError, match="`embeddings=True`"):
        made.embed(np.zeros((1, 64, 64, 3), np.uint8))


def test_to_pandas(predictor, image_dir, damaged_files):
    pytest.importorskip("pandas")
    paths = [*sorted(image_dir.iterdir()), damaged_files["empty"].path]
    frame = predictor.to_pandas(paths, top_k=1)
    assert list(frame["status"]) == ["ok"] * 8 + ["empty"]
    assert frame["p_nv"].dtype == np.float32
    assert frame["p_nv"].tolist()[:8] == [p.probabilities["nv"] for p in predictor.predict(paths) if p.ok]
    assert frame["predicted_label"].isna().tolist() == [False] * 8 + [True]
    assert predictor.to_pandas([]).empty


def test_a_scorer_of_ones_own(image_dir):
    made = Predictor(FakeScorer(columns={"spread": float, "n": int, "hit": bool, "word": str}))
    p = made.predict(sorted(image_dir.iterdir()))[0]
    assert {k: type(v) for k, v in p.extra.items()} == {"spread": float, "n": int, "hit": bool, "word": str}
    assert p.to_dict()["word"] == p.extra["word"]


def test_a_network_that_gives_nan_is_a_failure_not_a_row(image_dir):
    class Nan(FakeScorer):
        def score(self, batch):
            scores = super().score(batch)
            scores.probabilities[1] = np.nan
            return scores

    found = Predictor(Nan(labels=HAM10000), batch_size=4).predict(sorted(image_dir.iterdir())[:4])
    assert [p.status for p in found] == ["ok", "not_finite", "ok", "ok"]


def test_in_memory_images_leave_the_callers_object_alone(predictor, synthetic_image):
    picture = Image.fromarray(synthetic_image)
    exif = picture.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    opened = Image.open(buffer)
    size = opened.size
    predictor.predict(opened)
    assert opened.size == size
    assert opened.getexif()[0x0112] == 6


def test_the_rule_of_the_model_decides_unless_another_is_given(loaded, image_dir):
    codes = loaded.spec.labels.codes
    last = ClassDecision(codes=codes, thresholds=(*(1.0,) * (len(codes) - 1), 1e-6))
    first = ClassDecision(codes=codes, thresholds=(1e-6, *(1.0,) * (len(codes) - 1)))
    ruled = replace(loaded, spec=loaded.spec.replace(decision=last))
    path = image_dir / "img-0.jpg"
    predictor = Predictor(ruled, device="cpu", runtime="torch", workers=0)
    assert predictor.predict(path).label == codes[-1]
    assert predictor.with_threshold(0.3).predict(path).label == codes[-1]
    assert predictor.with_threshold(0.3, decision=first).predict(path).label == codes[0]
    plain = Predictor(loaded, device="cpu", runtime="torch", workers=0).predict(path)
    assert plain.probabilities == predictor.predict(path).probabilities
    joined = Predictor([ruled, ruled], device="cpu", runtime="torch", workers=0)
    assert joined.decision is None
