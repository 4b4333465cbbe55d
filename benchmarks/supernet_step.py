"""A whole first-order search step of DARTS supernets: edges as one op, and one by one.

    python benchmarks/supernet_step.py [--cells 4 --rounds 5]

A step is one gradient of the architecture parameters and one of the weights, each on its own
batch. All variants are the same network in channels-last, sampled in turn in one process:

* fused: every edge is the op ``mixed_edge``
* generic: the candidates' bodies one by one, their norms in ``norm_weighted_sum``
* eager: plain PyTorch, candidate by candidate, as published

Prints minimum and median seconds, peak memory, and ratios to the fused variant.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import nas_domains as nd
from nas_domains import ops
from nas_domains.bench.harness import header, peak_bytes
from nas_domains.nn.mixed import MixedOp

SETTINGS = {8: (16, (64, 3, 32, 32)), 4: (16, (64, 1, 28, 28))}


class OneByOne(nn.Module):
    """A mixed operation as published."""

    def __init__(self, candidates: nn.ModuleDict) -> None:
        super().__init__()
        self.candidates = candidates

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        terms = [w * c(x) for w, c in zip(weights, self.candidates.values(), strict=True)]
        return sum(terms[1:], terms[0])


def supernet(kind: str, cells: int, channels: int, shape: tuple[int, ...]) -> nn.Module:
    """A new supernet whose edges run as ``kind`` says."""
    torch.manual_seed(0)
    space = nd.spaces.get("darts", cells=cells, channels=channels)
    net = space.supernet(shape[1:], 10)
    for cell in net.body.cells:
        for name, edge in cell.edges.items():
            assert isinstance(edge, MixedOp) and edge.fused is not None
            if kind == "generic":
                edge.fuses = False
            elif kind == "eager":
                cell.edges[name] = OneByOne(edge.candidates)
    return net.to(memory_format=torch.channels_last)


def step(net: nn.Module, shape: tuple[int, ...]) -> Callable[[], object]:
    """One step of first-order DARTS, without the optimisers."""
    batches = [(torch.randn(shape), torch.randint(10, shape[:1])) for _ in range(2)]
    groups = [net.architecture_parameters(), net.weight_parameters()]

    def run() -> None:
        for (x, labels), asked, other in zip(batches, groups, groups[::-1], strict=True):
            for p in asked:
                p.requires_grad_(True)
            for p in other:
                p.requires_grad_(False)
            loss = nn.functional.cross_entropy(net(x), labels)
            torch.autograd.grad(loss, asked, allow_unused=True)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, choices=sorted(SETTINGS), default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if ops.active()["mixed_edge_fwd"] != "native":
        parser.error("nothing is compiled here: reinstall with a C++ compiler")
    channels, shape = SETTINGS[options.cells]
    about = header()
    print(f"{about['date']}, {about['cpu']}, {about['threads']} threads, load {about['load']}")
    print(f"{options.cells} cells, {channels} channels, {'x'.join(map(str, shape))}")
    steps = {
        kind: step(supernet(kind, options.cells, channels, shape), shape)
        for kind in ("fused", "generic", "eager")
    }
    samples: dict[str, list[float]] = {kind: [] for kind in steps}
    memory = {}
    for kind, run in steps.items():
        run()
        memory[kind] = peak_bytes(run)
    for _ in range(options.rounds):
        for kind, run in steps.items():
            start = time.perf_counter()
            run()
            samples[kind].append(time.perf_counter() - start)
    base = statistics.median(samples["fused"])
    print(f"{'variant':10}{'min s':>9}{'median s':>10}{'x fused':>9}{'peak MB':>10}{'x fused':>9}")
    for kind, times in samples.items():
        median = statistics.median(times)
        print(
            f"{kind:10}{min(times):9.3f}{median:10.3f}{median / base:9.2f}"
            f"{memory[kind] / 1e6:10.1f}{memory[kind] / memory['fused']:9.2f}"
        )


if __name__ == "__main__":
    main()
