"""Randomness by counter."""

import random

import numpy as np
import torch

from nas_domains.core.seeds import derive, generator, seed_all


def drawn():
    return (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random())


def test_every_global_generator_depends_on_the_place_alone():
    seed_all(1, "stage", 5)
    first = drawn()
    drawn()
    seed_all(1, "stage", 5)
    assert drawn() == first
    for place in ((2, "stage", 5), (1, "stage", 6), (1, "other", 5), (1, "stage")):
        seed_all(*place)
        other = drawn()
        assert all(a != b for a, b in zip(first, other, strict=True)), place


def test_generator_leaves_the_global_one_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    a = torch.rand(4, generator=generator(1, "x"))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(a, torch.rand(4, generator=generator(1, "x")))


def test_places_do_not_run_into_each_other():
    places = [(1, 2, 3), (12, 3), (1, 23), (1, "2", 3), (1, "2, 3"), (1, 2, "3"), (1,), (2, 1, 3)]
    seeds = {derive(*place) for place in places}
    assert len(seeds) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_are_the_same_in_every_process_and_version():
    assert derive(7, "train/winner/0", 17) == 4_899_280_196_160_819_231


def test_a_numpy_integer_is_the_int_that_it_equals():
    assert derive(int(np.int64(3)), "a", 7) == derive(np.int64(3), "a", np.int32(7))
