"""Attention by the kernel: outputs and gradients of plain attention, and where it does not run."""

import pytest
import torch

from nas_domains.nn.elastic import attend as module
from nas_domains.nn.elastic.attend import attend_in_place
from nas_domains.nn.encoder import attend
from nas_domains.ops.backend import backend, resolved

NATIVE = resolved("elastic_attention_fwd", "cpu") == "native"


def layer(features=16, heads=4, size=4, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)

    def linear(rows, columns):
        return (
            torch.randn(rows, columns, generator=g, dtype=dtype, requires_grad=True),
            torch.randn(rows, generator=g, dtype=dtype, requires_grad=True),
        )

    inner = heads * size
    return [linear(inner, features) for _ in range(3)], linear(features, inner)


def masks():
    whole = torch.ones(3, 7, dtype=torch.bool)
    behind = torch.arange(7) < torch.tensor([7, 3, 1])[:, None]
    return {"whole": whole, "behind": behind}


@pytest.mark.parametrize("heads", [1, 3, 4])
@pytest.mark.parametrize("features", [16, 10])
@pytest.mark.parametrize("mask", ["whole", "behind"])
def test_outputs_and_gradients_are_those_of_plain_attention(mask, features, heads):
    keep = masks()[mask]
    project_in, project_out = layer()
    x = torch.randn(3, 7, features, dtype=torch.float64, requires_grad=True)
    leaves = [x, *(t for pair in (*project_in, project_out) for t in pair)]
    found = []
    for compute in (attend, attend_in_place):
        # What stands behind a text has no meaning.
        y = compute(x, keep, project_in, project_out, heads, 4) * keep[..., None]
        found.append([y, *torch.autograd.grad(y.square().sum(), leaves)])
    for plain, own in zip(*found, strict=True):
        assert (plain - own).abs().max() < 1e-10 * plain.abs().max().clamp_min(1)


@pytest.mark.skipif(not NATIVE, reason="the compiled module is not here")
def test_it_is_the_kernel_that_runs_where_it_may(monkeypatch):
    asked = []
    own = module.elastic_attention
    monkeypatch.setattr(
        module, "elastic_attention", lambda *a, **k: asked.append(k["lengths"]) or own(*a, **k)
    )
    project_in, project_out = layer()
    x = torch.randn(3, 7, 16, dtype=torch.float64)
    for keep in masks().values():
        attend_in_place(x, keep, project_in, project_out, 2, 4)
    assert asked[0] is None and asked[1].tolist() == [7, 3, 1]
    # Not behind the text, with dropout, or on another backend.
    holes = masks()["whole"].clone()
    holes[1, 2] = False
    y = attend_in_place(x, holes, project_in, project_out, 2, 4)
    assert torch.equal(y, attend(x, holes, project_in, project_out, 2, 4))
    attend_in_place(x, holes, project_in, project_out, 2, 4, 0.5)
    with backend("reference"):
        attend_in_place(x, masks()["whole"], project_in, project_out, 2, 4)
    assert len(asked) == 2
