"""An environment that the Hub's client cannot use is one sentence, not a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.hub_server import HubServer

CODE = """
from skinclf.errors import HubError
from skinclf.models.load import load_model
try:
    load_model("hf-hub:ann/net")
except HubError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"HF_ENDPOINT": "hub.invalid"}, "HF_ENDPOINT"),
        ({"HF_ENDPOINT": "ftp://hub.invalid"}, "HF_ENDPOINT"),
        ({"HF_ENDPOINT": "http://[::1"}, "HF_ENDPOINT"),
        ({"HTTPS_PROXY": "nonsense://proxy"}, "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "http://127.0.0.1:9"}, "cannot be reached"),
        ({"HF_TOKEN_PATH": "."}, "token file"),
        ({"HF_HUB_ETAG_TIMEOUT": "soon"}, "HF_"),
        ({"HF_HUB_OFFLINE": "1", "HF_HOME": "/dev/null/cache"}, "cache"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_one_sentence(tmp_path: Path, settings: dict[str, str], says: str) -> None:
    # A dead endpoint unless the case sets its own: no test reaches the network.
    assert says in sentence(tmp_path, {"HF_ENDPOINT": "https://127.0.0.1:9", **settings})


def test_a_token_that_no_header_can_carry_is_one_sentence(tmp_path: Path) -> None:
    # Some clients connect before they write the header.
    with HubServer() as server:
        settings = {"HF_ENDPOINT": server.url, "HF_TOKEN": "a token with a \u2013 dash"}
        assert "HF_TOKEN" in sentence(tmp_path, settings)


def sentence(tmp_path: Path, settings: dict[str, str]) -> str:
    """What a model of the Hub is answered with in an environment of these settings."""
    clean = {
        key: value for key, value in os.environ.items() if not key.upper().startswith(("HF_", "HTTP", "ALL_"))
    }
    env = {**clean, "HF_HOME": str(tmp_path), **settings}
    run = subprocess.run(
        [sys.executable, "-c", CODE], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) == 1
    return run.stdout
