"""Networks for spectrograms: stages of separable residual blocks along bands and time."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .cell import LAYOUTS, lay_out
from .elastic.base import plain
from .elastic.conv import ElasticConv
from .elastic.depth import ElasticDepth
from .elastic.network import Sizes
from .elastic.norm import ElasticNorm
from .mobile import SqueezeExcitation, squeezed


@dataclass(frozen=True)
class BlockSize:
    """The size of a :class:`BroadcastBlock`.

    Attributes:
        inner: Channels between its two 1x1 convolutions.
        kernel: Of the convolution along time, odd.
        squeeze: Whether it has squeeze and excitation.
        broadcast: Whether the part along time sees the mean over bands.
    """

    inner: int
    kernel: int
    squeeze: bool
    broadcast: bool


Stages = Sequence[Sequence[BlockSize]]
"""The sizes of the blocks of each stage."""


@dataclass(frozen=True)
class Frame:
    """What all networks of a space have in common, whatever the sizes of their blocks.

    Attributes:
        stem: Channels of the stem.
        stem_stride: Stride of the stem, of bands and time.
        channels: Channels of each stage.
        strides: Stride of each stage, of bands alone.
    """

    stem: int
    stem_stride: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]


class MeanOfBands(nn.Module):
    """The mean over bands, of which one is left."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F, T] -> [B, C, 1, T]."""
        return x.mean(2, keepdim=True)


class BroadcastBlock(nn.Module):
    """A residual block of a part along bands and one along time.

        y = bands(x);  out = relu(x + y + squeeze(mix(time(pool(y)))))

    Where ``pool`` is the mean over bands, the part along time costs as much as one band and is
    added to all, the broadcasted residual of Kim et al. 2021 (arXiv 2106.04140); where it is
    nothing, the block is a separable convolution as of DS-CNN (Zhang et al. 2017,
    arXiv 1711.07128).

    Args:
        bands: [B, C, F, T] -> the same shape.
        pool: [B, C, F, T] -> [B, C, 1, T] or the same shape.
        time: Of either shape, -> the same shape.
        mix: Likewise, over channels.
        squeeze: Likewise.
    """

    def __init__(
        self,
        bands: nn.Module,
        pool: nn.Module,
        time: nn.Module,
        mix: nn.Module,
        squeeze: nn.Module,
    ) -> None:
        super().__init__()
        self.bands, self.pool, self.time = bands, pool, time
        self.mix, self.squeeze = mix, squeeze

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F, T] -> the same shape."""
        y = self.bands(x)
        return torch.relu(x + y + self.squeeze(self.mix(self.time(self.pool(y)))))


class SpectrogramNetwork(nn.Module):
    """Stem, stages, the mean over bands and time, and a classifier.

    Args:
        stem: From the input to the first stage.
        stages: One after the other.
        features: Channels of the last stage.
        outputs: Size of the output.
    """

    def __init__(
        self, stem: nn.Module, stages: Sequence[nn.Module], features: int, outputs: int
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F, T] -> [B, outputs]."""
        x = x.contiguous(memory_format=LAYOUTS[4])
        scores: Tensor = self.classifier(self.stages(self.stem(x)).flatten(2).mean(2))
        return scores


def elastic_network(frame: Frame, stages: Stages, c_in: int, outputs: int) -> SpectrogramNetwork:
    """The network whose elastic layers are as large as the given sizes.

    Each stage begins with a separable convolution, which brings the stride and the channels, and
    goes on with as many blocks as it has. Convolutions start as in He et al. 2015
    (arXiv 1502.01852, fan-in).

    Args:
        frame: What does not depend on the sizes.
        stages: The largest size of each block.
        c_in: Channels of the input.
        outputs: Size of the output.
    """
    made: list[nn.Module] = []
    before = frame.stem
    for channels, stride, blocks in zip(frame.channels, frame.strides, stages, strict=True):
        entry = nn.Sequential(
            nn.Conv2d(before, before, 3, (stride, 1), 1, groups=before, bias=False),
            nn.BatchNorm2d(before),
            nn.Conv2d(before, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        rest = ElasticDepth([elastic_block(size, channels) for size in blocks], least=0)
        made.append(nn.Sequential(entry, rest))
        before = channels
    stem = nn.Sequential(
        nn.Conv2d(c_in, frame.stem, 3, frame.stem_stride, 1, bias=False),
        nn.BatchNorm2d(frame.stem),
        nn.ReLU(),
    )
    network = SpectrogramNetwork(stem, made, before, outputs)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    lay_out(network)
    return network


def plain_network(frame: Frame, stages: Stages, c_in: int, outputs: int) -> SpectrogramNetwork:
    """The network of ordinary modules; see :func:`elastic_network`."""
    network = plain(elastic_network(frame, stages, c_in, outputs))
    assert isinstance(network, SpectrogramNetwork)
    lay_out(network)
    return network


def elastic_block(size: BlockSize, channels: int) -> BroadcastBlock:
    """A block of a stage of that many channels."""
    reduced = squeezed(channels)
    squeeze = SqueezeExcitation(nn.Linear(channels, reduced), nn.Linear(reduced, channels))
    return BroadcastBlock(
        nn.Sequential(
            nn.Conv2d(channels, channels, (3, 1), 1, (1, 0), groups=channels, bias=False),
            nn.BatchNorm2d(channels),
        ),
        ElasticDepth([MeanOfBands()] if size.broadcast else [], least=0),
        nn.Sequential(
            ElasticConv(channels, channels, size.kernel, depthwise=True, axes=(1,)),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ),
        nn.Sequential(
            ElasticConv(channels, size.inner, 1),
            ElasticNorm(size.inner),
            nn.ReLU(),
            ElasticConv(size.inner, channels, 1),
            nn.BatchNorm2d(channels),
        ),
        ElasticDepth([squeeze] if size.squeeze else [], least=0),
    )


def elastic_sizes(stages: Stages) -> Sizes:
    """What the layers of :func:`elastic_network` are set to for smaller stages."""
    sizes: dict[str, dict[str, int]] = {}
    for s, blocks in enumerate(stages):
        sizes[f"stages.{s}.1"] = {"depth": len(blocks)}
        for b, size in enumerate(blocks):
            at = f"stages.{s}.1.whole.{b}"
            sizes[f"{at}.pool"] = {"depth": int(size.broadcast)}
            sizes[f"{at}.time.0"] = {"kernel": size.kernel}
            sizes[f"{at}.mix.0"] = {"c_out": size.inner}
            sizes[f"{at}.mix.1"] = {"channels": size.inner}
            sizes[f"{at}.mix.3"] = {"c_in": size.inner}
            sizes[f"{at}.squeeze"] = {"depth": int(size.squeeze)}
    return sizes
