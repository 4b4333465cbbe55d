"""The space ``unet``: small and larger U-Nets for segmentation, 2D and 3D."""

from collections.abc import Mapping
from typing import Any

from ..core.architecture import Architecture
from ..core.errors import UsageError
from ..core.numbers import Numbers, numbers_of, odd, options_of
from ..core.space import Choice, SearchSpace
from ..nn.shared import SharedNetwork
from .unet import Level, Shape, UNet

_STARTS, _BLOCKS = ("half", "full"), ("plain", "residual")


class UNetSpace(SearchSpace):
    """U-Nets of MONAI blocks; see :func:`unet` for the arguments.

    ``levels`` is how many resolutions there are, ``start`` whether the finest is that of the
    input or half of it. Each level has a width (``level1.width``), a number of blocks in the
    encoder and a kernel; ``block`` (plain or residual), ``norm``, ``attention`` (gates in the skip
    connections) and ``deep`` (deep supervision) hold for all levels. Options ascend in cost.

    Networks share weights where they have one resolution and one kind of block.
    """

    has_supernet = True
    by_recipe = True
    # The supernet is there for those who ask; "auto" stays with what measured searches took.
    strategy = "bayes"

    def __init__(self, config: Mapping[str, Any]) -> None:
        depths = tuple(config["depths"])
        choices = [
            Choice("levels", depths),
            Choice("start", _STARTS),
            Choice("block", _BLOCKS),
            Choice("norm", ("instance", "batch")),
            Choice("attention", ("no", "yes")),
            Choice("deep", ("no", "yes")),
        ]
        for number, channels in enumerate(config["channels"][: depths[-1]], 1):
            options = sorted({max(1, round(width * channels)) for width in config["widths"]})
            deep = tuple(depth for depth in depths if depth >= number)
            below = ("levels", deep) if deep != depths else (None, ())
            choices += [
                Choice(f"level{number}.width", tuple(options), *below),
                Choice(f"level{number}.blocks", tuple(config["blocks"]), *below),
                Choice(f"level{number}.kernel", tuple(config["kernels"]), *below),
            ]
        super().__init__("unet", choices, config)

    def shape(self, architecture: Architecture) -> Shape:
        """What an architecture says about its network."""
        levels = tuple(
            Level(*(int(architecture[f"level{n}.{of}"]) for of in ("width", "blocks", "kernel")))
            for n in range(1, 1 + int(architecture["levels"]))
        )
        return Shape(
            levels=levels,
            half=architecture["start"] == "half",
            norm=str(architecture["norm"]),
            residual=architecture["block"] == "residual",
            attention=architecture["attention"] == "yes",
            deep=architecture["deep"] == "yes",
        )

    def build(
        self, architecture: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> UNet:
        """The plain network of an architecture; see :meth:`SearchSpace.build`."""
        self._check_input(input_shape)
        return UNet(self.shape(architecture), input_shape, outputs)

    def supernet(self, input_shape: tuple[int, ...], outputs: int) -> SharedNetwork:
        """The supernet; see :meth:`SearchSpace.supernet`."""
        self._check_input(input_shape)
        largest = dict(self.largest())
        # Between equal widths a residual block has no convolution beside it, so each width is
        # also tried at its second largest.
        varied = [
            {choice.name: choice.options[-2]}
            for choice in self.choices
            if choice.name.endswith(".width") and len(choice.options) > 1
        ]
        covering = [
            self.architecture({**largest, "start": start, "block": block, **change})
            for start in reversed(_STARTS)
            for block in reversed(_BLOCKS)
            for change in ({}, *varied)
        ]
        return SharedNetwork(
            lambda architecture: self.build(architecture, input_shape, outputs),
            covering,
            lambda architecture: f"{architecture['start']}-{architecture['block']}",
        )

    def begin_with(self) -> list[Architecture]:
        """As nnU-Net has them (Isensee et al. 2021): at half the resolution, then at the whole."""
        said = {"block": "plain", "norm": "instance", "attention": "no", "deep": "yes"}
        largest = dict(self.largest())
        return [self.architecture({**largest, "start": start, **said}) for start in _STARTS]

    def largest(self) -> Architecture:
        """The architecture of all last options."""
        return self.architecture({c.name: c.options[-1] for c in self.choices})

    def smallest(self) -> Architecture:
        """The architecture of all first options."""
        return self.complete({}, None)

    def _check_input(self, input_shape: tuple[int, ...]) -> None:
        if len(input_shape) not in (3, 4) or min(input_shape) < 1:
            raise UsageError(
                f"The space {self.name!r} takes images and volumes with channels first, not "
                f"inputs of shape {tuple(input_shape)}."
            )


def unet(
    channels: Numbers = "16-24-32-48",
    depths: Numbers = "2-3-4",
    widths: Numbers = "0.5-0.75-1",
    blocks: Numbers = "1-2",
    kernels: Numbers = "1-3",
) -> UNetSpace:
    """The space of U-Nets; its defaults are networks of a few thousand to 0.3 million parameters.

    Several numbers are written with hyphens, e.g. ``unet:channels=16-32-64-128,kernels=3-5``.

    Args:
        channels: Channels of each level, the finest first.
        depths: How many levels there may be.
        widths: What the channels of a level may be multiplied with.
        blocks: How many blocks a level's encoder may have.
        kernels: Kernels that a level may have, odd; an encoder's first block has 3 at least.

    Raises:
        UsageError: A size that is no number above 0, a number twice, an even kernel, or fewer
            channels than levels.
    """
    config: dict[str, Any] = {
        "channels": numbers_of("unet", "channels", channels),
        "depths": options_of("unet", "depths", depths),
        "widths": options_of("unet", "widths", widths, fractions=True),
        "blocks": options_of("unet", "blocks", blocks),
        "kernels": options_of("unet", "kernels", kernels),
    }
    odd("unet", "kernels", config["kernels"])
    if config["depths"][0] < 2 or len(config["channels"]) < config["depths"][-1]:
        raise UsageError(
            f"depths={depths} of the space 'unet' must be from 2 to {len(config['channels'])}, "
            "the number of channels."
        )
    return UNetSpace(config)
