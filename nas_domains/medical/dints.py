"""The space ``dints``: MONAI's DiNTS, whose architectures MONAI takes as they are."""

from ..core.errors import UsageError
from ..nn.dints.space import DintsSpace

__all__ = ["dints"]

_LIMITS = {"blocks": (1, 32), "depths": (1, 5), "channels": (2, 512), "dims": (2, 3)}


def dints(
    blocks: int = 6, depths: int = 3, channels: int = 16, dims: int = 3, down: bool = True
) -> DintsSpace:
    """The space of DiNTS for segmentation in 2D or 3D.

    Args:
        blocks: Blocks one after the other; MONAI's ``num_blocks``.
        depths: Resolutions of the blocks; ``num_depths``. Sides of the input must be multiples of
            2 to the power of depths, and half of that where ``down`` is false.
        channels: At the input's resolution; each half of it has twice as many. MONAI's
            ``channel_mul`` is this over 32.
        dims: 2 or 3; ``spatial_dims``.
        down: Whether the blocks begin at half the input's resolution; ``use_downsample``.

    Raises:
        UsageError: A size out of range.
    """
    given = {"blocks": blocks, "depths": depths, "channels": channels, "dims": dims}
    for name, value in given.items():
        low, high = _LIMITS[name]
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not low <= value <= high:
            raise UsageError(
                f"{name}={value!r} of the space 'dints' is not possible: use a whole number from "
                f"{low} to {high}."
            )
    if not isinstance(down, bool):
        raise UsageError(f"down={down!r} of the space 'dints' is not possible: true or false.")
    return DintsSpace("dints", {**given, "down": down})
