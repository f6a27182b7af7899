"""Warning on emulated bfloat16: on processors with AVX2 only, and only for runs that would use it."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from skinclf_training.config.schema import Config, OptimConfig
from skinclf_training.torch.precision_check import emulated_bfloat16


@pytest.mark.parametrize(
    ("capability", "precision", "accelerator", "warned"),
    [
        ("AVX2", "bf16-mixed", "cpu", True),
        ("AVX2", "32-true", "cpu", False),
        ("AVX2", "bf16-mixed", "gpu", False),
        ("AVX512", "bf16-mixed", "cpu", False),
        ("DEFAULT", "bf16-mixed", "cpu", False),
    ],
)
def test_warning(
    monkeypatch: pytest.MonkeyPatch, capability: str, precision: str, accelerator: str, warned: bool
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    config = Config(optim=OptimConfig(precision=precision, accelerator=accelerator))  # type: ignore[arg-type]
    warning = emulated_bfloat16(config)
    assert (warning is not None) == warned
    assert warning is None or "optim.precision: 32-true" in warning


def test_auto_is_a_processor_only_without_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    for available in (True, False):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda found=available: found)
        config = Config(optim=OptimConfig(precision="bf16-mixed", accelerator="auto"))
        assert (emulated_bfloat16(config) is None) == available
