"""The whole edge as one op, where its candidates are those that the op knows."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..ops.backend import resolved
from ..ops.direct import DirectEdge, unwatched
from ..ops.mixed_edge import mixed_edge, mixed_edge_unchecked
from ..ops.mixed_edge_reference import NAMES
from .candidates import FactorizedReduce, Zero
from .normed import alike, hooks_of, is_plain, stacked_running, update_running
from .snapshot import Snapshot

__all__ = ["FusedEdge", "fuse", "has_kernels"]

_REALS = frozenset((torch.float32, torch.float64))
# Shapes of x that an edge is made ready for at a time.
_SHAPES = 64


@dataclass(frozen=True)
class FusedEdge:
    """An edge's candidates as branches of :func:`nas_domains.ops.mixed_edge`.

    Attributes:
        branches: Names of the branches, in the order of the candidates.
        stride: 1 or 2.
        convolutions: Those whose weights the op takes, in its order.
        norms: The batch norms, in the op's order.
        hooks: Those of all modules that the op runs in place of; a hook wants its module to run.
    """

    branches: tuple[str, ...]
    stride: int
    convolutions: tuple[nn.Conv2d, ...]
    norms: tuple[nn.BatchNorm2d, ...]
    hooks: tuple[dict[int, Any], ...]

    def __getstate__(self) -> dict[str, Any]:
        """Copies look anew at what they hold."""
        return {name: value for name, value in vars(self).items() if name != "_snapshots"}

    @functools.cached_property
    def codes(self) -> tuple[int, ...]:
        """Places of the branches in the op's list of names."""
        return tuple(NAMES.index(name) for name in self.branches)

    def __call__(self, x: Tensor, w: Tensor) -> Tensor | None:
        """The weighted sum of the candidates of x; updates running statistics as they do.

        Args:
            x: [B, C, H, W].
            w: [K].

        Returns:
            [B, C, ceil(H / stride), ceil(W / stride)], in channels-last; None where the op does
            not give what the candidates would, or is not compiled for x.
        """
        # For the most part with cold caches: what this touches costs more than what it computes.
        free = not torch.compiler.is_compiling() and unwatched()
        known = self._known(x.dtype, x.device) if free else None
        if known is not None:
            edge = self._direct(known, x)
            if edge is not None and torch.is_grad_enabled() and edge.fits(x, w):
                y = edge(x, w, known.weights)
                if known.moved:
                    torch.autograd.graph.increment_version(known.moved)
                return y
        elif free or not self._applies(x.dtype, x.device):
            return None
        if x.dim() != 4 or x.numel() == 0:
            return None
        return self._by_op(x, w, self._weights() if known is None else known.weights)

    def _known(self, dtype: torch.dtype, device: torch.device) -> Snapshot | None:
        """What was made sure of and holds; None where the op does not apply."""
        own = vars(self)
        snapshots: tuple[Snapshot, ...] = own.get("_snapshots", ())
        for known in snapshots:
            if known.holds(dtype, device):
                return known
        if not self._applies(dtype, device):
            return None
        known = Snapshot(dtype, device, self.convolutions, self.norms, self.hooks)
        # Two: a gradient strategy switches the running statistics off in every other step.
        own["_snapshots"] = (known, *snapshots[:1])
        return known

    def _applies(self, dtype: torch.dtype, device: torch.device) -> bool:
        """Whether the op gives what the candidates would, and is compiled."""
        if dtype not in _REALS or not has_kernels(device):
            return False
        for weight in self._weights():
            if weight is None or weight.dtype is not dtype or weight.device != device:
                return False
        for norm in self.norms:
            if not (is_plain(norm) and alike(norm, self.norms[0])):
                return False
        return not any(self.hooks)

    def _weights(self) -> list[Any]:
        """The convolutions' weights; None for one that is computed, as parametrizations do."""
        return [c._parameters.get("weight") for c in self.convolutions]

    def _direct(self, known: Snapshot, x: Tensor) -> DirectEdge | None:
        """The op on memory for x of this shape, where there can be one."""
        edges, shape = known.edges, x.shape
        if shape in edges:
            return edges[shape]
        edge, norm = None, self.norms[0] if self.norms else None
        if known.lies is not None and norm is not None and norm.training and len(shape) == 4:
            running = known.running_lies if norm.track_running_stats else ()
            if running is not None:
                momentum = norm.momentum or 0.0
                # What does not fit is told by the op.
                with contextlib.suppress(RuntimeError):
                    edge = DirectEdge(
                        x, self.codes, self.stride, norm.eps, known.lies, running, momentum
                    )
        if len(edges) >= _SHAPES:
            edges.pop(next(iter(edges)), None)
        edges[shape] = edge
        return edge

    def _values(self, x: Tensor) -> int:
        """Values a channel of the output has."""
        return x.shape[0] * -(-x.shape[2] // self.stride) * -(-x.shape[3] // self.stride)

    def _by_op(self, x: Tensor, w: Tensor, weights: list[Any]) -> Tensor:
        norm = self.norms[0] if self.norms else None
        eps = 1e-5 if norm is None else norm.eps
        mean: Tensor | None = None
        var: Tensor | None = None
        if norm is not None and not norm.training:
            mean, var = stacked_running(self.norms)
        values = self._values(x)
        if (
            torch.compiler.is_compiling()
            or values == 1
            or w.dim() != 1
            or w.shape[0] != len(self.branches)
            or w.dtype != x.dtype
            or w.device != x.device
            or (norm is not None and norm.num_features != x.shape[1])
        ):
            # Checked: what does not fit is told in a sentence.
            y, mean, var = mixed_edge(
                x, w, weights, self.branches, self.stride, mean=mean, var=var, eps=eps
            )
        else:
            y, mean, var = mixed_edge_unchecked(
                x, w, weights, self.codes, self.stride, mean, var, eps
            )
        if norm is not None and norm.training and norm.track_running_stats:
            update_running(self.norms, mean, var, values)
        return y


def has_kernels(device: torch.device) -> bool:
    """Whether ``mixed_edge`` has kernels of its own on a device, not only its formula."""
    if device.type != "cuda":
        return resolved("mixed_edge_fwd", device.type) == "native"
    return (
        resolved("mixed_edge_fwd", "cuda") == "triton"
        and resolved("depthwise_bank_fwd", "cuda") == "native"
        and _capability(device.index or 0) >= (8, 0)
    )


@functools.cache
def _capability(index: int) -> tuple[int, int]:
    return torch.cuda.get_device_capability(index)


def fuse(candidates: Sequence[nn.Module], stride: int) -> FusedEdge | None:
    """Reads an edge's candidates, by what they consist of and not by name.

    Args:
        candidates: The candidates.
        stride: 1 or 2.

    Returns:
        The edge, or None if a candidate is none of the op's branches or two are the same.
    """
    branches, convolutions, norms = [], [], []
    hooks: list[dict[int, Any]] = []
    for candidate in candidates:
        branch = _branch(candidate, stride)
        if branch is None:
            return None
        branches.append(branch)
        for module in candidate.modules():
            hooks += hooks_of(module)
            if isinstance(module, nn.Conv2d):
                convolutions.append(module)
            elif isinstance(module, nn.BatchNorm2d):
                norms.append(module)
    if len(set(branches)) != len(branches):
        return None
    return FusedEdge(tuple(branches), stride, tuple(convolutions), tuple(norms), tuple(hooks))


def _branch(module: nn.Module, stride: int) -> str | None:
    """Returns the branch that a candidate is, or None."""
    if type(module) is Zero and (module.stride, module.dims) == (stride, 2):
        return "none"
    if type(module) is nn.Identity and stride == 1:
        return "skip"
    if type(module) is FactorizedReduce and module.dims == 2 and stride == 2:
        fits = module.first.in_channels == module.norm.num_features > 1
        return "reduce" if fits and is_plain(module.norm) else None
    if _is_avg_pool(module, stride):
        return "avg_pool_plain"
    if type(module) is not nn.Sequential:
        return None
    parts = list(module)
    if not parts or not is_plain(parts[-1]):
        return None
    if len(parts) == 2:
        if _is_avg_pool(parts[0], stride):
            return "avg_pool"
        return "max_pool" if _is_max_pool(parts[0], stride) else None
    if len(parts) == 3 and type(parts[0]) is nn.ReLU:
        kernels = [k for k in (1, 3) if _is_conv(parts[1], k, stride, 1, 1)]
        return f"conv_{kernels[0]}" if kernels else None
    for kernel in (3, 5):
        if _is_separable(parts, kernel, stride, 2):
            return f"dil_conv_{kernel}"
        if _is_separable(parts[:4], kernel, stride, 1) and _is_separable(parts[4:], kernel, 1, 1):
            return f"sep_conv_{kernel}"
    return None


def _is_separable(parts: Sequence[nn.Module], kernel: int, stride: int, dilation: int) -> bool:
    if len(parts) != 4:
        return False
    relu, depthwise, pointwise, norm = parts
    return (
        type(relu) is nn.ReLU
        and isinstance(depthwise, nn.Conv2d)
        and _is_conv(depthwise, kernel, stride, dilation, depthwise.in_channels)
        and _is_conv(pointwise, 1, 1, 1, 1)
        and is_plain(norm)
    )


def _is_conv(module: nn.Module, kernel: int, stride: int, dilation: int, groups: int) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == (kernel, kernel)
        and module.stride == (stride, stride)
        and module.dilation == (dilation, dilation)
        and module.padding == (dilation * (kernel // 2),) * 2
        and module.padding_mode == "zeros"
        and module.groups == groups
        and module.in_channels == module.out_channels
        and module.bias is None
    )


def _is_max_pool(module: nn.Module, stride: int) -> bool:
    return type(module) is nn.MaxPool2d and _window(module) == (3, stride, 1, 1, False, False)


def _window(pool: nn.MaxPool2d) -> tuple[object, ...]:
    return (
        pool.kernel_size,
        pool.stride,
        pool.padding,
        pool.dilation,
        pool.ceil_mode,
        pool.return_indices,
    )


def _is_avg_pool(module: nn.Module, stride: int) -> bool:
    return (
        type(module) is nn.AvgPool2d
        and (module.kernel_size, module.stride, module.padding) == (3, stride, 1)
        and not module.ceil_mode
        and not module.count_include_pad
        and module.divisor_override is None
    )
