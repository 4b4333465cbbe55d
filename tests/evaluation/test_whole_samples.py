"""Tasks whose samples differ in size: trained on pieces, scored one by one as a whole."""

import dataclasses

import pytest
import torch
from torch import nn
from torchmetrics import MeanMetric

from nas_domains.core.errors import UsageError
from nas_domains.core.task import Recipe
from nas_domains.evaluation.score import costs, evaluate, evaluate_test
from nas_domains.evaluation.stream import Stream
from nas_domains.evaluation.train import augmented, make_optimizer
from tests.make import make_context, make_task


class Lines:
    """Lines of different length; a piece is two neighbouring values."""

    names = ["a", "b", "c"]
    lines = [torch.arange(3.0), torch.arange(5.0), torch.arange(4.0)]

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self.lines[index][None], torch.tensor(len(self.lines[index]))

    def batch(self, indices):
        return torch.stack([self.lines[i][:2] for i in indices]), torch.tensor(indices)

    def draw(self, indices, generator):
        starts = [
            int(torch.randint(len(self.lines[i]) - 1, (), generator=generator)) for i in indices
        ]
        pieces = [self.lines[i][s : s + 2] for i, s in zip(indices, starts, strict=True)]
        return torch.stack(pieces), torch.tensor(indices)


class Length(MeanMetric):
    """How long the outputs were, each and on average."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def update(self, output, y):
        self.seen.append(float(output.shape[-1]))
        super().update(output.shape[-1])

    def each(self):
        return torch.tensor(self.seen)


@pytest.fixture
def context(tmp_path):
    task = dataclasses.replace(
        make_task(),
        train=Lines(),
        val=Lines(),
        test=Lines(),
        input_shape=(1, 4),
        loss=lambda output, y: (output.shape[-1] - y.float()).abs().mean(),
        metrics={"length": Length()},
        final_metrics={"again": Length()},
        infer=lambda network, x: network(x),
        passes=3,
    )
    return make_context(tmp_path, task=task)


def test_whole_samples_are_scored_one_by_one(context):
    found = evaluate(nn.Identity(), context.task.val, context)
    assert found == {"loss": 0.0, "length": 4.0}
    assert evaluate(nn.Identity(), context.task.val, context, [1]) == {"loss": 0.0, "length": 5.0}


def test_the_test_has_more_metrics_and_says_what_each_sample_scored(context):
    metrics, each = evaluate_test(nn.Identity(), context)
    assert metrics == {"loss": 0.0, "length": 4.0, "again": 4.0}
    lengths = [3.0, 5.0, 4.0]
    assert each == {"names": ["a", "b", "c"], "length": lengths, "again": lengths}


def test_training_draws_pieces_that_repeat(context):
    stream = Stream(context.task.train, 2, 0)
    first = [augmented(context, stream, step, "order") for step in range(6)]
    again = [augmented(context, stream, step, "order") for step in reversed(range(6))]
    for (x, y), (x2, y2) in zip(first, reversed(again), strict=True):
        assert x.shape == (2, 2) and torch.equal(x, x2) and torch.equal(y, y2)
    assert len({tuple(x.flatten().tolist()) for x, _ in first}) > 2


def test_latency_is_that_of_all_passes(context, monkeypatch):
    monkeypatch.setattr("nas_domains.evaluation.score.measure_latency", lambda *_: 2.0)
    assert costs(nn.Conv1d(1, 1, 1), context.task)["latency_ms"] == 6.0


def test_the_recipe_names_the_optimizer():
    network = nn.Linear(2, 2)
    recipe = Recipe(optimizer="adamw", lr=0.01, weight_decay=0.1)
    made = make_optimizer(network.parameters(), recipe)
    assert type(made) is torch.optim.AdamW and made.param_groups[0]["weight_decay"] == 0.1
    assert type(make_optimizer(network.parameters(), Recipe())) is torch.optim.SGD
    with pytest.raises(UsageError, match="optimizer"):
        Recipe(optimizer="adam")
