"""Publishing to the Hub: one commit that replays, or nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from support.hub_server import HubServer, hub_environment

from skinclf.conversion.verify import verify_model
from skinclf.errors import HubError, InvalidArgumentError, MismatchError, ModelError
from skinclf.models.bundle import read_spec
from skinclf.models.options import HubOptions
from skinclf_training.publishing import card as cards
from skinclf_training.publishing.publish import find_parts, push
from skinclf_training.publishing.upload import Target, upload

REPO = "user/lesions"
FILES = {
    "README.md",
    "config.json",
    "model.safetensors",
    "golden/sample.png",
    "metrics.json",
    "roc.png",
    "reliability.png",
    "confusion.png",
}


pytestmark = pytest.mark.usefixtures("signed_in")


@pytest.fixture(scope="module")
def drawn() -> dict[str, dict[str, bytes]]:
    return {}


@pytest.fixture(autouse=True)
def _drawn_once(drawn: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each evaluation's figures are drawn once for this module; `test_cards.py` looks at them."""
    draw = cards._draw

    def remembered(evaluation: dict) -> dict[str, bytes]:
        key = json.dumps(evaluation)
        if key not in drawn:
            drawn[key] = draw(evaluation)
        return drawn[key]

    monkeypatch.setattr(cards, "_draw", remembered)


