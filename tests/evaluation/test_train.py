"""The recipe's optimizers and schedules, and learning from a teacher."""

from pathlib import Path

import pytest
import torch
from torch import nn

from nas_domains.core.task import Recipe
from nas_domains.evaluation.loop import learning_rate
from nas_domains.evaluation.train import TEMPERATURE, Trainer, distilled, make_optimizer
from tests.make import make_context


def test_a_line_falls_from_the_peak_to_zero() -> None:
    rates = [learning_rate(step, 10, 2.0, 0.2, "linear") for step in range(10)]
    assert rates[:2] == [1.0, 2.0] and rates[2] == 2.0
    falls = [a - b for a, b in zip(rates[2:], rates[3:], strict=False)]
    assert falls == pytest.approx([0.25] * 7) and rates[-1] == pytest.approx(0.25)


def test_adamw_shrinks_matrices_only() -> None:
    layer = nn.Linear(3, 2)
    before = [p.detach().clone() for p in (layer.weight, layer.bias)]
    optimizer = make_optimizer(
        layer.parameters(), Recipe(optimizer="adamw", lr=0.1, weight_decay=0.5)
    )
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.allclose(layer.weight, before[0] * (1 - 0.1 * 0.5))
    assert torch.equal(layer.bias, before[1])
    assert isinstance(make_optimizer(layer.parameters(), Recipe()), torch.optim.SGD)


def test_distillation_is_half_the_labels_and_half_the_teacher() -> None:
    g = torch.Generator().manual_seed(0)
    output, target = (torch.randn(5, 3, generator=g, dtype=torch.float64) for _ in range(2))
    loss = torch.tensor(0.7, dtype=torch.float64)
    p, q = ((x / TEMPERATURE).softmax(1) for x in (target, output))
    distance = (p * (p.log() - q.log())).sum(1).mean()
    found = distilled(loss, output, target)
    assert float(found) == pytest.approx(0.35 + 0.5 * TEMPERATURE**2 * float(distance))
    assert float(distilled(loss, output, None)) == pytest.approx(0.7)
    same = output.clone().requires_grad_()
    distilled(torch.tensor(0.0), same, output).backward()
    assert same.grad is not None and same.grad.abs().max() < 1e-12


def test_a_network_learns_from_the_teacher_of_its_context(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    task = context.task
    features = int(torch.tensor(task.input_shape).prod())

    def flat() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(features, task.outputs))

    alone, taught = flat(), flat()
    Trainer(alone, context, steps=2, order="a").step(1)
    context.teacher = nn.Sequential(nn.Flatten(), nn.Linear(features, task.outputs)).eval()
    Trainer(taught, context, steps=2, order="a").step(1)
    assert not torch.equal(alone[1].weight, taught[1].weight)
    assert all(p.grad is None for p in context.teacher.parameters())
