"""The networks of MobileNetV3 (Howard et al. 2019): stages of inverted residuals."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from .cell import LAYOUTS, lay_out
from .elastic.base import plain
from .elastic.conv import ElasticConv
from .elastic.depth import ElasticDepth
from .elastic.linear import ElasticLinear
from .elastic.network import Sizes
from .elastic.norm import ElasticNorm


@dataclass(frozen=True)
class BlockSize:
    """The size of an inverted residual.

    Attributes:
        c_in: Channels that come in.
        c_out: Channels that go out.
        inner: Channels in between: the expansion times c_in.
        kernel: Of the depthwise convolution, odd.
        squeeze: Whether it has squeeze and excitation.
    """

    c_in: int
    c_out: int
    inner: int
    kernel: int
    squeeze: bool


Stages = Sequence[Sequence[BlockSize]]
"""The sizes of the blocks of each stage."""


@dataclass(frozen=True)
class Frame:
    """What all networks of a space have in common, whatever the sizes of their blocks.

    Attributes:
        stem: Channels of the stem.
        stem_stride: Stride of the stem.
        strides: Stride of the first block of each stage.
        head: Channels of the 1x1 convolution after the last stage.
        dims: Spatial dimensions, 1 to 3.
    """

    stem: int
    stem_stride: int
    strides: tuple[int, ...]
    head: int
    dims: int = 2


class SqueezeExcitation(nn.Module):
    """Weighs channels by what is in all of them (Hu et al. 2018, arXiv 1709.01507).

    Args:
        reduce: From [B, C] to [B, fewer].
        restore: Back to [B, C].
    """

    def __init__(self, reduce: nn.Module, restore: nn.Module) -> None:
        super().__init__()
        self.reduce, self.restore = reduce, restore

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> [B, C, ...]."""
        means = x.flatten(2).mean(2)
        gates = nn.functional.hardsigmoid(self.restore(self.reduce(means).relu()))
        return x * gates.reshape(gates.shape + (1,) * (x.dim() - 2))


