"""Conformers (Gulati et al. 2020, arXiv 2005.08100) whose attention is made of head operators.

Spectrograms are shortened by two strided convolutions; then layers of half a feed-forward block,
heads, a convolution along time and another half; the mean over time is classified. What tells
places apart is the convolutions: there is no embedding of positions.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional

from .encoder import EncoderSpec, FeedForwardBlock
from .head_network import HeadsBlock
from .head_operators import Maker
from .heads import Heads
from .one_of import OneOf


class Shortened(nn.Module):
    """Two 3x3 convolutions of stride 2, and a projection of each moment.

    Args:
        spec: Of the network.
        bands: Bands of the spectrogram.
        channels: Channels of the convolutions.
    """

    def __init__(self, spec: EncoderSpec, bands: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.project = nn.Linear(channels * halved(halved(bands)), spec.hidden)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1, bands, frames] -> [B, T, D], T a quarter of the frames."""
        x = functional.relu(self.second(functional.relu(self.first(x))))
        out: Tensor = self.dropout(self.project(x.flatten(1, 2).transpose(1, 2)))
        return out


def halved(side: int) -> int:
    """A side behind a 3x3 convolution of stride 2."""
    return (side + 1) // 2


class ConvolutionBlock(nn.Module):
    """A gated depthwise convolution along time, with its norm and shortcut.

    Args:
        spec: Of the network.
        kernel: Moments that each one sees, an odd number.
    """

    def __init__(self, spec: EncoderSpec, kernel: int) -> None:
        super().__init__()
        width = spec.hidden
        self.norm = nn.LayerNorm(width, eps=spec.eps)
        self.expand = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(
            width, width, kernel, padding=kernel // 2, groups=width, bias=False
        )
        self.batch_norm = nn.BatchNorm1d(width)
        self.project = nn.Linear(width, width)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> the same."""
        y = functional.glu(self.expand(self.norm(x)), dim=2).transpose(1, 2)
        y = functional.silu(self.batch_norm(self.depthwise(y))).transpose(1, 2)
        out: Tensor = x + self.dropout(self.project(y))
        return out


class HalfFeeds(nn.Module):
    """A feed-forward block of which half is added; its width is a choice.

    Args:
        spec: Of the network.
        feeds: Features that it may have inside.
        label: Of the choice.
    """

    def __init__(self, spec: EncoderSpec, feeds: Sequence[int], label: str) -> None:
        super().__init__()
        self.block = OneOf({str(width): FeedForwardBlock(spec, width) for width in feeds}, label)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> the same."""
        # The block adds what it is given.
        out: Tensor = 0.5 * (x + self.block(x, None))
        return out


class ConformerLayer(nn.Module):
    """Half a feed-forward block, heads, a convolution, another half, a norm.

    Args:
        spec: Of the network.
        heads: The layer of heads.
        feeds: Features that both feed-forward blocks may have inside; one choice.
        kernel: Of the convolution.
        label: What the label of that choice begins with.
    """

    def __init__(
        self, spec: EncoderSpec, heads: Heads, feeds: Sequence[int], kernel: int, label: str
    ) -> None:
        super().__init__()
        self.before = HalfFeeds(spec, feeds, f"{label}.feed")
        self.heads = HeadsBlock(spec, heads)
        self.convolution = ConvolutionBlock(spec, kernel)
        self.behind = HalfFeeds(spec, feeds, f"{label}.feed")
        self.norm = nn.LayerNorm(spec.hidden, eps=spec.eps)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> the same."""
        x = self.convolution(self.heads(self.before(x)))
        out: Tensor = self.norm(self.behind(x))
        return out


class Conformer(nn.Module):
    """A classifier of spectrograms.

    Args:
        spec: Its ``heads``, ``width`` and ``layers`` are those of the layers given.
        layers: One after the other.
        bands: Bands of the spectrogram.
        channels: Channels of the first convolutions.
        outputs: Size of the output.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        layers: Sequence[nn.Module],
        bands: int,
        channels: int,
        outputs: int,
    ) -> None:
        super().__init__()
        self.shortened = Shortened(spec, bands, channels)
        self.layers = nn.ModuleList(layers)
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1, bands, frames] -> [B, outputs]."""
        states: Tensor = self.shortened(x)
        for layer in self.layers:
            states = layer(states)
        scores: Tensor = self.classifier(self.dropout(states.mean(1)))
        return scores


def conformer_network(
    spec: EncoderSpec,
    operators: Mapping[str, Maker],
    feeds: Sequence[int],
    *,
    kernel: int,
    bands: int,
    channels: int,
    outputs: int,
) -> Conformer:
    """The network with all its choices, ``layer1.head1``, ``layer1.feed`` and so on.

    The first head of each layer is never ``none``. The arguments are those of its parts.
    """
    layers = []
    for i in range(1, 1 + spec.layers):
        heads = Heads(spec.hidden, spec.heads, operators, label=f"layer{i}", busy=1)
        layers.append(ConformerLayer(spec, heads, feeds, kernel, f"layer{i}"))
    return Conformer(spec, layers, bands, channels, outputs)
