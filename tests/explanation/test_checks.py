"""Checks of maps: a model whose region is known passes, and maps that know nothing of the model fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.colour_square import red_model, with_square
from torch import nn

from skinclf.errors import InvalidArgumentError
from skinclf.explanation import Explainer
from skinclf.explanation.checks.faithfulness import check_faithfulness, deletion, insertion
from skinclf.explanation.checks.files import FILE, check_free, read_checks, write_checks
from skinclf.explanation.checks.localisation import by_chance, check_masks, figures
from skinclf.explanation.checks.randomisation import check_randomisation, weight_owners
from skinclf.explanation.checks.run import check_explanations, check_words
from skinclf.explanation.checks.sample import Sample, mean_estimate, spread_evenly
from skinclf.explanation.checks.similarity import spearman, ssim
from skinclf.explanation.masks import Masks

SIDE = 64
#: Top, left and side of the squares; none is in the middle.
SQUARES = [(4, 6, 14), (40, 44, 12), (8, 42, 16), (44, 4, 14), (4, 24, 12), (26, 46, 12)]


class Textured(nn.Module):
    """Two convolutions with random weights, so that there is something to randomise."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 12, 5, padding=2, stride=2)
        self.norm = nn.BatchNorm2d(12)
        self.two = nn.Conv2d(12, 16, 3, padding=1, stride=2)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.two(torch.relu(self.norm(self.one(x)))))
        logit: torch.Tensor = self.head(x.mean(dim=(2, 3)))
        return logit


def textured() -> Explainer:
    torch.manual_seed(3)
    network = Textured().eval()
    nn.init.normal_(network.head.weight, std=0.5)
    return Explainer(replace(red_model(), network=network), method="gradcam", runtime="torch", workers=0)


def red(method: str = "gradcam") -> Explainer:
    return Explainer(red_model(), method=method, runtime="torch", workers=0)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checks")
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for number, square in enumerate(SQUARES):
        name = f"ISIC_{number}"
        Image.fromarray(with_square(SIDE, SIDE, *square, seed=number)).save(folder / "images" / f"{name}.png")
        mask = np.zeros((SIDE, SIDE), np.uint8)
        top, left, side = square
        mask[top : top + side, left : left + side] = 255
        Image.fromarray(mask).save(folder / "masks" / f"{name}_segmentation.png")
    rows = [f"ISIC_{n},{'mel' if n % 2 else 'nv'},L{n // 2}" for n in range(len(SQUARES))]
    (folder / "labels.csv").write_text("\n".join(["image_id,dx,lesion_id", *rows]) + "\n")
    return folder


def paths(images: Path) -> list[str]:
    return sorted(map(str, (images / "images").glob("*.png")))


# --- similarity ---------------------------------------------------------------------------------


def test_similarity_of_equal_turned_and_flat_maps():
    rng = np.random.default_rng(0)
    one = rng.random((32, 40))
    assert spearman(one, one) == pytest.approx(1)
    assert spearman(one, np.exp(5 * one)) == pytest.approx(1)
    assert spearman(one, -one) == pytest.approx(-1)
    assert spearman(one, np.zeros_like(one)) == 0
    assert ssim(one, one) == pytest.approx(1)
    assert ssim(one, 3 * one + 7) == pytest.approx(1)
    assert ssim(one, rng.random((32, 40))) < 0.2
    assert ssim(one, np.full_like(one, np.nan)) < 0.1


def test_ranks_and_ssim_are_those_of_the_formulas():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(1)
    a, b = rng.random((9, 9)).round(1), rng.random((9, 9)).round(1)  # with ties
    assert spearman(a, b) == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic)
    a, b = ((x - x.min()) / np.ptp(x) for x in (a, b))
    values = []
    for y in range(3):
        for x in range(3):
            p, q = a[y : y + 7, x : x + 7], b[y : y + 7, x : x + 7]
            cov = np.cov(p.ravel(), q.ravel())
            top = (2 * p.mean() * q.mean() + 1e-4) * (2 * cov[0, 1] + 9e-4)
            values.append(top / ((p.mean() ** 2 + q.mean() ** 2 + 1e-4) * (cov[0, 0] + cov[1, 1] + 9e-4)))
    assert ssim(a, b) == pytest.approx(np.mean(values))


# --- randomisation ------------------------------------------------------------------------------


