"""The recipe's optimizers and schedules, and learning from a teacher."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas_domains.core.history import Record
from nas_domains.core.task import Recipe
from nas_domains.evaluation.context import Context
from nas_domains.evaluation.loop import learning_rate
from nas_domains.evaluation.train import (
    TEMPERATURE,
    DivergedError,
    Trainer,
    distilled,
    make_optimizer,
    train,
)
from tests.make import make_context, one_sentence, stopped_after


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


class Exploding(nn.Module):
    """Gives NaN from some forward pass in training on."""

    def __init__(self, context: Context, passes: int) -> None:
        super().__init__()
        features = int(torch.tensor(context.task.input_shape).prod())
        self.layer, self.left = nn.Linear(features, context.task.outputs), passes
        self.register_buffer("done", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.done += 1
        y: Tensor = self.layer(x.flatten(1))
        return y * torch.nan if self.training and self.done > self.left else y


def trained(context: Context, passes: int) -> nn.Module:
    torch.manual_seed(0)
    network = Exploding(context, passes)
    return train(network, context, stage="s", epochs=9, architecture=None, order="o")[0]


def test_a_loss_that_is_no_longer_finite_ends_a_training(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    context = make_context(tmp_path / "a")
    per_epoch = Trainer(Exploding(context, 0), context, 9, "o").stream.steps_per_epoch
    network = trained(context, 2 * per_epoch + 1)
    assert [r.step for r in context.history.of("s")] == [1, 2]
    assert all(p.isfinite().all() for p in network.parameters())
    # Stopped in between, or behind the end, it ends there too.
    for saves in (per_epoch + 1, 3 * per_epoch):
        context = make_context(tmp_path / "b")
        with stopped_after(saves):
            trained(context, 2 * per_epoch + 1)
        again = trained(make_context(tmp_path / "b"), 2 * per_epoch + 1)
        for a, b in zip(network.parameters(), again.parameters(), strict=True):
            assert torch.equal(a, b)
        (tmp_path / "b" / "history.jsonl").unlink()
        (tmp_path / "b" / "checkpoints" / "s.safetensors").unlink()


def test_a_loss_that_never_was_finite_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DivergedError) as error:
        trained(make_context(tmp_path), 0)
    one_sentence(str(error.value), "'s'", "--recipe lr=")


def test_a_kill_between_a_record_and_its_checkpoint_disturbs_no_stop(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    context.history.add(Record("s", 1, None, {"epochs": 1}, {"accuracy": 0.5, "loss": 1.0}, 1.0))
    _, metrics = train(
        Exploding(context, 99),
        context,
        stage="s",
        epochs=2,
        architecture=None,
        order="o",
        stop=lambda: True,
    )
    assert metrics["accuracy"] == 0.5
