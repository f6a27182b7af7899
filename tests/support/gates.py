"""A small bundle with an image gate that was fitted on clean synthetic lesions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from skinclf.images.preprocess import scaling
from skinclf.inference.gate.fit import fit_gate
from skinclf.inference.gate.store import write_gate
from skinclf.labels import HAM10000
from skinclf.models.load import load_model
from support.bundles import make_bundle
from support.overlays import clean_lesion


@pytest.fixture(scope="session")
def gated_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seven-class bundle at 64 px with a gate; lesions 0 to 139 fitted it. Read only: copy before changing."""
    folder = tmp_path_factory.mktemp("gates") / "gated"
    make_bundle(folder, HAM10000, scaling("torch", height=64, width=64))
    lesions = [clean_lesion(seed, width=200, height=150) for seed in range(140)]
    gate = fit_gate(
        load_model(folder),
        lesions[:80],
        lesions[80:],
        malignant=[seed % 3 == 0 for seed in range(60)],
        alpha=0.02,
        runtime="torch",
        device="cpu",
        workers=0,
    )
    write_gate(folder, gate)
    return folder


@pytest.fixture
def gated_copy(tmp_path: Path, gated_bundle: Path) -> Path:
    """A copy of `gated_bundle` that the test may damage."""
    return Path(shutil.copytree(gated_bundle, tmp_path / "gated"))
