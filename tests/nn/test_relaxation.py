"""Relaxations: their weights, what they draw, and their gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nas_domains.core.errors import UsageError
from nas_domains.nn.relaxation import Dirichlet, Gates, Gumbel, Relaxation, Softmax
from nas_domains.vision.spaces import nasbench201

MAKERS = {
    "softmax": Softmax,
    "noise": lambda: Softmax(noise=0.3),
    "gumbel": lambda: Gumbel(hard=False),
    "hard gumbel": Gumbel,
    "dirichlet": Dirichlet,
    "gates": Gates,
}
each = pytest.mark.parametrize("name", MAKERS)
DROPPED = torch.tensor([[False, True, False, False, True]] * 3)


def _parameters(rows: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 5, generator=generator)


@each
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("architecture", [True, False])
def test_rows_are_weights_that_sum_to_one(name: str, share: float, architecture: bool) -> None:
    relaxation: Relaxation = MAKERS[name]()
    relaxation.advance(share)
    for seed in range(20):
        torch.manual_seed(seed)
        drawn = relaxation(_parameters(), architecture=architecture)
        assert drawn.values.shape == (3, 5) and (drawn.values >= 0).all()
        torch.testing.assert_close(drawn.values.sum(1), torch.ones(3))
        assert relaxation.samples == (drawn.active is not None)
        if drawn.active is not None:
            ran = torch.zeros(3, 5).scatter(1, drawn.active, 1.0)
            assert (drawn.values.detach() * (1 - ran)).abs().max() < 1e-6


@each
def test_a_dropped_candidate_has_no_weight_and_does_not_run(name: str) -> None:
    relaxation: Relaxation = MAKERS[name]()
    parameters = _parameters().masked_fill(DROPPED, -torch.inf)
    assert (relaxation.expected(parameters)[DROPPED] == 0).all()
    for seed in range(20):
        torch.manual_seed(seed)
        for architecture in (True, False):
            drawn = relaxation(parameters, architecture=architecture)
            assert drawn.values[DROPPED].abs().max() < 1e-6
            assert drawn.values.isfinite().all()
            if drawn.active is not None:
                assert not DROPPED.gather(1, drawn.active).any()


@each
def test_gradients_reach_the_parameters_and_are_finite(name: str) -> None:
    relaxation: Relaxation = MAKERS[name]()
    relaxation.advance(0.5)
    for seed in range(10):
        torch.manual_seed(seed)
        leaf = _parameters().requires_grad_()
        parameters = leaf.masked_fill(DROPPED, -torch.inf)
        values = relaxation(parameters, architecture=True).values
        (gradient,) = torch.autograd.grad((values * torch.arange(5.0)).sum(), leaf)
        assert gradient.isfinite().all() and (gradient[DROPPED] == 0).all()
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", ["softmax", "gumbel"])
def test_gradients_against_differences(name: str) -> None:
    relaxation: Relaxation = MAKERS[name]()
    relaxation.advance(0.9)

    def call(parameters: Tensor) -> Tensor:
        torch.manual_seed(3)
        return relaxation(parameters, architecture=True).values

    assert torch.autograd.gradcheck(call, _parameters().double().requires_grad_())


def test_the_gradient_of_a_hard_draw_is_that_of_the_soft_one() -> None:
    hard, soft = Gumbel(hard=True), Gumbel(hard=False)
    found = []
    for relaxation in (hard, soft):
        relaxation.advance(0.7)
        torch.manual_seed(5)
        leaf = _parameters().requires_grad_()
        values = relaxation(leaf, architecture=True).values
        found.append(torch.autograd.grad((values * torch.arange(5.0)).sum(), leaf)[0])
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("name", ["hard gumbel", "gates"])
def test_paths_are_drawn_by_the_softmax(name: str) -> None:
    relaxation: Relaxation = MAKERS[name]()
    relaxation.advance(1.0)
    parameters = _parameters(rows=1).expand(20_000, 5)
    torch.manual_seed(0)
    drawn = relaxation(parameters, architecture=False)
    assert drawn.active is not None
    shares = torch.bincount(drawn.active.flatten(), minlength=5) / 20_000
    # Three standard errors of a share of 20,000 draws are at most 0.011.
    assert (shares - torch.softmax(parameters[0], 0)).abs().max() < 0.011


def test_the_mean_of_dirichlet_draws_is_expected() -> None:
    relaxation = Dirichlet()
    parameters = _parameters(rows=1).expand(20_000, 5)
    torch.manual_seed(0)
    mean = relaxation(parameters, architecture=False).values.mean(0)
    # A weight has a standard deviation below 0.5: three standard errors are 0.011.
    assert (mean - relaxation.expected(parameters[:1])[0]).abs().max() < 0.011


def test_two_gates_get_the_gradient_of_the_softmax_over_both() -> None:
    torch.manual_seed(1)
    leaf = _parameters(rows=1).requires_grad_()
    drawn = Gates()(leaf, architecture=True)
    assert drawn.active is not None
    two = drawn.active[0]
    (gradient,) = torch.autograd.grad((drawn.values * torch.arange(5.0)).sum(), leaf)
    pair = leaf.detach()[0, two].requires_grad_()
    among = torch.softmax(pair, 0)
    (expected,) = torch.autograd.grad((among * two.float()).sum(), pair)
    torch.testing.assert_close(gradient[0, two], expected)
    others = [k for k in range(5) if k not in two.tolist()]
    assert (gradient[0, others] == 0).all()


def test_noise_is_for_weight_steps_and_grows() -> None:
    relaxation = Softmax(noise=0.3)
    parameters = _parameters()
    plain = torch.softmax(parameters, 1)
    assert torch.equal(relaxation(parameters, architecture=True).values, plain)

    def distance(share: float) -> float:
        relaxation.advance(share)
        torch.manual_seed(0)
        return float((relaxation(parameters, architecture=False).values - plain).abs().max())

    assert 0 < distance(0.0) < distance(1.0) < 0.7


@given(st.floats(0, 1))
def test_the_temperature_falls_linearly(share: float) -> None:
    relaxation = Gumbel(start=8.0, end=0.5)
    relaxation.advance(share)
    assert relaxation.temperature == pytest.approx(8.0 - 7.5 * share)


@pytest.mark.parametrize(
    "make", [lambda: Softmax(noise=-0.1), lambda: Softmax(noise=2), lambda: Gumbel(end=0.0)]
)
def test_settings_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(UsageError, match="not possible"):
        make()  # type: ignore[operator]


@each
def test_a_supernet_runs_on_it(name: str) -> None:
    torch.manual_seed(0)
    supernet = nasbench201(1, 4).supernet((1, 8, 8), 3)
    supernet.relaxation = MAKERS[name]()
    x = torch.randn(6, 1, 8, 8)
    for architecture_step in (True, False):
        supernet.architecture_step = architecture_step
        torch.manual_seed(1)
        first = supernet(x)
        torch.manual_seed(1)
        assert torch.equal(supernet(x), first)
    supernet.architecture_step = True
    total = torch.zeros(6, 5)
    for seed in range(8):
        torch.manual_seed(seed)
        loss = supernet(x).square().sum()
        (gradient,) = torch.autograd.grad(loss, supernet.architecture_parameters())
        assert gradient.isfinite().all()
        total += gradient.abs()
    # In a single draw a path may end in candidates that give zeros.
    assert total.any(dim=1).all()
    supernet.eval()
    assert torch.equal(supernet(x), supernet(x)), "no chance in evaluation"
