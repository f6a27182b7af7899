"""Recipes on the Hub: published by the names of their members, downloaded with them, refused when one has changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.bundles import make_bundle
from support.hub_publishing import TRAINING, evaluated_model

from skinclf.conversion.combine import combine
from skinclf.errors import HubError, InvalidArgumentError, MismatchError, ModelError
from skinclf.images.preprocess import scaling
from skinclf.inference.predictor import Predictor
from skinclf.labels import HAM10000
from skinclf.models.hub.fetch import download_to
from skinclf.models.load import load_model
from skinclf_training.publishing.publish import push

REPO = "user/best"
FAST = {"runtime": "torch", "device": "cpu", "workers": 0}

pytestmark = pytest.mark.usefixtures("signed_in")


def files_of(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def members(server, tmp_path) -> list[str]:
    """Two repositories at a commit, as `--model` takes them; their folders are gone."""
    named = []
    for number, name in enumerate(("a", "b")):
        folder = tmp_path / name
        make_bundle(
            folder,
            HAM10000,
            scaling("torch", height=48, width=48),
            seed=number,
            training=TRAINING,
            license="CC-BY-NC-4.0",
        )
        named.append(f"user/{name}@{server.add_repo(f'user/{name}', files_of(folder))}")
        shutil.rmtree(folder)
    return named


@pytest.fixture
def recipe(members, tmp_path) -> Path:
    """A recipe of both with its evaluation beside it."""
    folder = tmp_path / "best"
    spec = combine(members, folder, tta="flips", name="best")
    made = evaluated_model(tmp_path, spec) / "metrics.json"
    shutil.copyfile(made, folder / "metrics.json")
    return folder


def test_a_recipe_travels_by_the_commits_of_its_members(server, recipe, members, tmp_path, synthetic_image):
    dry = push(recipe, REPO, dry_run=True)
    assert "model.safetensors" not in dry.files
    assert REPO not in server.repos
    made = push(recipe, REPO)
    assert {"config.json", "README.md", "metrics.json", "roc.png"} <= made.files.keys()
    for member in members:
        name, _, commit = member.partition("@")
        assert f"`{name}` at commit `{commit}`" in made.card
    shutil.rmtree(recipe)
    loaded = load_model(f"{REPO}@{made.revision}")
    assert [member.spec.revision for member in loaded.members] == [m.partition("@")[2] for m in members]
    # A folder for a machine without network has its members with it.
    folder = tmp_path / "downloaded"
    result = download_to(REPO, folder)
    assert {"members/1-a/model.safetensors", "members/2-b/model.safetensors"} <= result.files.keys()
    asked = len(server.log)
    found = Predictor(folder, **FAST)
    assert len(server.log) == asked
    assert found.spec.weights_sha256 == loaded.spec.weights_sha256
    assert found.predict(synthetic_image).values == Predictor(loaded, **FAST).predict(synthetic_image).values
    again = download_to(REPO, folder)
    assert again.sha256 == result.sha256
    with pytest.raises(InvalidArgumentError, match="members/1-a is a path on this machine"):
        push(folder, "user/other", metrics=folder / "metrics.json", dry_run=True)


def test_another_commit_of_a_member_is_refused(server, recipe, tmp_path):
    """The commit in the recipe leads to other weights than those that were measured."""
    config = json.loads((recipe / "config.json").read_text())
    make_bundle(tmp_path / "new", HAM10000, scaling("torch", height=48, width=48), seed=9)
    moved = server.add_repo("user/a", files_of(tmp_path / "new"))
    config["skinclf"]["recipe"]["members"][0]["revision"] = moved
    changed = server.add_repo(REPO, {"config.json": json.dumps(config).encode()})
    with pytest.raises(MismatchError, match=r"member user/a has changed since .*other weights"):
        load_model(f"{REPO}@{changed}")
    with pytest.raises(MismatchError, match=r"member user/a has changed since .*other weights"):
        download_to(f"{REPO}@{changed}", tmp_path / "downloaded")


def test_paths_out_of_a_repository_are_not_followed(server, tmp_path):
    make_bundle(tmp_path / "own", HAM10000, scaling("torch", height=48, width=48))
    combine([tmp_path / "own"], tmp_path / "best", tta="flips", name="best")
    sha = server.add_repo(REPO, files_of(tmp_path / "best"))
    with pytest.raises(ModelError, match=r"received the path \.\./own, outside its folder"):
        load_model(f"{REPO}@{sha}")


def test_a_configuration_alone_is_a_recipe_or_nothing(server, tmp_path):
    server.add_repo(REPO, {"config.json": b'{"architecture": "tiny"}', "notes.txt": b""})
    with pytest.raises(HubError, match=r"no model file that skinclf knows; it has config\.json, notes\.txt"):
        load_model(REPO)


def test_a_member_that_is_not_there_is_one_sentence(server, recipe):
    config = json.loads((recipe / "config.json").read_text())
    config["skinclf"]["recipe"]["members"][1]["model"] = "user/nowhere"
    sha = server.add_repo(REPO, {"config.json": json.dumps(config).encode()})
    with pytest.raises(ModelError, match="best: its member user/nowhere cannot be loaded"):
        load_model(f"{REPO}@{sha}")
