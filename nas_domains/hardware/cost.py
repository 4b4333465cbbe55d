"""Costs of a network: parameters and multiply-accumulates counted, latency measured."""

import statistics
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_params(network: nn.Module) -> int:
    """Number of parameters that are trained."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def count_macs(network: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one input, by torch's flop counter (convolutions and products).

    Args:
        network: On any device; its mode is left as it was.
        input_shape: Shape of one input, without the batch.
    """
    return macs_of(network, _example(network, input_shape))


def macs_of(module: nn.Module, x: torch.Tensor) -> int:
    """Multiply-accumulates of a module for an input; on the device "meta" nothing is computed."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), _Evaluating(module), counter:
        module(x)
    return int(counter.get_total_flops()) // 2


def counted(network: nn.Module, input_shape: tuple[int, ...]) -> dict[str, int]:
    """``params`` and ``macs`` of a network."""
    return {"params": count_params(network), "macs": count_macs(network, input_shape)}


def measure_latency(
    network: nn.Module,
    input_shape: tuple[int, ...],
    *,
    repeats: int = 30,
    warmup: int = 5,
    device: torch.device | None = None,
) -> float:
    """Median milliseconds of a forward pass of one input where the network lies.

    On a GPU each pass is waited for; threads on a CPU are torch's.

    Args:
        network: The plain network; its mode is left as it was.
        input_shape: Shape of one input, without the batch.
        repeats: Passes that count.
        warmup: Passes before them.
        device: Where the network lies; that of its parameters where None.
    """
    x = _example(network, input_shape, device)
    times = []
    with torch.inference_mode(), _Evaluating(network):
        for i in range(warmup + repeats):
            _wait(x.device)
            began = time.perf_counter()
            network(x)
            _wait(x.device)
            if i >= warmup:
                times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def _example(
    network: nn.Module, input_shape: tuple[int, ...], device: torch.device | None = None
) -> torch.Tensor:
    if device is None:
        device = next(network.parameters()).device
    return torch.zeros((1, *input_shape), device=device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Evaluating:
    """Evaluation mode within a block."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __enter__(self) -> None:
        self.was_training = self.network.training
        self.network.eval()

    def __exit__(self, *_: object) -> None:
        self.network.train(self.was_training)
