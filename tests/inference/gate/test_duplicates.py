"""Pictures of one run that look the same."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.overlays import clean_lesion

from skinclf.inference.gate.duplicates import DISTANCE, NearDuplicates, signature
from skinclf.inference.gate.gate import blocks
from skinclf.inference.gate.picture import PATCHES, measure
from skinclf.jobs.gate_check import check_images
from skinclf.models.load import load_model


def bits(picture):
    return np.unpackbits(np.frombuffer(hashed(picture), np.uint8))


def hashed(picture):
    return signature(measure(picture, marks=False)[blocks()[PATCHES]])


@pytest.fixture(scope="module")
def lesions():
    return [Image.fromarray(clean_lesion(seed, width=320, height=240)) for seed in range(40)]


def jpeg(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=50)
    return Image.open(buffer).convert("RGB")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(jpeg, id="jpeg"),
        pytest.param(lambda p: p.resize((640, 480), Image.Resampling.BICUBIC), id="larger"),
        pytest.param(lambda p: p.resize((161, 119), Image.Resampling.LANCZOS), id="smaller"),
        pytest.param(lambda p: p.point(lambda v: min(255, int(v * 1.1))), id="brighter"),
    ],
)
def test_a_changed_copy_stays_near_and_other_pictures_do_not(lesions, change):
    own = np.stack([bits(p) for p in lesions])
    copies = np.stack([bits(change(p)) for p in lesions])
    apart = (own[:, None] != copies).sum(axis=2)
    assert (np.diag(apart) <= DISTANCE).mean() > 0.9
    assert apart[~np.eye(len(lesions), dtype=bool)].min() > DISTANCE


def test_the_first_of_several_is_named_however_many_there_are():
    rng, found = np.random.default_rng(0), NearDuplicates()
    hashes = [rng.bytes(32) for _ in range(600)]
    assert [found.first_like(str(i), h) for i, h in enumerate(hashes)] == [""] * 600
    near = bytearray(hashes[300])
    near[0] ^= 0b1111
    assert found.first_like("copy", bytes(near)) == "300"
    assert found.first_like("again", bytes(near)) == "300"
    far = bytes(b ^ 0xFF for b in hashes[300][:6]) + hashes[300][6:]
    assert found.first_like("far", far) == ""


def test_check_names_the_first_image_that_looks_the_same(gated_bundle, lesions, tmp_path):
    for name, picture in {"a": lesions[0], "b": lesions[1], "c": jpeg(lesions[0])}.items():
        picture.save(tmp_path / f"{name}.png")
    for name in ("d", "e"):  # of one colour: as useless as each other
        Image.new("RGB", (320, 240), (120, 90, 80)).save(tmp_path / f"{name}.png")
    images = sorted(tmp_path.glob("*.png"))
    table, page = tmp_path / "gate.csv", tmp_path / "gate.html"
    summary = check_images(load_model(gated_bundle), images, table, page, runtime="torch")
    with table.open(newline="", encoding="utf-8") as file:
        rows = {Path(row["image"]).stem: row for row in csv.DictReader(file)}
    assert {name: Path(row["duplicate_of"]).stem for name, row in rows.items()} == {
        "a": "",
        "b": "",
        "c": "a",
        "d": "",
        "e": "",
    }
    assert summary.to_dict()["duplicates"] == 1
    assert "1 that look the same" in page.read_text(encoding="utf-8")
