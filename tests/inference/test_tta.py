"""Views of an image: which they are, that they are averaged, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from skinclf.errors import InvalidArgumentError
from skinclf.images.preprocess import Preprocess, scaling
from skinclf.inference.tta import VIEWS, ZOOM, LoadViews, TtaScorer
from skinclf.labels import HAM10000, LabelSet, parse_labels
from skinclf.models.probabilities import probabilities
from skinclf.models.spec import ModelSpec
from skinclf.runtimes.base import Runtime

SIZE = 16


class Corner(Runtime):
    """A fake network that looks at one corner: the answer depends on how the image is turned."""

    name, device, precision = "torch", "cpu", "fp32"

    def __init__(self, outputs: int = 7) -> None:
        self.outputs, self.seen = outputs, []

    def run(self, pixels: np.ndarray) -> np.ndarray:
        assert pixels.flags.c_contiguous
        self.seen.append(pixels.copy())
        scores = np.zeros((len(pixels), self.outputs), np.float32)
        scores[:, 4 % self.outputs] = pixels[:, 0, 0, 0] / 64.0
        return scores


def spec(height: int = SIZE, width: int = SIZE, labels: LabelSet = HAM10000) -> ModelSpec:
    return ModelSpec("x", "none", labels, scaling("unit", height=height, width=width))


def batch(count: int = 3) -> tuple[np.ndarray, ...]:
    return (np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8),)


@pytest.mark.parametrize(("name", "count"), [("flips", 4), ("d4", 8)])
def test_views_are_the_distinct_symmetries_and_are_averaged(name: str, count: int) -> None:
    runtime, pixels = Corner(), batch()
    scores = TtaScorer(spec(), runtime, name).score(pixels)
    assert len({view.tobytes() for view in runtime.seen}) == count == len(runtime.seen)
    expected = np.mean([probabilities(Corner().run(view), "softmax") for view in runtime.seen], axis=0)
    np.testing.assert_allclose(scores.probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("turns", range(4))
def test_d4_does_not_depend_on_how_the_image_is_turned(turns: int) -> None:
    (pixels,) = batch()
    scorer = TtaScorer(spec(), Corner(), "d4")
    turned = np.ascontiguousarray(np.rot90(pixels, turns, axes=(1, 2)))
    np.testing.assert_allclose(
        scorer.score((turned,)).probabilities, scorer.score((pixels,)).probabilities, atol=1e-6
    )


def test_spread_is_the_deviation_of_the_malignant_probability() -> None:
    runtime, pixels = Corner(), batch()
    scores = TtaScorer(spec(), runtime, "flips").score(pixels)
    malignant = [
        probabilities(Corner().run(view), "softmax")[:, list(HAM10000.malignant_indices or ())].sum(axis=1)
        for view in runtime.seen
    ]
    np.testing.assert_allclose(scores.columns["tta_spread"], np.std(malignant, axis=0), atol=1e-6)
    assert scores.columns["tta_spread"].max() > 0.01


def test_spread_without_malignant_labels_follows_the_winner() -> None:
    scores = TtaScorer(spec(labels=parse_labels("a,b,c,d,e,f,g")), Corner(), "flips").score(batch())
    assert scores.columns["tta_spread"].shape == (3,)


def test_zoom_adds_a_closer_look(synthetic_image: np.ndarray) -> None:
    runtime = Corner()
    scorer = TtaScorer(spec(), runtime, "d4+zoom")
    whole, centre = scorer.prepare(synthetic_image)
    assert len(scorer.layout) == 2
    rows, cols = (round(ZOOM * x) for x in synthetic_image.shape[:2])
    top, left = (synthetic_image.shape[0] - rows) // 2, (synthetic_image.shape[1] - cols) // 2
    expected = scorer.spec.preprocess.pixels(
        np.ascontiguousarray(synthetic_image[top : top + rows, left : left + cols])
    )
    np.testing.assert_array_equal(centre, expected)
    scorer.score((whole[None], centre[None]))
    assert len(runtime.seen) == 16


def test_the_centre_keeps_the_ratio_of_scaled_decoding() -> None:
    preprocess = Preprocess(height=64, width=64, scaled_decoding=2)
    plain, views = preprocess.reduction, LoadViews(preprocess)._reduction
    assert (plain(520, 520), views(520, 520)) == (4, 2)  # 520 / 4 is twice 64, its centre is not
    assert (plain(640, 640), views(640, 640)) == (4, 4)
    assert views(100, 100) == 1


def test_quarter_turns_need_a_square_input() -> None:
    TtaScorer(spec(16, 24), Corner(), "flips")
    with pytest.raises(InvalidArgumentError, match="flips"):
        TtaScorer(spec(16, 24), Corner(), "d4")


def test_unknown_views_are_named() -> None:
    with pytest.raises(InvalidArgumentError, match="expected none"):
        TtaScorer(spec(), Corner(), "five-crop")


def test_a_resumed_run_must_use_the_same_views() -> None:
    prints = {name: TtaScorer(spec(), Corner(), name).fingerprint["tta"] for name in VIEWS}
    assert len(set(prints.values())) == len(VIEWS)
