"""An edge that has been looked at notices all that changes afterwards."""

import copy

import pytest
import torch
from torch import nn

from nas_domains import ops
from nas_domains.nn.candidates import DARTS
from nas_domains.nn.mixed import MixedOp
from tests.make import naive

pytestmark = pytest.mark.skipif(
    ops.active()["mixed_edge_fwd"] != "native", reason="nothing compiled"
)
LAST = torch.channels_last


def edge(seed=0):
    torch.manual_seed(seed)
    mixed = MixedOp(DARTS, 4, 1, 2).to(memory_format=LAST)
    x = torch.randn(2, 4, 5, 5).contiguous(memory_format=LAST)
    mixed(x, torch.rand(8))
    assert vars(mixed.fused)["_snapshots"]
    return mixed, x


def norms(mixed):
    return [m for m in mixed.modules() if isinstance(m, nn.BatchNorm2d)]


def convolutions(mixed):
    return [m for m in mixed.modules() if isinstance(m, nn.Conv2d)]


def replace_weight(mixed):
    convolutions(mixed)[3].weight = nn.Parameter(torch.randn_like(convolutions(mixed)[3].weight))


def other_data(mixed):
    convolutions(mixed)[2].weight.data = torch.randn_like(convolutions(mixed)[2].weight)


def new_buffer(mixed):
    norms(mixed)[2].running_mean = torch.ones(4)


def one_in_evaluation(mixed):
    norms(mixed)[1].eval()


def other_eps(mixed):
    for norm in norms(mixed):
        norm.eps = 0.5


def one_other_eps(mixed):
    norms(mixed)[4].eps = 0.5


def other_momentum(mixed):
    norms(mixed)[0].momentum = 0.7


def no_tracking(mixed):
    norms(mixed)[5].track_running_stats = False


def hooked(mixed):
    norms(mixed)[3].register_forward_hook(lambda m, i, o: 2 * o)


def parametrized(mixed):
    nn.utils.parametrizations.weight_norm(convolutions(mixed)[0])


def evaluation(mixed):
    mixed.eval()


CHANGES = (
    replace_weight, other_data, new_buffer, one_in_evaluation, other_eps, one_other_eps,
    other_momentum, no_tracking, hooked, parametrized, evaluation,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_a_change_is_noticed(change):
    mixed, x = edge()
    change(mixed)
    plain = copy.deepcopy(mixed)
    w = torch.rand(8)
    torch.testing.assert_close(mixed(x, w), naive(plain, x, w), rtol=1e-4, atol=1e-5)
    for (name, own), other in zip(
        mixed.named_buffers(), dict(plain.named_buffers()).values(), strict=True
    ):
        torch.testing.assert_close(own, other, msg=name, rtol=1e-4, atol=1e-5)


def test_hooks_come_and_go():
    mixed, x = edge()
    whole, w = mixed.fused, torch.rand(8)
    known = vars(whole)["_snapshots"][0]
    other = nn.Linear(2, 2).register_forward_hook(print)
    assert known.holds(x.dtype, x.device) and whole(x, w) is not None
    hook = norms(mixed)[3].register_forward_pre_hook(lambda m, i: None)
    assert not known.holds(x.dtype, x.device) and whole(x, w) is None
    other.remove()
    assert not known.holds(x.dtype, x.device)
    hook.remove()
    assert known.holds(x.dtype, x.device) and whole(x, w) is not None


def test_steps_of_an_optimizer_are_seen():
    mixed, x = edge()
    optimizer = torch.optim.SGD(mixed.parameters(), 0.5)
    for _ in range(2):
        optimizer.zero_grad()
        mixed(x, torch.rand(8)).square().sum().backward()
        optimizer.step()
    w = torch.rand(8)
    torch.testing.assert_close(
        mixed(x, w), naive(copy.deepcopy(mixed), x, w), rtol=1e-4, atol=1e-5
    )


def test_another_dtype_is_noticed_both_ways():
    mixed, x = edge()
    w = torch.rand(8)
    mixed.double()
    assert mixed(x.double(), w.double()).dtype == torch.float64
    with pytest.raises(RuntimeError):
        mixed(x, w)
    mixed.float()
    torch.testing.assert_close(
        mixed(x, w), naive(copy.deepcopy(mixed), x, w), rtol=1e-4, atol=1e-5
    )


def test_copies_have_their_own():
    mixed, x = edge()
    w = torch.rand(8)
    copies = [copy.deepcopy(mixed), copy.deepcopy(copy.deepcopy(mixed))]
    expected = mixed(x, w)
    with torch.no_grad():
        for parameter in mixed.parameters():
            parameter.zero_()
    for other in copies:
        assert "_snapshots" not in vars(other.fused)
        assert torch.equal(other(x, w), expected)


def test_one_thread_after_another_and_both_at_once():
    from concurrent.futures import ThreadPoolExecutor

    mixed, x = edge()
    mixed.eval()
    w = torch.rand(8)
    expected = mixed(x, w)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: mixed(x, w), range(32)):
            assert torch.equal(found, expected)