def test_weights_are_randomised_from_the_head_down(images):
    e = textured()
    assert weight_owners(e.one_model.torch_network(), (SIDE, SIDE)) == ["head", "two", "norm", "one"]
    before = [p.clone() for p in e.one_model.torch_network().parameters()]
    found = check_randomisation(e, Sample.of(e, paths(images)))
    assert [stage["down_to"] for stage in found["stages"]] == ["head", "two", "norm", "one"]
    assert found["stages"][-1]["weights"] == 1
    shares = [stage["weights"] for stage in found["stages"]]
    assert shares == sorted(shares)
    assert abs(found["stages"][-1]["spearman"]["value"]) < 0.9
    for old, new in zip(before, e.one_model.torch_network().parameters(), strict=True):
        assert torch.equal(old, new)


def test_the_same_check_gives_the_same_figures(images):
    first, second = (check_randomisation(e, Sample.of(e, paths(images))) for e in (textured(), textured()))
    assert first == second


def test_a_map_that_knows_nothing_of_the_weights_fails(images, monkeypatch):
    """Edges of the picture look like a map, and stay what they are when all weights are random."""
    from skinclf.explanation.checks.baselines import edges

    monkeypatch.setattr(Explainer, "on_canvas", lambda _self, canvas, *_rest: edges(canvas.pixels))
    e = textured()
    found = check_randomisation(e, Sample.of(e, paths(images)))
    assert found["passed"] is False
    assert found["stages"][-1]["ssim"]["value"] == pytest.approx(1)
    assert found["stages"][-1]["spearman"]["value"] == pytest.approx(1)


def test_what_has_no_weights_or_pairs_is_refused(images):
    e = textured()
    with pytest.raises(InvalidArgumentError, match="expected at least 2"):
        check_randomisation(e, Sample.of(e, paths(images)[:1]))
    pair = Explainer([red_model(), red_model()], runtime="torch", workers=0)
    with pytest.raises(InvalidArgumentError, match="several models"):
        check_explanations(pair, paths(images), ["randomisation"])


# --- insertion and deletion ---------------------------------------------------------------------


def test_the_place_that_decides_comes_first_and_is_better_than_what_knows_nothing(images):
    e = red("occlusion")
    found = check_faithfulness(e, Sample.of(e, paths(images)), steps=16)
    for kind in ("insertion", "deletion"):
        assert found[kind]["differences"]["random"]["better"] is True, kind
        assert found[kind]["differences"]["centre"]["better"] is True, kind


def test_the_opposite_order_is_worse(images):
    (case, *_) = Sample.of(red(), paths(images)).cases
    best = np.zeros((SIDE, SIDE))
    top, left, side = SQUARES[0]
    best[top : top + side, left : left + side] = 1
    assert insertion(case.canvas, case.target, best, 10) > insertion(case.canvas, case.target, -best, 10)
    assert deletion(case.canvas, case.target, best, 10) < deletion(case.canvas, case.target, -best, 10)


def test_both_ends_of_the_curves_are_the_picture_and_what_replaces_it(images):
    e = red()
    (case, *_) = Sample.of(e, paths(images)).cases
    seen: list[np.ndarray] = []
    scorer = case.canvas.scorer

    class Recorder:
        def __getattr__(self, name):
            return getattr(scorer, name)

        def score(self, batch):
            seen.extend(np.array(batch[0]))
            return scorer.score(batch)

    canvas = replace(case.canvas, scorer=Recorder())
    order = np.arange(SIDE * SIDE, dtype=float).reshape(SIDE, SIDE)
    deletion(canvas, case.target, order, 5)
    assert np.array_equal(seen[0], case.canvas.pixels)
    assert np.ptp(seen[5].reshape(-1, 3), axis=0).max() == 0
    seen.clear()
    insertion(canvas, case.target, order, 5)
    assert np.array_equal(seen[5], case.canvas.pixels)
    assert seen[0].std() < case.canvas.pixels.std()
    assert np.array_equal(seen[2][-10:], case.canvas.pixels[-10:])  # the highest first


# --- masks --------------------------------------------------------------------------------------


def test_figures_of_a_perfect_and_a_wrong_map():
    mask = np.zeros((10, 10))
    mask[2:6, 2:6] = 1
    perfect = figures(mask, mask)
    assert perfect == {"pointing": 1, "energy": 1, "iou_0.3": 1, "iou_0.5": 1, "iou_0.7": 1}
    wrong = figures(1 - mask, mask)
    assert wrong == {"pointing": 0, "energy": 0, "iou_0.3": 0, "iou_0.5": 0, "iou_0.7": 0}
    half = np.zeros((10, 10))
    half[2:6, 4:8] = 1
    assert figures(half, mask)["energy"] == pytest.approx(0.5)
    assert figures(half, mask)["iou_0.5"] == pytest.approx(8 / 24)


