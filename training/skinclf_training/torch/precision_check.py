"""Check whether the processor computes in bfloat16; elsewhere PyTorch emulates it, ten times slower than float32."""

from __future__ import annotations

import torch

from skinclf_training.config.schema import Config


def emulated_bfloat16(config: Config) -> str | None:
    """Describe a run that would train in emulated bfloat16; None where the precision suits the processor."""
    o = config.optim
    on_cpu = o.accelerator == "cpu" or (o.accelerator == "auto" and not torch.accelerator.is_available())
    # AVX2 is certain to have none; what reports AVX-512 or is no x86 may have them.
    if not on_cpu or o.precision != "bf16-mixed" or torch.backends.cpu.get_cpu_capability() != "AVX2":
        return None
    return (
        "optim.precision: this processor (AVX2) has no bfloat16 instructions, and emulating them is about ten times "
        "slower than float32. Set optim.precision: 32-true."
    )
