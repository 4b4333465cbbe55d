"""Encoders of texts as models of transformers."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.hand_back import HandBack, labels_of
from ..nn.elastic.attention import sizes_of
from ..nn.encoder import EncoderSpec, LayerSize, made_up
from ..nn.text_classifier import TextClassifier
from .checkpoint import load_tokenizer
from .families import FAMILIES, KINDS


def for_transformers(network: nn.Module, description: Mapping[str, Any]) -> HandBack | None:
    """A network as a model of transformers, with its tokenizer; None where it reads no texts.

    Where all layers that are left have one width, and heads for all features between them, the
    model is one of the family that it came from, which loads without this package. Otherwise it
    is a ``nas_encoder``, whose configuration holds the heads and the width of each layer, and
    which loads after ``import nas_domains``.

    Args:
        network: The plain network of a run.
        description: Of :func:`nas_domains.export.load.load_description`.
    """
    if not isinstance(network, TextClassifier):
        return None
    # Behind the hook: importing it registers our classes.
    import transformers

    from .modeling import wrap

    classes = description["classes"]
    theirs: Any = plain_model(network, classes)
    if theirs is None:
        theirs = wrap(network, classes)
    checkpoint = description["preprocess"].get("checkpoint")

    def beside(folder: Path) -> None:
        if checkpoint:
            load_tokenizer(checkpoint).save_pretrained(folder)

    loader = getattr(transformers, f"AutoModel{KINDS[network.each]}")
    return HandBack(theirs, loader, beside, partial(_difference, network))


def plain_model(network: TextClassifier, classes: list[str]) -> Any | None:
    """The network as an ordinary model of its family, or None where that cannot express it."""
    import transformers


    spec = network.encoder.spec
    sizes = sizes_of(network.encoder.layers)
    kept = [i for i, size in enumerate(sizes) if size != LayerSize(0, 0)]
    forms = {sizes[i] for i in kept}
    if spec.family not in FAMILIES or len(forms) != 1:
        return None
    (form,) = forms
    # Heads of theirs share the features between the blocks among themselves.
    if form.heads * spec.head_size != spec.hidden or not form.width:
        return None
    spec = replace(spec, heads=form.heads, per_head=0)
    family = FAMILIES[spec.family]
    outputs = network.head.classifier.out_features
    config = transformers.AutoConfig.for_model(
        spec.family, **family.config(spec, len(kept), form.width), **labels_of(classes, outputs)
    )
    made = getattr(transformers, family.classifier(network.each))(config).eval()
    made.load_state_dict(_their_names(network, kept), strict=False)
    missing = set(made.state_dict()) - set(_their_names(network, kept))
    # Positions are counted, not learnt.
    assert all(name.endswith("_ids") for name in missing), missing
    return made


def _their_names(network: TextClassifier, kept: list[int]) -> dict[str, Tensor]:
    family = FAMILIES[network.encoder.spec.family]
    state = network.state_dict()
    found: dict[str, Tensor] = {}
    for ours, theirs in family.names(len(kept), network.each).items():
        source = ours
        if ours.startswith("encoder.layers."):
            number, _, rest = ours.removeprefix("encoder.layers.").partition(".")
            source = f"encoder.layers.{kept[int(number)]}.{rest}"
        for kind in ("weight", "bias"):
            if f"{source}.{kind}" in state:
                found[f"{theirs}.{kind}"] = state[f"{source}.{kind}"].clone()
    return found


@torch.no_grad()
def _difference(network: TextClassifier, theirs: Any) -> float:
    spec: EncoderSpec = network.encoder.spec
    longest = min(48, spec.longest)
    ids = made_up(spec, [longest, max(2, longest // 2), 3])
    inputs = {"input_ids": ids, "attention_mask": (ids != spec.pad).long()}
    expected, found = network(ids), theirs(**inputs).logits
    if network.each == "token":
        real = ids != spec.pad
        expected, found = expected.transpose(1, 2)[real], found[real]
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
