"""Folding BatchNorm into the convolution before it: fewer passes over memory, the same function.

In eval mode y = g * (conv(x) - m) / sqrt(v + e) + b is a convolution with scaled filters and another bias.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

logger = logging.getLogger("skinclf")
_ACTIVATIONS = (nn.SiLU, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.LeakyReLU, nn.ELU)


def fuse_batchnorm(network: nn.Module) -> nn.Module:
    """A copy of a network in eval mode with every foldable BatchNorm folded.

    A network that torch.fx cannot trace is returned as it is: it gives the same numbers, a little slower.

    Args:
        network: Module in eval mode; not changed.
    """
    try:
        copied = copy.deepcopy(network).eval()
        graph_module = fx.GraphModule(copied, _Tracer().trace(copied))
    except Exception as error:
        logger.debug("BatchNorm not folded, the network cannot be traced: %s", error)
        return network
    modules = dict(graph_module.named_modules())
    for node in list(graph_module.graph.nodes):
        if node.op != "call_module" or not isinstance(modules.get(node.target), nn.BatchNorm2d):
            continue
        source = node.args[0]
        feeds = isinstance(source, fx.Node) and source.op == "call_module" and len(source.users) == 1
        if (
            not feeds
            or not isinstance(modules.get(source.target), nn.Conv2d)
            or _calls(graph_module, source.target) > 1
        ):
            continue
        norm = modules[node.target]
        if norm.running_mean is None or _calls(graph_module, node.target) > 1:
            continue
        graph_module.set_submodule(source.target, _fold(modules[source.target], norm))
        # timm's BatchNormAct2d carries its activation; it stays where the norm was.
        graph_module.set_submodule(node.target, getattr(norm, "act", None) or nn.Identity())
    _work_in_place(graph_module)
    graph_module.recompile()
    return graph_module.eval()


def _work_in_place(graph_module: fx.GraphModule) -> None:
    """Let an activation overwrite what a convolution or normalisation made for it alone: the same numbers."""
    modules = dict(graph_module.named_modules())
    for node in graph_module.graph.nodes:
        if node.op != "call_module" or getattr(modules[node.target], "inplace", None) is not False:
            continue
        if not isinstance(modules[node.target], _ACTIVATIONS) or _calls(graph_module, node.target) > 1:
            continue
        source: Any = node.args[0] if node.args else None
        while _own(source) and isinstance(modules[source.target], nn.Identity):
            source = source.args[0]
        if _own(source) and isinstance(modules[source.target], (nn.Conv2d, nn.BatchNorm2d)):
            modules[node.target].inplace = True


def _own(node: Any) -> bool:
    """Whether a node is a module's output with one user."""
    return isinstance(node, fx.Node) and node.op == "call_module" and len(node.users) == 1


class _Tracer(fx.Tracer):
    """Keeps subclasses of Conv2d and BatchNorm2d whole (timm's carry padding or an activation)."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (nn.Conv2d, nn.BatchNorm2d)) or super().is_leaf_module(m, module_qualified_name)


def _calls(module: fx.GraphModule, target: str) -> int:
    return sum(node.op == "call_module" and node.target == target for node in module.graph.nodes)


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    plain = nn.BatchNorm2d(norm.num_features, eps=norm.eps, affine=True).eval()
    with torch.no_grad():
        for name in ("running_mean", "running_var", "weight", "bias"):
            value = getattr(norm, name)
            if value is not None:
                getattr(plain, name).copy_(value)
    return fuse_conv_bn_eval(conv, plain)
