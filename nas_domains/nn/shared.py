"""The supernet of a space whose networks are made of ordinary layers, of MONAI's for example."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.architecture import Architecture

Build = Callable[[Architecture], nn.Module]
"""The plain network of an architecture."""


class SharedNetwork(nn.Module):
    """Holds every architecture of a space in one set of tensors.

    Under each name that a parameter has in some network lies a tensor as large as the largest of
    them; a network has a view of it: its first channels, and the centre of its kernel, as in
    Once-for-all (Cai et al. 2020, arXiv 1908.09791). The layers themselves are those of
    ``build``, so that any network can be searched by paths without elastic layers of its own;
    its tensors must be parameters and buffers, not plain attributes.

    It runs one architecture at a time, at first the first of ``covering``. It has no architecture
    parameters: which path a step takes is for the strategy to draw.

    Args:
        build: Makes the plain network of an architecture; parameters of one name and group must
            play one role in all networks.
        covering: Architectures whose networks together have each parameter at its largest.
        group: Name of the set of tensors that an architecture shares with others of its group.
    """

    def __init__(
        self,
        build: Build,
        covering: Sequence[Architecture],
        group: Callable[[Architecture], str] = lambda architecture: "all",
    ) -> None:
        super().__init__()
        self.build, self.group, self.first = build, group, covering[0]
        self.shared = nn.Module()
        for architecture in covering:
            network = build(architecture)
            for name, value in (*network.named_parameters(), *network.named_buffers()):
                self._keep(_key(group(architecture), name), value)
        self.set_architecture(None)
        self.register_load_state_dict_post_hook(_body_again)  # type: ignore[no-untyped-call]

    def _keep(self, key: str, value: Tensor) -> None:
        known = getattr(self.shared, key, None)
        if known is not None:
            most = torch.Size(max(a, b) for a, b in zip(known.shape, value.shape, strict=True))
            if most == known.shape:
                return
            if most != value.shape:
                value = _enlarged(value, most)
        if isinstance(value, nn.Parameter):
            self.shared.register_parameter(key, value)
        else:
            self.shared.register_buffer(key, value)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> what the network of the architecture gives."""
        try:
            for module, attribute, key, shape in self._bound:
                # Found before nn.Module looks for a parameter of this name.
                module.__dict__[attribute] = _part(getattr(self.shared, key), shape)
            out: Tensor = self.body(x)
        finally:
            for module, attribute, _, _ in self._bound:
                module.__dict__.pop(attribute, None)
        return out

    def set_architecture(self, architecture: Architecture | None) -> None:
        """Runs one architecture from now on; None is the first of ``covering``."""
        self._path = architecture
        chosen = self.first if architecture is None else architecture
        group = self.group(chosen)
        with torch.device("meta"):
            self.body = self.build(chosen)
        self._bound: list[tuple[nn.Module, str, str, torch.Size]] = []
        for prefix, module in self.body.named_modules():
            at = f"{prefix}." if prefix else ""
            for name, parameter in list(module.named_parameters(recurse=False)):
                key = _key(group, at + name)
                self._bound.append((module, name, key, parameter.shape))
                del module._parameters[name]
            for name, buffer in list(module.named_buffers(recurse=False)):
                # Views for good: statistics are written in place.
                shared = getattr(self.shared, _key(group, at + name))
                module._buffers[name] = _part(shared, buffer.shape)
                module._non_persistent_buffers_set.add(name)
        self.body.train(self.training)

    def extract(self, architecture: Architecture) -> nn.Module:
        """The plain network of an architecture, with a copy of the shared weights."""
        network, group = self.build(architecture), self.group(architecture)
        own = network.state_dict()
        state = {
            name: _part(getattr(self.shared, _key(group, name)), value.shape)
            for name, value in own.items()
        }
        network.load_state_dict(state)
        return network.to(next(self.parameters()).device).train(self.training)

    def architecture_parameters(self) -> list[nn.Parameter]:
        """None: nothing here weighs architectures against each other."""
        return []

    def weight_parameters(self) -> list[nn.Parameter]:
        """The shared weights of all networks."""
        return list(self.shared.parameters())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SharedNetwork":
        # Moved tensors have other memory, of which the body's statistics must be views again.
        del self.body
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.set_architecture(self._path)
        return self


def _body_again(network: SharedNetwork, keys: Any) -> None:
    """After loading: batch norms of the body ask for a number of their own, and get a view."""
    keys.unexpected_keys[:] = [name for name in keys.unexpected_keys if "body." not in name]
    network.set_architecture(network._path)


def _enlarged(value: Tensor, shape: torch.Size) -> Tensor:
    """As large as this, with fresh weights of the same spread."""
    spread = float(value.detach().square().mean().sqrt())
    made = value.detach().new_empty(shape).normal_(0, spread)
    return nn.Parameter(made) if isinstance(value, nn.Parameter) else made


def _key(group: str, name: str) -> str:
    return f"{group}/{name.replace('.', '/')}"


def _part(whole: Tensor, shape: torch.Size) -> Tensor:
    """The first channels, the centre of the other sides."""
    if any(side > most for side, most in zip(shape, whole.shape, strict=True)):
        raise ValueError(f"{tuple(shape)} of {tuple(whole.shape)}: covering does not cover")
    slices = []
    for axis, (most, side) in enumerate(zip(whole.shape, shape, strict=True)):
        start = 0 if axis < 2 else (most - side) // 2
        slices.append(slice(start, start + side))
    return whole[tuple(slices)]
