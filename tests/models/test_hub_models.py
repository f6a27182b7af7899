"""Whole models from the Hub, and folders for machines without network."""

from __future__ import annotations

import hashlib
import json

import pytest

from skinclf.errors import HubError, ModelError, OutputError
from skinclf.models.hub import fetch as hub
from skinclf.models.options import HubOptions
from skinclf.models.registry import get_model

REPO = "user/lesions"
KERAS = "devatreya/skin-lesion-resnet50"
WEIGHTS = bytes(range(256)) * 400
FILES = {
    "config.json": b'{"architecture": "tiny"}',
    "model.safetensors": WEIGHTS,
    "README.md": b"# card\n",
    "golden/lesion.png": b"\x89PNG not really",
    ".gitattributes": b"*.safetensors filter=lfs\n",
}


def test_resolve_takes_the_model_files_of_any_repository(server, cache):
    sha = server.add_repo(REPO, FILES)
    result = hub.resolve(f"hf-hub:{REPO}@{sha}")
    assert list(result.files) == ["config.json", "README.md", "golden/lesion.png", "model.safetensors"]
    assert result.revision == sha


def test_resolve_of_a_repository_with_one_keras_file(server, cache):
    server.add_repo(REPO, {"net.h5": b"keras", "notes.txt": b""})
    assert list(hub.resolve(REPO).files) == ["net.h5"]


def test_resolve_asks_which_of_several_files(server, cache):
    server.add_repo(REPO, {"a.h5": b"a", "sub/b.onnx": b"b"})
    with pytest.raises(HubError, match=r"name one: user/lesions/a\.h5, user/lesions/sub/b\.onnx"):
        hub.resolve(REPO)
    assert list(hub.resolve(f"{REPO}/sub/b.onnx").files) == ["sub/b.onnx"]


def test_resolve_of_a_repository_without_a_model(server, cache):
    server.add_repo(REPO, {"README.md": b""})
    with pytest.raises(HubError, match="no model file that skinclf knows"):
        hub.resolve(REPO)


@pytest.mark.parametrize(
    "name", ["skin-lesion-resnet50", KERAS, f"hf-hub:{KERAS}@main", f"{KERAS}/resnet50_best.h5"]
)
def test_the_registry_knows_its_models_by_every_spelling(server, cache, tmp_path, name):
    server.add_repo(KERAS, {"resnet50_best.h5": WEIGHTS, "other.h5": b"-"})
    assert list(hub.resolve(name).files) == ["resnet50_best.h5"]
    hub.download_to(name, tmp_path)
    found = hub.read_source(tmp_path)
    assert found is not None
    assert found.name == "skin-lesion-resnet50"


def test_another_file_of_a_known_repository_is_not_the_known_model(server, cache, tmp_path):
    server.add_repo(KERAS, {"resnet50_best.h5": WEIGHTS, "other.h5": b"-"})
    hub.download_to(f"{KERAS}/other.h5", tmp_path)
    found = hub.read_source(tmp_path)
    assert found is not None
    assert (found.filename, found.labels) == ("other.h5", None)


def test_a_name_that_nobody_knows():
    with pytest.raises(ModelError, match="Did you mean skin-lesion-resnet50"):
        hub.resolve("skin-lesion-resnet")


