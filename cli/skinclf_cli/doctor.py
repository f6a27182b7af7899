"""Checks of an installation: versions, devices, runtimes, the built-in model, caches and the Hub."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from skinclf._version import __version__

Status: TypeAlias = Literal["PASS", "WARN", "FAIL"]
#: Free bytes below which a cache gets a warning.
_MIN_FREE_BYTES = 2 << 30
#: Seconds to wait for the Hub.
_HUB_TIMEOUT = 5.0
_MIN_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        name: Name of the check.
        status: `PASS`, `WARN` (worth a look) or `FAIL` (something will not work).
        found: Versions, paths or numbers that the check found.
        advice: Remedy; empty when none is needed.
    """

    name: str
    status: Status
    found: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        """JSON form."""
        return asdict(self)


def examine(*, offline: bool = False) -> tuple[Finding, ...]:
    """Check versions, devices, runtimes, the built-in model, the caches and the Hub.

    Torch is imported only where an accelerator may be.

    Args:
        offline: Whether the check of the Hub is skipped.
    """
    return (
        _python(),
        *_dependencies(),
        _images(),
        _machine(),
        _device(),
        _runtimes(),
        _builtin(),
        *_recipes(),
        *_caches(),
        _hub(offline=offline),
    )


def failed(findings: Iterable[Finding]) -> bool:
    """Whether a check found something that does not work."""
    return any(finding.status == "FAIL" for finding in findings)


def _python() -> Finding:
    found = f"skinclf {__version__}, Python {platform.python_version()}, {platform.platform()}"
    if sys.version_info < _MIN_PYTHON:
        return Finding("environment", "FAIL", found, "Use Python 3.11 or later.")
    if sys.maxsize < 1 << 32:
        return Finding("environment", "FAIL", found, "This is a 32-bit Python; torch needs a 64-bit one.")
    return Finding("environment", "PASS", found)


