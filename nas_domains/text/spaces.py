"""The space ``transformer``: the heads and widths that a task needs of a pretrained encoder."""

from collections.abc import Mapping
from typing import Any

from ..core.errors import UsageError
from ..core.numbers import Numbers
from ..evaluation.encoder_space import EncoderSpace, encoder_config, shares
from .checkpoint import Checkpoint, open_checkpoint
from .families import KINDS


class Transformer(EncoderSpace):
    """Parts of a pretrained encoder of texts; see :func:`transformer` for the arguments."""

    checkpoint: Checkpoint

    @property
    def task_options(self) -> dict[str, Any]:
        """The checkpoint, whose tokenizer makes the inputs; see the base."""
        return {"checkpoint": self.checkpoint.path}

    def check_task(self, preprocess: Mapping[str, Any]) -> None:
        """See the base; tokens of another tokenizer mean nothing here."""
        if preprocess.get("checkpoint", self.checkpoint.path) != self.checkpoint.path or (
            preprocess.get("vocabulary")
        ):
            raise UsageError(
                f"The texts are not tokens of {self.checkpoint.path!r}: load the task with the "
                "option checkpoint of the space."
            )
        asked = {"text": "text", "tags": "token"}.get(preprocess.get("loader", ""))
        if asked not in (None, self.checkpoint.each):
            raise UsageError(
                f"The task gives each {asked} a class, and the space {self.name!r} each "
                f"{self.checkpoint.each}: add each={asked} to the space."
            )


def transformer(
    checkpoint: str = "",
    heads: Numbers = "0-0.25-0.5-0.75-1",
    widths: Numbers = "0-0.25-0.5-0.75-1",
    tune: int = 1,
    distil: bool = True,
    each: str = "text",
    hidden: Numbers = 1,
) -> Transformer:
    """The space of parts of a pretrained encoder of the BERT, RoBERTa or DistilBERT kind.

    Several numbers are written with hyphens, e.g. ``transformer:checkpoint=minilm,heads=0.5-1``.

    Args:
        checkpoint: Folder that ``save_pretrained`` of transformers wrote, with its tokenizer.
        heads: Shares of a layer's heads that may be kept, 0 to 1.
        widths: Shares of a layer's feed-forward width.
        tune: Epochs for which the whole network is fine-tuned before the search; 0 for a
            checkpoint that has learnt the task.
        distil: Whether networks learn from the whole one beside the labels.
        each: What has a class each, "text" or "token".
        hidden: Shares of the features between the blocks, above 0 to 1. Less than all make other
            norms of the pretrained ones: such networks need training.

    Raises:
        UsageError: No checkpoint, one that is not known here, or a share that is none.
    """
    if not checkpoint:
        raise UsageError(
            "The space 'transformer' needs a checkpoint: write transformer:checkpoint=FOLDER."
        )
    if each not in KINDS:
        raise UsageError(f"each={each!r} of the space 'transformer' must be {' or '.join(KINDS)}.")
    found = open_checkpoint(checkpoint, each)
    config = encoder_config("transformer", found.path, heads, widths, tune, distil)
    # Spaces of whole texts are called as they were before there were others.
    config |= {} if each == "text" else {"each": each}
    kept = shares("transformer", "hidden", hidden)
    if round(kept[0] * found.spec.hidden) < 1:
        raise UsageError(
            f"hidden={hidden!r} of the space 'transformer' must leave a feature: use shares "
            "above 0."
        )
    config |= {} if kept == [1.0] else {"hidden": kept}
    return Transformer("transformer", found, config)