@pytest.fixture
def source(evaluated: Path, tmp_path: Path) -> Path:
    """A bundle with its evaluation beside it; the test's own."""
    folder = Path(shutil.copytree(evaluated / "bundle", tmp_path / "bundle"))
    shutil.copyfile(evaluated / "metrics.json", folder / "metrics.json")
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Any folder, for tests of the upload alone."""
    folder = tmp_path / "small"
    (folder / "golden").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# card\n")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 100)
    (folder / "golden" / "sample.png").write_bytes(b"png")
    return folder


def test_a_bundle_goes_up_in_one_commit_and_replays(server, source):
    made = push(source, REPO, private=True)
    repo = server.repos[REPO]
    assert repo.private
    commit = repo.commits[made.revision]
    assert repo.refs["main"] == made.revision
    assert repo.commits[commit.parent].title == "initial commit"
    assert set(commit.files) - {".gitattributes"} == FILES == set(made.files)
    assert made.url == f"{server.url}/{REPO}/commit/{made.revision}"
    assert server.files(REPO)["README.md"].decode() == made.card
    assert f"hf-hub:{REPO}" in made.card
    # What was replayed came from the Hub, at the new commit.
    assert server.seen(f"GET /{REPO}/resolve/{made.revision}/config.json") or server.seen(
        f"HEAD /{REPO}/resolve/{made.revision}/config.json"
    )
    assert verify_model(REPO, hub=HubOptions(revision=made.revision)).ok


def test_a_plain_reader_of_the_cards_yaml(server, source):
    push(source, REPO)
    data = yaml.safe_load(server.files(REPO)["README.md"].decode().split("---\n")[1])
    assert data["license"] == "cc-by-nc-4.0"
    results = data["model-index"][0]["results"][0]["metrics"]
    metrics = json.loads((source / "metrics.json").read_text())
    assert results[0] == {
        "type": "accuracy",
        "name": "Accuracy",
        "value": metrics["multiclass"]["accuracy"]["value"],
    }


def test_pushing_again_changes_nothing_until_something_changed(server, source):
    first = push(source, REPO)
    assert push(source, REPO).revision == first.revision
    shutil.copyfile(source / "metrics.json", source / "other.json")
    content = json.loads((source / "other.json").read_text())
    content["data"]["note"] = "Evaluated anew."
    (source / "other.json").write_text(json.dumps(content))
    second = push(source, REPO, metrics=source / "other.json", message="new figures")
    assert second.revision != first.revision
    assert "Evaluated anew." in server.files(REPO)["README.md"].decode()
    assert server.repos[REPO].commits[second.revision].title == "new figures"


def test_what_is_stale_goes_and_what_is_foreign_stays(server, source):
    old = {
        "pytorch_model.bin": b"pickle",
        "golden/old.png": b"old",
        "notes.txt": b"mine",
        "README.md": b"# old\n",
    }
    server.add_repo(REPO, old)
    push(source, REPO)
    files = server.files(REPO)
    assert "pytorch_model.bin" not in files
    assert "golden/old.png" not in files
    assert files["notes.txt"] == b"mine"


def test_fields_of_a_base_model_are_overwritten(server, source):
    config = json.loads((source / "config.json").read_text())
    config["pretrained_cfg"] |= {
        "tag": "in1k",
        "license": "apache-2.0",
        "origin_url": "https://example.org",
        "test_input_size": [3, 288, 288],
        "test_crop_pct": 1.0,
        "hf_hub_id": "timm/base",
        "url": "https://example.org/base.pth",
    }
    config["base_model"] = "timm/base"
    (source / "config.json").write_text(json.dumps(config))
    push(source, REPO)
    found = json.loads(server.files(REPO)["config.json"])
    base = found["pretrained_cfg"]
    assert (base["tag"], base["license"]) == ("skinclf", "CC-BY-NC-4.0")
    assert [base[key] for key in ("origin_url", "test_input_size", "test_crop_pct")] == [None, None, None]
    assert "hf_hub_id" not in base
    assert "url" not in base
    assert "base_model" not in found
    assert "/home/somebody" not in json.dumps(found)


def test_only_what_belongs_there_is_sent(server, source):
    (source / "pytorch_model.bin").write_bytes(b"pickle")
    (source / "secret.txt").write_text("token")
    made = push(source, REPO)
    assert made.left_out == ("pytorch_model.bin", "secret.txt")
    assert set(server.files(REPO)) - {".gitattributes"} == FILES


def test_a_dry_run_asks_nothing_of_the_hub(server, source):
    made = push(source, REPO, dry_run=True)
    assert server.log == []
    assert (made.revision, made.url) == (None, None)
    assert made.files["model.safetensors"] == (source / "model.safetensors").stat().st_size
    assert "# bundle" in made.card


def test_a_pull_request(server, source):
    server.add_token("hf_guest", user="guest")
    before = server.add_repo(REPO, {"notes.txt": b""})
    made = push(source, REPO, create_pr=True, token="hf_guest")
    assert made.url == f"{server.url}/{REPO}/discussions/1"
    assert server.repos[REPO].refs == {"main": before, "refs/pr/1": made.revision}


def test_a_branch(server, source):
    before = server.add_repo(REPO, {"notes.txt": b""})
    made = push(source, REPO, revision="trial")
    assert server.repos[REPO].refs == {"main": before, "trial": made.revision}
    assert push(source, REPO, revision="trial").revision == made.revision


def test_private_is_not_for_a_public_repository(server, source):
    server.add_repo(REPO, {})
    with pytest.raises(InvalidArgumentError, match="exists and is public"):
        push(source, REPO, private=True)
    assert server.files(REPO) == {}


# --- refused before anything is sent ------------------------------------------------------------


@pytest.mark.parametrize("name", ["lesions", "a/b/c", "user/..", "user/les ions"])
def test_a_name_that_is_none(name):
    with pytest.raises(InvalidArgumentError, match="is no repository id"):
        Target(name)


def test_a_pull_request_to_a_branch():
    with pytest.raises(InvalidArgumentError, match="leave out"):
        Target(REPO, revision="trial", create_pr=True)


def test_no_bundle(server, tmp_path):
    with pytest.raises(InvalidArgumentError, match="neither a bundle"):
        push(tmp_path, REPO)
    assert server.log == []


def test_no_evaluation(server, source):
    (source / "metrics.json").unlink()
    with pytest.raises(InvalidArgumentError, match="published with its evaluation"):
        push(source, REPO)
    assert server.log == []


def test_a_bundle_that_does_not_replay(server, source):
    config = json.loads((source / "config.json").read_text())
    golden = config["skinclf"]["golden"][0]["probabilities"]
    golden[0], golden[1] = golden[1], golden[0]
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="does not replay its golden sample"):
        push(source, REPO)
    assert server.log == []


def test_damaged_weights(server, source):
    data = bytearray((source / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (source / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256"):
        push(source, REPO)
    assert server.log == []


def test_the_evaluation_of_another_model(server, source, tiny_bundle):
    with pytest.raises(MismatchError, match="measured bundle, not tiny: other calibration"):
        push(tiny_bundle, REPO, metrics=source / "metrics.json")
    assert server.log == []


def test_the_parts_of_a_run(evaluated, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(evaluated / "bundle", run / "bundle")
    (run / "evaluation").mkdir()
    shutil.copyfile(evaluated / "metrics.json", run / "evaluation" / "metrics.json")
    expected = (run / "bundle", run / "evaluation" / "metrics.json")
    assert find_parts(run) == find_parts(run / "bundle") == expected
    assert find_parts(run, evaluated / "metrics.json")[1] == evaluated / "metrics.json"


def test_predictions_of_another_export_are_not_evaluated(evaluated, tmp_path):
    pytest.importorskip("lightning", reason="runs are made with the extra `train`")
    run = tmp_path / "run"
    shutil.copytree(evaluated / "bundle", run / "bundle")
    (run / "bundle" / "predictions_val.csv").write_text("image,p_mel\n")
    (run / "predictions_val.csv").write_text("image,p_mel\na,0.5\n")
    (run / "predictions_test.csv").write_text("image,p_mel\na,0.5\n")
    with pytest.raises(InvalidArgumentError, match="were not made by"):
        find_parts(run)


# --- refused or broken off by the Hub: the repository is as it was ------------------------------


@pytest.mark.parametrize(("token", "status"), [("hf_read", "403"), ("hf_unknown", "401")])
def test_a_token_that_may_not(server, small, token, status):
    with pytest.raises(HubError, match=rf"\({status}\).*hf auth login.*Nothing was published"):
        upload(small, Target(REPO), message="m", token=token)
    assert REPO not in server.repos
    before = server.add_repo(REPO, {"notes.txt": b""})
    with pytest.raises(HubError, match=rf"\({status}\).*Nothing was published"):
        upload(small, Target(REPO), message="m", token=token)
    assert server.repos[REPO].refs == {"main": before}


def test_no_token_at_all(server, small, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match=r"\(401\).*HF_TOKEN.*Nothing was published"):
        upload(small, Target(REPO), message="m")
    assert REPO not in server.repos


def test_the_namespace_of_somebody_else(server, small):
    with pytest.raises(HubError, match=r"may not write to other/model \(403\)"):
        upload(small, Target("other/model"), message="m")


def test_somebody_commits_meanwhile(server, small, monkeypatch):
    from huggingface_hub import HfApi

    server.add_repo(REPO, {"notes.txt": b"1"})
    original = HfApi.upload_folder

    def late(self, **options):
        server.commit(REPO, {"notes.txt": b"2"})
        return original(self, **options)

    monkeypatch.setattr(HfApi, "upload_folder", late)
    with pytest.raises(HubError, match=r"was changed meanwhile \(412.*push again.*is at commit"):
        upload(small, Target(REPO), message="m")
    assert server.files(REPO) == {"notes.txt": b"2"}


@pytest.mark.parametrize("status", [409, 412])
def test_a_conflict(server, small, status):
    before = server.add_repo(REPO, {"notes.txt": b""})
    server.fail(f"POST /api/models/{REPO}/commit/", status=status, times=None)
    with pytest.raises(HubError, match=rf"changed meanwhile \({status}.*Nothing was published"):
        upload(small, Target(REPO), message="m")
    assert server.repos[REPO].refs == {"main": before}


@pytest.mark.parametrize("fault", ["PUT /upload/", "POST /lfs-verify", f"POST /api/models/{REPO}/commit/"])
def test_a_cut_upload_leaves_nothing(server, small, fault):
    server.fail(fault, times=None, cut_at=10)
    with pytest.raises(HubError, match=r"broke off.*push again.*Nothing was published"):
        upload(small, Target(REPO), message="m")
    assert REPO not in server.repos
    server.faults.clear()
    upload(small, Target(REPO), message="m")
    assert server.files(REPO)["model.safetensors"] == (small / "model.safetensors").read_bytes()


def test_a_cut_upload_leaves_no_branch(server, small):
    before = server.add_repo(REPO, {"notes.txt": b""})
    server.fail("PUT /upload/", times=None, cut_at=10)
    with pytest.raises(HubError, match="Nothing was published"):
        upload(small, Target(REPO, revision="trial"), message="m")
    assert server.repos[REPO].refs == {"main": before}


def test_an_interrupt_leaves_nothing(server, small, monkeypatch):
    from huggingface_hub import HfApi

    def interrupted(self, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(HfApi, "upload_folder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        upload(small, Target(REPO), message="m")
    assert REPO not in server.repos


def test_what_cannot_be_taken_back_is_named(server, small):
    server.fail("PUT /upload/", times=None, cut_at=10)
    server.fail("DELETE /api/repos/delete", times=None, status=403)
    with pytest.raises(HubError, match=f"The new repository {REPO} stays, without a model"):
        upload(small, Target(REPO), message="m")


def test_no_network(server, small):
    server.stop()
    with pytest.raises(HubError, match=r"broke off.*push again.*Nothing was published"):
        upload(small, Target(REPO), message="m")


def test_a_failing_hub(server, small):
    before = server.add_repo(REPO, {"notes.txt": b""})
    server.fail(f"POST /api/models/{REPO}/commit/", status=500, times=None)
    with pytest.raises(HubError, match="broke off"):
        upload(small, Target(REPO), message="m")
    assert server.repos[REPO].refs == {"main": before}


def test_a_hub_that_gives_back_something_else(server, source):
    server.fail("GET /lfs/", times=None, content=b"not what was sent")
    with pytest.raises(HubError, match=r"published as commit [0-9a-f]{40}, but not yet checked"):
        push(source, REPO)


# --- others who read it -------------------------------------------------------------------------


def foreign(server: HubServer, home: Path, code: str, *arguments: str) -> np.ndarray:
    """Run code in a process of its own, with an empty cache; it prints a list of numbers."""
    environment = {**os.environ, **hub_environment(server, home), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return np.asarray(json.loads(done.stdout.splitlines()[-1]))


TIMM = """
import json, sys, numpy, timm, torch
model = timm.create_model(sys.argv[1], pretrained=True).eval()
assert model.pretrained_cfg["label_names"] == "akiec bcc bkl df mel nv vasc".split()
with torch.inference_mode():
    print(json.dumps(model(torch.from_numpy(numpy.load(sys.argv[2]))).softmax(1)[0].tolist()))
