"""`ModelReference`: what a model text means."""

from __future__ import annotations

from pathlib import Path

import pytest

from skinclf.errors import HubError, ModelError
from skinclf.models import registry
from skinclf.models.reference import ModelReference
from skinclf.models.registry import get_model

KERAS = "devatreya/skin-lesion-resnet50"


@pytest.mark.parametrize("text", [None, "default", registry.DEFAULT])
def test_the_built_in_model(text):
    found = ModelReference.parse(text)
    assert (found.kind, found.name, found.repo_id) == ("builtin", registry.DEFAULT, None)
    assert found.path == registry.BUILTIN / registry.DEFAULT
    assert found.entry == get_model("default")


@pytest.mark.parametrize(
    ("text", "revision"),
    [
        ("skin-lesion-resnet50", None),
        (KERAS, None),
        (f"hf-hub:{KERAS}@v1", "v1"),
        (f"{KERAS}/resnet50_best.h5", None),
    ],
)
def test_a_registered_model_by_every_spelling(text, revision):
    found = ModelReference.parse(text)
    assert found == ModelReference.of(get_model(KERAS), revision)
    assert (found.kind, found.repo_id, found.file) == ("registered", KERAS, "resnet50_best.h5")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("user/repo", ("user/repo", None, None)),
        ("hf-hub:user/repo@v1", ("user/repo", None, "v1")),
        ("hf://user/repo/dir/x.h5@refs/pr/1", ("user/repo", "dir/x.h5", "refs/pr/1")),
        (f"{KERAS}/other.h5", (KERAS, "other.h5", None)),
    ],
)
@pytest.mark.parametrize("local", [True, False])
def test_a_repository(text, parts, local):
    found = ModelReference.parse(text, local=local)
    assert found.kind == "hub"
    assert (found.repo_id, found.file, found.revision) == parts
    assert (found.path, found.entry) == (None, None)


def test_what_exists_here_comes_before_the_hub_unless_a_prefix_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("user/repo", KERAS, "skin-lesion-resnet50"):
        (tmp_path / name).mkdir(parents=True)
    assert ModelReference.parse("user/repo") == ModelReference(
        kind="path", name="user/repo", path=Path("user/repo")
    )
    assert ModelReference.parse(KERAS).kind == "path"
    assert ModelReference.parse("skin-lesion-resnet50").kind == "registered"
    assert ModelReference.parse(Path("skin-lesion-resnet50")).kind == "path"
    assert ModelReference.parse("hf-hub:user/repo").kind == "hub"
    assert ModelReference.parse("user/repo", local=False).kind == "hub"


@pytest.mark.parametrize("text", ["", "user", "/repo", "user/", "hf-hub:"])
def test_what_names_no_repository(text):
    with pytest.raises(ModelError, match=r"names no repository|No model is known by the name"):
        ModelReference.parse(text, local=False)
    with pytest.raises(HubError, match="names no repository"):
        ModelReference.parse("hf-hub:user/")


def test_built_in_configurations_are_read_once(monkeypatch):
    registry.list_models()
    read = []
    original = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, *a, **k: read.append(self) or original(self, *a, **k))
    assert registry.find_model("default") is registry.find_model(registry.DEFAULT)
    assert read == []


@pytest.mark.parametrize(
    ("address", "same_as"),
    [
        ("https://huggingface.co/ann/net", "hf-hub:ann/net"),
        ("https://huggingface.co/ann/net/", "hf-hub:ann/net"),
        ("huggingface.co/ann/net", "hf-hub:ann/net"),
        ("https://hf.co/ann/net?library=timm#files", "hf-hub:ann/net"),
        ("https://huggingface.co/ann/net/tree/main", "hf-hub:ann/net"),
        ("https://huggingface.co/ann/net/tree/v2", "hf-hub:ann/net@v2"),
        ("https://huggingface.co/ann/net/commit/0123abc", "hf-hub:ann/net@0123abc"),
        ("https://huggingface.co/ann/net/blob/main/onnx/model.onnx", "hf-hub:ann/net/onnx/model.onnx"),
        (
            "https://huggingface.co/ann/net/resolve/v2/my%20net.pth?download=true",
            "hf-hub:ann/net/my net.pth@v2",
        ),
    ],
)
def test_an_address_pasted_from_a_browser(address, same_as):
    assert ModelReference.parse(address) == ModelReference.parse(same_as)


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/ann/net.onnx",
        "https://huggingface.co/ann",
        "https://huggingface.co/datasets/ann/pictures",
        "https://huggingface.co/ann/net/discussions/3",
        "https://huggingface.co/ann/net/blob",
    ],
)
def test_an_address_of_no_model_is_refused(address):
    with pytest.raises((HubError, ModelError), match=r"address|expected the page"):
        ModelReference.parse(address)
