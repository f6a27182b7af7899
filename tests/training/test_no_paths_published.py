"""What is published or shown to others holds no folder of the machine: commands run in a folder with a canary name."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.hub_publishing import evaluated_bundle

from skinclf.decisions.held_out import PREDICTIONS as PREDICTIONS_NAME
from skinclf.errors import InvalidArgumentError
from skinclf.models.bundle import CONFIG, read_spec, write_spec
from skinclf_cli.main import run
from skinclf_training.experiments.backends import default_data_name
from skinclf_training.publishing.card import make_card
from skinclf_training.publishing.publish import stage
from skinclf_training.recipes.bundle_export import without_places

CANARY = "canary-of-ana"


def leaks(folder: Path) -> list[str]:
    """Files below a folder whose content names the canary."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and CANARY.encode() in path.read_bytes()
    ]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a bundle, and predictions of images by their absolute paths."""
    folder = tmp_path / CANARY / "my work"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    evaluated_bundle(folder)
    table = folder / "predictions.csv"
    with table.open(newline="") as file:
        rows = list(csv.reader(file))
    for row in rows[1:]:
        row[0] = str(folder / "imgs" / row[0])
    with table.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return folder


def test_evaluate_writes_no_path(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = home / "labels.csv"
    (home / "out").mkdir()
    command = [
        "tune-threshold",
        "--target-sensitivity",
        "0.5",
        "--predictions",
        str(home / "predictions.csv"),
    ]
    command += ["--labels", str(labels), "--split", "test", "--output", str(home / "out" / "threshold.json")]
    assert run(command) == 0
    command = ["evaluate", "--predictions", str(home / "predictions.csv"), "--labels", str(labels)]
    command += ["--split", "test", "--threshold", str(home / "out" / "threshold.json"), "--replicates", "20"]
    command += ["--tuned-on", str(home / "predictions.csv"), "--allow-leakage", "--compare"]
    command += [str(home / "predictions.csv"), "--output", str(home / "out" / "evaluation"), "--json"]
    capsys.readouterr()
    assert run(command) == 0
    assert leaks(home / "out") == []
    printed = capsys.readouterr().out
    assert CANARY not in printed
    metrics = json.loads(printed)
    assert metrics["leakage"]["found"]
    assert metrics["errors"]["confident"]
    assert {Path(row["image"]).parent for row in metrics["errors"]["confident"]} == {Path()}


@pytest.mark.parametrize(
    ("stated", "published"),
    [
        (f"/home/{CANARY}/lite0.safetensors", "lite0.safetensors"),
        (f"~/{CANARY}/lite0.safetensors", "lite0.safetensors"),
        (f"../{CANARY}/runs/a", "a"),
        (f"C:\\Users\\{CANARY}\\w.pt", "w.pt"),
        (f"\\\\server\\{CANARY}\\w.pt", "w.pt"),
        (f"/home/{CANARY}/runs/teacher/bundle", "teacher/bundle"),
        ("runs/teacher/bundle", "runs/teacher/bundle"),
        ("data/isic2017", "data/isic2017"),
        ("user/repository", "user/repository"),
        ("tf", "tf"),
    ],
)
def test_a_configuration_is_published_without_places(stated: str, published: str) -> None:
    config = {"model": {"init": stated}, "data": {"also": [stated, 3, None]}}
    assert without_places(config) == {"model": {"init": published}, "data": {"also": [published, 3, None]}}


def test_cards_and_pushes_hold_no_path(home: Path) -> None:
    bundle = home / "bundle"
    spec = read_spec(bundle)
    training = {
        **spec.training,
        "config": {"model": {"init": str(home / "start.h5"), "transplant": "~/canary-of-ana/x.keras"}},
        "teachers": [str(home / "teacher"), f"C:\\Users\\{CANARY}\\teacher"],
        "earlier_stage": {"init": f"../{CANARY}/first/model.safetensors"},
        "converted_from": {"source": str(home / "old.h5"), "revision": None},
    }
    write_spec(bundle, spec.replace(training=training))
    assert CANARY in (bundle / CONFIG).read_text()
    (bundle / PREDICTIONS_NAME).write_text(
        "image,lesion_id,label," + ",".join(f"p_{c}" for c in spec.labels.codes) + "\n"
        f"{home / 'a.jpg'},L1,mel,0,0,0,0,1,0,0\n"
    )
    written = json.loads((home / "metrics.json").read_text())
    written["errors"]["missed"][:0] = [{**written["errors"]["confident"][0], "image": str(home / "a.jpg")}]
    written["leakage"]["found"] = [f"{home}/t.csv shares 3 images (a, b, c) with the data under test."]
    (home / "metrics.json").write_text(json.dumps(written))
    out = home / "out"
    for place, more in (("card", []), ("published", ["--repo", "user/lesions"])):
        command = ["card", str(bundle), "--metrics", str(home / "metrics.json"), "--output", str(out / place)]
        assert run([*command, *more]) == 0
    stage(bundle, home / "metrics.json", out / "push", repo_id="user/lesions")
    assert leaks(out) == []
    assert (out / "push" / PREDICTIONS_NAME).read_text().splitlines()[1].startswith("a.jpg,L1")


@pytest.mark.parametrize(
    ("source", "target", "title"),
    [
        ("isic2019", "isic2019", "ISIC 2019"),
        ("isic2019", "malignant", "ISIC 2019"),
        ("isic2019", "melanoma", "ISIC 2019"),
        ("ham10000", "malignant", "HAM10000"),
        ("clinic", "malignant", "data without a stated name (labels: clinic)"),
    ],
)
def test_the_data_are_named_by_their_own_labels(source: str, target: str, title: str) -> None:
    prepared = SimpleNamespace(
        manifest={"crosswalk": {"from": source, "to": target}}, labels=SimpleNamespace(name=target)
    )
    assert default_data_name(prepared) == title


def test_a_card_takes_source_and_licence_from_the_data_that_were_used(home: Path) -> None:
    bundle = home / "bundle"
    spec = read_spec(bundle)
    write_spec(bundle, spec.replace(name="mine", training={**spec.training, "data": "ISIC 2019"}))
    text = make_card(bundle, home / "metrics.json").text
    assert "trained on ISIC 2019." in text
    assert "https://challenge.isic-archive.com/data/#2019" in text
    assert "DBW86T" not in text
    # Neither on the Hub nor known by name: the first command loads the folder.
    assert "skinclf predict --model bundle --image-dir images/" in text
    assert "beside the folder `bundle`" in text
    write_spec(bundle, spec.replace(training={**spec.training, "data": "data without a stated name"}))
    with pytest.raises(InvalidArgumentError, match="data without a stated name"):
        make_card(bundle, home / "metrics.json")