def _dependencies() -> Iterator[Finding]:
    """One finding for the required packages, and one for each optional package of a wrong version."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        lines = requires("skinclf") or []
    except PackageNotFoundError:
        yield Finding("packages", "WARN", "skinclf is not installed, only on the path", "pip install skinclf")
        return
    present, wrong = [], []
    for line in lines:
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue  # not in the standard's syntax; pip has accepted it
        needed = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            if needed:
                wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            if needed:
                wrong.append(f"{wanted.name} {found} is not {wanted.specifier}")
            elif wanted.marker is not None and "extra" in str(wanted.marker):
                yield Finding(
                    f"optional {wanted.name}",
                    "WARN",
                    f"{found}, expected {wanted.specifier}",
                    f"pip install '{wanted.name}{wanted.specifier}'",
                )
        elif needed:
            present.append(f"{wanted.name} {found}")
    if wrong:
        yield Finding("packages", "FAIL", "; ".join(wrong), "pip install --upgrade skinclf")
    else:
        yield Finding("packages", "PASS", ", ".join(present))


def _images() -> Finding:
    from PIL import features

    missing = [name for name in ("jpg", "zlib", "webp", "libtiff") if not features.check(name)]
    advice = "Install Pillow from its own wheels: pip install --force-reinstall pillow"
    if {"jpg", "zlib"} & set(missing):
        return Finding("image formats", "FAIL", f"Pillow cannot read {', '.join(missing)}", advice)
    if missing:
        return Finding("image formats", "WARN", f"Pillow cannot read {', '.join(missing)}", advice)
    turbo = ", libjpeg-turbo" if features.check("libjpeg_turbo") else ""
    return Finding("image formats", "PASS", f"JPEG{turbo}, PNG, WebP, TIFF")


def _machine() -> Finding:
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    found = f"{cores} cores, {platform.machine()}"
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return Finding("machine", "PASS", found)
    found += f", {memory / 2**30:.1f} GiB of memory"
    if memory < 2 << 30:
        return Finding("machine", "WARN", found, "Memory is scarce: keep --batch-size and --workers small.")
    return Finding("machine", "PASS", found)


def _device() -> Finding:
    from skinclf.runtimes.create import accelerator_possible

    if find_spec("torch") is None:
        return Finding("device", "FAIL", "torch is missing", "pip install torch")
    if not accelerator_possible():
        return Finding("device", "PASS", "CPU; no accelerator here")
    try:
        import torch

        from skinclf.runtimes.device import resolve_device

        chosen = resolve_device("auto")
    except (ImportError, OSError, RuntimeError) as error:
        return Finding("device", "FAIL", f"torch cannot be loaded: {error}", "Install torch again.")
    if chosen == "cpu":
        return Finding(
            "device",
            "WARN",
            f"CPU; an accelerator is here, and torch {torch.__version__} does not see it",
            "Install a torch build for it, and its driver.",
        )
    name = torch.cuda.get_device_name(chosen) if chosen.startswith("cuda") else "Apple GPU"
    return Finding("device", "PASS", f"{chosen}: {name}, torch {torch.__version__}")


def _runtimes() -> Finding:
    packages = {"openvino": ("openvino",), "onnxruntime": ("onnxruntime", "onnx"), "keras": ("tensorflow",)}
    here = ["torch", *(name for name, needs in packages.items() if all(find_spec(p) for p in needs))]
    fastest = next((name for name in ("openvino", "onnxruntime") if name in here), "torch")
    found = f"{', '.join(here)}; --runtime auto on a CPU: {fastest}"
    if fastest == "openvino":
        return Finding("runtimes", "PASS", found)
    return Finding("runtimes", "WARN", found, "OpenVINO is faster on a CPU: pip install openvino")


def _builtin() -> Finding:
    from skinclf._utils.files import sha256_file
    from skinclf.errors import ModelError
    from skinclf.models.bundle import WEIGHTS
    from skinclf.models.registry import list_models

    again = "Install skinclf again: pip install --force-reinstall --no-deps skinclf"
    try:
        model = list_models()[0]
    except ModelError as error:
        return Finding("built-in model", "FAIL", str(error), again)
    if model.folder is None:
        return Finding("built-in model", "FAIL", "there is none in this installation", again)
    weights = model.folder / WEIGHTS
    if not weights.is_file():
        return Finding("built-in model", "FAIL", f"{weights} is missing", again)
    if model.sha256 is not None and sha256_file(weights) != model.sha256:
        return Finding("built-in model", "FAIL", f"{weights} is damaged", again)
    return Finding("built-in model", "PASS", f"{model.name}, weights as recorded")


def _recipes() -> Iterator[Finding]:
    """Whether the members of built-in recipes are the recorded ones."""
    from skinclf.errors import SkinclfError
    from skinclf.models.combination import check_member
    from skinclf.models.load import load_spec
    from skinclf.models.registry import list_models

    try:
        names = [model.name for model in list_models() if model.folder is not None and model.members]
    except SkinclfError:
        return  # said of the built-in model
    for name in names:
        try:
            recipe = load_spec(name).recipe
            for member in recipe.members if recipe is not None else ():
                check_member(name, member, load_spec(member.model))
        except SkinclfError as error:
            advice = "Install skinclf again: pip install --force-reinstall --no-deps skinclf"
            yield Finding("built-in recipe", "FAIL", str(error), advice)
        else:
            yield Finding("built-in recipe", "PASS", f"{name}, members as recorded")


def _caches() -> Iterator[Finding]:
    from huggingface_hub import constants

    from skinclf._utils.environment import cache_root

    yield _folder("Hub cache", Path(constants.HF_HUB_CACHE), "HF_HOME")
    yield _folder("compile cache", cache_root(), "SKINCLF_CACHE")


def _folder(name: str, folder: Path, variable: str) -> Finding:
    """Whether a folder, or the one in which it would be made, can be written and has free space."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(
            name,
            "WARN",
            f"{folder} cannot be written: {error.strerror or error}",
            f"Set {variable} to a folder that can.",
        )
    found = f"{folder}, {free / 2**30:.1f} GiB free"
    if free < _MIN_FREE_BYTES:
        return Finding(name, "WARN", found, f"Free some space, or set {variable} to a folder with more.")
    return Finding(name, "PASS", found)


def _hub(*, offline: bool) -> Finding:
    from huggingface_hub import HfApi, constants, get_token

    host = constants.ENDPOINT
    if offline or constants.HF_HUB_OFFLINE:
        return Finding("Hub", "PASS", f"{host}, not asked: offline")
    token = get_token()
    try:
        if token is not None:
            user = HfApi().whoami()
            return Finding("Hub", "PASS", f"{host} answers; logged in as {user.get('name')}")
        _ask(f"{host}/api/models?limit=1")
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in {401, 403}:
            return Finding("Hub", "WARN", f"{host} does not accept the token", "Log in again: hf auth login")
        return Finding(
            "Hub",
            "WARN",
            f"{host} does not answer ({type(error).__name__})",
            "Check the network, HF_ENDPOINT and any proxy. The built-in model and cached ones work without.",
        )
    return Finding("Hub", "PASS", f"{host} answers; no token, as public models need none")


def _ask(url: str) -> None:
    from huggingface_hub import get_session

    from skinclf.errors import HubError

    answer = get_session().get(url, timeout=_HUB_TIMEOUT)
    answer.raise_for_status()
    if not isinstance(answer.json(), list):
        raise HubError(f"{url} does not answer with a list of models.")
