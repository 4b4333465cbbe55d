"""The contract of ``sample_paths``, as functions that raise ``AssertionError``, without pytest."""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import ops

__all__ = [
    "CASES",
    "MODES",
    "PathCase",
    "check_fair",
    "check_laws",
    "check_path_sampler",
    "check_philox",
    "check_pieces",
    "check_same_as_reference",
    "check_sample_paths",
]

MODES = ("uniform", "categorical", "gumbel", "fair")

# Counter, key and words, from kat_vectors of the Random123 library.
VECTORS = (
    ((0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**64 - 1, 2**64 - 1), 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x85A308D3243F6A88, 0x0370734413198A2E),
        0x299F31D0A4093822,
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)


@dataclass(frozen=True)
class PathCase:
    """Logits [edges, options], of which a share is minus infinity."""

    edges: int
    options: int
    never: float = 0.0
    seed: int = 0

    def logits(self) -> Tensor:
        """The logits of the case, float64."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.edges, self.options)
        x = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
        never = torch.rand(shape, generator=generator) < self.never
        never[torch.arange(self.edges), torch.arange(self.edges) % self.options] = False
        return x.masked_fill(never, -torch.inf)


# Vectors that wrap around few edges, tails, one option, more options than a byte or a digit hold.
CASES = (
    *(PathCase(e, k, never) for e, k in ((1, 1), (1, 3), (20, 8), (33, 5)) for never in (0, 0.4)),
    PathCase(3, 128),
    PathCase(2, 129, 0.2),
    PathCase(2, 3000),
    PathCase(131, 2, 0.3),
)


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def check_philox(device: str = "cpu") -> None:
    """Checks the words of Philox 4x32-10 against the published vectors."""
    like = torch.empty(0, device=device)
    for (low, high), key, words in VECTORS:
        args = (_signed(key), _signed(low), _signed(high), 2)
        block = torch.ops.nas_domains.philox(like, *args)[0].view(4, 16)
        assert tuple(block[:, 0].tolist()) == words, f"Philox of {low:x}, {high:x}, {key:x}"
        # The other counters of a block are those that follow.
        low, high = (low + 5) % 2**64, (high + (low + 5 >= 2**64)) % 2**64
        args = (_signed(key), _signed(low), _signed(high), 1)
        later = torch.ops.nas_domains.philox(like, *args)[0].view(4, 16)
        assert torch.equal(block[:, 5:], later[:, :11]), f"Philox after {low:x}, {high:x}"


def check_same_as_reference(
    case: PathCase, n: int = 700, seed: int = 2**64 - 3, offset: int = 12_345, device: str = "cpu"
) -> None:
    """Checks that each mode gives the reference's paths, bit for bit, for any threads."""
    logits = case.logits().to(device)
    fewest = int((logits > -torch.inf).sum(1).min())
    before = torch.get_num_threads()
    for mode in MODES:
        k = min(fewest, 3) if mode == "gumbel" else 1
        draw = partial(ops.sample_paths, logits, n, mode, seed=seed, offset=offset, k=k)
        with ops.backend("reference"):
            expected = draw()
        shape = (n, case.edges, k) if mode == "gumbel" else (n, case.edges)
        assert expected.shape == shape
        assert expected.dtype == (torch.int8 if case.options <= 128 else torch.int16)
        allowed = (logits > -torch.inf).expand(n, -1, -1)
        drawn = expected.long().reshape(n, case.edges, k)
        assert bool(allowed.gather(2, drawn).all()), f"{case} {mode}: drew what has no chance"
        try:
            for threads in (1,) if ops.choice() == "triton" else (1, 3):
                torch.set_num_threads(threads)
                found = draw()
                assert torch.equal(found, expected), f"{case} {mode}: other paths than reference"
        finally:
            torch.set_num_threads(before)


def check_pieces(
    case: PathCase, n: int = 500, cuts: Sequence[int] = (1, 7, 129, 400), device: str = "cpu"
) -> None:
    """Checks that drawing paths in pieces gives the same paths."""
    logits = case.logits().to(device)
    for mode in MODES:
        whole = ops.sample_paths(logits, n, mode, seed=9, offset=1000)
        edges = [0, *cuts, n]
        pieces = [
            ops.sample_paths(logits, b - a, mode, seed=9, offset=1000 + a)
            for a, b in zip(edges, edges[1:], strict=False)
        ]
        assert torch.equal(torch.cat(pieces), whole), f"{case} {mode}: pieces differ"
        other = ops.sample_paths(logits, n, mode, seed=10, offset=1000)
        if case.options > 2:
            assert not torch.equal(other, whole), f"{case} {mode}: another seed, the same paths"


def check_fair(case: PathCase, device: str = "cpu") -> None:
    """Checks that on each edge each block of paths holds each option once, in all orders alike."""
    logits = case.logits().to(device)
    for edge, row in enumerate(logits):
        options = (row > -torch.inf).nonzero().flatten().tolist()
        m = len(options)
        paths = ops.sample_paths(logits, 50 * m, "fair", seed=3, offset=4 * m)[:, edge]
        for block in paths.view(50, m).tolist():
            assert sorted(block) == options, f"{case}: edge {edge} is not fair"


