"""Verification of a bundle: its golden samples replayed on a runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skinclf.errors import ModelError
from skinclf.images.decode import load_image
from skinclf.models.load import load_model
from skinclf.models.loaded import LoadedModel
from skinclf.models.metadata_encoding import GOLDEN_PATIENT
from skinclf.models.options import HubOptions, ModelOptions
from skinclf.models.probabilities import probabilities
from skinclf.runtimes.base import Runtime
from skinclf.runtimes.create import create_runtime


@dataclass(frozen=True, slots=True)
class Check:
    """One replayed golden sample.

    Attributes:
        file: Image inside the bundle, after the name of the member where a recipe was replayed.
        source: Framework that computed the expected probabilities.
        difference: Largest absolute difference of a probability.
        tolerance: Largest difference allowed.
    """

    file: str
    source: str
    difference: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.difference <= self.tolerance


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Results of a replay.

    Attributes:
        name: Name of the model.
        runtime: Name of the runtime that ran it.
        checks: Results, one for each golden sample.
    """

    name: str
    runtime: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every sample came out as recorded."""
        return all(check.ok for check in self.checks)


def verify_model(
    model: str | Path | LoadedModel | None,
    *,
    runtime: str = "torch",
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
    options: ModelOptions = ModelOptions(),
    hub: HubOptions = HubOptions(),
) -> VerifyReport:
    """Replay a bundle's golden samples (uncalibrated probabilities), after its weights passed their hash.

    Of a recipe, those of every member are replayed; that the members are the recorded ones is checked as it is loaded.

    Args:
        model: Anything that `load_model` takes, or a loaded model; it must be a bundle.
        runtime: Runtime to test, as for `create_runtime`.
        device: Device, as for `create_runtime`.
        progress: Function of the golden sample's file name, called before each replay.
        options: Facts that the model's files lack, as for `load_model`.
        hub: Revision, cache and token for the Hugging Face Hub.

    Raises:
        ModelError: The model or a member is not a bundle, has no golden sample, or its weights are damaged.
        ImageError: A golden sample cannot be read.
    """
    loaded = model if isinstance(model, LoadedModel) else load_model(model, options=options, hub=hub)
    if loaded.members:
        parts = [
            verify_model(member, runtime=runtime, device=device, progress=progress)
            for member in loaded.members
        ]
        named = [replace(check, file=f"{part.name}/{check.file}") for part in parts for check in part.checks]
        return VerifyReport(loaded.spec.name, parts[0].runtime, tuple(named))
    spec = loaded.spec
    if loaded.folder is None or not spec.golden:
        raise ModelError(
            f"{spec.name}: no golden sample to replay. `skinclf.conversion.convert_model` makes a bundle that has one."
        )
    engine = create_runtime(loaded, runtime=runtime, device=device)
    return VerifyReport(spec.name, engine.name, replay(loaded, engine, progress=progress))


def replay(
    model: LoadedModel, engine: Runtime, *, progress: Callable[[str], None] | None = None
) -> tuple[Check, ...]:
    """Replay the golden samples of a bundle on a runtime that holds its network; empty where there are none.

    Args:
        model: Loaded model.
        engine: Runtime that executes it.
        progress: Function of the golden sample's file name, called before each replay.

    Raises:
        ImageError: A golden sample cannot be read.
    """
    spec, checks = model.spec, []
    beside = [] if spec.encoding is None else [spec.encoding.encode([GOLDEN_PATIENT])]
    for golden in spec.golden if model.folder is not None else ():
        if progress is not None:
            progress(golden.file)
        image = load_image(model.folder / golden.file)  # type: ignore[operator]  # checked above
        raw = engine.run(np.stack([spec.preprocess.pixels(image)]), *beside)
        found = probabilities(raw, spec.activation)[0].astype(np.float64)
        difference = float(np.abs(found - np.asarray(golden.probabilities, np.float32)).max())
        checks.append(Check(golden.file, golden.source, difference, golden.tolerance))
    return tuple(checks)
