"""Splits of texts as tokens, padded batch by batch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


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

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(self.ids[index].astype(np.int64)), int(self.labels[index])

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Tokens int64 [B, length of the longest] and labels int64 [B]."""
        rows = [self.ids[i] for i in indices]
        x = np.full((len(rows), max(map(len, rows))), self.pad, dtype=np.int64)
        for filled, row in zip(x, rows, strict=True):
            filled[: len(row)] = row
        return torch.from_numpy(x), torch.from_numpy(self.labels[list(indices)])

    def part(self, indices: npt.NDArray[np.int64]) -> "TokenSplit":
        """Some of the texts."""
        return TokenSplit([self.ids[i] for i in indices], self.labels[indices], self.pad)

    def by_length(self) -> "TokenSplit":
        """The same texts, short ones first: batches in this order are filled up least."""
        return self.part(np.argsort(self.lengths(), kind="stable"))

    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text [N]."""
        return np.array([len(row) for row in self.ids])
