"""Splits of texts as tokens, padded batch by batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.task import IGNORED


class TokenSplit:
    """Texts as tokens, with a label each; a split of a task.

    Args:
        ids: The tokens of each text.
        labels: int64 [N].
        pad: The token that fills a batch up to its longest text.
    """

    def __init__(
        self, ids: Sequence[Sequence[int]], labels: npt.NDArray[np.int64], pad: int
    ) -> None:
        self.ids = [np.asarray(row, dtype=np.int32) for row in ids]
        self.labels, self.pad = labels, pad

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return torch.from_numpy(self.ids[index].astype(np.int64)), int(self.labels[index])

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Tokens int64 [B, length of the longest] and labels int64 [B]."""
        x = filled([self.ids[i] for i in indices], self.pad)
        return x, torch.from_numpy(self.labels[list(indices)])

    def part(self, indices: npt.NDArray[np.int64]) -> "TokenSplit":
        """Some of the texts."""
        return TokenSplit([self.ids[i] for i in indices], self.labels[indices], self.pad)

    def by_length(self) -> "TokenSplit":
        """The same texts, short ones first: batches in this order are filled up least."""
        return self.part(np.argsort(self.lengths(), kind="stable"))

    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text [N]."""
        return np.array([len(row) for row in self.ids])


class TaggedSplit(TokenSplit):
    """Texts as tokens, with a class for some of these; a split of a task.

    Args:
        ids: The tokens of each text.
        tags: The class of each token, or :data:`nas_domains.core.task.IGNORED`.
        pad: The token that fills a batch up to its longest text.
    """

    def __init__(
        self, ids: Sequence[Sequence[int]], tags: Sequence[Sequence[int]], pad: int
    ) -> None:
        self.ids = [np.asarray(row, dtype=np.int32) for row in ids]
        self.tags, self.pad = [np.asarray(row, dtype=np.int64) for row in tags], pad

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        x, y = self.batch([index])
        return x[0], y[0]

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Tokens and classes, both int64 [B, length of the longest]."""
        return (
            filled([self.ids[i] for i in indices], self.pad),
            filled([self.tags[i] for i in indices], IGNORED),
        )

    def part(self, indices: npt.NDArray[np.int64]) -> "TaggedSplit":
        """Some of the texts."""
        return TaggedSplit(
            [self.ids[i] for i in indices], [self.tags[i] for i in indices], self.pad
        )


def filled(rows: Sequence[npt.NDArray[Any]], value: int) -> Tensor:
    """Rows of different lengths, filled up to the longest: int64 [N, T]."""
    table = np.full((len(rows), max(map(len, rows))), value, dtype=np.int64)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return torch.from_numpy(table)
