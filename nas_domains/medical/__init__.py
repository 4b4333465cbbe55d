"""Medical imaging with MONAI: segmentation and classification in 2D and 3D, by name."""

from ..core import registry as _registry

_NEEDS = ("monai", "nibabel")

_registry.spaces.register(
    "unet",
    "nas_domains.medical.spaces:unet",
    "U-Nets of MONAI blocks: levels, widths, kernels, norm, gates, ... (2D and 3D)",
    domain="medical",
    extra="medical",
    needs=_NEEDS,
)

_registry.spaces.register(
    "dints",
    "nas_domains.medical.dints:dints",
    "paths between resolutions and their candidates, 2D and 3D (He et al. 2021)",
    domain="medical",
)

for _name, _place, _summary in (
    (
        "decathlon",
        "tasks:decathlon",
        "a folder of the Medical Segmentation Decathlon: dataset.json and NIfTI files",
    ),
    (
        "medmnist",
        "tasks:medmnist",
        "a MedMNIST .npz file of images or volumes, with --domain medical",
    ),
    ("monai", "named:monai_named", "a Decathlon task by name, monai:Task04_Hippocampus"),
    ("medmnist-named", "named:medmnist_named", "MedMNIST by name, medmnist:breastmnist"),
):
    _registry.tasks.register(
        _name,
        f"nas_domains.medical.{_place}",
        _summary,
        domain="medical",
        extra="medical",
        needs=_NEEDS,
    )

_registry.baselines.register(
    "medical",
    "nas_domains.medical.baselines:baselines",
    "UNet, SegResNet, DynUNet; a ResNet-18 of quarter width",
    domain="medical",
    extra="medical",
    needs=_NEEDS,
)
