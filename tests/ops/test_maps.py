"""Memory of large tensors: how it is made, taken again and given back."""

import gc
import os

import pytest
import torch

from nas_domains.ops.backend import native_module

_native = native_module()
pytestmark = [
    pytest.mark.skipif(_native is None, reason="nothing compiled"),
    pytest.mark.skipif(
        "NAS_DOMAINS_TESTED_COPY" in os.environ,
        reason="with the address sanitizer all memory is the heap's",
    ),
]
LARGE = 3, 8, 128, 128  # 1.5 MB of float32
LAST = 8 * 128 * 128, 1, 8 * 128, 8


def used():
    gc.collect()
    return _native.map_bytes()[0]


@pytest.mark.parametrize("bits, dtype", [(32, torch.float32), (64, torch.float64)])
@pytest.mark.parametrize("sizes, strides", [(LARGE, LAST), ((400_000,), (1,))])
def test_a_capsule_makes_a_tensor_that_owns_its_memory(sizes, strides, bits, dtype):
    before = used()
    made = torch.from_dlpack(_native.new_map(sizes, strides, bits))
    assert (made.shape, made.stride(), made.dtype, made.device.type) == (
        sizes, strides, dtype, "cpu",
    )  # fmt: skip
    made.fill_(2.5)
    assert made.sum(dtype=torch.float64) == 2.5 * made.numel()
    assert used() - before >= made.numel() * bits // 8
    part = made.view(-1)[5:] if made.dim() == 1 else made[1]
    del made
    assert used() > before, "a view lost its memory"
    del part
    assert used() == before


def test_a_capsule_that_nobody_uses_gives_its_memory_back():
    before = used()
    capsule = _native.new_map(LARGE, LAST, 32)
    assert used() > before
    del capsule
    assert used() == before


@pytest.mark.parametrize("sizes", [LARGE, (1 << 20,)])
def test_the_last_that_was_given_back_is_taken_first(sizes):
    strides = LAST if len(sizes) == 4 else (1,)
    first, second = (torch.from_dlpack(_native.new_map(sizes, strides, 32)) for _ in range(2))
    begin = second.data_ptr()
    assert first.data_ptr() != begin
    del first, second  # in this order
    assert torch.from_dlpack(_native.new_map(sizes, strides, 32)).data_ptr() == begin


@pytest.mark.parametrize("sizes", [(), (0,), (4, 0, 1 << 20), (1000,), (65_535,)])
def test_small_tensors_are_torchs(sizes):
    assert _native.new_map(sizes, tuple([1] * len(sizes)), 32) is None


def test_all_are_torchs_where_that_is_asked_for():
    _native.keep_maps(False)
    try:
        assert _native.new_map(LARGE, LAST, 32) is None
    finally:
        _native.keep_maps(True)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (LARGE, LAST),
        (LARGE, LAST[1:], 32),
        (LARGE, LAST, 16),
        (LARGE, LAST, "32"),
        (4, LAST, 32),
        (LARGE, None, 32),
        (("3", 8, 128, 128), LAST, 32),
        ((-3, 8, 128, 128), LAST, 32),
        (LARGE, (1, -1, 1, 1), 32),
        ((1,) * 9, (1,) * 9, 32),
        ((1 << 44,), (1,), 64),
        ((1 << 62, 4), (4, 1), 64),
        ((2, 1 << 62), (1 << 62, 2), 32),
    ],
)
def test_what_does_not_fit_is_refused(arguments):
    before = used()
    with pytest.raises((TypeError, ValueError, MemoryError)):
        _native.new_map(*arguments)
    assert used() == before
