"""One search step of DiNTS: ours beside MONAI's TopologySearch, with the same losses.

    python benchmarks/dints_step.py [--rounds 5] [--out benchmarks/dints_step]

A step is one of the weights (SGD) and one of the architecture parameters (Adam), each on a batch
of 2x1x32x48x32 of its own, with 6 blocks, 3 depths and channel_mul 0.5; losses and optimizers are
those of MONAI's search script: DiceCE, entropies, memory and topology. Both start from the same
weights. Steps are taken in turn in one process with one thread, and their CPU seconds counted,
which other work on the machine disturbs less than the time that passes. Peak memory is measured in
a process for each, above what the process held before the network was made.

Writes a JSON file and a table beside it.
"""

import argparse
import contextlib
import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from monai.losses import DiceCELoss
from monai.networks.nets import DiNTS, TopologySearch
from torch import Tensor, nn

import nas_domains as nd
from nas_domains.bench.harness import header
from nas_domains.nn.dints.supernet import CANDIDATE, PATH, DintsSupernet
from nas_domains.strategies.parts.dints import TopologyLosses

SHAPE, CLASSES, BLOCKS, DEPTHS, CHANNELS, RAM = (2, 1, 32, 48, 32), 3, 6, 3, 16, 0.2
GOALS = {"time": 1.5, "memory": 0.5}
Losses = Callable[[], Tensor]


def theirs() -> tuple[nn.Module, list[nn.Parameter], Losses]:
    """MONAI's supernet, its architecture parameters and the losses of its search script."""
    with contextlib.redirect_stdout(io.StringIO()):
        space = TopologySearch(
            channel_mul=CHANNELS / 32, num_blocks=BLOCKS, num_depths=DEPTHS, spatial_dims=3
        )
    network = DiNTS(space, SHAPE[1], CLASSES)

    def losses() -> Tensor:
        sets, _ = space.get_prob_a(child=True)
        log_alpha = space.log_alpha_c
        paths = -(sets * torch.log(sets + 1e-5)).mean()
        cells = -(log_alpha.softmax(-1) * log_alpha.log_softmax(-1)).mean()
        full, used = (space.get_ram_cost_usage(SHAPE, full=whole) for whole in (True, False))
        topology: Tensor = space.get_topology_entropy(sets)
        return paths + cells + (RAM - used / full).abs() + 1e-3 * topology

    return network, [space.log_alpha_a, space.log_alpha_c], losses


def ours() -> tuple[nn.Module, list[nn.Parameter], Losses]:
    """The same of ours."""
    space = nd.spaces.get("dints", blocks=BLOCKS, depths=DEPTHS, channels=CHANNELS)
    network: DintsSupernet = space.supernet(SHAPE[1:], CLASSES)
    regulariser = TopologyLosses(RAM)
    return network, network.architecture_parameters(), lambda: regulariser(network, 1.0)


VARIANTS = {"ours": ours, "monai": theirs}


class Search:
    """A supernet with its optimizers."""

    def __init__(self, variant: str) -> None:
        torch.manual_seed(0)
        self.network, self.alphas, self.losses = VARIANTS[variant]()
        known = set(map(id, self.alphas))
        self.weights = [p for p in self.network.parameters() if id(p) not in known]
        self.loss = DiceCELoss(
            include_background=False, to_onehot_y=True, softmax=True, squared_pred=True,
            batch=True, smooth_nr=1e-5, smooth_dr=1e-5,
        )  # fmt: skip
        self.sgd = torch.optim.SGD(self.weights, lr=2e-4, momentum=0.9, weight_decay=4e-5)
        self.adam = torch.optim.Adam(self.alphas, lr=1e-3, betas=(0.5, 0.999))

    def step(self, seed: int) -> tuple[float, float]:
        """One step of each; returns the losses."""
        values = []
        for optimizer, asked, other in (
            (self.sgd, self.weights, self.alphas),
            (self.adam, self.alphas, self.weights),
        ):
            g = torch.Generator().manual_seed(2 * seed + len(values))
            x = torch.randn(SHAPE, generator=g)
            y = torch.randint(CLASSES, SHAPE, generator=g)
            for p in asked:
                p.requires_grad_(True)
            for p in other:
                p.requires_grad_(False)
            optimizer.zero_grad()
            loss = self.loss(self.network(x), y)
            if optimizer is self.adam:
                loss = loss + self.losses()
            loss.backward()
            optimizer.step()
            values.append(loss.item())
        return values[0], values[1]


