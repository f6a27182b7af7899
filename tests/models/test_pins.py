"""The branch of a registered model is pinned to a commit on first use."""

from __future__ import annotations

import json
import logging

import pytest

from skinclf.errors import HubError, ModelError
from skinclf.models.hub import fetch as hub
from skinclf.models.hub.pins import read_pin
from skinclf.models.options import HubOptions
from skinclf_cli.main import run

NAME, REPO = "skin-lesion-resnet50", "devatreya/skin-lesion-resnet50"
OLD, NEW = b"old weights" * 50, b"new weights" * 50


def weights() -> bytes:
    return hub.resolve(NAME).files["resnet50_best.h5"].read_bytes()


@pytest.fixture
def first(server, cache) -> str:
    """Commit of the first use."""
    sha = server.add_repo(REPO, {"resnet50_best.h5": OLD})
    assert weights() == OLD
    return sha


def test_a_changed_branch_is_a_sentence_and_not_other_weights(server, first, caplog):
    pin = read_pin(REPO, "main")
    assert pin is not None
    assert pin.commit == first
    assert weights() == OLD
    assert not caplog.records
    second = server.commit(REPO, {"resnet50_best.h5": NEW})
    with caplog.at_level(logging.WARNING, logger="skinclf"):
        assert weights() == OLD
    assert "has moved to commit " + second[:12] in caplog.text
    assert "skinclf models update" in caplog.text


def test_an_update_takes_the_new_commit_until_the_next(server, first, capsys):
    second = server.commit(REPO, {"resnet50_best.h5": NEW})
    assert run(["models", "update", NAME]) == 0
    said = capsys.readouterr().out
    assert first in said
    assert second in said
    assert weights() == NEW
    assert run(["models", "update", REPO]) == 0
    assert "already at commit" in capsys.readouterr().out


def test_a_named_revision_is_taken_and_pins_nothing(server, first):
    second = server.commit(REPO, {"resnet50_best.h5": NEW})
    for asked in (f"{REPO}@main", NAME):
        options = HubOptions() if "@" in asked else HubOptions(revision="main")
        assert hub.resolve(asked, hub=options).revision == second
    pin = read_pin(REPO, "main")
    assert pin is not None
    assert pin.commit == first


def test_a_pin_needs_no_network_and_a_failed_update_keeps_it(server, first):
    server.stop()
    assert weights() == OLD
    assert hub.resolve(NAME, hub=HubOptions(offline=True)).revision == first
    with pytest.raises(ModelError, match="no branch to follow"):
        hub.update("default")


def test_an_update_that_fails_keeps_the_pin(server, first):
    server.commit(REPO, {"resnet50_best.h5": NEW})
    server.fail("resnet50_best.h5", times=None, status=404)
    with pytest.raises(HubError):
        hub.update(NAME)
    pin = read_pin(REPO, "main")
    assert pin is not None
    assert pin.commit == first


def test_show_says_what_is_pinned(server, cache, capsys):
    sha = server.add_repo(REPO, {"resnet50_best.h5": OLD})
    assert run(["models", "show", NAME]) == 0
    assert "the first use pins the branch" in capsys.readouterr().out
    weights()
    assert run(["models", "show", NAME]) == 0
    assert f"commit {sha} since 20" in capsys.readouterr().out
    assert run(["models", "show", NAME, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pinned"] == sha


def test_a_damaged_pin_is_an_error_and_never_another_commit(first, cache):
    (file,) = (cache.parent / "skinclf" / "pins").iterdir()
    for content in ("", "[]", file.read_text().replace(first, "main"), file.read_text().replace(REPO, "a/b")):
        file.write_text(content)
        with pytest.raises(ModelError, match="pinned commit"):
            hub.resolve(NAME)


def test_a_cache_folder_that_cannot_be_written_is_a_warning(server, cache, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SKINCLF_CACHE", str(tmp_path / "file"))
    server.add_repo(REPO, {"resnet50_best.h5": OLD})
    with caplog.at_level(logging.WARNING, logger="skinclf"):
        assert weights() == OLD
    assert "could not be pinned" in caplog.text
