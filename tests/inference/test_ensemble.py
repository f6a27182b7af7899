"""Several models on one image: average, crosswalks, disagreement, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from skinclf.errors import InvalidArgumentError
from skinclf.images.preprocess import scaling
from skinclf.inference.ensemble import EnsembleScorer
from skinclf.inference.scorer import ModelScorer
from skinclf.labels import HAM10000, ISIC2019, MALIGNANT, LabelSet, parse_labels
from skinclf.models.spec import ModelSpec
from skinclf.runtimes.base import Runtime


class Fixed(Runtime):
    name, device, precision = "torch", "cpu", "fp32"

    def __init__(self, row: list[float]) -> None:
        self.row = row

    def run(self, pixels: np.ndarray) -> np.ndarray:
        return np.tile(np.asarray(self.row, np.float32), (len(pixels), 1))


def member(row: list[float], labels: LabelSet = HAM10000, size: int = 16, name: str = "m") -> ModelScorer:
    spec = ModelSpec(name, "none", labels, scaling("unit", height=size, width=size), activation="identity")
    return ModelScorer(spec, Fixed(row))


def score(ensemble: EnsembleScorer, image: np.ndarray, count: int = 2):
    pixels = ensemble.prepare(image)
    assert [p.shape for p in pixels] == [slot.shape for slot in ensemble.layout]
    return ensemble.score(tuple(np.stack([p] * count) for p in pixels))


A = [0.1, 0.1, 0.1, 0.1, 0.4, 0.1, 0.1]
B = [0.05, 0.05, 0.1, 0.1, 0.1, 0.5, 0.1]


def test_mean_of_probabilities_with_members_of_different_size(synthetic_image: np.ndarray) -> None:
    scores = score(EnsembleScorer([member(A, size=16), member(B, size=24)]), synthetic_image)
    np.testing.assert_allclose(scores.probabilities[0], (np.array(A) + B) / 2, atol=1e-6)
    np.testing.assert_allclose(scores.columns["disagreement"], np.std([0.6, 0.2]), atol=1e-6)


def test_every_member_stages_its_own_pixels(synthetic_image: np.ndarray) -> None:
    class Device(Fixed):
        def stage(self, pixels: np.ndarray) -> tuple[str, np.ndarray]:
            return self.row[0], pixels

        def run(self, pixels: tuple[str, np.ndarray]) -> np.ndarray:
            assert pixels[0] == self.row[0], "another member's"
            return super().run(pixels[1])

    def on_device(row: list[float], size: int) -> ModelScorer:
        return ModelScorer(member(row, size=size).spec, Device(row))

    ensemble = EnsembleScorer([on_device(A, 16), member(A), on_device(B, 24)])
    batch = tuple(p[None] for p in ensemble.prepare(synthetic_image))
    found = ensemble.score(ensemble.stage(batch)).probabilities[0]
    np.testing.assert_allclose(found, (2 * np.array(A) + B) / 3, atol=1e-6)


def test_weights_and_logit_average(synthetic_image: np.ndarray) -> None:
    weighted = score(EnsembleScorer([member(A), member(B)], weights=[3, 1]), synthetic_image)
    np.testing.assert_allclose(weighted.probabilities[0], 0.75 * np.array(A) + 0.25 * np.array(B), atol=1e-6)
    logits = score(EnsembleScorer([member(A), member(B)], average="logit"), synthetic_image)
    geometric = np.sqrt(np.array(A) * B)
    np.testing.assert_allclose(logits.probabilities[0], geometric / geometric.sum(), atol=1e-6)


def test_taxonomies_meet_through_declared_crosswalks(synthetic_image: np.ndarray) -> None:
    isic = [0.3, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0.1]  # mel nv bcc ak bkl df vasc scc
    scores = score(EnsembleScorer([member(A), member(isic, ISIC2019)]), synthetic_image)
    mapped = np.array([0.1 + 0.1, 0.1, 0.1, 0.05, 0.3, 0.2, 0.05])  # ak and scc fall together in akiec
    np.testing.assert_allclose(scores.probabilities[0], (np.array(A) + mapped) / 2, atol=1e-6)


def test_a_binary_member_brings_all_to_benign_and_malignant(synthetic_image: np.ndarray) -> None:
    ensemble = EnsembleScorer([member(A), member([0.8, 0.2], MALIGNANT)])
    assert ensemble.spec.labels == MALIGNANT
    np.testing.assert_allclose(score(ensemble, synthetic_image).probabilities[0], [0.6, 0.4], atol=1e-6)


def test_no_crosswalk_is_an_error() -> None:
    with pytest.raises(InvalidArgumentError, match="crosswalk"):
        EnsembleScorer([member(A), member([0.5, 0.5], parse_labels("x,y"))])


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_unusable_weights(weights: list[float]) -> None:
    with pytest.raises(InvalidArgumentError, match="weight"):
        EnsembleScorer([member(A), member(B)], weights=weights)


def test_one_member_is_no_ensemble() -> None:
    with pytest.raises(InvalidArgumentError, match="two"):
        EnsembleScorer([member(A)])


def test_the_whole_has_its_own_identity() -> None:
    one = EnsembleScorer([member(A, name="a"), member(B, name="b", size=24)])
    other = EnsembleScorer([member(A, name="a"), member(B, name="b", size=24)], weights=[2, 1])
    assert one.spec.name == "a + b"
    assert one.spec.fingerprint != other.spec.fingerprint
    assert one.spec.threshold == 0.5, "nobody has measured an operating point for the whole"


def test_the_band_of_reduced_precision_is_the_members_by_weight() -> None:
    class Reduced(Fixed):
        precision = "bf16"

    def reduced(band: float | None, labels: LabelSet = HAM10000) -> ModelScorer:
        spec = member(A, labels).spec
        records = {} if band is None else {"torch:bf16": {"band": band, "model": spec.fingerprint}}
        return ModelScorer(spec.replace(precisions=records), Reduced(A))

    weighted = EnsembleScorer([reduced(0.04), reduced(0.02)], weights=[3, 1])
    assert weighted.info["band"] == pytest.approx(0.035)
    assert EnsembleScorer([member(A), reduced(0.02)]).info["band"] == pytest.approx(0.01)
    others = (
        EnsembleScorer([reduced(0.04), reduced(None)]),
        EnsembleScorer([member(A), member(B)]),
        EnsembleScorer([reduced(0.04), reduced(0.02)], average="logit"),
    )
    assert all("band" not in scorer.info for scorer in others)
