"""The space ``speech-transformer``: the heads and widths that a task needs of an encoder."""

import os
from collections.abc import Mapping
from typing import Any

from ..core.errors import UsageError
from ..core.numbers import Numbers
from ..evaluation.encoder_space import EncoderSpace, encoder_config
from .checkpoint import WaveCheckpoint, open_speech_checkpoint
from .patch_checkpoint import PatchCheckpoint

NAME = "speech-transformer"


class SpeechTransformer(EncoderSpace):
    """Parts of a pretrained encoder of speech; :func:`speech_transformer` has the arguments."""

    checkpoint: WaveCheckpoint | PatchCheckpoint

    @property
    def task_options(self) -> dict[str, Any]:
        """The form and the rate that the checkpoint was pretrained on; see the base."""
        if isinstance(self.checkpoint, PatchCheckpoint):
            return {"features": self.checkpoint.path}
        form = "wave" if self.checkpoint.normalised else "raw"
        return {"form": form, "rate": self.checkpoint.rate}

    def check_task(self, preprocess: Mapping[str, Any]) -> None:
        """See the base; samples at another rate or level mean nothing here."""
        if isinstance(self.checkpoint, PatchCheckpoint):
            heard = str(preprocess.get("features", ""))
            alike = os.path.realpath(heard) == os.path.realpath(self.checkpoint.path)
            if "frames" in preprocess and not alike:
                raise UsageError(
                    f"The recordings are not as {self.checkpoint.path!r} was pretrained: load the "
                    f"task with features={self.checkpoint.path}."
                )
            return
        wanted = {"rate": self.checkpoint.rate, "normalised": self.checkpoint.normalised}
        if "samples" in preprocess and any(preprocess[n] != v for n, v in wanted.items()):
            said = ",".join(f"{name}={value}" for name, value in self.task_options.items())
            raise UsageError(
                f"The recordings are not as {self.checkpoint.path!r} was pretrained: load the "
                f"task with {said}."
            )


def speech_transformer(
    checkpoint: str = "",
    heads: Numbers = "0-0.25-0.5-0.75-1",
    widths: Numbers = "0-0.25-0.5-0.75-1",
    tune: int = 1,
    distil: bool = True,
) -> SpeechTransformer:
    """The space of parts of a pretrained wav2vec 2.0, HuBERT or AST.

    Several numbers are written with hyphens, e.g.
    ``speech-transformer:checkpoint=wav2vec2,heads=0.5-1``.

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
    found = open_speech_checkpoint(checkpoint)
    return SpeechTransformer(
        NAME, found, encoder_config(NAME, found.path, heads, widths, tune, distil)
    )
