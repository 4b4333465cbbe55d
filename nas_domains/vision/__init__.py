"""Vision: image classification spaces, tasks and hand-made networks, by name."""

from ..core import registry as _registry

for _name, _module, _summary in (
    ("darts", "spaces", "two kinds of cells, 8 candidates, 2 inputs a node (Liu et al. 2019)"),
    ("nasbench201", "spaces", "one kind of cell, 5 candidates on 6 edges (Dong & Yang 2020)"),
    ("mobilenet", "mobilenet", "elastic stages of inverted residuals (Cai et al. 2020)"),
):
    _registry.spaces.register(
        _name, f"nas_domains.vision.{_module}:{_name}", _summary, domain="vision"
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
