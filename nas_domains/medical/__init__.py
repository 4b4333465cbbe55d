"""Medical imaging: spaces for segmentation in 2D and 3D, by name."""

from ..core import registry as _registry

_registry.spaces.register(
    "dints",
    "nas_domains.medical.dints:dints",
    "paths between resolutions and their candidates, 2D and 3D (He et al. 2021)",
    domain="medical",
)
