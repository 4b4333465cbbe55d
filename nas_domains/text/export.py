"""Handing a network back to transformers: a folder that ``AutoModel.from_pretrained`` loads."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import UsageError
from ..nn.encoder import EncoderSpec, LayerSize, TextClassifier, made_up
from .checkpoint import load_tokenizer
from .families import FAMILIES


def save_folder(
    network: nn.Module, description: Mapping[str, Any], out: Path, tolerance: float
) -> float:
    """Writes a network and its tokenizer as ``save_pretrained`` does, and loads them again.

    Where all layers that are left have all heads and one width, the model is one of the family
    that it came from, which loads without this package. Otherwise it is a ``nas_encoder``, whose
    configuration holds the heads and the width of each layer, and which loads after ``import
    nas_domains``.

    Args:
        network: The plain network of a run.
        description: Of :func:`nas_domains.export.load.load_description`.
        out: The folder; must not be there, or be empty.
        tolerance: Largest difference, relative to the largest output, that it may show.

    Returns:
        The largest relative difference between its outputs and those of the network.

    Raises:
        UsageError: A network that is no encoder, a folder that is not free, or a difference.
    """
    if not isinstance(network, TextClassifier):
        raise UsageError(
            "Only encoders of texts can be handed back to transformers: use --format onnx."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{str(out)!r} is there already: choose another --out.")
    # Behind the hook: importing it registers our classes.
    from transformers import AutoModelForSequenceClassification

    from .modeling import wrap

    classes = description["classes"]
    network = network.eval()
    theirs: Any = plain_model(network, classes)
    if theirs is None:
        theirs = wrap(network, classes)
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        with quiet_transformers():
            theirs.save_pretrained(made)
            checkpoint = description["preprocess"].get("checkpoint")
            if checkpoint:
                load_tokenizer(checkpoint).save_pretrained(made)
            again = AutoModelForSequenceClassification.from_pretrained(made, local_files_only=True)
        difference = _difference(network, again.eval())
        if not difference <= tolerance:
            raise UsageError(
                f"The transformers export differs from PyTorch by {difference:.1e} of the largest "
                f"output, more than {tolerance:g}: it was not written."
            )
        made.chmod(0o755)
        if out.exists():
            out.rmdir()
        os.replace(made, out)
    except OSError as error:
        raise UsageError(
            f"Cannot write {str(out)!r} ({error.strerror or error}): choose another --out."
        ) from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return difference


def plain_model(network: TextClassifier, classes: list[str]) -> Any | None:
    """The network as an ordinary model of its family, or None where that cannot express it."""
    import transformers

    from .modeling import labels_of, sizes_of

    spec = network.encoder.spec
    sizes = sizes_of(network)
    kept = [i for i, size in enumerate(sizes) if size != LayerSize(0, 0)]
    forms = {sizes[i] for i in kept}
    if spec.family not in FAMILIES or len(forms) != 1:
        return None
    (form,) = forms
    if form.heads != spec.heads or not form.width:
        return None
    family = FAMILIES[spec.family]
    config = transformers.AutoConfig.for_model(
        spec.family, **family.config(spec, len(kept), form.width), **labels_of(classes, network)
    )
    made = getattr(transformers, family.classifier)(config).eval()
    made.load_state_dict(_their_names(network, kept), strict=False)
    missing = set(made.state_dict()) - set(_their_names(network, kept))
    # Positions are counted, not learnt.
    assert all(name.endswith("_ids") for name in missing), missing
    return made


def _their_names(network: TextClassifier, kept: list[int]) -> dict[str, Tensor]:
    family = FAMILIES[network.encoder.spec.family]
    state = network.state_dict()
    found: dict[str, Tensor] = {}
    for ours, theirs in family.names(len(kept)).items():
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
    expected = network(ids)
    found = theirs(**inputs).logits
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6))


class quiet_transformers:  # noqa: N801 - used as a context
    """Keeps transformers' chatter off the console within a block."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self.level = logging.get_verbosity()
        logging.set_verbosity_error()
        self.bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging

        logging.set_verbosity(self.level)
        if self.bars:
            logging.enable_progress_bar()