class InvertedResidual(nn.Module):
    """Expand, convolve each channel, project (Sandler et al. 2018, arXiv 1801.04381).

    Args:
        expand: [B, c_in, ...] -> [B, inner, ...].
        depthwise: [B, inner, ...] -> [B, inner, ...], with the stride.
        squeeze: [B, inner, ...] -> the same shape.
        project: [B, inner, ...] -> [B, c_out, ...].
        shortcut: Whether the input is added to the output.
    """

    def __init__(
        self,
        expand: nn.Sequential,
        depthwise: nn.Sequential,
        squeeze: nn.Module,
        project: nn.Module,
        shortcut: bool,
    ) -> None:
        super().__init__()
        self.expand, self.depthwise = expand, depthwise
        self.squeeze, self.project = squeeze, project
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[B, c_in, ...] -> [B, c_out, ceil(... / stride)]."""
        out: Tensor = self.project(self.squeeze(self.depthwise(self.expand(x))))
        return out + x if self.shortcut else out


class MobileNetwork(nn.Module):
    """Stem, stages, head, global pooling and classifier.

    Args:
        stem: From the input to the first stage.
        stages: One after the other.
        head: From the last stage to [B, features, ...].
        features: Channels of the head.
        outputs: Size of the output.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Module],
        head: nn.Module,
        features: int,
        outputs: int,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.Sequential(*stages)
        self.head = head
        self.classifier = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> [B, outputs]."""
        if x.dim() in LAYOUTS:
            x = x.contiguous(memory_format=LAYOUTS[x.dim()])
        x = self.head(self.stages(self.stem(x)))
        scores: Tensor = self.classifier(x.flatten(2).mean(2))
        return scores


def elastic_network(frame: Frame, stages: Stages, c_in: int, outputs: int) -> MobileNetwork:
    """The network whose elastic layers are as large as the given sizes.

    Convolutions start as in He et al. 2015 (arXiv 1502.01852, fan-in), which keeps the scale of
    depthwise ones too.

    Args:
        frame: What does not depend on the sizes.
        stages: The largest size of each block.
        c_in: Channels of the input.
        outputs: Size of the output.
    """
    made = [
        ElasticDepth(
            [elastic_block(size, frame, s, first=b == 0) for b, size in enumerate(blocks)]
        )
        for s, blocks in enumerate(stages)
    ]
    stem = _conv_norm(c_in, frame.stem, 3, frame.dims, frame.stem_stride)
    head = _conv_norm(stages[-1][-1].c_out, frame.head, 1, frame.dims)
    network = MobileNetwork(
        nn.Sequential(*stem, nn.Hardswish()),
        made,
        nn.Sequential(*head, nn.Hardswish()),
        frame.head,
        outputs,
    )
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    lay_out(network)
    return network


def plain_network(frame: Frame, stages: Stages, c_in: int, outputs: int) -> MobileNetwork:
    """The network of ordinary modules; see :func:`elastic_network`."""
    network = plain(elastic_network(frame, stages, c_in, outputs))
    assert isinstance(network, MobileNetwork)
    lay_out(network)
    return network


def elastic_block(size: BlockSize, frame: Frame, stage: int, *, first: bool) -> InvertedResidual:
    """A block of a stage; the first has the stride and no shortcut.

    Its activation is ReLU in the first half of the stages and hard-swish in the second, as in
    MobileNetV3.
    """
    dims, stride = frame.dims, frame.strides[stage] if first else 1
    activation = nn.Hardswish if 2 * stage >= len(frame.strides) else nn.ReLU
    reduced = squeezed(size.inner)
    squeeze = SqueezeExcitation(
        ElasticLinear(size.inner, reduced), ElasticLinear(reduced, size.inner)
    )
    return InvertedResidual(
        nn.Sequential(*_conv_norm(size.c_in, size.inner, 1, dims), activation()),
        nn.Sequential(
            *_conv_norm(size.inner, size.inner, size.kernel, dims, stride, True), activation()
        ),
        ElasticDepth([squeeze] if size.squeeze else [], least=0),
        nn.Sequential(*_conv_norm(size.inner, size.c_out, 1, dims)),
        shortcut=not first,
    )


def squeezed(channels: int) -> int:
    """Features between the two layers of squeeze and excitation: about a quarter, 8 or more."""
    return max(8, (channels // 4 + 4) // 8 * 8)


def _conv_norm(
    c_in: int, c_out: int, kernel: int, dims: int, stride: int = 1, depthwise: bool = False
) -> list[nn.Module]:
    return [
        ElasticConv(c_in, c_out, kernel, stride=stride, depthwise=depthwise, dims=dims),
        ElasticNorm(c_out, dims=dims),
    ]


def elastic_sizes(stages: Stages) -> Sizes:
    """What the layers of :func:`elastic_network` are set to for smaller stages."""
    sizes: dict[str, dict[str, int]] = {"head.0": {"c_in": stages[-1][-1].c_out}}
    for s, blocks in enumerate(stages):
        sizes[f"stages.{s}"] = {"depth": len(blocks)}
        for b, size in enumerate(blocks):
            at, inner = f"stages.{s}.whole.{b}", size.inner
            sizes[f"{at}.expand.0"] = {"c_in": size.c_in, "c_out": inner}
            sizes[f"{at}.expand.1"] = {"channels": inner}
            sizes[f"{at}.depthwise.0"] = {"c_in": inner, "c_out": inner, "kernel": size.kernel}
            sizes[f"{at}.depthwise.1"] = {"channels": inner}
            sizes[f"{at}.squeeze"] = {"depth": int(size.squeeze)}
            sizes[f"{at}.project.0"] = {"c_in": inner, "c_out": size.c_out}
            sizes[f"{at}.project.1"] = {"channels": size.c_out}
            if size.squeeze:
                within, reduced = f"{at}.squeeze.whole.0", squeezed(inner)
                sizes[f"{within}.reduce"] = {"c_in": inner, "c_out": reduced}
                sizes[f"{within}.restore"] = {"c_in": reduced, "c_out": inner}
    return sizes
