"""The space ``mobilenet``: networks like MobileNetV3, in a supernet of elastic layers."""

from collections.abc import Mapping
from typing import Any

from ..core.architecture import Architecture, Option
from ..core.errors import UsageError
from ..core.limit import CostTable
from ..core.numbers import Numbers, numbers_of, odd, one_of, options_of
from ..core.space import Choice, SearchSpace
from ..nn.elastic.network import ElasticNetwork, Sizes
from ..nn.mobile import (
    BlockSize,
    Frame,
    MobileNetwork,
    elastic_network,
    elastic_sizes,
    plain_network,
)
from .mobilenet_cost import tables


class MobileNet(SearchSpace):
    """Stages of inverted residuals, after MobileNetV3 and Once-for-all (Cai et al. 2020).

    Each stage has a width (``stage1.width``, the channels between its blocks) and a depth
    (``stage1.depth``); each block an expansion (``stage1.block1.expansion``, the channels inside
    as a multiple of those that come in), a kernel, and squeeze and excitation or not. A block
    beyond the depth has no choices. Options ascend, so an architecture of first options is the
    smallest.
    See :func:`mobilenet` for the arguments.
    """

    has_supernet = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._widths = [
            tuple(max(1, round(width * channels)) for width in config["widths"])
            for channels in config["channels"]
        ]
        choices = []
        for s, widths in enumerate(self._widths, 1):
            choices.append(Choice(f"stage{s}.width", widths))
            choices.append(Choice(f"stage{s}.depth", tuple(config["depths"])))
            for b in range(1, 1 + config["depths"][-1]):
                choices += _block_choices(f"stage{s}", b, config)
        super().__init__("mobilenet", choices, config)
        self.frame = Frame(
            config["stem"], config["stem_stride"], tuple(config["strides"]), config["head"]
        )

    def stages(self, architecture: Mapping[str, Option]) -> list[list[BlockSize]]:
        """The size of each block of an architecture."""
        stages: list[list[BlockSize]] = []
        c_in = self.frame.stem
        for s in range(1, 1 + len(self._widths)):
            width = int(architecture[f"stage{s}.width"])
            blocks = []
            for b in range(1, 1 + int(architecture[f"stage{s}.depth"])):
                at = f"stage{s}.block{b}"
                blocks.append(
                    BlockSize(
                        c_in=c_in,
                        c_out=width,
                        inner=int(architecture[f"{at}.expansion"]) * c_in,
                        kernel=int(architecture[f"{at}.kernel"]),
                        squeeze=architecture[f"{at}.squeeze"] == "yes",
                    )
                )
                c_in = width
            stages.append(blocks)
        return stages

    def build(
        self, architecture: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> MobileNetwork:
        """The plain network of an architecture; see :meth:`SearchSpace.build`."""
        self._check_input(input_shape)
        return plain_network(self.frame, self.stages(architecture), input_shape[0], outputs)

    def supernet(self, input_shape: tuple[int, ...], outputs: int) -> ElasticNetwork:
        """The supernet; see :meth:`SearchSpace.supernet`."""
        self._check_input(input_shape)
        largest = self.stages({c.name: c.options[-1] for c in self.choices})
        body = elastic_network(self.frame, largest, input_shape[0], outputs)
        return ElasticNetwork(body, self.elastic_sizes)

    def elastic_sizes(self, architecture: Architecture) -> Sizes:
        """What the layers of the supernet are set to for an architecture."""
        return elastic_sizes(self.stages(architecture))

    def cost_tables(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, CostTable]:
        """See :func:`nas_domains.vision.mobilenet_cost.tables`."""
        self._check_input(input_shape)
        return tables(self, input_shape, outputs)

    def _check_input(self, input_shape: tuple[int, ...]) -> None:
        if len(input_shape) != 3 or min(input_shape) < 1:
            raise UsageError(
                f"The space {self.name!r} takes images with channels first, not inputs of shape "
                f"{tuple(input_shape)}."
            )


def _block_choices(stage: str, block: int, config: Mapping[str, Any]) -> list[Choice]:
    at = f"{stage}.block{block}"
    expansions = tuple(config["expansions"])
    deep = tuple(depth for depth in config["depths"] if depth >= block)
    always = len(deep) == len(config["depths"])
    expansion = (
        Choice(f"{at}.expansion", expansions)
        if always
        else Choice(f"{at}.expansion", expansions, f"{stage}.depth", deep)
    )
    # Below the expansion, which is there when they are and decides what they cost.
    return [
        expansion,
        Choice(f"{at}.kernel", tuple(config["kernels"]), expansion.name, expansions),
        Choice(f"{at}.squeeze", ("no", "yes"), expansion.name, expansions),
    ]


def mobilenet(
    channels: Numbers = "16-24-40",
    strides: Numbers = "1-2-2",
    widths: Numbers = 1,
    depths: Numbers = "1-2-3",
    expansions: Numbers = "3-4-6",
    kernels: Numbers = "3-5-7",
    stem: int = 16,
    stem_stride: int = 2,
    head: int = 128,
) -> MobileNet:
    """The space of networks like MobileNetV3; its defaults suit images of 28 to 64 pixels.

    Several numbers are written with hyphens, e.g. ``mobilenet:channels=16-24-40,kernels=3-5``.

    Args:
        channels: Channels of each stage.
        strides: Stride of the first block of each stage.
        widths: What the channels of a stage may be multiplied with. With more than one, costs
            have no exact tables, and draws under a limit are made by rejection.
        depths: How many blocks a stage may have.
        expansions: How many times as many channels a block may have inside.
        kernels: Kernels of the depthwise convolutions, odd.
        stem: Channels of the stem.
        stem_stride: Stride of the stem; 1 keeps more of images below 28 pixels.
        head: Channels of the 1x1 convolution before the classifier.

    Raises:
        UsageError: A size that is no number above 0, a number twice, an even kernel, or strides
            that are not one for each stage.
    """
    config: dict[str, Any] = {
        "channels": numbers_of("mobilenet", "channels", channels),
        "strides": numbers_of("mobilenet", "strides", strides),
        "widths": options_of("mobilenet", "widths", widths, fractions=True),
        "depths": options_of("mobilenet", "depths", depths),
        "expansions": options_of("mobilenet", "expansions", expansions),
        "kernels": options_of("mobilenet", "kernels", kernels),
        "stem": one_of("mobilenet", "stem", stem),
        "stem_stride": one_of("mobilenet", "stem_stride", stem_stride),
        "head": one_of("mobilenet", "head", head),
    }
    if len(config["strides"]) != len(config["channels"]):
        raise UsageError(
            f"strides={strides} of the space 'mobilenet' must be {len(config['channels'])} "
            "numbers, one for each of channels."
        )
    odd("mobilenet", "kernels", config["kernels"])
    return MobileNet(config)