def align(mine: Search, other: Search) -> None:
    """Gives MONAI's weights to ours."""
    state = other.network.state_dict()
    with torch.no_grad():
        paths = state.pop("dints_space.log_alpha_a")
        mine.network.alphas[PATH].copy_(paths.reshape(-1, 1))
        cells = state.pop("dints_space.log_alpha_c")
        mine.network.alphas[CANDIDATE].copy_(cells.flatten(0, 1))
    mine.network.body.load_state_dict(state)


def held() -> float:
    """The most memory that the process has held, MB.

    Read where Linux counts it from the start of the program; ``getrusage`` begins with what the
    process held that started it.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("This system does not say how much memory a process has held: use Linux.")


def memory(variant: str) -> float:
    """MB above the start at the peak of three steps."""
    torch.ops.aten.mm(torch.randn(64, 64), torch.randn(64, 64))
    before = held()
    search = Search(variant)
    for seed in range(3):
        search.step(seed)
    return held() - before


def measure(rounds: int) -> dict[str, object]:
    """The rows of both, and the losses of their first step, which should be the same."""
    searches = {name: Search(name) for name in VARIANTS}
    align(searches["ours"], searches["monai"])
    losses = {name: search.step(0) for name, search in searches.items()}
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for seed in range(1, rounds + 1):
        for name, search in searches.items():
            began = time.process_time()
            search.step(seed)
            seconds[name].append(time.process_time() - began)
    del searches
    peaks = {}
    for name in VARIANTS:
        command = [sys.executable, __file__, "--memory", name]
        peaks[name] = float(subprocess.run(command, check=True, capture_output=True).stdout)
    rows = {
        name: {
            "min_cpu_seconds": min(times),
            "median_cpu_seconds": statistics.median(times),
            "peak_mb": peaks[name],
            "first_losses": losses[name],
        }
        for name, times in seconds.items()
    }
    mine, other = rows["ours"], rows["monai"]
    ratios = {
        "min_time": other["min_cpu_seconds"] / mine["min_cpu_seconds"],
        "median_time": other["median_cpu_seconds"] / mine["median_cpu_seconds"],
        "memory": mine["peak_mb"] / other["peak_mb"],
    }
    return {"about": header(), "rounds": rounds, "rows": rows, "ratios": ratios, "goals": GOALS}


def table(found: dict) -> str:
    """The measurement as Markdown."""
    about, ratios = found["about"], found["ratios"]
    lines = [
        "# One search step of DiNTS",
        "",
        "`python benchmarks/dints_step.py` wrote this: "
        f"{about['date']}, {about['cpu']}, {about['threads']} thread, torch "
        f"{torch.__version__}, {found['rounds']} rounds in turn, load {about['load']}.",
        f"Batches of {'x'.join(map(str, SHAPE))}, {BLOCKS} blocks, {DEPTHS} depths, channel_mul "
        f"{CHANNELS / 32}; weights by SGD and architecture parameters by Adam.",
        "",
        "| | CPU seconds, least | median | peak MB above the start | losses of the first step |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in found["rows"].items():
        losses = ", ".join(f"{value:.5f}" for value in row["first_losses"])
        lines.append(
            f"| {name} | {row['min_cpu_seconds']:.2f} | {row['median_cpu_seconds']:.2f} | "
            f"{row['peak_mb']:.0f} | {losses} |"
        )
    lines += [
        "",
        f"Ours is {ratios['min_time']:.2f} times as fast by the least, "
        f"{ratios['median_time']:.2f} times by the median (goal {GOALS['time']}), and takes "
        f"{ratios['memory']:.2f} of the memory (goal {GOALS['memory']}).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", choices=sorted(VARIANTS), help="Measure one, and print MB.")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(""))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        print(memory(options.memory))
        return
    found = measure(options.rounds)
    options.out.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(table(found))
    print(table(found))


if __name__ == "__main__":
    main()
