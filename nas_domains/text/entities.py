"""Entities in tagged texts: what they are by their tags, and how many are found."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from ..core.task import IGNORED

OUTSIDE = "O"
_INSIDE = re.compile(r"([BIESLU])(?:-(.+))?")
_ALONE, _LAST = "SU", "EL"

Span = tuple[str, int, int]
"""Kind of an entity, its first word, and the word behind its last."""


def has_entities(tags: Sequence[str]) -> bool:
    """Whether tags are those of entities: ``O``, and others such as ``B-PER`` and ``I-PER``."""
    inside = [tag for tag in tags if tag != OUTSIDE]
    return len(inside) < len(tags) and bool(inside) and all(map(_INSIDE.fullmatch, inside))


def entities(tags: Sequence[str]) -> list[Span]:
    """The entities of a sentence, as the script of CoNLL-2000 reads them.

    Tags are of the schemes IOB1, IOB2, IOBES or BILOU. An entity begins at a ``B``, at another
    kind, and behind what ended; so a lone ``I`` is one too.

    Args:
        tags: One a word.
    """
    found: list[Span] = []
    kind, start, before = "", -1, ""
    for i, tag in enumerate([*tags, OUTSIDE]):
        match = _INSIDE.fullmatch(tag) if tag != OUTSIDE else None
        place, own = (match[1], match[2] or "") if match else ("", "")
        fresh = place in ("B", *_ALONE) or before in (*_ALONE, *_LAST) or own != kind
        if start >= 0 and (not match or fresh):
            found.append((kind, start, i))
            start = -1
        if match and start < 0:
            kind, start = own, i
        before = place
    return found


class EntityF1(Metric):
    """F1 of entities: right are those of the right kind at the right words.

    NaN where there are none, neither in the truth nor in the prediction.

    Args:
        classes: The tags, in the order of the classes.
    """

    higher_is_better = True
    full_state_update = False
    right: Tensor
    counted: Tensor

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes = list(classes)
        self.add_state("right", torch.tensor(0), "sum")
        self.add_state("counted", torch.tensor(0), "sum")

    def update(self, output: Tensor, y: Tensor) -> None:
        """Takes scores [B, classes, T] and classes [B, T], -100 where there is none."""
        for said, truth in zip(output.argmax(1), y, strict=True):
            kept = truth != IGNORED
            spans = [
                set(entities([self.classes[i] for i in row[kept].tolist()]))
                for row in (said, truth)
            ]
            self.right += len(spans[0] & spans[1])
            self.counted += len(spans[0]) + len(spans[1])

    def compute(self) -> Tensor:
        """The share, a scalar."""
        return 2.0 * self.right / self.counted
