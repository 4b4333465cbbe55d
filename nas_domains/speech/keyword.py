"""The space ``keyword``: small networks that tell words apart, in a supernet of elastic layers."""

from collections.abc import Mapping
from typing import Any

from ..core.architecture import Architecture, Option
from ..core.errors import UsageError
from ..core.limit import CostTable
from ..core.numbers import Numbers, numbers_of, odd, one_of, options_of
from ..core.space import Choice, SearchSpace
from ..nn.broadcast import (
    BlockSize,
    Frame,
    SpectrogramNetwork,
    elastic_network,
    elastic_sizes,
    plain_network,
)
from ..nn.elastic.network import ElasticNetwork, Sizes
from .keyword_cost import tables


class Keyword(SearchSpace):
    """Stages of blocks along bands and along time, after DS-CNN, TC-ResNet and BC-ResNet.

    Each stage has a depth (``stage1.depth``, its blocks behind the convolution that it begins
    with). Each block says whether its part along time sees every band or their mean
    (``stage1.block1.broadcast``), its kernel along time, how many times as many channels it has
    inside (``.expansion``), and whether it has squeeze and excitation. A block beyond the depth
    has no choices. Options ascend in cost, so an architecture of first options is the smallest.
    See :func:`keyword` for the arguments.
    """

    has_supernet = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        choices = []
        for s in range(1, 1 + len(config["channels"])):
            choices.append(Choice(f"stage{s}.depth", tuple(config["depths"])))
            for b in range(1, 1 + config["depths"][-1]):
                choices += _block_choices(f"stage{s}", b, config)
        super().__init__("keyword", choices, config)
        self.frame = Frame(
            config["stem"],
            config["stem_stride"],
            tuple(config["channels"]),
            tuple(config["strides"]),
        )

    def stages(self, architecture: Mapping[str, Option]) -> list[list[BlockSize]]:
        """The size of each block of an architecture."""
        return [
            [
                self.block(architecture, f"stage{s}.block{b}", channels)
                for b in range(1, 1 + int(architecture[f"stage{s}.depth"]))
            ]
            for s, channels in enumerate(self.frame.channels, 1)
        ]

    @staticmethod
    def block(architecture: Mapping[str, Option], at: str, channels: int) -> BlockSize:
        """The size of the block of that name in a stage of so many channels."""
        return BlockSize(
            inner=max(1, round(float(architecture[f"{at}.expansion"]) * channels)),
            kernel=int(architecture[f"{at}.kernel"]),
            squeeze=architecture[f"{at}.squeeze"] == "yes",
            broadcast=architecture[f"{at}.broadcast"] == "yes",
        )

    def largest(self) -> Architecture:
        """The architecture of last options: the costliest in parameters and operations."""
        return self.complete({c.name: c.options[-1] for c in self.choices}, None)

    def smallest(self) -> Architecture:
        """The architecture of first options."""
        return self.complete({}, None)

    def build(
        self, architecture: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> SpectrogramNetwork:
        """The plain network of an architecture; see :meth:`SearchSpace.build`."""
        self._check_input(input_shape)
        return plain_network(self.frame, self.stages(architecture), input_shape[0], outputs)

    def supernet(self, input_shape: tuple[int, ...], outputs: int) -> ElasticNetwork:
        """The supernet; see :meth:`SearchSpace.supernet`."""
        self._check_input(input_shape)
        # Larger than the largest architecture, which has no use for the mean over bands.
        whole = dict(self.largest())
        whole |= {name: "yes" for name in whole if name.endswith(".broadcast")}
        body = elastic_network(self.frame, self.stages(whole), input_shape[0], outputs)
        return ElasticNetwork(body, self.elastic_sizes)

    def elastic_sizes(self, architecture: Architecture) -> Sizes:
        """What the layers of the supernet are set to for an architecture."""
        return elastic_sizes(self.stages(architecture))

    def cost_tables(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, CostTable]:
        """See :func:`nas_domains.speech.keyword_cost.tables`; exact."""
        self._check_input(input_shape)
        return tables(self, input_shape, outputs)

    def _check_input(self, input_shape: tuple[int, ...]) -> None:
        if len(input_shape) != 3 or min(input_shape) < 1:
            raise UsageError(
                f"The space {self.name!r} takes spectrograms (1, bands, frames), not inputs of "
                f"shape {tuple(input_shape)}."
            )


def _block_choices(stage: str, block: int, config: Mapping[str, Any]) -> list[Choice]:
    at = f"{stage}.block{block}"
    deep = tuple(depth for depth in config["depths"] if depth >= block)
    always = len(deep) == len(config["depths"])
    switch = ("yes", "no")
    broadcast = (
        Choice(f"{at}.broadcast", switch)
        if always
        else Choice(f"{at}.broadcast", switch, f"{stage}.depth", deep)
    )
    # Below broadcast, which is there when they are and decides what they cost.
    return [
        broadcast,
        Choice(f"{at}.kernel", tuple(config["kernels"]), broadcast.name, switch),
        Choice(f"{at}.expansion", tuple(config["expansions"]), broadcast.name, switch),
        Choice(f"{at}.squeeze", ("no", "yes"), broadcast.name, switch),
    ]


def keyword(
    channels: Numbers = "12-20-36",
    strides: Numbers = "1-2-2",
    depths: Numbers = "0-1-2",
    expansions: Numbers = "1-2-4-8",
    kernels: Numbers = "3-5-9",
    stem: int = 12,
    stem_stride: int = 2,
) -> Keyword:
    """The space of networks for spoken words; its defaults suit about a second of 40 bands.

    Several numbers are written with hyphens, e.g. ``keyword:channels=8-16-24,kernels=3-5``.

    Args:
        channels: Channels of each stage.
        strides: Stride of each stage, of bands alone.
        depths: How many blocks a stage may have; 0 leaves its first convolution alone.
        expansions: How many times as many channels a block may have inside.
        kernels: Kernels along time, odd.
        stem: Channels of the stem.
        stem_stride: Stride of the stem, of bands and time.

    Raises:
        UsageError: A size that is no number in range, a number twice, an even kernel, no depth
            above 0, or strides that are not one for each stage.
    """
    config: dict[str, Any] = {
        "channels": numbers_of("keyword", "channels", channels),
        "strides": numbers_of("keyword", "strides", strides),
        "depths": options_of("keyword", "depths", depths, zero=True),
        "expansions": options_of("keyword", "expansions", expansions, fractions=True),
        "kernels": options_of("keyword", "kernels", kernels),
        "stem": one_of("keyword", "stem", stem),
        "stem_stride": one_of("keyword", "stem_stride", stem_stride),
    }
    if len(config["strides"]) != len(config["channels"]):
        raise UsageError(
            f"strides={strides} of the space 'keyword' must be {len(config['channels'])} "
            "numbers, one for each of channels."
        )
    odd("keyword", "kernels", config["kernels"])
    if config["depths"][-1] == 0:
        raise UsageError(f"depths={depths} of the space 'keyword' leaves no blocks: name 1 or 2.")
    inner = {max(1, round(e * c)) for e in config["expansions"] for c in config["channels"][:1]}
    if len(inner) < len(config["expansions"]):
        raise UsageError(
            f"expansions={expansions!r} of the space 'keyword' come to the same with "
            f"{config['channels'][0]} channels: name others."
        )
    return Keyword(config)