"""
TRANSFORMERS = """
import json, sys, numpy, torch
from transformers import AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained(sys.argv[1], revision=sys.argv[3], dtype=torch.float32).eval()
assert list(model.config.id2label.values()) == "akiec bcc bkl df mel nv vasc".split()
with torch.inference_mode():
    print(json.dumps(model(torch.from_numpy(numpy.load(sys.argv[2]))).logits.softmax(1)[0].tolist()))
"""


@pytest.fixture
def golden_input(source: Path, tmp_path: Path) -> Path:
    from skinclf.images.decode import load_image

    spec = read_spec(source)
    pixels = spec.preprocess.pixels(load_image(source / spec.golden[0].file))[None]
    np.save(tmp_path / "input.npy", spec.preprocess.normalize(pixels))
    return tmp_path / "input.npy"


@pytest.mark.slow
def test_timm_loads_what_was_pushed(server, source, golden_input, tmp_path):
    made = push(source, REPO)
    name = f"hf-hub:{REPO}@{made.revision}"
    found = foreign(server, tmp_path / "empty", TIMM, name, str(golden_input))
    np.testing.assert_allclose(found, read_spec(source).golden[0].probabilities, atol=1e-5)


@pytest.mark.slow
def test_transformers_loads_what_was_pushed(server, source, golden_input, tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed")
    made = push(source, REPO)
    found = foreign(server, tmp_path / "empty", TRANSFORMERS, REPO, str(golden_input), made.revision)
    np.testing.assert_allclose(found, read_spec(source).golden[0].probabilities, atol=1e-5)
