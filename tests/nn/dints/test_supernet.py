"""The supernet of DiNTS against MONAI's, with one set of weights in float64."""

import numpy as np
import pytest
import torch

from nas_domains.core.errors import UsageError
from nas_domains.nn.dints.convs import grad_input, grad_weight, run
from nas_domains.nn.dints.layers import CANDIDATES
from nas_domains.nn.dints.ram import ram_share
from nas_domains.nn.dints.supernet import CANDIDATE, PATH
from nas_domains.nn.relaxation import Dirichlet, Gates, Gumbel
from nas_domains.testing.supernets import MixedSupernetContract
from tests.nn.dints import make

# Two sums of the same float64 numbers in another order, through 3 blocks of norms.
CLOSE = {"rtol": 1e-9, "atol": 1e-10}


class TestDints(MixedSupernetContract):
    input_shapes = ((1, 8, 4, 4), (2, 4, 8, 12))
    samples = 20
    networks = 2

    def make_space(self):
        return make.space(blocks=2, depths=2)

    def output_shape(self, shape):
        return (self.outputs, *shape[1:])

    def other_space(self):
        return make.space(blocks=2, depths=2, channels=6)

    def one_hot_strengths(self, space, architecture):
        cells = space.cells(architecture)
        count = len(space.topology.paths)
        on = torch.eye(2)[[int(divmod(r, count) in cells) for r in range(2 * count)]]
        best = torch.eye(5)[[cells.get(divmod(r, count), 0) for r in range(2 * count)]]
        return {PATH: on, CANDIDATE: best}

    def test_decode_takes_the_candidates_with_all_weight(self, space, architectures):
        """Of paths that lie on no way nothing is left."""
        for architecture in architectures:
            strengths = self.one_hot_strengths(space, architecture)
            assert space.decode(strengths) == space.canonical(architecture)


class TestDints2D(TestDints):
    input_shapes = ((1, 8, 4),)

    def make_space(self):
        return make.space(2, blocks=2, depths=2)

    def other_space(self):
        return make.space(2, blocks=2, depths=2, down=False)

    def one_hot_strengths(self, space, architecture):
        found = super().one_hot_strengths(space, architecture)
        return {PATH: found[PATH], CANDIDATE: found[CANDIDATE][:, :2]}


@pytest.mark.parametrize("dims, down", [(3, True), (3, False), (2, True)])
def test_outputs_gradients_and_decode_are_those_of_monai(dims, down):
    pytest.importorskip("monai")
    ours, theirs = make.pair(make.space(dims, down=down))
    x = torch.randn(2, *make.SIZES[dims], dtype=torch.float64)
    y, expected = ours(x), theirs(x)
    torch.testing.assert_close(y, expected, **CLOSE)
    g = torch.randn_like(y)
    y.backward(g)
    expected.backward(g)
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    found = {name: p.grad for name, p in ours.body.named_parameters()}
    found["dints_space.log_alpha_a"] = ours.alphas[PATH].grad.reshape(3, -1)
    found["dints_space.log_alpha_c"] = ours.alphas[CANDIDATE].grad.unflatten(0, (3, -1))
    assert set(found) == set(gradients)
    for name, gradient in gradients.items():
        size = gradient.abs().max()
        assert (found[name] - gradient).abs().max() <= 1e-9 * size + 1e-10, name
    node_a, arch_code_a, arch_code_c, _ = theirs.dints_space.decode()
    code = ours.space.arch_code(ours.decode())
    assert np.array_equal(code["node_a"], node_a)
    assert np.array_equal(code["arch_code_a"], arch_code_a)
    assert np.array_equal(np.array(code["arch_code_c"]), arch_code_c * (arch_code_a > 0))


def test_losses_are_those_of_monai():
    pytest.importorskip("monai")
    ours, theirs = make.pair(make.space())
    topology = theirs.dints_space
    sets, on = topology.get_prob_a(child=True)
    mine = ours.expected(PATH)
    assert torch.allclose(mine[:, 1].reshape(on.shape), on)
    found = ours.frame.topology.probabilities(1 - mine[:, 0].reshape(on.shape))
    assert torch.allclose(found, sets)
    assert torch.allclose(ours.frame.topology.entropy(found), topology.get_topology_entropy(sets))
    size = (2, 1, 32, 48, 32)
    share = topology.get_ram_cost_usage(size) / topology.get_ram_cost_usage(size, full=True)
    candidates = ours.expected(CANDIDATE).detach().unflatten(0, (3, -1))
    # MONAI sums in float32.
    assert float(ram_share(ours.frame, on.detach(), candidates)) == pytest.approx(
        share.item(), rel=1e-5
    )


