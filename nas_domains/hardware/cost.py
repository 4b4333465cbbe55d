"""Costs of a network: parameters and multiply-accumulates counted, latency measured."""

import statistics
import time
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


def count_params(network: nn.Module) -> int:
    """Number of parameters that are trained."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def count_macs(network: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one input, by torch's flop counter (convolutions and products).

    Of a network of texts, of one of the middle length.

    Args:
        network: On any device; its mode is left as it was.
        input_shape: Shape of one input, without the batch.
    """
    examples = example_inputs(network, input_shape)
    return macs_of(network, examples[len(examples) // 2])


def macs_of(module: nn.Module, x: torch.Tensor) -> int:
    """Multiply-accumulates of a module for an input; on the device "meta" nothing is computed."""
    counter = FlopCounterMode(display=False, custom_mapping=_UNCOUNTED)
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
    seconds: float = 2.0,
    device: torch.device | None = None,
) -> float:
    """Median milliseconds of a forward pass of one input where the network lies.

    Of a network of texts, the mean over the lengths of the medians. On a GPU each pass is waited
    for; threads on a CPU are torch's. Of one thread it is its CPU time, which is that of a quiet
    machine while other programs run; of several it is the time that passes.

    Args:
        network: The plain network; its mode is left as it was.
        input_shape: Shape of one input, without the batch.
        repeats: Passes that count.
        warmup: Passes before them.
        seconds: Once so much time is spent, five passes that count are enough, of each length.
        device: Where the network lies; that of its parameters where None.
    """
    examples = example_inputs(network, input_shape, device)
    clock = time.thread_time if alone(examples[0].device) else time.perf_counter
    times: list[list[float]] = [[] for _ in examples]
    started = time.perf_counter()
    with torch.inference_mode(), _Evaluating(network):
        for i in range(max(warmup, len(examples)) + max(repeats, 5 * len(examples))):
            x = examples[i % len(examples)]
            _wait(x.device)
            began = clock()
            network(x)
            _wait(x.device)
            if i >= max(warmup, len(examples)):
                times[i % len(examples)].append(clock() - began)
                if len(times[-1]) >= 5 and time.perf_counter() - started > seconds:
                    break
    return 1000 * statistics.fmean(map(statistics.median, times))


def alone(device: torch.device) -> bool:
    """Whether passes on a device are the work of the thread that calls them alone."""
    return device.type == "cpu" and torch.get_num_threads() == 1


def example_inputs(
    network: nn.Module, input_shape: tuple[int, ...], device: torch.device | None = None
) -> list[torch.Tensor]:
    """One input [1, ...]; of a network of texts, which makes its own, one of each length."""
    if device is None:
        device = next(network.parameters()).device
    make = getattr(network, "example", None)
    if make is not None:
        return [make([length]).to(device) for length in input_shape]
    return [torch.zeros((1, *input_shape), device=device)]


def _attention_flops(
    query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any
) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


_UNCOUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
"""Products that torch's counter does not know."""


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
