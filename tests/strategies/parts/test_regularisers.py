"""Regularisers: values, gradients, and what they push towards."""

import pytest
import torch

from nas_domains.core.objective import Objective
from nas_domains.nn.cell_space import CellSpace
from nas_domains.nn.relaxation import Dirichlet
from nas_domains.nn.supernet import Supernet
from nas_domains.strategies.parts.costs import CostRows
from nas_domains.strategies.parts.regularisers import (
    BetaDecay,
    Entropy,
    ExpectedCost,
    PriorDistance,
    Regulariser,
)
from nas_domains.vision.spaces import darts, nasbench201

SHAPE, OUTPUTS = (1, 8, 8), 3


def _supernet(space: CellSpace, spread: float = 1.0) -> Supernet:
    torch.manual_seed(0)
    supernet = space.supernet(SHAPE, OUTPUTS)
    for alpha in supernet.architecture_parameters():
        torch.nn.init.normal_(alpha, std=spread)
    return supernet


def _descend(supernet: Supernet, regulariser: Regulariser, steps: int = 200) -> None:
    optimizer = torch.optim.Adam(supernet.architecture_parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        regulariser(supernet, 1.0).backward()
        optimizer.step()


def test_beta_decay_is_the_mean_log_sum_exp() -> None:
    supernet = _supernet(nasbench201(1, 4))
    alpha = supernet.alphas["cell"]
    value = BetaDecay(50.0)(supernet, 0.5)
    torch.testing.assert_close(value, 25.0 * torch.logsumexp(alpha, 1).mean())
    assert float(BetaDecay()(supernet, 0.0).detach()) == 0.0
    (gradient,) = torch.autograd.grad(value, alpha)
    # Of a log sum exp the gradient is the softmax: the strongest is held back most.
    torch.testing.assert_close(gradient, 25.0 * torch.softmax(alpha, 1) / len(alpha))


def test_entropy_makes_weights_decide() -> None:
    supernet = _supernet(darts(2, 2))
    before = {kind: s.max(1).values for kind, s in supernet.strengths().items()}
    _descend(supernet, Entropy(1.0))
    for kind, strength in supernet.strengths().items():
        assert (strength.max(1).values > before[kind]).all()


def test_the_distance_to_the_prior_is_zero_there_and_pulls_back() -> None:
    supernet = _supernet(nasbench201(1, 4), spread=2.0)
    _descend(supernet, PriorDistance(1.0), steps=600)
    assert float(PriorDistance(1.0)(supernet, 0.0).detach()) < 1e-2
    assert supernet.alphas["cell"].detach().abs().max() < 0.2


def test_the_distance_to_the_prior_is_torchs_own_over_what_is_left() -> None:
    supernet = _supernet(nasbench201(1, 4))
    given = Dirichlet.concentration(supernet.parameters_of("cell"))
    uniform = torch.distributions.Dirichlet(torch.ones_like(given))
    expected = torch.distributions.kl_divergence(torch.distributions.Dirichlet(given), uniform)
    torch.testing.assert_close(PriorDistance(1.0)(supernet, 0.0), expected.mean())
    dropped = torch.zeros_like(given, dtype=torch.bool)
    dropped[:, [0, 3]] = True
    supernet.dropped.set("cell", dropped)
    kept = given[:, [1, 2, 4]]
    left = torch.distributions.kl_divergence(
        torch.distributions.Dirichlet(kept),
        torch.distributions.Dirichlet(torch.ones_like(kept)),
    )
    found = PriorDistance(1.0)(supernet, 0.0)
    torch.testing.assert_close(found, left.mean())
    (gradient,) = torch.autograd.grad(found, supernet.alphas["cell"])
    assert gradient.isfinite().all() and not gradient[:, [0, 3]].any()


@pytest.mark.parametrize("space", [nasbench201(2, 4), darts(3, 4)], ids=lambda s: s.name)
@pytest.mark.parametrize("metric", ["params", "macs"])
def test_the_expected_cost_is_the_mean_of_drawn_architectures(
    space: CellSpace, metric: str
) -> None:
    rows = CostRows.of(space, metric, SHAPE, OUTPUTS)
    table = space.cost_tables(SHAPE, OUTPUTS)[metric]
    drawn = [table.cost(a) for a in space.sample(3000, seed=1)]
    # What uniform draws of candidates take: none is no option of the DARTS space.
    names = list(space.candidates)
    options = {str(o) for c in space.choices for o in c.options}
    uniform = torch.tensor([float(name in options) for name in names])
    weights = {
        kind: (uniform / uniform.sum()).expand(len(space.design.edges), -1)
        for kind in space.kinds
    }
    mean = sum(drawn) / len(drawn)
    spread = (sum((d - mean) ** 2 for d in drawn) / len(drawn)) ** 0.5
    assert abs(float(rows.expected(weights)) - mean) < 4 * spread / len(drawn) ** 0.5


def test_one_architectures_weights_cost_what_it_costs() -> None:
    space = nasbench201(2, 4)
    rows = CostRows.of(space, "params", SHAPE, OUTPUTS)
    for architecture in space.sample(5):
        genotype = space.genotype(architecture)["cell"]
        names = list(space.candidates)
        one = torch.zeros(6, 5)
        for e, edge in enumerate(space.design.edges):
            one[e, names.index(genotype[edge])] = 1
        network = space.build(architecture, SHAPE, OUTPUTS)
        assert float(rows.expected({"cell": one})) == sum(p.numel() for p in network.parameters())


def test_an_exceeded_limit_pushes_the_mean_cost_under_it() -> None:
    space = nasbench201(1, 4)
    rows = {"params": CostRows.of(space, "params", SHAPE, OUTPUTS)}
    supernet = _supernet(space)
    before = float(rows["params"].expected(supernet.strengths()))
    limit = Objective("params", "min", 0.7 * before)
    regulariser = ExpectedCost(rows, [limit])
    value = regulariser(supernet, 0.0)
    torch.testing.assert_close(value, torch.tensor(1 / 0.7 - 1))
    (gradient,) = torch.autograd.grad(value, supernet.alphas["cell"])
    assert gradient.abs().sum() > 0, "a penalty through which no gradient flows is none"
    _descend(supernet, regulariser)
    assert float(rows["params"].expected(supernet.strengths())) <= 0.7 * before * 1.01
    relaxed = ExpectedCost(rows, [Objective("params", "min", 2 * before)])
    assert float(relaxed(supernet, 1.0).detach()) == 0.0
