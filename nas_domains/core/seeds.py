"""Randomness by counter: every random number depends on the seed and a place, on no history.

A step's generator is made from (seed, stage, step), so a run that goes on after a kill needs no
saved generator states to repeat the bits of one that was never killed.
"""

import hashlib
import random

import numpy as np
import torch


def derive(seed: int, *place: int | str) -> int:
    """A seed of 63 bits for a place such as ("train/winner/0", 17)."""
    # A numpy integer is written otherwise than the int that it equals.
    plain = tuple(p if isinstance(p, str) else int(p) for p in (seed, *place))
    digest = hashlib.blake2b(repr(plain).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *place: int | str) -> torch.Generator:
    """A CPU generator for a place."""
    return torch.Generator().manual_seed(derive(seed, *place))


def seed_all(seed: int, *place: int | str) -> None:
    """Sets the global generators of torch (all devices), numpy and Python for a place."""
    derived = derive(seed, *place)
    torch.manual_seed(derived)
    np.random.seed(derived % 2**32)
    random.seed(derived)
