"""The candidates of an edge with their norms in one op: what the modules one by one would do."""

import copy

import pytest
import torch
from torch import nn

from nas_domains import ops
from nas_domains.nn import normed
from nas_domains.nn.candidates import DARTS, NASBENCH201
from nas_domains.nn.mixed import MixedOp
from nas_domains.nn.normed import split, update_running
from tests.make import naive

EPS = torch.finfo(torch.float32).eps


def generic(*arguments):
    """A mixed operation that goes without the op of the whole edge."""
    mixed = MixedOp(*arguments)
    mixed.fuses = False
    return mixed


def sides(dims):
    return (9, 6, 5)[:dims]


def evaluate(run, mixed, x, weights):
    """Value, gradients and running statistics after two steps on a copy of the module."""
    mixed = copy.deepcopy(mixed).to(x.dtype)
    x = x.detach().requires_grad_()
    weights = weights.detach().to(x.dtype).requires_grad_()
    for _ in range(2):
        out = run(mixed, x, weights)
    leaves = [x, weights, *mixed.parameters()]
    g = torch.linspace(-1, 1, out.numel()).reshape(out.shape).to(x.dtype)
    grads = torch.autograd.grad(out, leaves, g, allow_unused=True, materialize_grads=True)
    return [out.detach(), *grads, *mixed.buffers()]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("candidates", [DARTS, NASBENCH201], ids=["darts", "nasbench201"])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_is_as_exact_as_the_candidates_one_by_one(backend, training, candidates, dims, stride):
    torch.manual_seed(0)
    mixed = generic(candidates, 4, stride, dims)
    for _ in range(3):  # running statistics that are not those of a new module
        naive(mixed, torch.randn(3, 4, *sides(dims)) + 1, torch.ones(len(candidates)))
    mixed.train(training)
    x, weights = torch.randn(3, 4, *sides(dims)), torch.rand(len(candidates))
    ours = evaluate(lambda m, x, w: m(x, w), mixed, x, weights)
    eager = evaluate(naive, mixed, x, weights)
    exact = evaluate(naive, mixed, x.double(), weights)
    assert len(ours) == len(exact)
    for mine, theirs, true in zip(ours, eager, exact, strict=True):
        assert mine.shape == true.shape and mine.dtype == theirs.dtype
        # As in the contract of an op, for each of the six steps of the longest candidate: eager
        # may be lucky on a small tensor.
        allowed = 2 * (theirs - true).abs().max() + 6 * 4 * EPS * true.abs().max()
        assert (mine - true).abs().max() <= allowed


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_running_statistics_are_those_of_torch(dims):
    torch.manual_seed(0)
    options = {"affine": False, "momentum": 0.3}
    kind = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
    mine, theirs = ([kind(5, **options) for _ in range(3)] for _ in range(2))
    for _ in range(4):
        xs = [torch.randn(3, 5, *sides(dims)) * 2 + 1 for _ in mine]
        _, mean, var = ops.norm_weighted_sum(xs, torch.ones(3))
        update_running(mine, mean, var, xs[0].numel() // 5)
        for norm, x in zip(theirs, xs, strict=True):
            norm(x)
    for a, b in zip(mine, theirs, strict=True):
        assert a.num_batches_tracked == b.num_batches_tracked == 4
        for name in ("running_mean", "running_var"):
            # A product, a sum and the statistic itself are rounded, four times.
            new, old = getattr(a, name), getattr(b, name)
            assert (new - old).abs().max() <= 4 * 3 * EPS * old.abs().max()


@pytest.mark.parametrize("training", [True, False])
def test_tracking_that_is_switched_off_is_one_call_and_changes_nothing(training, monkeypatch):
    torch.manual_seed(0)
    mixed = generic(DARTS, 4, 1, 2).train(training)
    x, weights = torch.randn(3, 4, 6, 6), torch.rand(8)
    tracked = mixed(x, weights)
    norms = [m for m in mixed.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.track_running_stats = False
    before = [t.clone() for t in mixed.buffers()]
    assert torch.equal(mixed(x, weights), tracked)
    assert branches(mixed, monkeypatch) == 6
    assert all(torch.equal(a, b) for a, b in zip(mixed.buffers(), before, strict=True))


def test_state_dict_is_that_of_the_candidates():
    mixed = generic(DARTS, 4, 2, 2)
    plain = nn.ModuleDict({name: make(4, 2, False, 2) for name, make in DARTS.items()})
    expected = {f"candidates.{name}": t.shape for name, t in plain.state_dict().items()}
    mixed(torch.randn(2, 4, 6, 6), torch.rand(8))
    assert {name: t.shape for name, t in mixed.state_dict().items()} == expected
    plain.load_state_dict(
        {name.removeprefix("candidates."): t for name, t in mixed.state_dict().items()}
    )


def branches(mixed, monkeypatch):
    """How many candidates leave their norm to the op."""
    seen = []

    def spy(xs, w, flags, *args, **options):
        seen.append(sum(flags))
        return ops.norm_weighted_sum(xs, w, flags, *args, **options)

    monkeypatch.setattr(normed, "norm_weighted_sum", spy)
    mixed(torch.randn(3, 4, 6, 6), torch.rand(len(mixed.candidates)))
    return sum(seen)


@pytest.mark.parametrize(
    "candidates, stride, count",
    [(DARTS, 1, 6), (DARTS, 2, 7), (NASBENCH201, 1, 2), (NASBENCH201, 2, 3)],
)
def test_all_norms_of_an_edge_are_taken_in_one_call(candidates, stride, count, monkeypatch):
    assert branches(generic(candidates, 4, stride, 2), monkeypatch) == count
    assert branches(generic(candidates, 4, stride, 2).eval(), monkeypatch) == count


def hook(*args):
    return None


def with_own_forward(candidate):
    class Norm(nn.BatchNorm2d):
        pass

    candidate[-1] = Norm(4, affine=False)


CHANGES = {
    "affine": lambda c: c.__setitem__(-1, nn.BatchNorm2d(4)),
    "cumulative": lambda c: setattr(c[-1], "momentum", None),
    "momentum": lambda c: setattr(c[-1], "momentum", 0.5),
    "eps": lambda c: setattr(c[-1], "eps", 1e-2),
    "untracked": lambda c: c.__setitem__(
        -1, nn.BatchNorm2d(4, affine=False, track_running_stats=False)
    ),
    "frozen": lambda c: c[-1].eval(),
    "not tracking": lambda c: setattr(c[-1], "track_running_stats", False),
    "subclass": with_own_forward,
    "instance norm": lambda c: c.__setitem__(-1, nn.InstanceNorm2d(4)),
    "hook": lambda c: c[-1].register_forward_hook(hook),
    "pre-hook": lambda c: c[-1].register_forward_pre_hook(hook),
    "hook of the whole": lambda c: c.register_forward_hook(hook),
    "backward hook": lambda c: c[-1].register_full_backward_hook(hook),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_other_norm_runs_as_its_module(change, monkeypatch):
    torch.manual_seed(0)
    mixed = generic(DARTS, 4, 1, 2)
    CHANGES[change](mixed.candidates["dil_conv_3x3"])
    twin = copy.deepcopy(mixed)
    assert branches(mixed, monkeypatch) == 5
    x, weights = torch.randn(3, 4, 6, 6), torch.rand(8)
    monkeypatch.undo()
    mixed = copy.deepcopy(twin)
    torch.testing.assert_close(mixed(x, weights), naive(twin, x, weights))
    for (name, a), b in zip(mixed.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


def test_hooks_see_what_they_would():
    mixed = generic(DARTS, 4, 1, 2)
    seen = []
    mixed.candidates["sep_conv_3x3"][-1].register_forward_hook(lambda *args: seen.append(args[2]))
    mixed(torch.randn(3, 4, 6, 6), torch.rand(8))
    assert len(seen) == 1 and seen[0].shape == (3, 4, 6, 6)


def test_candidates_without_norms_are_only_weighted():
    modules = [nn.Identity(), nn.Sequential(nn.ReLU()), nn.Sequential()]
    assert all(split(module) is None for module in modules)
    x, w = torch.randn(2, 3, 4), torch.rand(3)
    expected = w[0] * x + w[1] * x.relu() + w[2] * x
    torch.testing.assert_close(normed.weighted_candidates(modules, x, w), expected)


def test_a_single_value_is_refused_as_by_torch():
    mixed = generic(NASBENCH201, 4, 1, 1)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        mixed(torch.randn(1, 4, 1), torch.rand(5))


def test_compiles_with_its_running_statistics():
    torch.manual_seed(0)
    mixed = generic(NASBENCH201, 4, 1, 2)
    twin = copy.deepcopy(mixed)
    x, weights = torch.randn(3, 4, 6, 6), torch.rand(5)
    torch.compiler.reset()
    compiled = torch.compile(mixed, fullgraph=True)
    for _ in range(2):
        torch.testing.assert_close(compiled(x, weights), twin(x, weights))
    for a, b in zip(mixed.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(a, b)
