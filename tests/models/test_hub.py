"""The Hub layer against a real HTTP server and the real huggingface_hub client."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.hub_server import hub_environment

from skinclf.errors import HubError
from skinclf.models.hub import fetch as hub
from skinclf.models.options import HubOptions

REPO = "user/lesions"
CONFIG = b'{"architecture": "tiny"}'
WEIGHTS = bytes(range(256)) * 400
FILES = {
    "config.json": CONFIG,
    "model.safetensors": WEIGHTS,
    "README.md": b"# card\n",
    "golden/lesion.png": b"\x89PNG not really",
    ".gitattributes": b"*.safetensors filter=lfs\n",
}
BUNDLE = ["config.json", "model.safetensors", "golden/*"]


def blob_of(path: Path) -> Path:
    return path.parent / os.readlink(path)


# Downloading and the cache.


def test_fetch_brings_the_files_of_one_commit(server, cache):
    sha = server.add_repo(REPO, FILES)
    result = hub.fetch(REPO, BUNDLE)
    assert result.revision == sha
    assert len(sha) == 40
    assert set(result.files) == {"config.json", "golden/lesion.png", "model.safetensors"}
    assert {name: path.read_bytes() for name, path in result.files.items()} == {
        n: FILES[n] for n in result.files
    }
    assert result.folder == result.files["config.json"].parent
    assert result.folder.is_relative_to(cache)
    assert result.sha256["model.safetensors"] == hashlib.sha256(WEIGHTS).hexdigest()


def test_config_json_is_asked_for_first_and_skinclf_names_itself(server, cache):
    server.add_repo(REPO, FILES)
    hub.fetch(REPO, ["model.safetensors", "config.json"])
    files = server.seen("/resolve/")
    assert "/config.json" in files[0].path
    assert all("skinclf/" in request.headers["user-agent"] for request in files)


def test_a_branch_resolves_to_its_commit_and_moves_on(server, cache):
    first = server.add_repo(REPO, FILES)
    assert hub.fetch(REPO, "config.json").revision == first
    second = server.commit(REPO, {"config.json": b"{}"})
    result = hub.fetch(REPO, "config.json", hub=HubOptions(revision="main"))
    assert result.revision == second != first
    assert result.files["config.json"].read_bytes() == b"{}"


def test_a_pinned_commit_stays_what_it_was(server, cache):
    first = server.add_repo(REPO, FILES)
    server.commit(REPO, {"config.json": b"{}"})
    result = hub.fetch(REPO, "config.json", hub=HubOptions(revision=first))
    assert result.revision == first
    assert result.files["config.json"].read_bytes() == CONFIG


def test_a_named_branch(server, cache):
    server.add_repo(REPO, FILES)
    sha = server.commit(REPO, {"config.json": b"[]"}, branch="trial")
    assert hub.fetch(REPO, "config.json", hub=HubOptions(revision="trial")).revision == sha


def test_a_cached_commit_needs_no_server(server, cache):
    sha = server.add_repo(REPO, FILES)
    hub.fetch(REPO, BUNDLE, hub=HubOptions(revision=sha))
    asked = len(server.log)
    again = hub.fetch(REPO, BUNDLE, hub=HubOptions(revision=sha))
    assert len(server.log) == asked
    server.stop()
    assert hub.fetch(REPO, BUNDLE, hub=HubOptions(revision=sha)) == again


def test_a_pinned_commit_that_is_cached_in_part_is_completed(server, cache):
    sha = server.add_repo(REPO, FILES)
    hub.fetch(REPO, "config.json", hub=HubOptions(revision=sha))
    result = hub.fetch(REPO, BUNDLE, hub=HubOptions(revision=sha))
    assert result.files["model.safetensors"].read_bytes() == WEIGHTS
    assert len([r for r in server.seen("GET") if "config.json" in r.path]) == 1


def test_a_branch_falls_back_to_the_cache_when_the_hub_is_away(server, cache, caplog):
    sha = server.add_repo(REPO, FILES)
    hub.fetch(REPO, BUNDLE)
    server.stop()
    with caplog.at_level(logging.WARNING, logger="skinclf"):
        assert hub.fetch(REPO, BUNDLE).revision == sha
    assert sha in caplog.text


def test_offline_uses_the_cache_and_nothing_else(server, cache):
    sha = server.add_repo(REPO, FILES)
    with pytest.raises(HubError, match=r"not in the cache.*Load it once with network"):
        hub.fetch(REPO, BUNDLE, hub=HubOptions(offline=True))
    assert server.log == []
    hub.fetch(REPO, BUNDLE)
    asked = len(server.log)
    assert hub.fetch(REPO, BUNDLE, hub=HubOptions(offline=True)).revision == sha
    assert hub.fetch(REPO, BUNDLE, hub=HubOptions(revision=sha, offline=True)).revision == sha
    with pytest.raises(HubError, match="not all of it"):
        hub.fetch(REPO, "README.md", hub=HubOptions(offline=True))
    assert len(server.log) == asked


def test_hf_hub_offline_is_obeyed(server, cache, monkeypatch):
    server.add_repo(REPO, FILES)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="offline"):
        hub.fetch(REPO, BUNDLE)
    assert server.log == []


def test_another_cache_folder(server, cache, tmp_path):
    server.add_repo(REPO, FILES)
    result = hub.fetch(REPO, BUNDLE, hub=HubOptions(cache_dir=tmp_path / "elsewhere"))
    assert result.folder.is_relative_to(tmp_path / "elsewhere")
    assert not cache.exists()


def test_the_environment_alone_points_at_a_mirror(server, tmp_path):
    server.add_repo(REPO, FILES, private=True)
    server.add_token("hf_secret")
    code = f"from skinclf.models.hub import fetch as hub; print(hub.fetch({REPO!r}, 'config.json').revision)"
    environment = {**os.environ, **hub_environment(server, tmp_path), "HF_TOKEN": "hf_secret"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == server.repos[REPO].refs["main"], done.stderr
    assert done.stderr == ""  # no bar when stderr is no terminal


# Interruptions and damage.


def test_a_cut_connection_is_resumed_where_it_broke(server, cache, no_waiting):
    data = os.urandom(1 << 20) * 12  # the client keeps what it has in blocks of 10 MiB
    server.add_repo(REPO, {"model.safetensors": data})
    server.fail("GET /lfs/", cut_at=11 << 20)
    try:
        result = hub.fetch(REPO, "model.safetensors")
    except HubError:
        result = hub.fetch(REPO, "model.safetensors")  # clients before 1.0 go on at the next call
    assert result.files["model.safetensors"].read_bytes() == data
    first, second = server.seen("GET /lfs/")
    assert "range" not in first.headers
    start = int(second.headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 11 << 20


def test_a_server_that_always_cuts_is_an_error_and_leaves_no_file(server, cache, no_waiting):
    server.add_repo(REPO, FILES)
    server.fail("GET /lfs/", times=None, cut_at=1000)
    with pytest.raises(HubError, match=r"the connection to .* broke|incomplete"):
        hub.fetch(REPO, "model.safetensors")
    server.faults.clear()
    assert hub.fetch(REPO, "model.safetensors").files["model.safetensors"].read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("name", "request_line"), [("model.safetensors", "GET /lfs/"), ("config.json", "GET /user/")]
)
def test_wrong_content_is_refused_and_not_kept(server, cache, name, request_line):
    server.add_repo(REPO, FILES)
    wrong = bytes(len(FILES[name]))
    server.fail(request_line, times=None, content=wrong)
    with pytest.raises(HubError, match="wrong checksum"):
        hub.fetch(REPO, name)
    assert not [path for path in cache.rglob("*") if path.is_file() and path.read_bytes() == wrong]
    server.faults.clear()
    assert hub.fetch(REPO, name).files[name].read_bytes() == FILES[name]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_half_written_cache_file_is_noticed_offline_and_mended_online(server, cache, caplog, name):
    sha = server.add_repo(REPO, FILES)
    path = hub.fetch(REPO, name).files[name]
    blob_of(path).write_bytes(FILES[name][:10])
    with pytest.raises(HubError, match=r"half-written or damaged.*with network"):
        hub.fetch(REPO, name, hub=HubOptions(offline=True))
    with caplog.at_level(logging.WARNING, logger="skinclf"):
        result = hub.fetch(REPO, name, hub=HubOptions(revision=sha))
    assert result.files[name].read_bytes() == FILES[name]
    assert "damaged" in caplog.text


def test_damage_is_noticed_without_links_in_the_cache(server, cache, monkeypatch):
    server.add_repo(REPO, FILES)
    path = hub.fetch(REPO, "model.safetensors").files["model.safetensors"]
    blob_of(path).unlink()
    path.unlink()
    path.write_bytes(b"x" * 10)  # as on Windows: a plain file, whose name tells no hash
    result = hub.fetch(REPO, "model.safetensors")
    assert result.files["model.safetensors"].read_bytes() == WEIGHTS


def test_damage_behind_a_chain_of_links_is_mended(server, cache, tmp_path):
    server.add_repo(REPO, FILES)
    blob = blob_of(hub.fetch(REPO, "model.safetensors").files["model.safetensors"])
    shared = tmp_path / ("f" * 64)  # newer clients share large files between repositories
    shared.write_bytes(b"x" * len(WEIGHTS))
    blob.unlink()
    blob.symlink_to(shared)
    result = hub.fetch(REPO, "model.safetensors")
    assert result.files["model.safetensors"].read_bytes() == WEIGHTS
    assert not shared.exists()


# What the Hub refuses.


def test_a_private_repository_needs_its_token(server, cache, monkeypatch):
    sha = server.add_repo(REPO, FILES, private=True)
    server.add_token("hf_owner")
    server.add_token("hf_other", user="other")
    with pytest.raises(HubError, match=r"not found.*private.*HF_TOKEN"):
        hub.fetch(REPO, BUNDLE)
    with pytest.raises(HubError, match="not found"):
        hub.fetch(REPO, BUNDLE, hub=HubOptions(token="hf_other"))
    with pytest.raises(HubError, match=r"does not accept the token \(401\)"):
        hub.fetch(REPO, BUNDLE, hub=HubOptions(token="hf_wrong"))
    assert hub.fetch(REPO, BUNDLE, hub=HubOptions(token="hf_owner")).revision == sha
    # The token never leaves the Hub's own origin, and the environment's token is used when none is given.
    assert all("authorization" not in request.headers for request in server.log if request.origin == "cdn")
    monkeypatch.setenv("HF_TOKEN", "hf_owner")
    assert hub.fetch(REPO, BUNDLE).revision == sha


def test_a_gated_repository(server, cache):
    sha = server.add_repo(REPO, FILES, gated=True)
    server.add_token("hf_visitor", user="visitor")
    server.add_token("hf_admitted", user="admitted", gated=(REPO,))
    for token in (None, "hf_visitor"):
        with pytest.raises(HubError, match=f"gated: ask for access at {server.url}/{REPO}"):
            hub.fetch(REPO, BUNDLE, hub=HubOptions(token=token))
    assert hub.fetch(REPO, BUNDLE, hub=HubOptions(token="hf_admitted")).revision == sha


def test_what_is_not_there_is_named(server, cache):
    server.add_repo(REPO, FILES)
    with pytest.raises(HubError, match="user/nothing was not found"):
        hub.fetch("user/nothing", BUNDLE)
    with pytest.raises(HubError, match=r"user/lesions has no revision 'v9'"):
        hub.fetch(REPO, BUNDLE, hub=HubOptions(revision="v9"))
    with pytest.raises(HubError, match=r"has no revision"):
        hub.fetch(REPO, BUNDLE, hub=HubOptions(revision="0" * 40))
    with pytest.raises(HubError, match=r"has no file model\.h5; it has .*config\.json"):
        hub.fetch(REPO, "model.h5")
    with pytest.raises(HubError, match="is no repository id"):
        hub.fetch("user/one/too/many", BUNDLE)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(403, "forbids this"), (429, "slow down"), (500, "status 500"), (503, "status 503")],
)
def test_http_errors_are_one_sentence(server, cache, no_waiting, status, sentence):
    server.add_repo(REPO, FILES)
    server.fail("/api/models/", times=None, status=status)
    with pytest.raises(HubError, match=sentence) as caught:
        hub.fetch(REPO, BUNDLE)
    assert "\n" not in str(caught.value)


def test_errors_of_the_file_store_are_one_sentence(server, cache, no_waiting):
    server.add_repo(REPO, FILES)
    server.fail("GET /lfs/", times=None, status=416)
    with pytest.raises(HubError, match=r"refuses this .416: injected by the test"):
        hub.fetch(REPO, "model.safetensors")


def test_no_server_at_all(server, cache, no_waiting):
    server.stop()
    with pytest.raises(HubError, match=rf"{server.url} cannot be reached"):
        hub.fetch(REPO, BUNDLE)


def test_a_server_that_does_not_answer_in_time(server, cache, monkeypatch):
    server.add_repo(REPO, FILES)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT", 0.2)
    server.fail("/api/models/", delay=1.0)
    with pytest.raises(HubError, match="did not answer in time"):
        hub.fetch(REPO, BUNDLE)


def test_something_that_is_no_hub(server, cache):
    server.fail("/api/models/", status=200)
    with pytest.raises(HubError, match="HF_ENDPOINT"):
        hub.fetch(REPO, BUNDLE)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "Choose a folder that can be written")],
)
def test_a_full_or_locked_disk(server, cache, monkeypatch, number, sentence):
    server.add_repo(REPO, FILES)

    def broken(*args, **kwargs):
        raise OSError(number, os.strerror(number), "/somewhere")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", broken)
    with pytest.raises(HubError, match=sentence):
        hub.fetch(REPO, BUNDLE)


def test_an_error_of_ours_is_not_dressed_up(server, cache, monkeypatch):
    server.add_repo(REPO, FILES)

    def broken(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr("huggingface_hub.file_download.http_get", broken)
    with pytest.raises(ZeroDivisionError):
        hub.fetch(REPO, BUNDLE)


def test_a_listing_cannot_reach_out_of_the_folder(server, cache, tmp_path):
    server.add_repo(REPO, {"config.json": CONFIG, "../../evil.json": b"{}"})
    result = hub.fetch(REPO, "*.json", local_dir=tmp_path / "model")
    assert list(result.files) == ["config.json"]


def test_bars_are_shown_on_a_terminal_only(server, cache, monkeypatch):
    from huggingface_hub.utils import are_progress_bars_disabled

    server.add_repo(REPO, FILES)
    seen: list[bool] = []

    def look(*args, **kwargs):
        seen.append(are_progress_bars_disabled())
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", look)
    logger = logging.getLogger("skinclf")
    for terminal, level in [(False, logging.WARNING), (True, logging.WARNING), (True, logging.ERROR)]:
        monkeypatch.setattr(sys.stderr, "isatty", lambda answer=terminal: answer)
        monkeypatch.setattr(logger, "level", level)
        logger.manager._clear_cache()  # type: ignore[attr-defined]
        with pytest.raises(HubError):
            hub.fetch(REPO, "config.json")
    assert seen == [True, False, True]
    assert not are_progress_bars_disabled()
