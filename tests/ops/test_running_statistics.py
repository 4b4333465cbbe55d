"""The running statistics of several batch norms, moved in one call."""

import pytest
import torch

from nas_domains import ops
from nas_domains.ops.running_statistics import update_running

OP = torch.ops.nas_domains.update_running
VALUES = 12
MOMENTUM = 0.3


def inputs(dtype, count=3, channels=5):
    torch.manual_seed(0)
    rows = [torch.randn(count, channels, dtype=dtype) for _ in range(2)]
    running = [[torch.randn(channels, dtype=dtype) for _ in range(count)] for _ in range(2)]
    return *running, [torch.tensor(n) for n in range(count)], *rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["reference", "auto"])
@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.7, 1.0])
def test_is_the_rule_of_torch(name, dtype, momentum):
    means, variances, counts, mean, var = inputs(dtype)
    eps = torch.finfo(dtype).eps
    unbiased = VALUES / (VALUES - 1)
    wanted = [
        before.double().lerp(batch.double() * factor, momentum)
        for running, rows, factor in ((means, mean, 1), (variances, var, unbiased))
        for before, batch in zip(running, rows, strict=True)
    ]
    with ops.backend(name):
        update_running(means, variances, counts, mean, var, momentum, VALUES)
    for found, exact in zip([*means, *variances], wanted, strict=True):
        assert (found - exact).abs().max() <= 8 * eps * (1 + exact.abs().max())
    assert [int(c) for c in counts] == [1, 2, 3]


@pytest.mark.parametrize("name", ["reference", "auto"])
def test_a_momentum_of_one_leaves_nothing_of_what_was(name):
    means, variances, counts, mean, var = inputs(torch.float32)
    for running in means:
        running += 1e8
    with ops.backend(name):
        update_running(means, variances, counts, mean, var, 1.0, VALUES)
    assert torch.equal(torch.stack(means), mean)


def test_a_running_statistic_may_lie_in_a_larger_tensor():
    means, variances, counts, mean, var = inputs(torch.float32)
    table = torch.stack(means, 1)
    update_running(list(table.unbind(1)), variances, counts, mean, var, MOMENTUM, VALUES)
    update_running(means, variances, counts, mean, var, MOMENTUM, VALUES)
    assert torch.equal(table, torch.stack(means, 1))


def test_autograd_sees_that_they_changed():
    means, variances, counts, mean, var = inputs(torch.float32)
    x = torch.randn(5, requires_grad=True)
    kept = x * means[0]
    update_running(means, variances, counts, mean, var, MOMENTUM, VALUES)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.sum().backward()


def test_the_kernel_refuses_what_it_would_read_wrongly():
    if ops.active("cpu")["update_running"] != "native":
        pytest.skip("the compiled kernels were not built")
    means, variances, counts, mean, var = inputs(torch.float32)
    for arguments in (
        (means[:2], variances, counts, mean, var),
        (means, variances, counts[:1], mean, var),
        ([m.double() for m in means], variances, counts, mean, var),
        ([m[:4] for m in means], variances, counts, mean, var),
        (means, variances, [c.float() for c in counts], mean, var),
    ):
        with pytest.raises(RuntimeError, match="update_running"):
            OP(*arguments, MOMENTUM, VALUES)


def test_schema():
    torch.library.opcheck(OP.default, (*inputs(torch.float32), MOMENTUM, VALUES))
