"""An elastic linear layer: input and output width."""

from torch import Tensor, nn

from .base import Elastic, check_sizes, filled


class ElasticLinear(Elastic):
    """A linear layer over the first features; its sizes are ``c_in`` and ``c_out``.

    Args:
        c_in: Largest number of input features.
        c_out: Largest number of output features.
        bias: Whether a bias is added.

    Raises:
        UsageError: A size below 1.
    """

    def __init__(self, c_in: int, c_out: int, *, bias: bool = True) -> None:
        check_sizes("ElasticLinear", c_in=c_in, c_out=c_out)
        super().__init__(nn.Linear(c_in, c_out, bias), {"c_in": c_in, "c_out": c_out})

    def weights(self) -> tuple[Tensor, Tensor | None]:
        """Views of the active weight [c_out, c_in] and of the bias [c_out], or None."""
        weight: Tensor = self.whole.weight[: self.active["c_out"], : self.active["c_in"]]
        bias = self.whole.bias
        return weight, None if bias is None else bias[: self.active["c_out"]]

    def forward(self, x: Tensor) -> Tensor:
        """[..., c_in] -> [..., c_out]."""
        weight, bias = self.weights()
        # Over rows that lie apart a BLAS may add in another order than over those of the plain
        # layer; a convolution lays its weight out anew by itself.
        return nn.functional.linear(x, weight.contiguous(), bias)

    def extract(self) -> nn.Module:
        """The plain linear layer; see :meth:`Elastic.extract`."""
        weight, bias = self.weights()
        c_out, c_in = weight.shape
        layer = nn.Linear(c_in, c_out, bias is not None, device="meta")
        return filled(layer, {"weight": weight, "bias": bias}).train(self.training)
