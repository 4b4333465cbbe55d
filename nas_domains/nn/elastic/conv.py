"""An elastic convolution: input width, output width and kernel."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...core.errors import UsageError
from ..candidates import CONV, check_dims
from .base import Elastic, check_sizes, filled

_CONVOLVE: dict[int, Any] = {
    1: nn.functional.conv1d,
    2: nn.functional.conv2d,
    3: nn.functional.conv3d,
}


class ElasticConv(Elastic):
    """A convolution over the first channels, with the centre of the largest kernel.

    Sizes: ``c_in``, ``c_out`` and ``kernel``. Sides are padded by half the active kernel, so that
    the output's shape does not depend on it.

    Args:
        c_in: Largest number of input channels.
        c_out: Largest number of output channels.
        kernel: Largest kernel, odd.
        stride: Of every side.
        depthwise: Whether each channel is convolved by itself; then c_in and c_out are one size.
        bias: Whether a bias is added.
        dims: Spatial dimensions, 1 to 3.

    Raises:
        UsageError: An even kernel, a depthwise convolution of two widths, or a size below 1.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        *,
        stride: int = 1,
        depthwise: bool = False,
        bias: bool = False,
        dims: int = 2,
    ) -> None:
        check_dims(dims)
        sizes = {"c_in": c_in, "c_out": c_out, "kernel": kernel}
        check_sizes("ElasticConv", **sizes, stride=stride)
        _check_shape(sizes, depthwise)
        whole = CONV[dims](
            c_in,
            c_out,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=c_in if depthwise else 1,
            bias=bias,
        )
        super().__init__(whole, sizes)
        self.depthwise, self.dims = depthwise, dims

    def _check(self, sizes: Mapping[str, int]) -> None:
        super()._check(sizes)
        _check_shape(sizes, self.depthwise)

    def weights(self) -> tuple[Tensor, Tensor | None]:
        """Views of the active weight [c_out, c_in, kernel, ...] ([c_out, 1, ...] where depthwise)
        and of the bias [c_out], or None."""
        c_out, kernel = self.active["c_out"], self.active["kernel"]
        c_in = 1 if self.depthwise else self.active["c_in"]
        start = (self.largest["kernel"] - kernel) // 2
        window = (slice(start, start + kernel),) * self.dims
        weight: Tensor = self.whole.weight[(slice(c_out), slice(c_in), *window)]
        bias = self.whole.bias
        return weight, None if bias is None else bias[:c_out]

    def forward(self, x: Tensor) -> Tensor:
        """[B, c_in, ...] -> [B, c_out, ceil(... / stride)]."""
        weight, bias = self.weights()
        out: Tensor = _CONVOLVE[self.dims](
            x,
            weight,
            bias,
            stride=self.whole.stride,
            padding=self.active["kernel"] // 2,
            groups=self.active["c_in"] if self.depthwise else 1,
        )
        return out

    def extract(self) -> nn.Module:
        """The plain convolution; see :meth:`Elastic.extract`."""
        weight, bias = self.weights()
        layer = CONV[self.dims](
            self.active["c_in"],
            self.active["c_out"],
            self.active["kernel"],
            stride=self.whole.stride,
            padding=self.active["kernel"] // 2,
            groups=self.active["c_in"] if self.depthwise else 1,
            bias=bias is not None,
            device="meta",
        )
        return filled(layer, {"weight": weight, "bias": bias}).train(self.training)


def _check_shape(sizes: Mapping[str, int], depthwise: bool) -> None:
    if sizes["kernel"] % 2 == 0:
        raise UsageError(
            f"kernel={sizes['kernel']} of ElasticConv has no centre: make it odd."
        )
    if depthwise and sizes["c_in"] != sizes["c_out"]:
        raise UsageError(
            f"c_in={sizes['c_in']} and c_out={sizes['c_out']} of a depthwise ElasticConv must be "
            "equal."
        )
