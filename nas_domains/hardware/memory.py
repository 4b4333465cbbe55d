"""Peak memory of a network's forward pass."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .cost import example_inputs

MEGABYTE = 1e6


def peak_memory(network: nn.Module, input_shape: tuple[int, ...], *, batch: int = 1) -> float:
    """Megabytes (10^6 bytes) of weights, input and tensors that live at once in a forward pass.

    The pass is one of inference: nothing is kept for a backward. Tensors are counted as torch
    makes them, so the number is the same on each machine and in each run; what an operator takes
    for itself in between is not seen.

    Args:
        network: The plain network; its mode is left as it was.
        input_shape: Shape of one input, without the batch.
        batch: Inputs of a pass.
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    was_training = network.training
    network.eval()
    counter = _Live()
    for tensor in (*network.parameters(), *network.buffers()):
        counter.add(tensor)
    inputs = example_inputs(network, input_shape, device)
    one = inputs[len(inputs) // 2]
    x = one.expand(batch, *one.shape[1:]).contiguous()
    counter.add(x)
    try:
        with torch.no_grad(), counter:
            network(x)
    finally:
        network.train(was_training)
    return counter.peak / MEGABYTE


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages from their first use until nothing holds them.

    Attributes:
        peak: The largest number of bytes at once.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, tensor: Tensor) -> None:
        """Counts the storage of a tensor, once."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.live -= size

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Runs an operator, and counts what it made."""
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return made
