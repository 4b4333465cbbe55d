"""Encoders of images as models of transformers."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.files import write_json
from ..core.hand_back import HandBack, labels_of
from ..core.seeds import generator
from ..nn.elastic.attention import sizes_of
from ..nn.encoder import LayerSize
from .checkpoint import NAMES, ImageCheckpoint, open_image_checkpoint
from .patches import ImageClassifier

_CLASSES = {"vit": "ViT", "deit": "DeiT"}


def for_transformers(network: nn.Module, description: Mapping[str, Any]) -> HandBack | None:
    """A network as a model of transformers; None where it is no encoder of images.

    It is an ordinary one of its family where all layers that are left have all heads and one
    width, and else a ``nas_image``, whose configuration holds the heads and the width of each
    layer, and which loads after ``import nas_domains``. The image processor lies beside it.

    Args:
        network: The plain network of a run.
        description: Of :func:`nas_domains.export.load.load_description`.
    """
    if not isinstance(network, ImageClassifier):
        return None
    # Behind the hook: importing it registers our classes.
    from transformers import AutoModelForImageClassification

    from .modeling import wrap

    checkpoint = open_image_checkpoint(description["config"]["checkpoint"])
    shape, classes = tuple(description["input_shape"]), description["classes"]
    positions = network.encoder.positions_of(*checkpoint.grid(shape))
    size = shape[1] if shape[1] == shape[2] else list(shape[1:])
    base = {**checkpoint.config, "image_size": size}
    theirs: Any = plain_model(network, checkpoint, base, positions, classes)
    if theirs is None:
        theirs = wrap(network, base, positions, classes)

    def beside(folder: Path) -> None:
        write_json(folder / "preprocessor_config.json", processor(description, shape))

    return HandBack(
        theirs, AutoModelForImageClassification, beside, partial(_difference, network, shape)
    )


def processor(description: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """The configuration of an image processor that makes the network's inputs of RGB images."""
    preprocess = description["preprocess"]
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": shape[1], "width": shape[2]},
        "resample": 2,
        "do_rescale": preprocess.get("values", "unit") == "unit",
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocess["mean"]),
        "image_std": list(preprocess["std"]),
    }


def plain_model(
    network: ImageClassifier,
    checkpoint: ImageCheckpoint,
    base: Mapping[str, Any],
    positions: Tensor,
    classes: list[str],
) -> Any | None:
    """The network as an ordinary model of its family, or None where that cannot express it."""
    import transformers

    spec = checkpoint.spec
    sizes = sizes_of(network.encoder.layers)
    kept = [i for i, size in enumerate(sizes) if size != LayerSize(0, 0)]
    forms = {sizes[i] for i in kept}
    if len(forms) != 1:
        return None
    (form,) = forms
    if form.heads != spec.heads or not form.width:
        return None
    own = {"num_hidden_layers": len(kept), "intermediate_size": form.width}
    labels = "id2label", "label2id", "problem_type", "architectures", "model_type"
    rest = {k: v for k, v in base.items() if k not in labels} | own
    outputs = network.head.classifier.out_features
    config = transformers.AutoConfig.for_model(
        spec.family, **rest, **labels_of(classes, outputs)
    )
    made = getattr(transformers, f"{_CLASSES[spec.family]}ForImageClassification")(config)
    made.load_state_dict(NAMES[spec.family].theirs(network, kept, positions))
    return made.eval()


@torch.no_grad()
def _difference(network: ImageClassifier, shape: tuple[int, ...], theirs: Any) -> float:
    x = torch.randn((2, *shape), generator=generator(0, "export"))
    expected = network(x)
    found = theirs(pixel_values=x).logits
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
