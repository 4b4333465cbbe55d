"""3D convolutions of a single volume, by oneDNN as those of a batch are."""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode
from torch.utils._python_dispatch import _get_current_dispatch_mode

Network = TypeVar("Network", bound=nn.Module)


class SingleConv3d(nn.Conv3d):
    """A 3D convolution that is as fast for one volume as for one of a batch.

    On a CPU torch takes oneDNN's convolutions for batches and for large inputs, and its own for
    one volume of few channels, which take several times as long. Here, without gradients, the
    volume is handed to oneDNN as it is; in all else this is torch's layer, with its weights.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not _alone(input, weight) or self.padding_mode != "zeros":
            own: Tensor = super()._conv_forward(input, weight, bias)
            return own
        found: Tensor = nn.functional.conv3d(
            input.to_mkldnn(), weight, bias, self.stride, self.padding, self.dilation, self.groups
        ).to_dense()
        return found


def single(network: Network) -> Network:
    """The same network, its 3D convolutions as fast for one volume as for one of a batch."""
    for module in network.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = SingleConv3d
    return network


def _alone(x: Tensor, weight: Tensor) -> bool:
    """Whether x is one volume on a CPU that nothing but its values is wanted of."""
    return (
        type(x) is Tensor
        and x.device.type == "cpu"
        and x.dim() == 5
        and len(x) == 1
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        # Who traces, exports or counts sees torch's own convolution.
        and not torch.compiler.is_compiling()
        and not torch._C._is_tracing()
        and _get_current_dispatch_mode() is None
        and _get_current_function_mode() is None  # type: ignore[no-untyped-call]
    )
