"""Vision: image classification spaces, tasks and hand-made networks, by name."""

from ..core import registry as _registry
from ..core.import_hook import import_behind as _import_behind

for _name, _module, _summary in (
    ("darts", "spaces", "two kinds of cells, 8 candidates, 2 inputs a node (Liu et al. 2019)"),
    ("nasbench201", "spaces", "one kind of cell, 5 candidates on 6 edges (Dong & Yang 2020)"),
    ("mobilenet", "mobilenet", "elastic stages of inverted residuals (Cai et al. 2020)"),
):
    _registry.spaces.register(
        _name, f"nas_domains.vision.{_module}:{_name}", _summary, domain="vision"
    )

_registry.spaces.register(
    "vision-transformer",
    "nas_domains.vision.encoders:vision_transformer",
    "heads and widths of the layers of a pretrained ViT or DeiT (checkpoint=FOLDER)",
    domain="vision",
    extra="vision",
    needs=("transformers",),
)

for _name, _summary in (
    ("digits", "scikit-learn's 8x8 handwritten digits, bundled"),
    ("npz", "an .npz file in MedMNIST's layout"),
    ("folder", "a folder of images, one sub-folder a class"),
    ("csv", "a CSV with columns path, label and, if you like, group and split"),
):
    _registry.tasks.register(_name, f"nas_domains.vision.tasks:{_name}", _summary, domain="vision")

_registry.baselines.register(
    "vision",
    "nas_domains.vision.baselines:baselines",
    "a ResNet-18 of quarter width",
    domain="vision",
)

_registry.actions.register(
    "transformers-vision",
    "nas_domains.vision.export:for_transformers",
    "an encoder of images as a model of transformers",
)

# The last of the modules that define automatic classes.
_import_behind("transformers.models.auto.modeling_auto", "nas_domains.vision.modeling")