def _plausible(counts: Tensor, p: Tensor, what: str) -> None:
    """Chi-square by the bound of Wilson & Hilferty, of one in a million."""
    expected = p.double() / p.sum() * counts.sum()
    kept = expected > 0
    freedom = int(kept.sum()) - 1
    assert int(counts[~kept].sum()) == 0, f"{what}: drew what has no chance"
    if freedom < 1:
        return
    statistic = float(((counts[kept] - expected[kept]) ** 2 / expected[kept]).sum())
    spread = 2 / (9 * freedom)
    bound = freedom * (1 - spread + 4.75 * math.sqrt(spread)) ** 3
    assert statistic < bound, f"{what}: chi-square {statistic:.1f} is not below {bound:.1f}"


def check_laws(n: int = 40_000, device: str = "cpu") -> None:
    """Checks each mode's probabilities: of options, of ordered pairs, and of orders."""
    logits = torch.tensor(
        [[0.0, 1.0, -1.0, 0.5], [2.0, -torch.inf, 0.0, 0.3], [0.1, 0.0, -0.5, 0.2]], device=device
    )
    p = logits.double().softmax(1).cpu()
    allowed = (p > 0).double()
    edges, options = p.shape
    for mode, law in (("uniform", allowed), ("categorical", p), ("fair", allowed)):
        paths = ops.sample_paths(logits, n, mode, seed=1).cpu().long()
        for edge in range(edges):
            counts = torch.bincount(paths[:, edge], minlength=options)
            if mode == "fair":  # evenly, but for what the last block has begun
                drawn = counts[law[edge] > 0]
                assert int(drawn.max() - drawn.min()) <= 1, "fair: options are not even"
                continue
            _plausible(counts, law[edge], f"{mode}, edge {edge}")
            # No two edges go together.
            other = paths[:, (edge + 1) % edges]
            pairs = torch.bincount(paths[:, edge] * options + other, minlength=options**2)
            joint = law[edge].unsqueeze(1) * law[(edge + 1) % edges]
            _plausible(pairs, joint.flatten(), f"{mode}, edges {edge} and the next")
    first, second = ops.sample_paths(logits, n, "gumbel", seed=1, k=2).cpu().long().unbind(2)
    for edge in range(edges):
        row = p[edge]
        joint = row.unsqueeze(1) * row / (1 - row).unsqueeze(1)
        joint.fill_diagonal_(0)
        pairs = torch.bincount(first[:, edge] * options + second[:, edge], minlength=options**2)
        _plausible(pairs, joint.flatten(), f"gumbel, edge {edge}")
    blocks = ops.sample_paths(logits[:1], 4 * n, "fair", seed=5).cpu().long().view(n, 4)
    orders = torch.unique(blocks, dim=0, return_counts=True)[1]
    assert len(orders) == 24, "fair: not all orders come up"
    _plausible(orders, torch.ones(24), "fair, orders")


def check_path_sampler() -> None:
    """Checks ``PathSampler`` against all architectures of a small space with absent choices."""
    sampler_class: Any = importlib.import_module("nas_domains._sampler").PathSampler
    for unit in (1, 0.1):  # counts and draws on whole costs, and on a grid
        costs = [[unit * c for c in row] for row in ([1, 2, 3], [2, 3], [1, 4], [5, 2], [0, 3, 1])]
        parents, active = [-1, 0, 0, 0, -1], [[], [0, 1, 2], [1, 2], [2], []]
        sampler = sampler_class(costs, parents, active)
        keep: dict[tuple[int, ...], int] = {}
        limit = unit * 9.5
        for options in itertools.product(*(range(-1, len(row)) for row in costs)):
            there = [p < 0 or options[p] in active[i] for i, p in enumerate(parents)]
            if [o >= 0 for o in options] == there:
                cost = sum(costs[i][o] for i, o in enumerate(options) if o >= 0)
                keep |= {options: len(keep)} if cost <= limit else {}
        count = sampler.count(limit)
        least, most = count if isinstance(count, tuple) else (count, count)
        assert least <= len(keep) <= most, f"PathSampler counts {count}, there are {len(keep)}"
        drawn = sampler.sample(200 * len(keep), 1, limit)
        found = torch.tensor([keep.get(tuple(row), len(keep)) for row in drawn.tolist()])
        law = torch.tensor([1.0] * len(keep) + [0.0])
        _plausible(torch.bincount(found, minlength=len(law)), law, f"PathSampler, unit {unit}")


def check_sample_paths(device: str = "cpu") -> None:
    """Runs the contract on the backend in use."""
    check_philox(device)
    for case in CASES:
        check_same_as_reference(case, device=device)
    check_pieces(PathCase(20, 8), device=device)
    check_fair(PathCase(5, 6, 0.3), device)
    check_laws(device=device)
