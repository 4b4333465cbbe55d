"""The space ``vision-transformer``: the heads and widths that a task needs of an encoder."""

import os
from collections.abc import Mapping
from typing import Any

from ..core.errors import UsageError
from ..core.numbers import Numbers
from ..evaluation.encoder_space import EncoderSpace, encoder_config
from .checkpoint import ImageCheckpoint, open_image_checkpoint

NAME = "vision-transformer"


class VisionTransformer(EncoderSpace):
    """Parts of a pretrained encoder of images; :func:`vision_transformer` has the arguments."""

    checkpoint: ImageCheckpoint

    @property
    def task_options(self) -> dict[str, Any]:
        """The checkpoint, whose images the task's shall be like; see the base."""
        return {"checkpoint": self.checkpoint.path}

    def check_task(self, preprocess: Mapping[str, Any]) -> None:
        """See the base; other colours and sizes mean nothing here."""
        seen, path = str(preprocess.get("checkpoint", "")), self.checkpoint.path
        if "size" in preprocess and os.path.realpath(seen) != os.path.realpath(path):
            raise UsageError(
                f"The images are not as {path!r} was pretrained: load the task with "
                f"checkpoint={path}."
            )


def vision_transformer(
    checkpoint: str = "",
    heads: Numbers = "0-0.25-0.5-0.75-1",
    widths: Numbers = "0-0.25-0.5-0.75-1",
    tune: int = 1,
    distil: bool = True,
) -> VisionTransformer:
    """The space of parts of a pretrained ViT or DeiT.

    Several numbers are written with hyphens, e.g.
    ``vision-transformer:checkpoint=vit,heads=0.5-1``.

    Args:
        checkpoint: Folder that ``save_pretrained`` of transformers wrote.
        heads: Shares of a layer's heads that may be kept, 0 to 1.
        widths: Shares of a layer's feed-forward width.
        tune: Epochs for which the whole network is fine-tuned before the search; 0 for a
            checkpoint that has learnt the task.
        distil: Whether networks learn from the whole one beside the labels.

    Raises:
        UsageError: No checkpoint, one that is not known here, or a share that is none.
    """
    if not checkpoint:
        raise UsageError(f"The space {NAME!r} needs a checkpoint: write {NAME}:checkpoint=FOLDER.")
    found = open_image_checkpoint(checkpoint)
    return VisionTransformer(
        NAME, found, encoder_config(NAME, found.path, heads, widths, tune, distil)
    )
