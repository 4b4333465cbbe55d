"""Stop rules and the dominant eigenvalue."""

import pytest
import torch
from torch import Tensor, nn

from nas_domains.strategies.parts.stop import EigenvalueStop, SkipStop, dominant_eigenvalue


@pytest.mark.parametrize("eigenvalues", [(3.0, 1.0, 0.5), (-4.0, 1.0, 0.1)])
def test_the_dominant_eigenvalue_of_a_quadratic(eigenvalues: tuple[float, ...]) -> None:
    torch.manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))
    values = torch.tensor([*eigenvalues, 0.05, 0.02, 0.01], dtype=torch.float64)
    hessian = basis @ torch.diag(values) @ basis.T
    parameters = [
        nn.Parameter(torch.randn(2, dtype=torch.float64)),
        nn.Parameter(torch.randn(2, 2, dtype=torch.float64)),
    ]
    before = [p.detach().clone() for p in parameters]

    def gradient() -> tuple[Tensor, ...]:
        flat = torch.cat([p.flatten() for p in parameters])
        return torch.autograd.grad(0.5 * flat @ hessian @ flat, parameters)

    found = dominant_eigenvalue(
        gradient, parameters, torch.Generator().manual_seed(1), iterations=40
    )
    assert found == pytest.approx(eigenvalues[0], rel=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))


def _epochs(*values: float) -> list[dict[str, float]]:
    return [{"eigenvalue": value} for value in values]


def test_a_fast_rise_of_the_eigenvalue_stops_and_trusts_the_epoch_before_it() -> None:
    rule = EigenvalueStop(window=2, ratio=0.75)
    assert not rule.stops(_epochs(1, 1, 1))
    assert not rule.stops(_epochs(1, 1, 1.2, 1.3))
    rising = _epochs(1, 1, 2, 2)
    assert rule.stops(rising) and rule.chosen(rising) == 1
    assert not rule.stops(_epochs(2, 2, 1, 1))


def test_skip_connections_stop() -> None:
    rule = SkipStop(most=2)
    epochs = [{"skips": 0}, {"skips": 1}]
    assert not rule.stops(epochs)
    epochs.append({"skips": 2})
    assert rule.stops(epochs) and rule.chosen(epochs) == 1
    assert rule.chosen([{"skips": 3}]) == 0
