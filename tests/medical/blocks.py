"""Small volumes with a bright block to segment."""

import torch
from torch.utils.data import TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from nas_domains.core.task import Task

SPACES = {2: "dints:blocks=2,depths=2,channels=4,dims=2", 3: "dints:blocks=2,depths=2,channels=4"}


def blocks(n, seed, sides):
    """Volumes [n, 1, ...] of noise, and masks [n, ...] of a bright corner block."""
    g = torch.Generator().manual_seed(seed)
    x = 0.3 * torch.randn((n, 1, *sides), generator=g)
    y = torch.zeros((n, *sides), dtype=torch.long)
    for i in range(n):
        ends = [int(torch.randint(2, side, (), generator=g)) for side in sides]
        y[(i, *(slice(0, end) for end in ends))] = 1
    return TensorDataset(x + y[:, None], y)


def task(dims=2, n=12):
    """A segmentation that is learnt in a few steps."""
    sides = (8, 12, 8)[:dims]
    made = Task.from_datasets(
        *(blocks(n, seed, sides) for seed in range(3)),
        metrics={"accuracy": MulticlassAccuracy(2, average="micro")},
        outputs=2,
        name="blocks",
    )
    return made.with_recipe(batch_size=3)