def test_a_found_architecture_runs_in_monai_with_our_weights():
    pytest.importorskip("monai")
    from nas_domains.export.monai import arch_code, full_state, monai_network

    for dims in (2, 3):
        space = make.space(dims)
        supernet = space.supernet(make.SIZES[dims], 3).double()
        x = torch.randn(2, *make.SIZES[dims], dtype=torch.float64)
        for architecture in space.sample(3, seed=dims):
            network = supernet.extract(architecture).double()
            code = arch_code(space, network, architecture)
            theirs = monai_network(code).double()
            theirs.load_state_dict(full_state(network.state_dict(), code))
            torch.testing.assert_close(theirs(x), network(x), **CLOSE)
            assert space.from_arch_code(code) == space.canonical(architecture)


@pytest.mark.parametrize("relaxation", [Gumbel, Gates, Dirichlet])
def test_relaxations_that_draw_reach_the_parameters(relaxation):
    torch.manual_seed(0)
    supernet = make.space(2, blocks=2, depths=2).supernet((1, 8, 8), 2)
    supernet.relaxation = relaxation()
    for _ in range(3):
        supernet(torch.randn(2, 1, 8, 8)).square().mean().backward()
    for kind in (PATH, CANDIDATE):
        gradient = supernet.alphas[kind].grad
        assert gradient.isfinite().all() and gradient.any(), kind


def test_a_block_without_any_drawn_path_has_no_huge_gradient():
    supernet = make.space(2, blocks=2, depths=1).supernet((1, 8, 8), 2)
    on = torch.zeros(supernet.alphas[PATH].shape[0], requires_grad=True)
    weights = torch.stack([1 - on, on], 1)
    (gradient,) = torch.autograd.grad(supernet.scaled(PATH, weights)[:, 1].sum(), on)
    assert gradient.abs().max() <= 1


def test_gradients_are_of_what_needed_one_in_the_forward_pass():
    """A search fixes weights for the forward pass of an architecture step alone."""
    supernet = make.space(2).supernet(make.SIZES[2], 3)
    weights, alphas = supernet.weight_parameters(), supernet.architecture_parameters()
    x = torch.randn(2, *make.SIZES[2])
    whole = torch.autograd.grad(supernet(x).square().mean(), alphas)
    for w in weights:
        w.requires_grad_(False)
    loss = supernet(x).square().mean()
    for w in weights:
        w.requires_grad_(True)
    for found, expected in zip(torch.autograd.grad(loss, alphas), whole, strict=True):
        torch.testing.assert_close(found, expected)


def test_no_drawn_path_at_all_still_gives_a_loss_to_learn_from():
    supernet = make.space(2, blocks=1, depths=1).supernet((1, 8, 8), 2)
    supernet.relaxation = Gumbel(start=1e-3, end=1e-3)
    with torch.no_grad():
        supernet.alphas[PATH].fill_(-50.0)
    y = supernet(torch.randn(2, 1, 8, 8))
    assert y.shape == (2, 2, 8, 8) and y.isfinite().all()
    torch.autograd.grad(y.sum(), supernet.architecture_parameters(), allow_unused=True)


KERNELS = sorted({k for kernels in CANDIDATES[3].values() for k in kernels}) + [(1, 1, 1)]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("channels", [(3, 4), (16, 24)])
@pytest.mark.parametrize("kernel", KERNELS)
def test_convolutions_are_those_of_torch(kernel, channels, relu):
    g = torch.Generator().manual_seed(0)
    c_in, c_out = channels
    x = torch.randn(2, c_in, 4, 5, 2, generator=g, dtype=torch.float64, requires_grad=True)
    w = torch.randn(c_out, c_in, *kernel, generator=g, dtype=torch.float64, requires_grad=True)
    given = x.relu() if relu else x
    expected = torch.nn.functional.conv3d(given, w, padding=[k // 2 for k in kernel])
    d = torch.randn(expected.shape, generator=g, dtype=torch.float64)
    expected.backward(d)
    x, dx, w, dw = x.detach(), x.grad, w.detach(), w.grad
    near = {"rtol": 1e-11, "atol": 1e-11}
    torch.testing.assert_close(run(x, w, relu), expected.detach(), **near)
    torch.testing.assert_close(grad_input([d], [w], x if relu else None), dx, **near)
    torch.testing.assert_close(grad_weight(d, x, w, relu), dw, **near)


@pytest.mark.parametrize(
    "shape, words",
    [
        ((1, 8, 8), "3 dimensions"),
        ((1, 8, 12, 16), "multiples of 8.*8x12x16"),
        ((1, 8, 8, 8), "not all 8"),
        ((0, 8, 16, 8), "not of shape"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(shape, words):
    space = make.space()
    with pytest.raises(UsageError, match=words) as caught:
        space.build(space.sample(1)[0], shape, 3)
    assert "\n" not in str(caught.value)


def test_a_code_that_does_not_fit_is_refused():
    space = make.space()
    code = space.arch_code(space.sample(1)[0])
    for bad in ({"arch_code_a": [[1]]}, {"arch_code_c": [[9] * 7] * 3}):
        with pytest.raises(UsageError, match="arch_code"):
            space.from_arch_code(code | bad)
