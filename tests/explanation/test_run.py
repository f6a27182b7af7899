"""A folder of maps: a row for each input, the same bytes after a kill, and no file of anyone else's touched."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.colour_square import red_model, with_square

from skinclf.errors import InvalidArgumentError, MismatchError, ModelError
from skinclf.explanation import Explainer, MapFolder, write_explanations
from skinclf.explanation.folder import PARTS
from skinclf.jobs.progress import Stop
from skinclf.labels import LabelSet
from skinclf.models.metadata_terms import MetadataTerms

SQUARE = (80, 160, 30, 70, 18)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(8):
        Image.fromarray(with_square(*SQUARE, seed=number)).save(folder / f"a{number}.png")
    (folder / "a2-damaged.png").write_bytes((folder / "a2.png").read_bytes()[:900])
    (folder / "a5-empty.jpg").write_bytes(b"")
    return folder


def explainer(**options) -> Explainer:
    return Explainer(red_model(fit="crop"), runtime="torch", workers=0, **{"batch_size": 4, **options})


def names(folder: Path) -> list[str]:
    return sorted(map(str, folder.glob("*")), key=lambda name: (len(name), name))


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "maps.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".run.json")}


def test_ten_images_with_two_damaged_give_ten_rows_and_eight_maps(images, tmp_path):
    summary = write_explanations(explainer(), names(images), tmp_path / "maps")
    rows = rows_of(tmp_path / "maps")
    assert [row["image"] for row in rows] == names(images)
    assert sorted(row["status"] for row in rows) == ["empty", *["ok"] * 8, "truncated"]
    assert (summary.rows, summary.failed, summary.complete) == (10, 2, True)
    assert len(list((tmp_path / "maps").glob("*.npy"))) == len(list((tmp_path / "maps").glob("*.png"))) == 8
    for row in rows:
        if row["status"] == "ok":
            values = np.load(tmp_path / "maps" / row["map"])
            assert values.dtype == np.float32
            assert values.shape == SQUARE[:2]
            assert np.float32(row["maximum"]) == values.max()
            assert 30 <= float(row["centre_y"]) <= 48
            assert 70 <= float(row["centre_x"]) <= 88
            assert 0.5 < float(row["p"]) < 0.7
            assert Image.open(tmp_path / "maps" / row["overlay"]).size == (160, 80)
        else:
            assert row["error"]
            assert not row["map"]
    page = (tmp_path / "maps" / "index.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 8
    assert page.count('class="failed"') == 2
    assert "not why it is right" in page
    assert json.loads((tmp_path / "maps" / "maps.csv.run.json").read_text())["complete"] is True


@pytest.mark.parametrize("scale", ["image", "common"])
@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_stopped_run_resumes_to_the_same_bytes(images, tmp_path, after, scale):
    write_explanations(explainer(), names(images), tmp_path / "whole", scale=scale)
    stop = Stop()

    def halt(summary):
        if summary.rows == after:
            stop.request()

    part = tmp_path / "part"
    first = write_explanations(explainer(), names(images), part, scale=scale, stop=stop, progress=halt)
    assert not first.complete
    assert len(rows_of(part)) == after
    assert not (part / "index.html").exists()
    again = write_explanations(explainer(), names(images), MapFolder(path=part, resume=True), scale=scale)
    assert again.complete
    assert again.rows == 10
    assert content(part) == content(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_run_resumes_to_the_same_bytes(images, tmp_path):
    """A real SIGKILL in the middle, wherever it strikes."""
    write_explanations(explainer(), names(images), tmp_path / "whole")
    part = tmp_path / "part"
    code = (
        "import sys, time\n"
        "from skinclf.explanation import Explainer, write_explanations\n"
        "from support.colour_square import red_model\n"
        "e = Explainer(red_model(fit='crop'), runtime='torch', workers=0, batch_size=4)\n"
        "write_explanations(e, sys.argv[2:], sys.argv[1], progress=lambda _: time.sleep(0.3))\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}
    child = subprocess.Popen([sys.executable, "-c", code, str(part), *names(images)], env=environment)
    deadline = time.monotonic() + 120
    while not (part / "maps.csv").is_file() or len(rows_of(part)) < 4:
        assert child.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert len(rows_of(part)) < 10
    write_explanations(explainer(), names(images), MapFolder(path=part, resume=True))
    assert content(part) == content(tmp_path / "whole")


def test_several_methods_stand_side_by_side(images, tmp_path):
    both = [explainer(), explainer(method="occlusion")]
    stop = Stop()

    def halt(summary):
        if summary.rows == 3:
            stop.request()

    folder = tmp_path / "maps"
    assert not write_explanations(both, names(images), folder, stop=stop, progress=halt).complete
    assert not (folder / "index.html").exists()
    summary = write_explanations(both, names(images), MapFolder(path=folder, resume=True))
    assert (summary.rows, summary.failed) == (10, 2)
    for one in both:
        write_explanations(one, names(images), tmp_path / one.method)
        assert content(folder / one.method) == content(tmp_path / one.method)
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 8
    assert page.count('class="failed"') == 2
    assert page.count('src="gradcam/') == page.count('src="occlusion/') == 8
    assert "1fr 1fr 1fr" in page
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(InvalidArgumentError, match="other than the maps of gradcam, occlusion"):
        write_explanations(both, names(images), MapFolder(path=folder, overwrite=True))
    with pytest.raises(InvalidArgumentError, match="different methods"):
        write_explanations([both[0], both[0]], names(images), tmp_path / "twice")


@pytest.mark.parametrize("cut", [10, 300, 700])
def test_a_torn_table_resumes_to_the_same_bytes(images, tmp_path, cut):
    whole = tmp_path / "whole"
    write_explanations(explainer(), names(images), whole)
    expected = content(whole)
    table = whole / "maps.csv"
    table.write_bytes(table.read_bytes()[:-cut])
    write_explanations(explainer(), names(images), MapFolder(path=whole, resume=True))
    assert content(whole) == expected


def test_resuming_under_another_question_is_refused(images, tmp_path):
    folder = tmp_path / "maps"
    write_explanations(explainer(), names(images), folder)
    for other in ({"method": "occlusion"}, {"target": "benign"}, {"layer": "colours"}):
        with pytest.raises(MismatchError, match=f"{next(iter(other))} was"):
            write_explanations(explainer(**other), names(images), MapFolder(path=folder, resume=True))
    with pytest.raises(MismatchError, match="inputs changed"):
        write_explanations(explainer(), names(images)[1:], MapFolder(path=folder, resume=True))


def with_terms(**options) -> Explainer:
    model = red_model(fit="crop")
    terms = MetadataTerms(
        codes=model.spec.labels.codes,
        exponent=0.5,
        age_from=(0.0, 50.0),
        age=((0.4, -1.0), (-0.2, 1.0)),
        sex={"male": (-0.1, 0.5)},
        site={"torso": (0.3, -1.0)},
        model=model.spec.identity.to_dict(),
    )
    model = replace(model, spec=model.spec.replace(metadata=terms))
    return Explainer(model, runtime="torch", workers=0, batch_size=4, **options)


def test_shares_of_picture_and_entries_stand_beside_the_map(images, tmp_path):
    table = tmp_path / "patients.csv"
    table.write_text("image,age,sex,site\na0.png,70,male,back\na1.png,,,\na2.png,70,,\n", encoding="utf-8")
    folder, plain = tmp_path / "maps", tmp_path / "plain"
    write_explanations(with_terms(), names(images), folder, metadata=str(table))
    write_explanations(with_terms(), names(images), plain)
    rows, before = rows_of(folder), rows_of(plain)
    for row, old in zip(rows, before, strict=True):
        assert {k: v for k, v in row.items() if k not in PARTS} == {
            k: v for k, v in old.items() if k not in PARTS
        }
        assert not any(old[name] for name in PARTS)
        if row["status"] != "ok":
            assert not any(row[name] for name in PARTS)
            continue
        image, age, sex, site, total = (float(row[name]) for name in PARTS)
        assert image == pytest.approx(float(row["log_odds"]), abs=1e-5)
        assert image + age + sex + site == pytest.approx(total, abs=1e-6)
    (full, blank, one) = (next(r for r in rows if r["image"].endswith(f"a{i}.png")) for i in range(3))
    fused = with_terms().predictor.predict(full["image"], metadata={"age": 70, "sex": "m", "site": "back"})
    p = fused.probability_malignant
    assert float(full["fused_log_odds"]) == pytest.approx(np.log(p / (1 - p)), abs=1e-5)
    assert [blank[f"{name}_log_odds"] for name in ("age", "sex", "site")] == ["0.0"] * 3
    assert [one["sex_log_odds"], one["site_log_odds"]] == ["0.0"] * 2
    assert float(one["age_log_odds"]) == pytest.approx(0.6, abs=1e-6)
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count('class="parts"') == 8
    assert 'class="parts"' not in (plain / "index.html").read_text(encoding="utf-8")
    with pytest.raises(MismatchError, match=r"metadata\.sha256 was"):
        write_explanations(with_terms(), names(images), MapFolder(path=folder, resume=True))


def test_shares_need_terms_and_a_malignant_class(images, tmp_path):
    table = tmp_path / "patients.csv"
    table.write_text("image,age\na0.png,70\n", encoding="utf-8")
    with pytest.raises(ModelError, match="has no terms for metadata"):
        write_explanations(explainer(), names(images), tmp_path / "maps", metadata=str(table))
    made = with_terms()
    silent = LabelSet("quiet", tuple(replace(label, malignant=None) for label in made.predictor.spec.labels))
    made.predictor._spec = made.predictor.spec.replace(labels=silent)
    with pytest.raises(InvalidArgumentError, match="do not say which of them are malignant"):
        write_explanations(made, names(images), tmp_path / "maps", metadata=str(table))


def test_files_of_others_are_never_replaced(images, tmp_path):
    before = content(images)
    with pytest.raises(InvalidArgumentError, match="files that are no maps"):
        write_explanations(explainer(), names(images), images)
    with pytest.raises(InvalidArgumentError, match="files that are no maps"):
        write_explanations(explainer(), names(images), MapFolder(path=images, overwrite=True))
    assert content(images) == before
    folder = tmp_path / "maps"
    write_explanations(explainer(), names(images)[:3], folder)
    with pytest.raises(InvalidArgumentError, match="holds maps already"):
        write_explanations(explainer(), names(images), folder)
    (folder / "notes.txt").write_text("mine")
    write_explanations(explainer(), names(images)[:1], MapFolder(path=folder, overwrite=True))
    assert {path.name for path in folder.iterdir()} == {
        "a0.npy",
        "a0.png",
        "index.html",
        "maps.csv",
        "maps.csv.run.json",
        "notes.txt",
    }


def test_images_of_one_name_get_files_of_their_own(tmp_path):
    paths = []
    for number, path in enumerate(["x/a.png", "y/a.png", "y/A.bmp", "x/a-2.png", "x/" + "é" * 120 + ".png"]):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        Image.fromarray(with_square(*SQUARE, seed=number)).save(tmp_path / path)
        paths.append(tmp_path / path)
    write_explanations(explainer(), paths, tmp_path / "maps")
    rows = rows_of(tmp_path / "maps")
    assert {row["status"] for row in rows} == {"ok"}
    assert len({row["map"].lower() for row in rows}) == 5
    for row, path in zip(rows, paths, strict=True):
        expected = explainer().explain(path).map
        assert np.load(tmp_path / "maps" / row["map"]).tobytes() == expected.tobytes()


def test_one_scale_makes_overlays_comparable(tmp_path):
    strong, weak = with_square(*SQUARE), with_square(*SQUARE)
    weak[30:48, 70:88] = (170, 90, 90)
    paths = []
    for name, picture in (("strong", strong), ("weak", weak)):
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray(picture).save(paths[-1])
    for scale in ("image", "common"):
        write_explanations(explainer(), paths, tmp_path / scale, scale=scale)
    one, other = tmp_path / "image", tmp_path / "common"
    assert (one / "strong.npy").read_bytes() == (other / "strong.npy").read_bytes()
    drawn = [np.asarray(Image.open(folder / "weak.png")).astype(int) for folder in (one, other)]
    changed = [np.abs(x - weak.astype(int))[32:46, 72:86].mean() for x in drawn]
    assert changed[1] < changed[0]


def test_the_share_inside_a_mask(images, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    inside = np.zeros((80, 160), np.uint8)
    inside[28:50, 68:90] = 255
    Image.fromarray(inside).save(masks / "a0_segmentation.png")
    Image.fromarray(255 - inside).resize((320, 160), Image.Resampling.NEAREST).save(masks / "a1.png")
    Image.fromarray(inside[:, :80]).save(masks / "a3.png")
    write_explanations(
        explainer(), [images / f"a{n}.png" for n in (0, 1, 2, 3)], tmp_path / "maps", masks=masks
    )
    zero, one, two, three = rows_of(tmp_path / "maps")
    assert float(zero["inside_mask"]) > 0.9
    assert float(one["inside_mask"]) < 0.1
    assert float(zero["inside_mask"]) + float(one["inside_mask"]) == pytest.approx(1, abs=0.02)
    assert not two["inside_mask"]
    assert three["status"] == "unsupported"
    assert "does not fit" in three["error"]


def test_unknown_scales_are_refused(images, tmp_path):
    with pytest.raises(InvalidArgumentError, match="'image' or 'common'"):
        write_explanations(explainer(), names(images), tmp_path / "maps", scale="both")
    assert not (tmp_path / "maps").exists()
