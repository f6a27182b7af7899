"""What README and docs/explanation/comparison.md say of other tools is what the installed ones do."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skinclf.images.decode import load_image
from skinclf_cli.main import run

#: Orientation in EXIF: turn by a quarter.
TURNED = {0x0112: 6}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, the second of which is damaged, and one that EXIF turns."""
    made = tmp_path / "imgs"
    made.mkdir()
    for name, grey in (("a", 40), ("c", 200)):
        Image.fromarray(np.full((48, 64, 3), grey, np.uint8)).save(made / f"{name}.jpg", quality=95)
    (made / "b.jpg").write_bytes(b"not an image")
    exif = Image.Exif()
    exif.update(TURNED)
    Image.new("RGB", (64, 48)).save(tmp_path / "turned.jpg", exif=exif)
    return made


def test_skinclf_gives_the_damaged_file_its_own_row(folder: Path) -> None:
    assert run(["-q", "predict", "--image-dir", str(folder), "--output", str(folder / "t.csv")]) == 3
    rows = (folder / "t.csv").read_text().splitlines()[1:]
    assert [row.rsplit(",", 2)[1] for row in rows] == ["ok", "not_an_image", "ok"]
    assert load_image(folder.parent / "turned.jpg").shape == (64, 48, 3)


def test_timm_gives_the_damaged_file_the_next_one(folder: Path) -> None:
    data = pytest.importorskip("timm.data", reason="timm comes with skinclf")
    found = data.ImageDataset(str(folder))
    assert Path(found.filename(1)).name == "b.jpg"
    assert np.array_equal(np.asarray(found[1][0]), np.asarray(found[2][0]))


def test_timm_leaves_exif_alone(folder: Path) -> None:
    data = pytest.importorskip("timm.data", reason="timm comes with skinclf")
    turned = folder.parent / "only"
    turned.mkdir()
    (folder.parent / "turned.jpg").rename(turned / "turned.jpg")
    assert data.ImageDataset(str(turned))[0][0].size == (64, 48)


def test_transformers_applies_exif_and_ends_at_a_damaged_file(folder: Path) -> None:
    utils = pytest.importorskip("transformers.image_utils", reason="compared with transformers (extra `dev`)")
    assert utils.load_image(str(folder.parent / "turned.jpg")).size == (48, 64)
    with pytest.raises(OSError, match=r".+"):
        utils.load_image(str(folder / "b.jpg"))


@pytest.mark.tensorflow
@pytest.mark.slow
def test_keras_leaves_exif_alone_and_ends_at_a_damaged_file(folder: Path) -> None:
    keras = pytest.importorskip("keras", reason="compared with Keras (extra `tensorflow`)")
    assert keras.utils.load_img(folder.parent / "turned.jpg").size == (64, 48)
    with pytest.raises(OSError, match=r".+"):
        keras.utils.load_img(io.BytesIO((folder / "b.jpg").read_bytes()))
