"""Does a map depend on what the model has learnt? Weights are randomised from the head down, and maps compared.

Sources: Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018 (cascading randomisation); Arun et al.,
Radiology: Artificial Intelligence 2021, whose baseline is the SSIM of 50 random pairs of maps of the trained model: a
method passes when its map of the randomised model is less like that of the trained one than two maps of different
images are alike.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skinclf._utils.arrays import Floats
from skinclf.errors import InvalidArgumentError
from skinclf.explanation.checks.sample import Case, Progress, Sample, mean_estimate
from skinclf.explanation.checks.similarity import spearman, ssim
from skinclf.explanation.explainer import Explainer
from skinclf.explanation.geometry import enlarge
from skinclf.explanation.perturbation import Canvas

#: Random pairs of maps of different images.
PAIRS = 50
#: Steps from the head to the whole network.
STAGES = 8
_SEED = 0
#: Images that norms take their statistics from.
_BATCH = 16


def check_randomisation(
    explainer: Explainer, sample: Sample, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Compare maps of the trained model with maps of the model randomised from the head down.

    Weights are drawn anew with the mean and spread of the trained ones, vectors (biases, scales) are shuffled, and
    batch norms take their statistics from the images again, so that activations keep a usual size.

    Args:
        explainer: Method under test.
        sample: At least two images.
        progress: Function called after each stage.

    Returns:
        `pairs` and `baseline_ssim`; `stages`, each with the share of weights randomised, `ssim` and `spearman` to the
        trained model's maps, and `flat`, how many maps showed nothing (they count as unlike); `passed`.

    Raises:
        InvalidArgumentError: There are fewer than two images, several models, or no torch network.
    """
    if len(sample.cases) < 2:
        raise InvalidArgumentError(
            f"The check of randomised weights compares maps of different images; received {len(sample.cases)} "
            "readable image(s), expected at least 2.",
            parameter="inputs",
        )
    model = explainer.one_model
    network = copy.deepcopy(model.torch_network()).cpu().eval()
    order = weight_owners(network, (model.spec.preprocess.height, model.spec.preprocess.width))
    steps = np.unique(np.geomspace(1, len(order), min(STAGES, len(order))).round().astype(int)).tolist()
    batch = np.stack([case.canvas.pixels for case in sample.cases[:_BATCH]])
    pixels = torch.from_numpy(model.spec.preprocess.normalize(batch))
    trained = [_map(explainer, case) for case in sample.cases]
    generator = torch.Generator().manual_seed(_SEED)
    total = sum(p.numel() for p in network.parameters())
    stages, done, touched = [], 0, 0
    for number, step in enumerate(steps):
        for name in order[done:step]:
            touched += _renew(network.get_submodule(name), generator)
        done = step
        _settle_norms(network, order[:done], pixels)
        changed = explainer.with_network(copy.deepcopy(network))
        maps = [_map(changed, case) for case in sample.cases]
        stages.append(
            {
                "down_to": order[done - 1],
                "weights": touched / total,
                "ssim": mean_estimate([ssim(a, b) for a, b in zip(trained, maps, strict=True)]).to_dict(),
                "spearman": mean_estimate(
                    [spearman(a, b) for a, b in zip(trained, maps, strict=True)]
                ).to_dict(),
                "flat": sum(not np.ptp(m) for m in maps),
            }
        )
        if progress is not None:
            progress(number + 1, len(steps))
    baseline = mean_estimate([ssim(trained[i], trained[j]) for i, j in _pairs(len(trained))])
    last: Any = stages[-1]["ssim"]
    return {
        "images": len(sample.cases),
        "pairs": PAIRS,
        "baseline_ssim": baseline.to_dict(),
        "stages": stages,
        "passed": bool(last["value"] < baseline.value),
    }


def weight_owners(network: nn.Module, size: tuple[int, int]) -> list[str]:
    """Names of the modules that own weights, from output to input by the order in which they are called.

    Args:
        network: Module in eval mode.
        size: Rows and columns of its input.
    """
    called: dict[str, None] = {}
    handles = [
        module.register_forward_hook(lambda _m, _i, _o, name=name: called.setdefault(name))
        for name, module in network.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, *size))
    finally:
        for handle in handles:
            handle.remove()
    return list(reversed(called))


def _renew(module: nn.Module, generator: torch.Generator) -> int:
    """Randomise a module's own weights; how many there are."""
    count = 0
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            count += parameter.numel()
            parameter.copy_(_redrawn(parameter, generator))
    return count


def _redrawn(values: Tensor, generator: torch.Generator) -> Tensor:
    if values.dim() < 2:
        return values.flatten()[torch.randperm(values.numel(), generator=generator)].view_as(values)
    spread = float(values.std()) if values.numel() > 1 else float(values.abs().mean())
    return torch.randn(values.shape, generator=generator) * spread + values.mean()


def _settle_norms(network: nn.Module, renewed: list[str], pixels: Tensor) -> None:
    """Give the renewed batch norms the statistics of the images."""
    norms = [
        module
        for name in renewed
        if isinstance(module := network.get_submodule(name), nn.modules.batchnorm._BatchNorm)
        and module.track_running_stats
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        network(pixels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _map(explainer: Explainer, case: Case) -> Floats:
    """The map at the size of the network's input; zero where it is not finite."""
    canvas = Canvas(case.canvas.pixels, explainer.scorer, prepared=True)
    found = explainer.on_canvas(canvas, case.target)
    if not np.isfinite(found).all():
        found = np.zeros_like(found)
    return enlarge(found, *case.canvas.pixels.shape[:2])


def _pairs(count: int) -> list[tuple[int, int]]:
    """Random pairs of two different images."""
    rng = np.random.default_rng(_SEED)
    first = rng.integers(0, count, PAIRS)
    second = (first + rng.integers(1, count, PAIRS)) % count
    return list(zip(first.tolist(), second.tolist(), strict=True))
