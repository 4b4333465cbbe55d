"""The contract test that every op inherits.

    class TestWeightedSum(OpContract):
        sample = SAMPLES["weighted_sum"]

Each check runs on each of ``VARIANTS`` (backend and instruction set) that this machine has; the
others are skipped with the reason. Needs the extra ``test``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import op_checks
from .op_checks import VARIANTS
from .op_samples import LAYOUTS, SAMPLES, OpCase, OpSample

__all__ = ["SAMPLES", "OpCase", "OpContract", "OpSample", "op_cases"]


@st.composite
def op_cases(draw: st.DrawFn) -> OpCase:
    """Cases of any rank to 5, lengths around the vector widths, and a mixture of layouts."""
    shape = draw(st.lists(st.integers(1, 3), max_size=4))
    if draw(st.booleans()):
        shape.append(draw(st.sampled_from([0, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 67])))
    layouts = draw(st.lists(st.sampled_from(LAYOUTS), min_size=1, max_size=3))
    return OpCase(tuple(shape), draw(st.integers(1, 4)), tuple(layouts))


class OpContract:
    """Base of an op's tests; a subclass sets ``sample``."""

    sample: ClassVar[OpSample]

    @pytest.fixture(autouse=True, params=VARIANTS)
    def variant(self, request: pytest.FixtureRequest) -> Iterator[str]:
        """Runs the test on one backend and instruction set."""
        reason = op_checks.missing(request.param)
        if reason is not None:
            pytest.skip(reason)
        with op_checks.use_variant(request.param):
            yield request.param

    def test_values_and_gradients_match_float64(self) -> None:
        for case in self.sample.cases:
            for dtype in self.sample.dtypes:
                op_checks.check_values(self.sample, case, dtype)

    # The fixture's variant is the same for all examples, so hypothesis may share it.
    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(case=op_cases(), seed=st.integers(0, 1000), data=st.data())
    def test_any_shape_and_layout(self, case: OpCase, seed: int, data: st.DataObject) -> None:
        dtype = data.draw(st.sampled_from(self.sample.dtypes))
        op_checks.check_values(self.sample, case, dtype, seed)

    def test_first_and_second_derivatives(self) -> None:
        op_checks.check_gradients(self.sample, OpCase((3, 5)))
        op_checks.check_gradients(self.sample, OpCase((2, 2, 3, 2), 2, ("channels_last",)))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_registration(self, layout: str, dtype: torch.dtype) -> None:
        op_checks.check_registration(self.sample, OpCase((2, 3, 4, 5), 3, (layout,)), dtype)

    def test_compile_in_one_graph(self) -> None:
        cases = [OpCase((2, 3, 5, 7)), OpCase((3, 3, 6, 5)), OpCase((2, 3, 4, 5), 3, LAYOUTS[1:3])]
        op_checks.check_compile(self.sample, cases)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_bits_do_not_depend_on_threads(self, variant: str, dtype: torch.dtype) -> None:
        if variant in ("reference", "triton"):  # on the CPU, Triton's host functions use its sums
            pytest.skip("the sums of torch itself depend on the number of threads")
        op_checks.check_same_bits(self.sample, OpCase((3, 40_001)), dtype)

    def test_errors_are_one_sentence(self) -> None:
        op_checks.check_errors(self.sample)
