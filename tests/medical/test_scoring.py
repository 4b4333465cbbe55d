"""Loss, metrics and inference against their definitions."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from nas_domains import load_space, load_task
from nas_domains.core.errors import UsageError
from nas_domains.medical.scoring import AT_ONCE, HD95, Dice, DiceCE, WholeVolume, padded
from nas_domains.strategies.enas import EnasTraining
from tests.make import make_context


def scores(y, classes=3):
    """Certain scores [B, K, ...] of classes [B, ...]."""
    return 20.0 * nn.functional.one_hot(y, classes).movedim(-1, 1).float()


def random_classes(seed, shape=(2, 9, 8, 7)):
    return torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(seed))


def test_dice_is_twice_the_overlap():
    predicted, truth = random_classes(0), random_classes(1)
    metric = Dice(3)
    metric.update(scores(predicted[:1]), truth[:1])
    metric.update(scores(predicted[1:]), truth[1:])
    expected = torch.tensor(
        [
            [
                2 * float(((p == k) & (t == k)).sum()) / float((p == k).sum() + (t == k).sum())
                for k in (1, 2)
            ]
            for p, t in zip(predicted, truth, strict=True)
        ]
    )
    torch.testing.assert_close(metric.each(), expected)
    torch.testing.assert_close(metric.compute(), expected.mean())


@pytest.mark.parametrize("make", [Dice, lambda n: HD95(n, (1, 1, 1))])
def test_a_class_that_a_case_lacks_does_not_count(make):
    truth = random_classes(0, (1, 6, 6, 6)).clamp(max=1)
    metric = make(3)
    metric.update(scores(truth), truth)
    assert metric.each()[0, 1].isnan() and metric.compute() in (0.0, 1.0)


def test_distance_counts_millimetres_and_misses():
    truth = torch.zeros(1, 12, 12, 12, dtype=torch.long)
    truth[0, 2:6, 4:8, 4:8] = 1
    moved = truth.roll(3, 1)
    metric = HD95(2, (2.0, 1.0, 1.0))
    metric.update(scores(moved, 2), truth)
    assert metric.compute() == pytest.approx(6.0)
    # Classes that know their affine bring their own spacing.
    own = HD95(2, (1.0, 1.0, 1.0))
    own.update(
        scores(moved, 2), MetaTensor(truth, affine=torch.diag(torch.tensor([-2.0, 1, 1, 1])))
    )
    assert own.compute() == pytest.approx(6.0)
    metric = HD95(2, (2.0, 1.0, 1.0))
    metric.update(scores(torch.zeros_like(truth), 2), truth)
    assert metric.compute() == pytest.approx(math.hypot(24, 12, 12))


def test_nothing_is_said_of_empty_masks(recwarn):
    y = torch.zeros(1, 6, 6, 6, dtype=torch.long)
    for predicted, truth in ((y, y), (y, y + 1), (y + 1, y)):
        HD95(3, (1, 1, 1)).update(scores(predicted), truth)
    assert not recwarn.list, [str(w.message) for w in recwarn]


def test_loss_is_dice_plus_cross_entropy():
    y = random_classes(2)
    output = torch.randn(2, 3, 9, 8, 7, generator=torch.Generator().manual_seed(3))
    p, t = output.softmax(1), nn.functional.one_hot(y, 3).movedim(-1, 1).float()
    sides = (0, 2, 3, 4)
    dice = 1 - (2 * (p * t).sum(sides) + 1e-5) / (p.sum(sides) + t.sum(sides) + 1e-5)
    expected = dice.mean() + nn.functional.cross_entropy(output, y)
    torch.testing.assert_close(DiceCE()(output, y), expected)
    several = torch.stack([output, -output], 1)
    weighed = (expected + 0.5 * DiceCE()(-output, y)) / 1.5
    torch.testing.assert_close(DiceCE()(several, y), weighed)


def test_loss_falls_by_its_gradient():
    y, output = random_classes(4), torch.zeros(2, 3, 9, 8, 7, requires_grad=True)
    loss = DiceCE()(output, y)
    loss.backward()
    assert DiceCE()(output.detach() - 10 * output.grad, y) < loss


class Local(nn.Module):
    """A network whose output at a voxel depends on that voxel alone."""

    def forward(self, x):
        return torch.cat([x, 2 * x, -x], 1)


@pytest.mark.parametrize("sides", [(9, 8, 7), (20, 31, 18), (16, 16, 16)])
@pytest.mark.parametrize("most", [0, 10**9])
def test_windows_and_whole_give_the_same_at_once(sides, most):
    x = torch.randn(1, 1, *sides, generator=torch.Generator().manual_seed(0))
    found = WholeVolume((16, 16, 16), most)(Local(), x)
    torch.testing.assert_close(found, Local()(x), rtol=1e-4, atol=1e-5)


def test_passes_are_the_windows_that_are_run():
    calls = []

    class Counting(Local):
        def forward(self, x):
            calls.append(x.shape)
            return super().forward(x)

    for sides in ((16, 16, 16), (40, 16, 17), (33, 24, 50)):
        calls.clear()
        infer = WholeVolume((16, 16, 16), 0)
        infer(Counting(), torch.zeros(1, 1, *sides))
        assert infer.passes(sides) == sum(shape[0] for shape in calls), sides
        assert sum(math.prod(shape) for shape in calls[:1]) <= AT_ONCE
    assert WholeVolume((16, 16, 16), 10**9).passes((99, 9, 9)) == 1
    assert [padded(n) for n in (1, 8, 9)] == [8, 8, 16]


def test_a_classifier_is_no_segmentation():
    network = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(UsageError, match="a class for each voxel"):
        WholeVolume((8, 8, 8), 10**9)(network, torch.zeros(1, 1, 8, 8, 8))


def test_metrics_do_not_change_what_they_are_given():
    y = random_classes(0)
    output = scores(y)
    before = output.clone()
    for metric in (Dice(3), HD95(3, (1, 1, 1))):
        metric.update(output, y)
    assert torch.equal(output, before) and np.isfinite(float(output.sum()))


def test_the_reward_of_a_path_with_deep_supervision_is_that_of_its_main_output(balls, tmp_path):
    task = load_task(str(balls), patches=1)
    context = make_context(tmp_path, load_space("unet"), task)
    y = torch.randint(0, 3, (2, 8, 8, 8))
    perfect = torch.nn.functional.one_hot(y, 3).movedim(-1, 1).float()
    for output in (perfect, torch.stack([perfect, 1 - perfect], 1)):
        training = SimpleNamespace(limit=None, context=context, output=lambda path, x, o=output: o)
        assert EnasTraining.reward(training, None, torch.zeros(1), y) == pytest.approx(1)
