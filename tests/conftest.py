"""What has to happen before anything else is imported, and the list of fixture modules (see `tests/support`)."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

# Before huggingface_hub is imported anywhere: no test reads or fills the user's cache or token.
_HOME = tempfile.mkdtemp(prefix="skinclf-tests-")
os.environ["HF_HOME"] = _HOME
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# TensorFlow and triton (which torch and timm import late) each carry an LLVM: loaded in this order they live
# together, in the other order the process aborts.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

pytest_plugins = (
    "support.isolation",
    "support.pictures",
    "support.damaged_files",
    "support.bundles",
    "support.gates",
    "support.hub_fixtures",
    "support.browser",
)


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)
