"""What all elastic layers have in common, and how they become plain."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...core.errors import UsageError


class Elastic(nn.Module, ABC):
    """A layer that runs at any of several sizes, on the first channels of one set of weights.

    So do Once-for-all (Cai et al. 2020, arXiv 1908.09791) and BigNAS (Yu et al. 2020,
    arXiv 2003.11142): a smaller version has no weights of its own, and learns whenever a larger
    one does.

    Args:
        whole: The plain layer of the largest size, whose parameters and buffers are shared.
        largest: Name of a size -> the largest it can be.
        least: Name of a size -> the least it can be, where that is not 1.

    Attributes:
        active: Name of a size -> what it is at present; the largest at first.
    """

    def __init__(
        self,
        whole: nn.Module,
        largest: Mapping[str, int],
        least: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.whole: Any = whole
        self.largest = dict(largest)
        self.least = dict.fromkeys(largest, 1) | dict(least or {})
        self.active = dict(largest)

    def activate(self, **sizes: int) -> None:
        """Runs at these sizes from now on, and at the largest of those that are not named.

        Raises:
            UsageError: An unknown size, or one out of reach.
        """
        unknown = set(sizes) - set(self.largest)
        if unknown:
            raise UsageError(
                f"{type(self).__name__} has no size {min(unknown)!r}: it has "
                f"{', '.join(self.largest)}."
            )
        active = self.largest | sizes
        self._check(active)
        self.active = active

    def _check(self, sizes: Mapping[str, int]) -> None:
        for name, size in sizes.items():
            low, high = self.least[name], self.largest[name]
            if not isinstance(size, int) or isinstance(size, bool) or not low <= size <= high:
                raise UsageError(
                    f"{name}={size!r} of {type(self).__name__} must be a whole number from {low} "
                    f"to {high}."
                )

    def extra_repr(self) -> str:
        """The active sizes."""
        return ", ".join(f"{name}={size}" for name, size in self.active.items())

    @abstractmethod
    def extract(self) -> nn.Module:
        """The plain layer of the active sizes, with a copy of its weights."""


def check_sizes(layer: str, **sizes: int) -> None:
    """Refuses sizes of a new layer that are no whole numbers above 0.

    Raises:
        UsageError: Such a size.
    """
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise UsageError(f"{name}={size!r} of {layer} must be a whole number > 0.")


def filled(layer: nn.Module, tensors: Mapping[str, Tensor | None]) -> nn.Module:
    """A layer made on torch's device "meta" with copies of these parameters and buffers."""
    state = {name: t.detach().clone() for name, t in tensors.items() if t is not None}
    layer.load_state_dict(state, assign=True)
    return layer


def first_of(whole: nn.Module, layer: nn.Module) -> nn.Module:
    """A layer made on torch's device "meta" with the first entries of a larger one's tensors."""
    theirs = whole.state_dict()
    return filled(
        layer,
        {
            name: theirs[name][tuple(slice(size) for size in own.shape)].contiguous()
            for name, own in layer.state_dict().items()
        },
    ).train(whole.training)


def plain(module: nn.Module) -> nn.Module:
    """A copy of a module in which every elastic layer is the plain one of its active sizes.

    Args:
        module: Any module, with elastic layers at any depth.
    """
    if isinstance(module, Elastic):
        return module.extract()
    # What deepcopy finds here it takes for copies that it has made already.
    made = {id(child): plain(child) for child in module.children()}
    return copy.deepcopy(module, made)
