"""Fixtures of the tests that talk to a Hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hub_server import HubServer, use_hub


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        yield running


@pytest.fixture
def cache(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The client's cache, empty; the client asks `server`."""
    return use_hub(monkeypatch, server, tmp_path / "home")


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits a second or more between its own retries."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.fixture
def signed_in(server: HubServer, cache: Path, no_waiting: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has a token that may write; `hf_read` may only read."""
    server.add_token("hf_write")
    server.add_token("hf_read", write=False)
    monkeypatch.setenv("HF_TOKEN", "hf_write")


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a seven-class `bundle/` and the `metrics.json` of its test predictions. Read only."""
    from support.hub_publishing import evaluated_bundle

    return evaluated_bundle(tmp_path_factory.mktemp("evaluated"))
