"""Shifts of pictures, and a model on shifted images at a frozen threshold."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from skinclf import Predictor
from skinclf.errors import InvalidArgumentError
from skinclf.evaluation.robustness.files import read_robustness
from skinclf.evaluation.robustness.measure import FIGURES, measure_robustness
from skinclf.evaluation.robustness.shifts import (
    SHIFTS,
    blur,
    gamma,
    jpeg,
    saturation,
    scale,
    vignette,
    white_balance,
)
from skinclf.images.synthetic import synthetic_lesion
from skinclf_cli.main import run


@pytest.fixture
def picture():
    return np.random.default_rng(3).integers(0, 256, (60, 81, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", SHIFTS)
def test_every_shift_gives_a_picture_and_leaves_its_input_alone(name, picture):
    before = picture.copy()
    shifted = SHIFTS[name](picture)
    assert shifted.dtype == np.uint8
    assert shifted.ndim == 3
    assert shifted.shape[2] == 3
    np.testing.assert_array_equal(picture, before)
    assert shifted.shape != picture.shape or (shifted != picture).any()
    np.testing.assert_array_equal(SHIFTS[name](picture), shifted)


def test_white_balance_multiplies_red_and_blue(picture):
    expected = np.rint((picture * np.asarray([1.2, 1.0, 0.5])).clip(0, 255))
    np.testing.assert_array_equal(white_balance(1.2, 0.5)(picture), expected)


def test_gamma_keeps_black_and_white():
    ends = np.asarray([[[0, 0, 0], [255, 255, 255], [64, 64, 64]]], np.uint8)
    found = gamma(2)(ends)
    assert found[0, :2].tolist() == [[0, 0, 0], [255, 255, 255]]
    assert found[0, 2, 0] == round(255 * (64 / 255) ** 2)


def test_no_saturation_is_grey_and_full_saturation_is_the_picture(picture):
    grey = saturation(0)(picture)
    assert (grey.max(axis=2) - grey.min(axis=2)).max() == 0
    np.testing.assert_array_equal(saturation(1)(picture), picture)


@pytest.mark.parametrize("factor", [0.5, 0.6, 0.8, 1.3, 1.8, 2])
def test_scale_keeps_the_centre_and_changes_the_sides(factor):
    picture = np.zeros((101, 151, 3), np.uint8)
    picture[50, 75] = 255
    found = scale(factor)(picture)
    assert found.shape[:2] == tuple(round(side / factor) for side in picture.shape[:2])
    at = np.argwhere(found[..., 0] == 255)
    middle = np.asarray(found.shape[:2]) // 2
    assert (np.abs(at - middle) <= 1).all(axis=1).any()


def test_a_smaller_scale_mirrors_the_border(picture):
    found = scale(0.5)(picture)
    np.testing.assert_array_equal(found[30:90, 40:121], picture)
    np.testing.assert_array_equal(found[29, 40:121], picture[0])


def test_blur_is_a_share_of_the_shorter_side():
    edge = np.zeros((200, 300, 3), np.uint8)
    edge[:, 150:] = 255
    widths = [
        ((f[100, :, 0] > 0) & (f[100, :, 0] < 255)).sum() for f in (blur(0.005)(edge), blur(0.02)(edge))
    ]
    assert 0 < widths[0] < widths[1]


def test_jpeg_equals_pillows_compression(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=30)
    np.testing.assert_array_equal(jpeg(30)(picture), np.asarray(Image.open(buffer)))


def test_vignette_darkens_corners_and_keeps_the_centre():
    white = np.full((101, 101, 3), 255, np.uint8)
    found = vignette(0.5)(white)
    assert found[50, 50, 0] == 255
    assert abs(int(found[0, 0, 0]) - 255 * 0.5) < 3
    assert (np.diff(found[50, 50:, 0].astype(int)) <= 0).all()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve drawn lesions, one of them damaged, two images each lesion."""
    folder = tmp_path_factory.mktemp("robustness")
    (folder / "imgs").mkdir()
    rows = []
    for i in range(12):
        Image.fromarray(synthetic_lesion(i, width=240, height=180)).save(folder / "imgs" / f"i{i}.png")
        rows.append({"image": f"i{i}", "lesion_id": f"l{i // 2}", "dx": ("mel", "nv")[i // 2 % 2]})
    (folder / "imgs" / "i11.png").write_bytes(b"no picture")
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_rows_are_those_of_predictions_on_shifted_pictures(data):
    predictor = Predictor(workers=0)
    paths = sorted((data / "imgs").iterdir(), key=lambda p: int(p.stem[1:]))
    threshold = float(np.median([p.probability_malignant for p in predictor.predict(paths) if p.ok]))
    predictor = predictor.with_threshold(threshold)
    found = measure_robustness(
        predictor, paths, data / "labels.csv", shifts=["gamma-1.4", "scale-1.8"], replicates=50
    )
    assert [row.name for row in found.rows] == ["none", "gamma-1.4", "scale-1.8"]
    assert (found.images, found.malignant, found.groups) == (11, 6, "lesion_id")
    assert found.failed == (str(paths[-1]),)
    malignant = np.asarray([i // 2 % 2 == 0 for i in range(11)])
    for row in found.rows:
        shift = SHIFTS.get(row.name, lambda picture: picture)
        pictures = [shift(np.asarray(Image.open(path).convert("RGB"))) for path in paths[:-1]]
        flagged = np.asarray([p.flagged for p in predictor.predict(pictures)])
        assert row.values["sensitivity"] == pytest.approx(flagged[malignant].mean())
        assert row.values["specificity"] == pytest.approx(1 - flagged[~malignant].mean())
        for figure in FIGURES:
            change = row.differences[figure]
            assert change.value == pytest.approx(row.values[figure] - found.rows[0].values[figure])
            assert change.low <= change.value <= change.high
    assert found.worst.name != "none"


def test_what_cannot_be_measured_is_said(data, tmp_path):
    predictor = Predictor(workers=0)
    images = [data / "imgs" / f"i{i}.png" for i in range(4)]
    with pytest.raises(InvalidArgumentError, match="Shift 'fog': expected one or more of"):
        measure_robustness(predictor, images, data / "labels.csv", shifts=["fog"])
    labels = tmp_path / "labels.csv"
    labels.write_text("image,dx\ni0,nv\ni1,nv\ni2,nv\ni3,nv\n")
    with pytest.raises(InvalidArgumentError, match="both kinds"):
        measure_robustness(predictor, images, labels, shifts=["gamma-1.4"])


def test_command_writes_what_a_card_reads(data, tmp_path, capsys):
    output = tmp_path / "robustness.json"
    arguments = [
        "robustness",
        "--image-dir",
        str(data / "imgs"),
        "--labels",
        str(data / "labels.csv"),
        "--shift",
    ]
    arguments += ["jpeg-15", "--replicates", "20", "--threshold", "0.3", "--output", str(output), "--json"]
    assert run(arguments) == 3  # one image could not be read
    found = read_robustness(output)
    assert found == json.loads(capsys.readouterr().out)
    assert found["threshold"] == 0.3
    assert found["failed_images"] == ["i11.png"]
    assert [row["shift"] for row in found["shifts"]] == ["none", "jpeg-15"]
    assert str(tmp_path) not in output.read_text()
    output.write_text("{}")
    with pytest.raises(InvalidArgumentError, match="holds no figures"):
        read_robustness(output)