def test_chance_is_the_masks_share_of_what_was_seen():
    mask, seen = np.zeros((10, 10)), np.zeros((10, 10), bool)
    mask[:, :2] = 1
    seen[:, :5] = True
    found = by_chance(np.ones((10, 10)) * seen, mask, seen)
    assert found["pointing"] == found["energy"] == pytest.approx(0.4)
    assert found["iou_0.5"] == pytest.approx(20 / 50)


def test_a_map_on_the_lesion_exceeds_the_centred_gaussian(images):
    found = check_masks(red("occlusion"), paths(images), Masks.of(images / "masks"))
    assert found["images"] == len(SQUARES)
    assert found["all"]["pointing"]["map"]["value"] == 1
    assert found["all"]["pointing"]["centre"]["value"] < 0.5
    assert found["passed"] is True
    assert found["all"]["energy"]["map_minus_centre"]["low"] > 0
    assert sum(part["images"] for part in found["size_terciles"].values()) == len(SQUARES)
    assert found["classes"] == {}


def test_by_class_and_without_masks_or_readable_images(images, tmp_path):
    broken = tmp_path / "ISIC_0.png"
    broken.write_bytes(b"no image")
    spare = tmp_path / "other.png"
    Image.fromarray(with_square(SIDE, SIDE, *SQUARES[0])).save(spare)
    given = [*paths(images)[1:], str(broken), str(spare)]
    classes = {path: "mel" if n % 2 else "nv" for n, path in enumerate(given)}
    found = check_masks(red(), given, Masks.of(images / "masks"), classes=classes)
    assert found["images"] == 5
    assert found["failed"] == {"ISIC_0.png": "not_an_image"}
    assert {code: part["images"] for code, part in found["classes"].items()} == {"mel": 2, "nv": 3}
    with pytest.raises(InvalidArgumentError, match="no image has both"):
        check_masks(red(), [str(spare)], Masks.of(images / "masks"))


# --- all of them --------------------------------------------------------------------------------


def test_results_are_json_and_read_as_sentences(images, tmp_path):
    found = check_explanations(
        red(),
        paths(images),
        ["randomisation", "faithfulness", "masks"],
        masks=images / "masks",
        labels=images / "labels.csv",
        most=4,
        steps=5,
    )
    path = write_checks(tmp_path / "out", found)
    assert path.name == FILE
    assert read_checks(path) == json.loads(json.dumps(found))
    assert found["model"]["weights_sha256"] == "0" * 64
    assert found["randomisation"]["images"] == found["faithfulness"]["images"] == 4
    assert str(images) not in path.read_text()
    words = "\n".join(check_words(found))
    assert "Randomised weights: " in words
    assert "Insertion (higher is better): area 0." in words
    assert "The maximum lies in the lesion in a share of 1.000" in words
    with pytest.raises(InvalidArgumentError, match="overwrite"):
        check_free(tmp_path / "out", overwrite=False)
    check_free(tmp_path / "out", overwrite=True)


def test_other_files_are_no_results(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InvalidArgumentError, match="holds no checks"):
        read_checks(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("checks", "masks", "message"),
    [
        (["sanity"], False, "Unknown check 'sanity'; expected some of randomisation, faithfulness, masks"),
        ([], False, "Unknown check"),
        (["masks"], False, "go together"),
        (["faithfulness"], True, "go together"),
    ],
)
def test_what_cannot_be_checked_is_refused(images, checks, masks, message):
    with pytest.raises(InvalidArgumentError, match=message):
        check_explanations(red(), paths(images), checks, masks=images / "masks" if masks else None)


def test_images_are_taken_evenly_and_intervals_draw_lesions():
    names = [str(n) for n in range(100)]
    assert spread_evenly(names, 5) == ["0", "25", "50", "74", "99"]
    assert spread_evenly(names[:3], 5) == ["0", "1", "2"]
    values = np.repeat(np.random.default_rng(0).normal(size=20), 10)
    alone = mean_estimate(values)
    together = mean_estimate(values, [str(n // 10) for n in range(200)])
    assert together.value == pytest.approx(alone.value)
    assert together.high - together.low > 2 * (alone.high - alone.low)
