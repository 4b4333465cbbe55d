"""Vision: image classification spaces and tasks, by name."""

from ..core.registry import baselines, spaces, tasks

spaces.register("darts", "nas_domains.vision.spaces:darts", "8 candidates, normal and reduction cell", domain="vision")
spaces.register("nasbench201", "nas_domains.vision.spaces:nasbench201", "5 candidates on 6 edges", domain="vision")
tasks.register("digits", "nas_domains.vision.tasks:digits", "scikit-learn's 8x8 handwritten digits, bundled", domain="vision")
tasks.register("npz", "nas_domains.vision.tasks:npz", "an .npz file in MedMNIST's layout", domain="vision")
tasks.register("folder", "nas_domains.vision.tasks:folder", "a folder of images, one sub-folder a class", domain="vision")
tasks.register("csv", "nas_domains.vision.tasks:csv", "a CSV of image path, label and optional group", domain="vision")
baselines.register("vision", "nas_domains.vision.baselines:baselines", "a ResNet-18 of quarter width", domain="vision")
