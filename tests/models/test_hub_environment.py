"""An environment that the Hub's client cannot use is one sentence, not a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
        ({"HF_TOKEN": "a token with a \u2013 dash"}, "HF_TOKEN"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_one_sentence(tmp_path: Path, settings: dict[str, str], says: str) -> None:
    clean = {
        key: value for key, value in os.environ.items() if not key.upper().startswith(("HF_", "HTTP", "ALL_"))
    }
    # A dead endpoint unless the case sets its own: no test reaches the network.
    env = {**clean, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "https://127.0.0.1:9", **settings}
    run = subprocess.run(
        [sys.executable, "-c", CODE], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert says in run.stdout
    assert len(run.stdout.splitlines()) == 1
