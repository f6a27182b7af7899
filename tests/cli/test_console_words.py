"""What commands say around their work: suggestions, sections of help, addresses, reports, facts of a model."""

from __future__ import annotations

import json
import re

import click
import pytest

from skinclf import load_image
from skinclf.errors import ImageError
from skinclf_cli.main import run


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["predikt"], "predict"),
        (["evalute"], "evaluate"),
        (["tune"], "tune-threshold"),
        (["models", "lst"], "list"),
        (["models", "verfy"], "verify"),
        (["data", "prepair"], "prepare"),
    ],
)
def test_a_misspelt_command_is_suggested(typed, meant, capsys):
    assert run(typed) == 2
    assert f"Did you mean {meant}?" in capsys.readouterr().err


def test_a_word_that_is_no_command_lists_them(capsys):
    assert run(["zzzz"]) == 2
    assert "Commands: predict, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "option", "meant"),
    [
        ("predict", "--outptu", "--output"),
        ("evaluate", "--prediction", "--predictions"),
        ("train", "--confg", "--config"),
    ],
)
def test_a_misspelt_option_is_suggested(command, option, meant, capsys):
    assert run([command, option, "x"]) == 2
    # Quoted or not, as the version of click has it.
    suggested = re.split("Did you mean|Possible options", capsys.readouterr().err)[1]
    assert meant in re.findall(r"--[a-z-]+", suggested)


def test_help_has_sections_in_the_order_of_the_command(capsys):
    assert run(["predict", "--help"]) == 0
    text = capsys.readouterr().out
    titles = ["Inputs:", "Output:", "Model:", "Decisions:", "Execution:", "Cluster:", "Options:"]
    places = [text.index(f"\n{title}\n") for title in titles]
    assert places == sorted(places)
    for title, option in (("Inputs:", "--image-dir"), ("Decisions:", "--threshold"), ("Options:", "--json")):
        section = text[text.index(f"\n{title}\n") :].split("\n\n")[0]
        assert f"\n  {option}" in section.replace("\n  -o, ", "\n  ")


@pytest.mark.parametrize(
    "address", ["https://example.org/a.jpg", "http://example.org/a.jpg", "s3://bucket/a.jpg", "ftp://x/a.png"]
)
def test_addresses_are_not_read_and_it_is_said(address, tmp_path, capsys):
    assert run(["predict", address]) == 2
    assert "addresses are not read; download the image" in capsys.readouterr().err
    with pytest.raises(ImageError, match="addresses are not read"):
        load_image(address)


def test_show_gives_parameters_size_input_and_what_verified_covers(capsys):
    assert run(["models", "show", "ham10000-mobilenetv2"]) == 0
    rows = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if line[:1].strip())
    found = {key.strip(): value.strip() for key, value in rows.items()}
    assert found["input"] == "224 x 224 px"
    assert 2_000_000 < int(found["parameters"].replace(",", "")) < 2_400_000
    assert found["size"].endswith(" MB")
    assert "--device auto" in found["device"]
    assert "labels, preprocessing and recorded probabilities" in found["verified"]
    assert run(["models", "show", "skin-lesion-resnet50"]) == 0
    shown = capsys.readouterr().out
    assert "authors' own code; accuracy is not covered" in shown
    assert "known when it is downloaded" in shown


def test_evaluate_says_where_its_report_is_and_opens_it_when_asked(tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(click, "launch", lambda path: opened.append(path) or 0)
    rows = [f"i{n}.jpg,{n / 40}" for n in range(40)]
    (tmp_path / "p.csv").write_text("image,probability_malignant\n" + "\n".join(rows) + "\n")
    labels = [f"i{n},{int(n > 20 or n % 7 == 0)}" for n in range(40)]
    (tmp_path / "l.csv").write_text("image,label\n" + "\n".join(labels) + "\n")
    command = ["evaluate", "--predictions", str(tmp_path / "p.csv"), "--labels", str(tmp_path / "l.csv")]
    command += ["--replicates", "20", "--output", str(tmp_path / "out")]
    assert run(command) == 0
    page = str(tmp_path / "out" / "report.html")
    assert f"Report: {page}" in capsys.readouterr().err
    assert opened == []
    assert run([*command, "--open", "--json"]) == 0
    assert opened == [page]
    assert json.loads(capsys.readouterr().out)["kind"] == "skinclf-metrics"
