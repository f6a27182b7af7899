"""From a folder of pictures and a table to a published model that strangers can use."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from support.hub_server import HubServer, hub_environment, use_hub

from skinclf.images.synthetic import synthetic_lesion
from skinclf.labels import HAM10000
from skinclf_cli.main import run

pytest.importorskip("lightning", reason="training needs the extra `train`")

REPO = "user/lesions"
CONFIG = {
    "name": "tiny-lesions",
    "seed": 7,
    "threads": 1,
    "model": {"architecture": "test_efficientnet"},
    "preprocess": {"height": 32, "width": 32},
    "data": {"store_height": 36, "store_width": 48, "batch_size": 32, "workers": 1},
    "augment": {"size": 32},
    "optim": {"epochs": 1, "accelerator": "cpu", "precision": "32-true"},
}
READ = """
import json, sys, timm
model = timm.create_model(sys.argv[1], pretrained=True)
assert model.num_classes == 7
print(json.dumps(model.pretrained_cfg["label_names"]))
"""


@pytest.fixture(scope="module")
def ham_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 synthetic pictures of 125 lesions, with a table like HAM10000's. The values mean nothing."""
    folder = tmp_path_factory.mktemp("ham")
    (folder / "images").mkdir()
    random = np.random.default_rng(3)
    drawn = [synthetic_lesion(seed, width=48, height=36) for seed in range(20)]
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for i in range(200):
        lesion = i // 2 if i < 150 else i - 75
        noise = random.integers(0, 12, drawn[0].shape, np.uint8)
        Image.fromarray(np.minimum(drawn[i % 20], 243) + noise).save(folder / "images" / f"img{i:03}.jpg")
        sex, place = ("male", "female")[lesion % 2], ("back", "trunk", "face")[lesion % 3]
        proof = ("histo", "follow_up")[i % 2]
        lines.append(
            f"L{lesion:03},img{i:03},{HAM10000.codes[lesion % 7]},{proof},{20 + lesion % 60},{sex},{place}"
        )
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def skinclf(environment: dict[str, str], *arguments: str) -> str:
    """Run the command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "skinclf", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_from_pictures_to_a_published_model(ham_like, tmp_path, monkeypatch, capsys):
    prepared, folder = tmp_path / "prepared", tmp_path / "run"
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(CONFIG))
    with HubServer() as server:
        server.add_token("hf_write")
        use_hub(monkeypatch, server, tmp_path / "home", token="hf_write")
        metadata = ["--metadata", str(ham_like / "metadata.csv"), "--image-dir", str(ham_like / "images")]
        assert run(["data", "prepare", *metadata, "--output", str(prepared), "--workers", "1"]) == 0
        options = ["--config", str(tmp_path / "tiny.yaml"), "--data", str(prepared), "--output", str(folder)]
        assert run(["train", *options, "--max-steps", "6", "--test-part", "--push-to", REPO]) == 0
        sha = server.repos[REPO].refs["main"]
        assert capsys.readouterr().out.strip().endswith(f"{server.url}/{REPO}/commit/{sha}")

        # The card is what the run measured.
        metrics = json.loads((folder / "evaluation" / "metrics.json").read_text())
        assert metrics["data"]["split"] == "test"
        assert metrics["leakage"]["compared_with"]
        assert metrics["leakage"]["found"] == []
        card = yaml.safe_load(server.files(REPO)["README.md"].decode().split("---\n")[1])
        values = {e["name"]: e["value"] for e in card["model-index"][0]["results"][0]["metrics"]}
        assert values["Accuracy"] == metrics["multiclass"]["accuracy"]["value"]
        assert card["library_name"] == "timm"

        # Strangers, each with an empty cache and without the run.
        test_rows = list(csv.DictReader((folder / "predictions_test.csv").open()))
        shutil.move(folder, tmp_path / "gone")
        stranger = {**os.environ, **hub_environment(server, tmp_path / "stranger"), "OMP_NUM_THREADS": "1"}
        stranger.pop("HF_TOKEN", None)
        paths = [str(ham_like / "images" / f"{row['image']}.jpg") for row in test_rows[:5]]
        table = tmp_path / "predictions.csv"
        skinclf(stranger, "predict", *paths, "--model", REPO, "--revision", sha, "--output", str(table))
        found = list(csv.DictReader(table.open()))
        assert [row["status"] for row in found] == ["ok"] * 5
        for mine, theirs in zip(test_rows[:5], found, strict=True):
            codes = [f"p_{code}" for code in HAM10000.codes]
            np.testing.assert_allclose(
                [float(theirs[c]) for c in codes], [float(mine[c]) for c in codes], atol=1e-5
            )
        empty = {**stranger, **hub_environment(server, tmp_path / "second")}
        verified = json.loads(skinclf(empty, "models", "verify", f"{REPO}@{sha}", "--json"))
        assert verified["ok"] is True
        empty = {**stranger, **hub_environment(server, tmp_path / "third")}
        done = subprocess.run(
            [sys.executable, "-c", READ, f"hf-hub:{REPO}@{sha}"],
            env=empty,
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout.splitlines()[-1]) == list(HAM10000.codes)
