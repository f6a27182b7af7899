"""`skinclf predict --metadata`, `metadata fit` and `metadata compare` with a bundle whose terms are known."""

from __future__ import annotations

import csv
import json

import pytest
from support.metadata import fake_terms

from skinclf.models.bundle import read_spec, write_spec
from skinclf.models.registry import DEFAULT
from skinclf_cli.main import run


@pytest.fixture
def bundle(bundle_copy):
    spec = read_spec(bundle_copy)
    write_spec(bundle_copy, spec.replace(metadata=fake_terms(spec)))
    return bundle_copy


@pytest.fixture
def table(tmp_path, image_dir):
    path = tmp_path / "metadata.csv"
    ages = "".join(
        f"{p.stem},{40 + 10 * i},{'bcc' if i % 2 else 'nv'}\n"
        for i, p in enumerate(sorted(image_dir.iterdir()))
    )
    path.write_text(f"image,age,dx\n{ages}")
    return path


def predict(bundle, *args):
    return run(["predict", "--model", str(bundle), "--runtime", "torch", "--device", "cpu", *map(str, args)])


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_with_metadata(bundle, table, image_dir, tmp_path, capsys):
    plain, fused = tmp_path / "plain.csv", tmp_path / "fused.csv"
    assert predict(bundle, "--image-dir", image_dir, "-o", plain) == 0
    assert predict(bundle, "--image-dir", image_dir, "-o", fused, "--metadata", table) == 0
    for before, after in zip(rows(plain), rows(fused), strict=True):
        assert after["p_image_malignant"] == before["probability_malignant"]
        assert (float(after["metadata_shift"]) > 0) == (after["image"] != rows(fused)[0]["image"])
    assert "No threshold was measured with metadata" in capsys.readouterr().err
    # A run with metadata goes on with metadata only.
    assert predict(bundle, "--image-dir", image_dir, "-o", fused, "--resume") == 1
    assert "made by another run" in capsys.readouterr().err
    assert predict(bundle, "--image-dir", image_dir, "-o", fused, "--resume", "--metadata", table) == 0


def test_names_from_stdin_are_joined_too(bundle, table, image_dir, tmp_path, monkeypatch):
    import io
    import sys
    from types import SimpleNamespace

    names = "\n".join(str(path) for path in sorted(image_dir.iterdir()))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(names.encode())))
    out = tmp_path / "p.csv"
    assert predict(bundle, "--from-file", "-", "-o", out, "--metadata", table) == 0
    assert len(rows(out)) == 8
    assert rows(out)[-1]["metadata_shift"] != "0"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,dx_type\nimg-0,histo\n", "no column of age, sex or site"),
        ("image,age\nimg-0,450\n", "the age '450' is not a number of years"),
        ('image,age\nimg-1,40.5\nimg-0,"45,5"\n', "with a decimal point"),
        ("image,age\nother,45\n", "none of the 8 images has a row of metadata"),
    ],
)
def test_an_unusable_table_is_one_sentence(bundle, image_dir, tmp_path, capsys, text, words):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert predict(bundle, "--image-dir", image_dir, "-o", tmp_path / "p.csv", "--metadata", path) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "p.csv").exists()


def test_words_of_another_language_are_a_notice_once(bundle, image_dir, tmp_path, capsys):
    path = tmp_path / "german.csv"
    path.write_text("image,site\n" + "".join(f"img-{i},Rücken\n" for i in range(8)), encoding="utf-8")
    assert predict(bundle, "--image-dir", image_dir, "-o", tmp_path / "p.csv", "--metadata", path) == 0
    assert capsys.readouterr().err.count("'Rücken' (8)") == 1


def test_terms_without_metadata_are_refused(bundle, image_dir, tmp_path, capsys):
    terms = tmp_path / "t.json"
    terms.write_text(json.dumps(fake_terms(read_spec(bundle)).to_dict()))
    assert predict(bundle, "--image-dir", image_dir, "--metadata-terms", terms) == 2
    assert "--metadata-terms needs --metadata" in capsys.readouterr().err


def test_compare_prints_subgroups_and_writes_all_figures(bundle, table, image_dir, tmp_path, capsys):
    plain, out = tmp_path / "plain.csv", tmp_path / "gain.json"
    assert predict(bundle, "--image-dir", image_dir, "-o", plain) == 0
    options = [
        "--predictions",
        str(plain),
        "--labels",
        str(table),
        "--model",
        str(bundle),
        "--replicates",
        "20",
    ]
    assert run(["metadata", "compare", *options, "--output", str(out), "--store"]) == 0
    assert "age=60+" in capsys.readouterr().out
    assert json.loads(out.read_text())["groups"][0]["images"] == 8
    assert read_spec(bundle).metadata.evidence["comparison"]["groups"][0]["name"] == "all"
    fused = tmp_path / "fused.csv"
    assert predict(bundle, "--image-dir", image_dir, "-o", fused, "--metadata", table) == 0
    options[1] = str(fused)
    assert run(["metadata", "compare", *options]) == 1
    assert "from the picture alone" in capsys.readouterr().err


def test_fit_with_no_model_named_uses_the_built_in_one_and_its_predictions(tmp_path, capsys):
    path = tmp_path / "all.csv"
    classes = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    lines = [f"t{i},tl{i},{classes[i % 7]},{30 + i % 50},male,trunk,train" for i in range(70)]
    from skinclf.decisions.held_out import read_held_out

    held = read_held_out().joined.labels
    lines += [
        f"{name},{lesion},nv,50,female,back,val"
        for name, lesion in zip(held.ids, held.lesion_id, strict=True)
    ]
    path.write_text("image,lesion_id,dx,age,sex,localization,split\n" + "\n".join(lines) + "\n")
    out = tmp_path / "terms.json"
    code = run(
        [
            "metadata",
            "fit",
            "--table",
            str(path),
            "--split",
            "train",
            "--output",
            str(out),
            "--replicates",
            "20",
            "--json",
        ]
    )
    assert code == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["held_out_images"] == 1502
    assert json.loads(out.read_text())["model"]["name"] == DEFAULT
    assert "do not win" in captured.err