def test_a_built_in_model_is_copied_and_has_no_revisions(server, cache, tmp_path, monkeypatch):
    from skinclf.models import registry

    folder = tmp_path / "builtin" / "own-model"
    (folder / "golden").mkdir(parents=True)
    own = {"license": "MIT", "domain": "d", "preprocess": {}, "taxonomy": "t"}
    own["labels"] = [{"code": c, "name": c, "malignant": None} for c in "ab"]
    (folder / "config.json").write_text(json.dumps({"architecture": "tiny", "skinclf": own}))
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "golden" / "x.png").write_bytes(b"x")
    monkeypatch.setattr(registry, "BUILTIN", tmp_path / "builtin")
    result = hub.resolve("own-model")
    assert (result.repo_id, result.revision, result.folder) == ("builtin", None, folder)
    hub.download_to("own-model", tmp_path / "copy")
    assert (tmp_path / "copy" / "golden" / "x.png").read_bytes() == b"x"
    assert (tmp_path / "copy" / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.read_source(tmp_path / "copy") is None
    with pytest.raises(HubError, match="has no revisions"):
        hub.resolve("own-model", hub=HubOptions(revision="main"))
    assert server.log == []


def test_a_registered_keras_model_becomes_a_folder_that_says_everything(server, cache, tmp_path):
    sha = server.add_repo(KERAS, {"resnet50_best.h5": WEIGHTS, "README.md": b"card", "other.h5": b"-"})
    folder = tmp_path / "offline" / "model"
    model = get_model("skin-lesion-resnet50")
    hub.download_to(model, folder)
    server.stop()
    assert (folder / "resnet50_best.h5").read_bytes() == WEIGHTS
    assert not (folder / "other.h5").exists()
    found = hub.read_source(folder)
    assert found is not None
    assert (found.name, found.repo_id, found.revision) == (model.name, KERAS, sha)
    assert (found.adapter, found.filename, found.folder) == ("keras", "resnet50_best.h5", folder)
    assert found.labels == model.labels
    assert [found.preprocess(v) for v in found.variants] == [model.preprocess(v) for v in model.variants]
    assert found.sha256 == hashlib.sha256(WEIGHTS).hexdigest()


def test_a_bundle_of_any_repository_becomes_a_folder(server, cache, tmp_path):
    sha = server.add_repo(REPO, FILES)
    hub.download_to(REPO, tmp_path / "model")
    assert (tmp_path / "model" / "golden" / "lesion.png").is_file()
    found = hub.read_source(tmp_path / "model")
    assert found is not None
    assert (found.adapter, found.repo_id, found.revision, found.labels) == ("auto", REPO, sha, None)
    with pytest.raises(ModelError, match="`preprocess`"):
        found.preprocess()


def test_download_to_completes_and_mends_a_folder(server, cache, tmp_path, no_waiting):
    server.add_repo(REPO, FILES)
    folder = tmp_path / "model"
    server.fail("GET /lfs/", times=None, status=404)
    with pytest.raises(HubError):
        hub.download_to(REPO, folder)
    assert hub.read_source(folder) is None
    server.faults.clear()
    hub.download_to(REPO, folder)
    (folder / "model.safetensors").write_bytes(WEIGHTS[:100])
    asked = len(server.log)
    hub.download_to(REPO, folder)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert [r for r in server.log[asked:] if "config.json" in r.path] == []


def test_download_to_without_network_copies_from_the_cache(server, cache, tmp_path):
    sha = server.add_repo(REPO, FILES)
    hub.resolve(REPO)
    server.stop()
    result = hub.download_to(REPO, tmp_path / "model", hub=HubOptions(offline=True))
    assert result.revision == sha
    assert not (tmp_path / "model" / "model.safetensors").is_symlink()
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == WEIGHTS


def test_download_to_a_place_that_cannot_be_written(server, cache, tmp_path):
    server.add_repo(REPO, FILES)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        hub.download_to(REPO, tmp_path / "file" / "model")


def test_a_revision_of_ones_own(server, cache, tmp_path):
    first = server.add_repo(KERAS, {"resnet50_best.h5": b"first"})
    server.commit(KERAS, {"resnet50_best.h5": b"second"})
    hub.download_to(get_model(KERAS), tmp_path / "model", hub=HubOptions(revision=first))
    assert (tmp_path / "model" / "resnet50_best.h5").read_bytes() == b"first"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema": 2}, "schema 1"),
        ({"filename": "../../etc/passwd"}, "does not stay"),
        ({"filename": "/etc/passwd"}, "does not stay"),
        ({"adapter": "pickle"}, "adapter is one of"),
        ({"labels": [{"code": "mel"}]}, "label"),
        ({"name": None, "preprocess": 3}, "malformed"),
    ],
)
def test_a_damaged_note_is_refused(tmp_path, change, sentence):
    note = {"schema": 1, **get_model("skin-lesion-resnet50").to_dict(), **change}
    (tmp_path / hub.SOURCE).write_text(json.dumps(note))
    with pytest.raises(ModelError, match=sentence):
        hub.read_source(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000])
def test_a_note_that_is_no_note(tmp_path, text):
    (tmp_path / hub.SOURCE).write_text(text)
    with pytest.raises(ModelError):
        hub.read_source(tmp_path)


def test_a_downloaded_bundle_loads_without_network_and_knows_its_commit(server, cache, tmp_path, tiny_bundle):
    from skinclf.models.load import load_model

    names = [path for path in tiny_bundle.rglob("*") if path.is_file()]
    sha = server.add_repo(REPO, {p.relative_to(tiny_bundle).as_posix(): p.read_bytes() for p in names})
    hub.download_to(REPO, tmp_path / "model")
    server.stop()
    loaded = load_model(tmp_path / "model")
    assert (loaded.spec.source, loaded.spec.revision) == (REPO, sha)
    assert loaded.spec.fingerprint == load_model(tiny_bundle).spec.fingerprint
