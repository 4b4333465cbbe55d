"""Tasks made of anything torch can load, and what is refused."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.data import TensorDataset
from torchmetrics.classification import BinaryAccuracy

import nas_domains.vision  # noqa: F401
from nas_domains.core.task import Recipe, Task, load_task
from tests.core.refusal import refused


def split(n=20, shape=(3, 4, 4), classes=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.rand((n, *shape), generator=g), torch.arange(n) % classes)


def task(**changes):
    return Task.from_datasets(**{"train": split(), "val": split(), "test": split(), **changes})


def test_defaults_are_read_off_the_data():
    made = task()
    assert made.input_shape == (3, 4, 4) and made.outputs == 3 and made.domain == ""
    assert list(made.metrics) == ["accuracy", "auc", "f1"]
    assert made.loss is nn.functional.cross_entropy and made.recipe == Recipe()


def test_metrics_are_fractions_of_the_right_direction():
    made = task()
    y = torch.tensor([0, 1, 2, 0])
    right = nn.functional.one_hot(y, 3).float()
    wrong = nn.functional.one_hot((y + 1) % 3, 3).float()
    for name, metric in made.metrics.items():
        metric.update(right * 9, y)
        assert metric.compute() == 1.0, name
        metric.reset()
        metric.update(wrong * 9, y)
        assert metric.compute() < 0.5, name


def test_what_is_named_wins_over_the_data():
    made = task(classes=["a", "b", "c", "d"], metrics=["f1"], recipe=Recipe(lr=0.1), name="mine")
    assert made.outputs == 4 and made.classes == ("a", "b", "c", "d")
    assert list(made.metrics) == ["f1"] and made.recipe.lr == 0.1 and made.name == "mine"
    assert task(outputs=7).outputs == 7
    own = {"own": BinaryAccuracy()}
    assert task(metrics=own, outputs=1).metrics == own


def test_numpy_and_list_data_sets_are_taken():
    pairs = [(np.zeros((1, 5), np.float32), np.int64(i % 2)) for i in range(4)]
    assert task(train=pairs, val=pairs, test=pairs).input_shape == (1, 5)
    pairs = [([0.0, 1.0], float(i % 2)) for i in range(4)]
    assert task(train=pairs, val=pairs, test=pairs).outputs == 2


X = torch.zeros(2)
PICTURE = Image.new("L", (3, 3))


@pytest.mark.parametrize(
    ("train", "names"),
    [
        ([], ("train", "empty")),
        ([3], ("train[0]",)),
        ([()], ("train[0]",)),
        ([(X, 0, 1)], ("train[0]",)),
        ([None], ("train[0]",)),
        ({1: (X, 0)}, ("train[0]",)),
        ([{"image": X, "label": 0}], ("train[0]",)),
        ([("a", 0)], ("train[0]",)),
        ([(None, 0)], ("train[0]",)),
        ([(PICTURE, 0)], ("train[0]", "Image")),
        ([([[1, 2], [3]], 0)], ("train[0]",)),
        ([(X, 0), (X, "cat")], ("train[1]",)),
        ([(X, 0), (X, None)], ("train[1]",)),
        ([(X, 0), (X, X)], ("train[1]",)),
        ([(X, 0), (X, 0.5)], ("train[1]",)),
        ([(X, 0), (X, -1)], ("train[1]",)),
        ([(X, 0), (X, float("nan"))], ("train[1]",)),
        ([(X, 0), (X, 0)], ("2 classes", "not 1")),
    ],
    # Without addresses, which would name a test otherwise in each process.
    ids=lambda value: str(value).partition(" at 0x")[0],
)
def test_bad_training_data_are_refused(train, names):
    good = [(X, 0)]
    with refused(*names):
        task(train=train, val=good, test=good)


@pytest.mark.parametrize(
    ("sample", "names"),
    [
        ((torch.zeros(3), 0), ("test[0]", "(3,)")),
        ((torch.zeros(2, dtype=torch.uint8), 0), ("test[0]", "uint8")),
        (None, ("test[0]",)),
    ],
    ids=str,
)
def test_splits_that_differ_are_refused(sample, names):
    good = [(X, 0), (X, 1)]
    with refused(*names):
        task(train=good, val=good, test=[sample])


def test_auc_is_that_of_scikit_learn_over_the_classes_present():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand((40, 4), generator=generator)
    y = torch.arange(40) % 3
    auc = task(outputs=4).metrics["auc"]
    # In small batches whose logits all lie in [0, 1].
    for start in range(0, 40, 8):
        auc.update(scores[start : start + 8], y[start : start + 8])
    shares = scores.softmax(1)
    expected = [roc_auc_score(y == c, shares[:, c]) for c in range(3)]
    assert float(auc.compute()) == pytest.approx(sum(expected) / 3, abs=1e-6)


def test_auc_of_a_single_class_is_not_a_number():
    auc = task().metrics["auc"]
    auc.update(torch.rand(5, 3), torch.zeros(5, dtype=torch.long))
    assert torch.isnan(auc.compute())


def test_a_data_set_that_changes_at_random_keeps_its_fingerprint():
    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return torch.randn(2), index % 2

    made = task(train=Noisy(), val=Noisy(), test=Noisy())
    assert made.fingerprint() == made.fingerprint()


@pytest.mark.parametrize("name", ["val", "test"])
def test_empty_splits_are_refused(name):
    with refused(name, "empty"):
        task(**{name: []})


def test_bad_metrics_are_refused():
    with refused("'acuracy'", "accuracy, auc, f1"):
        task(metrics=["accuracy", "acuracy"])
    with refused("'mine'", "no metrics"):
        task(metrics=[], name="mine")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("batch_size", "64"),
        ("batch_size", True),
        ("epochs", 0),
        ("epochs", None),
        ("lr", 0),
        ("lr", -0.1),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("lr", "fast"),
        ("momentum", 1),
        ("momentum", -0.1),
        ("weight_decay", -1e-9),
        ("warmup", 1),
        ("grad_clip", 0),
        ("label_smoothing", 1.0),
        ("drop_path", 1.0),
        ("drop_path", -0.2),
        ("average", -1.0),
        ("average", float("inf")),
        ("optimizer", "adam"),
        ("schedule", "step"),
    ],
)
def test_bad_recipes_are_refused(name, value):
    with refused(f"{name}={value!r}" if isinstance(value, str) else f"{name}={value}"):
        Recipe(**{name: value})
    with refused(name):
        task().with_recipe(**{name: value})


def test_with_recipe_changes_that_alone():
    before = task()
    after = before.with_recipe(epochs=3, lr=1)
    assert (after.recipe.epochs, after.recipe.lr) == (3, 1)
    assert before.recipe == Recipe() and after.train is before.train
    with refused("'epoch'", ", ".join(f.name for f in fields(Recipe))):
        before.with_recipe(epoch=3)


def test_fingerprint_knows_the_data_again():
    first = task().fingerprint()
    assert first == task().fingerprint() and len(first) == 16
    assert first == task(name="other", recipe=Recipe(lr=1.0)).fingerprint()
    for change in (
        {"train": split(seed=1)},
        {"val": split(n=19)},
        {"test": split(classes=2)},
        {s: split(shape=(3, 2, 8)) for s in ("train", "val", "test")},
        {"outputs": 4},
    ):
        assert task(**change).fingerprint() != first, change


def test_fingerprint_sees_one_changed_pixel_of_a_small_split():
    data = split()
    before = task(val=data).fingerprint()
    data.tensors[0][13, 0, 0, 0] += 1
    assert task(val=data).fingerprint() != before


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("nosuch", ("'nosuch'", "digits")),
        ("digit", ("'digit'", "did you mean 'digits'")),
        ("", ("''", "digits")),
        ("no/such/folder", ("'no/such/folder'",)),
        ("nosuch.npz", ("'nosuch.npz'",)),
        ("nosuch.xyz", ("'nosuch.xyz'",)),
    ],
)
def test_an_unknown_source_is_refused(source, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused(*names):
        load_task(source)


def test_a_file_that_nothing_reads_is_refused(tmp_path):
    (tmp_path / "a.xyz").write_text("x")
    with refused(repr(str(tmp_path / "a.xyz")), "digits"):
        load_task(str(tmp_path / "a.xyz"))


def test_an_unknown_domain_is_refused():
    with refused("'visoin'", "vision"):
        load_task("digits", domain="visoin")
