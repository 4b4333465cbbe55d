"""Metrics of classification, as torchmetrics objects of logits."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassF1Score,
    MulticlassMatthewsCorrCoef,
)
from torchmetrics.utilities.data import dim_zero_cat

from .errors import UsageError


class Auc(MulticlassAUROC):
    """One-against-rest area under the ROC curve, averaged over the classes that are present.

    torchmetrics takes logits for probabilities where a whole batch of them lies in [0, 1], and
    counts a class without samples as zero; here neither happens. NaN where only one class is
    present.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(classes, average=None)

    def update(self, output: Tensor, y: Tensor) -> None:
        """Takes logits [B, classes] and labels [B]."""
        super().update(output.softmax(1), y)

    def compute(self) -> Tensor:  # type: ignore[override]
        """The mean over classes, a scalar."""
        y = dim_zero_cat(self.target)
        counts = torch.bincount(y, minlength=self.num_classes)
        present = (counts > 0) & (counts < len(y))
        scores: Tensor = super().compute()
        return scores[present].mean()


CLASSIFICATION_METRICS: dict[str, Callable[[int], Metric]] = {
    "accuracy": lambda n: MulticlassAccuracy(n, average="micro"),
    "auc": Auc,
    "f1": lambda n: MulticlassF1Score(n, average="macro"),
    "matthews": MulticlassMatthewsCorrCoef,
}


def classification_metrics(
    metrics: Sequence[str] | Mapping[str, Metric], outputs: int
) -> dict[str, Metric]:
    """Metric objects for the given names.

    Args:
        metrics: Names of :data:`CLASSIFICATION_METRICS`, or ready objects by name.
        outputs: Number of classes.

    Raises:
        UsageError: An unknown name, or fewer than two classes.
    """
    if isinstance(metrics, Mapping):
        return dict(metrics)
    if outputs < 2:
        raise UsageError(
            f"A classification needs at least 2 classes, not {outputs}: give the data labels of "
            "more than one class, or pass {name: torchmetrics object}."
        )
    made: dict[str, Metric] = {}
    for name in metrics:
        if name not in CLASSIFICATION_METRICS:
            raise UsageError(
                f"Unknown metric {name!r}: known are {', '.join(CLASSIFICATION_METRICS)}, or pass "
                "{name: torchmetrics object}."
            )
        made[name] = CLASSIFICATION_METRICS[name](outputs)
    return made
