"""Small networks rank as the published scores of the full-size ones do."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from nas_domains.core import registry
from nas_domains.vision.spaces import nasbench201
from tests.conftest import SHARED, needs_shared

CELLS = 30


@needs_shared
@pytest.mark.parametrize(
    "name, published, least",
    [
        ("params", "params", 0.99),
        ("flops", "flops", 0.98),
        ("synflow", "synflow", 0.95),
        ("naswot", "nwot", 0.9),
        ("jacov", "jacov", 0.75),
    ],
)
def test_it_ranks_cells_as_published(name: str, published: str, least: float) -> None:
    folder = SHARED / "data" / "nasbench201"
    with np.load(folder / "table.npz") as file:
        names, ids = file["ops"].tolist(), file["arch"]
        edges = ["->".join(reversed(edge.split("<-"))) for edge in file["edges"].tolist()]
    with np.load(folder / "zero_cost_cifar10.npz") as file:
        column = file["scores"][:, file["columns"].tolist().index(published)]
        rows = file["row"]
    space = nasbench201(cells=1, channels=8)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn((16, 3, 16, 16), generator=generator), torch.arange(16) % 10
    proxy, scores = registry.proxies.get(name), []
    for row in rows[:CELLS]:
        choices = {e: names[i] for e, i in zip(edges, ids[row], strict=True)}
        torch.manual_seed(0)
        network = space.build(space.architecture(choices), (3, 16, 16), 10)
        scores.append(proxy(network, x, y, nn.functional.cross_entropy))
    assert spearmanr(scores, column[:CELLS]).statistic > least
