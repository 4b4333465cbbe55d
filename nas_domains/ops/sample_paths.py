r"""Paths of a supernet: one option for each of E edges, drawn many at a time.

Every random number is a word of Philox 4x32-10 (Salmon et al. 2011): a function of the seed, of
what it is for and of its place, where a place counts edges along the paths,
``(offset + path) * E + edge``. So the same numbers give the same paths on every backend and thread
count, and in one call or several. With ``U`` the 48-bit number of a place, ``p = softmax(logits)``
of its edge and ``m`` the number of the edge's options whose logit is not minus infinity:

* ``uniform``: option number :math:`\lfloor U m / 2^{48} \rfloor` of those m;
* ``categorical``: the first option k with :math:`U < c_k`, where
  :math:`c_k = round(2^{48} \sum_{i \le k} p_i)`;
* ``fair``: a block of m paths goes through a random order of the m options (Fisher & Yates, one
  step a path, its choice made as in ``uniform``), as FairNAS (Chu et al. 2021) asks for;
* ``gumbel``: the k first arrivals of a race in which option i takes :math:`-\log(V_i) / p_i`, with
  :math:`V_i` a 32-bit number in (0, 1). As :math:`-\log(-\log V)` is a Gumbel variable, these are
  the k largest of logit plus Gumbel: draws from p without replacement (Kool et al. 2019).

What is not exact is stated by those numbers: a probability is off by at most 2^-48 (``uniform``,
``fair``: at most 2^-33 for 2^15 options), a Gumbel variable is one of 2^32 quantiles, and for
``gumbel`` a logit more than 600 below the largest of its edge counts as 600 below.

A word: the counters of block b are ``16 b`` to ``16 b + 15``; its 64 words are the first words of
all 16, then the second ones, and so on. The upper digit of U is half of a word of stream 0 (lower
half first), the lower 32 bits are a word of stream 1, V is a word of stream 2; the stream is the
counter's third word. The kernels read stream 1 only where the upper digit leaves the option open.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .backend import define

__all__ = ["sample_paths"]

MODES = ("uniform", "categorical", "gumbel", "fair")
_ONE = 1 << 48
_UPPER, _LOWER, _RACE = 0, 1, 2
_LEAST = -600.0
_CHUNK = 1 << 20  # numbers that the reference holds at a time


def sample_paths(
    logits: Tensor, n: int, mode: str = "uniform", *, seed: int, offset: int = 0, k: int = 1
) -> Tensor:
    """Draws n paths; see the module for what is drawn from which random number.

    Drawing paths ``[offset, offset + n)`` in pieces gives the same paths as drawing them at once.
    A ``fair`` block begins where the path's number, ``offset`` included, is a multiple of the
    number of options; with as many on all edges, K paths from there on hold each option once.

    Args:
        logits: ``[E, K]`` of any real floating dtype; minus infinity is never drawn, which also
            makes rows of fewer options. ``uniform`` and ``fair`` read nothing else from it.
        n: How many paths, 0 or more.
        mode: uniform, categorical, gumbel or fair.
        seed: 0 to 2**64 - 1.
        offset: Number of the first path, 0 or more.
        k: Options an edge that ``gumbel`` draws, without replacement.

    Returns:
        Options on the device of ``logits``, int8 where K <= 128 and int16 otherwise: ``[n, E]``,
        or for ``gumbel`` ``[n, E, k]``, the first drawn first. Not differentiable.

    Raises:
        TypeError: ``logits`` is not of a real floating dtype.
        ValueError: An unknown mode, a shape, number or logit out of range, or an edge with fewer
            than k options.
    """
    if mode not in MODES:
        raise ValueError(f"sample_paths: mode is {mode!r}; use one of {', '.join(MODES)}.")
    if not logits.dtype.is_floating_point:
        raise TypeError(f"sample_paths: logits are {logits.dtype}; convert them to a float dtype.")
    if logits.dim() != 2 or logits.numel() == 0 or logits.shape[1] > 32767:
        raise ValueError(
            f"sample_paths: logits have shape {tuple(logits.shape)}; give it [edges, options] "
            "with at most 32767 options."
        )
    if n < 0 or offset < 0 or (offset + n + 1) * logits.numel() >= 1 << 62:
        raise ValueError(
            f"sample_paths got n={n} and offset={offset}; use 0 or more, below 2**62 random "
            "numbers in all."
        )
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"sample_paths: seed is {seed}; use 0 to 2**64 - 1.")
    if not 1 <= k <= logits.shape[1] or (k > 1 and mode != "gumbel"):
        raise ValueError(
            f"sample_paths got k={k} with mode {mode}; use 1, or with mode gumbel up to the "
            f"{logits.shape[1]} options."
        )
    # Torch's integers have a sign.
    key = seed - (1 << 64) if seed >= 1 << 63 else seed
    table = torch.ops.nas_domains.sample_paths_table(logits.detach(), mode, k)
    ops = torch.ops.nas_domains
    if mode == "gumbel":
        out: Tensor = ops.sample_paths_race(table, n, k, key, offset)
    elif mode == "fair":
        out = ops.sample_paths_fair(table, n, key, offset)
    else:
        out = ops.sample_paths_choose(table, n, key, offset)
    return out


# One implementation for all backends: no exponential is computed twice, so none can differ. An op
# of its own, so that a compiled graph does not compute it otherwise.
@torch.library.custom_op("nas_domains::sample_paths_table", mutates_args=())
def _table(logits: Tensor, mode: str, k: int) -> Tensor:
    """What the mode's kernel reads: thresholds c (int64), what is allowed (bool), or 1 / p."""
    x = logits.cpu().double()
    allowed = x > -torch.inf
    if not (x < torch.inf).all():
        raise ValueError("sample_paths: the logits hold NaN or +inf; give it numbers or -inf.")
    options = allowed.sum(1)
    if options.min() < k:
        edge = int(options.argmin())
        raise ValueError(
            f"sample_paths: edge {edge} has {int(options[edge])} options above -inf; leave it "
            f"{k} or more."
        )
    if mode == "fair":
        return allowed.to(logits.device)
    if mode == "uniform":
        m = options.unsqueeze(1)
        return ((allowed.cumsum(1) * _ONE + (m - 1)) // m).to(logits.device)
    x = x - x.max(1, keepdim=True).values
    if mode == "gumbel":
        return torch.where(allowed, (-x.clamp_min(_LEAST)).exp(), torch.inf).to(logits.device)
    p = x.exp()
    sums = [p[:, 0]]
    for i in range(1, p.shape[1]):  # in this order everywhere
        sums.append(sums[-1] + p[:, i])
    shares = torch.stack(sums, 1) / sums[-1].unsqueeze(1)
    return (shares * _ONE + 0.5).floor().long().to(logits.device)


@_table.register_fake
def _table_fake(logits: Tensor, mode: str, k: int) -> Tensor:
    dtype = {"fair": torch.bool, "gumbel": torch.float64}.get(mode, torch.int64)
    return logits.new_empty(logits.shape, dtype=dtype)


def _philox(counter: list[Tensor], key: int) -> list[Tensor]:
    """The four words of counters given as four int64 tensors of 32-bit words."""
    c0, c1, c2, c3 = counter
    mask = 0xFFFFFFFF
    key0, key1 = key & mask, key >> 32 & mask
    for _ in range(10):
        # The product may pass 2**63; its bits are right all the same.
        a, b = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (
            (b >> 32 & mask) ^ c1 ^ key0,
            b & mask,
            (a >> 32 & mask) ^ c3 ^ key1,
            a & mask,
        )
        key0, key1 = (key0 + 0x9E3779B9) & mask, (key1 + 0xBB67AE85) & mask
    return [c0, c1, c2, c3]


def _words(index: Tensor, stream: int, key: int) -> Tensor:
    """The words of a stream at given places, int64."""
    low = (index >> 6) * 16 + (index & 15)
    zero = torch.zeros_like(low)
    words = torch.stack(_philox([low & 0xFFFFFFFF, low >> 32, zero + stream, zero], key))
    return words.gather(0, (index >> 4 & 3).unsqueeze(0)).squeeze(0)


def _numbers(place: Tensor, key: int) -> Tensor:
    """The 48-bit numbers of places, int64."""
    upper = _words(place >> 1, _UPPER, key) >> 16 * (place & 1) & 0xFFFF
    return upper << 32 | _words(place, _LOWER, key)


def _dtype(options: int) -> torch.dtype:
    return torch.int8 if options <= 128 else torch.int16


def _pieces(n: int, each: int) -> list[range]:
    size = max(1, _CHUNK // each)
    return [range(start, min(n, start + size)) for start in range(0, n, size)]


def _choose_reference(thresholds: Tensor, n: int, seed: int, offset: int) -> Tensor:
    edges, options = thresholds.shape
    out = thresholds.new_empty((n, edges), dtype=_dtype(options))
    for piece in _pieces(n, edges * options):
        first = (offset + piece.start) * edges
        last = (offset + piece.stop) * edges
        place = torch.arange(first, last, device=thresholds.device).view(-1, edges)
        reached = _numbers(place, seed).unsqueeze(2) >= thresholds
        out[piece.start : piece.stop] = reached.sum(2)
    return out


def _choose_fake(thresholds: Tensor, n: int, seed: int, offset: int) -> Tensor:
    edges, options = thresholds.shape
    return thresholds.new_empty((n, edges), dtype=_dtype(options))


def _fair_reference(allowed: Tensor, n: int, seed: int, offset: int) -> Tensor:
    edges, options = allowed.shape
    out = allowed.new_empty((n, edges), dtype=_dtype(options))
    for edge in range(edges):
        mine = allowed[edge].nonzero().squeeze(1)
        m = len(mine)
        start = offset // m * m
        blocks = -(-(offset + n - start) // m)
        path = torch.arange(start, start + blocks * m, device=allowed.device).view(blocks, m)
        numbers = _numbers(path * edges + edge, seed)
        left = mine.expand(blocks, m).clone()
        for i in range(m):
            taken = i + (numbers[:, i : i + 1] * (m - i) >> 48)
            here = left[:, i : i + 1].clone()
            left[:, i : i + 1] = left.gather(1, taken)
            left.scatter_(1, taken, torch.where(taken == i, left[:, i : i + 1], here))
        out[:, edge] = left.flatten()[offset - start : offset - start + n]
    return out


def _exponentials(words: Tensor) -> Tensor:
    """-log((word + 1/2) / 2**32), float64, one rounding after the other as the kernels do it."""
    mantissa, exponent = (words.double() + 0.5).frexp()
    small = mantissa < 0.70710678118654752
    mantissa = torch.where(small, mantissa * 2, mantissa)
    e = exponent.double() - small.double() - 32.0
    z = (mantissa - 1.0) / (mantissa + 1.0)
    z2 = z * z
    total = torch.full_like(z, 1.0 / 21)
    for term in range(19, 0, -2):
        total = total * z2 + 1.0 / term
    return 0.0 - (e * 0.6931471805599453 + (z + z) * total)


def _race_reference(scales: Tensor, n: int, k: int, seed: int, offset: int) -> Tensor:
    edges, options = scales.shape
    out = scales.new_empty((n, edges, k), dtype=_dtype(options))
    for piece in _pieces(n, edges * options):
        first = (offset + piece.start) * edges * options
        last = (offset + piece.stop) * edges * options
        place = torch.arange(first, last, device=scales.device).view(-1, edges, options)
        times = _exponentials(_words(place, _RACE, seed)) * scales
        order = times.sort(dim=2, stable=True).indices
        out[piece.start : piece.stop] = order[..., :k]
    return out


def _race_fake(scales: Tensor, n: int, k: int, seed: int, offset: int) -> Tensor:
    edges, options = scales.shape
    return scales.new_empty((n, edges, k), dtype=_dtype(options))


def _philox_reference(like: Tensor, seed: int, low: int, high: int, blocks: int) -> Tensor:
    mask = 0xFFFFFFFF
    counters = [((high << 64) + (low % (1 << 64)) + i) % (1 << 128) for i in range(16 * blocks)]
    parts = [[c >> 32 * j & mask for c in counters] for j in range(4)]
    words = _philox([torch.tensor(p, dtype=torch.int64, device=like.device) for p in parts], seed)
    return torch.stack([w.view(blocks, 16) for w in words], 1).flatten(1)


def _philox_fake(like: Tensor, seed: int, low: int, high: int, blocks: int) -> Tensor:
    return like.new_empty((blocks, 64), dtype=torch.int64)


define(
    "sample_paths_choose",
    "(Tensor thresholds, int n, int seed, int offset) -> Tensor",
    _choose_reference,
    _choose_fake,
    "nas_domains.kernels.sample_paths:sample_paths_choose",
)
define(
    "sample_paths_fair",
    "(Tensor allowed, int n, int seed, int offset) -> Tensor",
    _fair_reference,
    _choose_fake,
    "nas_domains.kernels.sample_paths:sample_paths_fair",
)
define(
    "sample_paths_race",
    "(Tensor scales, int n, int k, int seed, int offset) -> Tensor",
    _race_reference,
    _race_fake,
    "nas_domains.kernels.sample_paths:sample_paths_race",
)
# The words of `blocks` blocks from the counter (low, high) on, for tests against the published
# vectors; `like` says on which device.
define(
    "philox",
    "(Tensor like, int seed, int low, int high, int blocks) -> Tensor",
    _philox_reference,
    _philox_fake,
    "nas_domains.kernels.philox:philox",
)
