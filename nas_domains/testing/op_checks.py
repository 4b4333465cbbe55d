"""The checks of the op contract, as functions that raise ``AssertionError``, without pytest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .. import ops
from ..ops.backend import native_module
from .op_samples import OpCase, OpSample

__all__ = [
    "VARIANTS",
    "check_compile",
    "check_errors",
    "check_gradients",
    "check_op",
    "check_registration",
    "check_same_bits",
    "check_values",
    "missing",
    "poisoned",
    "use_variant",
]

VARIANTS = ("reference", "native-portable", "native-avx2", "native-avx512", "triton")


def missing(variant: str) -> str | None:
    """Returns why ``variant`` cannot run here, or None if it can."""
    name, _, isa = variant.partition("-")
    if name not in ops.available():
        needs = {"native": "the compiled module", "triton": "a GPU or TRITON_INTERPRET=1"}
        return f"the {name} backend needs {needs[name]}"
    module = native_module()
    if isa and module is not None and isa not in module.supported_isas():
        return f"this CPU has no {isa}"
    return None


@contextmanager
def use_variant(variant: str) -> Iterator[None]:
    """Runs the ops on one of ``VARIANTS``: a backend, and for native the instruction set."""
    name, _, isa = variant.partition("-")
    module = native_module()
    with ops.backend(name):
        if not isa or module is None:
            yield
            return
        before = module.isa()
        module.set_isa(isa)
        try:
            yield
        finally:
            module.set_isa(before)


@contextmanager
def poisoned() -> Iterator[None]:
    """Fills every new tensor with NaN, so that an element that a kernel leaves out is seen."""
    before = torch.are_deterministic_algorithms_enabled()
    deterministic: Any = torch.utils.deterministic  # a module with properties, unknown to mypy
    fill = deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    deterministic.fill_uninitialized_memory = True
    native = native_module()
    if native is not None:
        native.keep_maps(False)  # torch does not fill what is not its own
    try:
        assert torch.empty(3).isnan().all(), "this torch does not fill new tensors with NaN"
        yield
    finally:
        if native is not None:
            native.keep_maps(True)
        torch.use_deterministic_algorithms(before)
        deterministic.fill_uninitialized_memory = fill


def _leaves(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [t.detach().requires_grad_() for t in tensors]


def _cotangent(sample: OpSample, tensors: Sequence[Tensor]) -> Tensor:
    """Returns a fixed gradient for the op's value, in float64."""
    shape = sample.formula(*tensors).shape
    generator = torch.Generator().manual_seed(len(tensors))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _evaluate(f: Callable[..., Tensor], tensors: Sequence[Tensor], g: Tensor) -> list[Tensor]:
    """Returns f's value and its gradients for the gradient g of the value."""
    leaves = _leaves(tensors)
    y = f(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, g.to(y.device, y.dtype))]


def _distance(a: Tensor, b: Tensor) -> float:
    return (a.cpu().double() - b.cpu()).abs().max().item() if a.numel() else 0.0


def check_values(
    sample: OpSample, case: OpCase, dtype: torch.dtype, seed: int = 0, device: str = "cpu"
) -> None:
    """Checks value and gradients against the formula in float64 on the CPU.

    The largest error may be twice that of the formula run eagerly in the same dtype, plus four
    roundings of the largest sum of absolute terms (the sample's ``sizes``): eager may be lucky on
    a small tensor, and adds in another order.
    """
    tensors = sample.inputs(case, dtype, seed)
    g = _cotangent(sample, tensors).to(dtype)
    moved = [t.to(device) for t in tensors]
    with poisoned():
        ours = _evaluate(sample.call, moved, g)
    wide = [t.double() for t in tensors]
    exact = _evaluate(sample.formula, wide, g)
    eager = _evaluate(sample.formula, moved, g)
    if sample.sizes is not None:
        size = sample.sizes(g.double(), *wide)
    else:
        size = _evaluate(sample.formula, [t.abs() for t in wide], g.abs())
    for i, (a, b, e, s) in enumerate(zip(ours, exact, eager, size, strict=True)):
        what = f"{sample.name} {case} {dtype}: " + (f"gradient {i - 1}" if i else "value")
        assert a.shape == b.shape, f"{what} has shape {tuple(a.shape)}, not {tuple(b.shape)}"
        assert a.dtype == dtype, f"{what} is {a.dtype}"
        assert not a.isnan().any(), f"{what} has elements that were never written"
        scale = s.abs().max().item() if s.numel() else 0.0
        bound = 2 * _distance(e, b) + 4 * torch.finfo(dtype).eps * scale
        error = _distance(a, b)
        assert error <= bound, f"{what} is off by {error:.3e}, allowed are {bound:.3e}"


def check_gradients(sample: OpSample, case: OpCase, device: str = "cpu") -> None:
    """Checks first and second derivatives against finite differences in float64."""
    leaves = _leaves([t.to(device) for t in sample.inputs(case, torch.float64, 0)])
    assert torch.autograd.gradcheck(sample.call, leaves)
    assert torch.autograd.gradgradcheck(sample.call, leaves)


def check_registration(sample: OpSample, case: OpCase, dtype: torch.dtype) -> None:
    """Runs ``torch.library.opcheck``: schema, fake tensors, autograd and AOT of the raw ops."""
    for op, args in sample.raw(_leaves(sample.inputs(case, dtype, 0))):
        torch.library.opcheck(op, args)


def check_compile(sample: OpSample, cases: Sequence[OpCase]) -> None:
    """Compiles the op in one graph and compares value and gradients with the uncompiled call."""
    torch.compiler.reset()
    compiled = torch.compile(sample.call, fullgraph=True)
    for case in cases:
        tensors = sample.inputs(case, torch.float32, 0)
        g = _cotangent(sample, tensors)
        plain = _evaluate(sample.call, tensors, g)
        for a, b in zip(_evaluate(compiled, tensors, g), plain, strict=True):
            torch.testing.assert_close(a, b)
            assert a.stride() == b.stride(), f"{sample.name} {case}: compiling changed the strides"


def check_same_bits(
    sample: OpSample, case: OpCase, dtype: torch.dtype, threads: Sequence[int] = (1, 2, 3, 5)
) -> list[Tensor]:
    """Checks that bits do not depend on the number of threads; returns value and gradients."""
    tensors = sample.inputs(case, dtype, 0)
    g = _cotangent(sample, tensors)
    before = torch.get_num_threads()
    try:
        results = []
        for count in threads:
            torch.set_num_threads(count)
            results.append(_evaluate(sample.call, tensors, g))
    finally:
        torch.set_num_threads(before)
    for count, result in zip(threads[1:], results[1:], strict=True):
        for a, b in zip(results[0], result, strict=True):
            assert torch.equal(a, b), f"{sample.name} {case}: other bits with {count} threads"
    return results[0]


def check_errors(sample: OpSample) -> None:
    """Checks that each wrong call ends in its exception, with one sentence."""
    for call, kind, words in sample.errors:
        try:
            call()
        except kind as error:
            sentence = str(error)
            assert re.search(words, sentence), f"{sentence!r} does not say {words!r}"
            assert sentence.endswith(".") and "\n" not in sentence, f"{sentence!r} is no sentence"
        else:
            raise AssertionError(f"{sample.name}: a wrong call passed (expected: {words})")


def check_op(sample: OpSample, device: str = "cpu") -> None:
    """Runs the quick part of the contract on the backend in use: values and gradients."""
    for case in sample.cases:
        for dtype in sample.dtypes:
            check_values(sample, case, dtype, device=device)
    check_gradients(sample, OpCase((3, 5)), device)
