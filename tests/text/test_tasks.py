"""Tasks of texts: what is read, how it is divided and padded, and what is refused."""

import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.core.task import find_loader, load_task
from nas_domains.data.text import Columns, is_text, read_texts
from nas_domains.data.tokens import TokenSplit
from nas_domains.evaluation.stream import gather
from nas_domains.text.tasks import text
from tests.core.refusal import refused
from tests.text import make
from tests.text.test_spaces import folder


def load(source, **options):
    return load_task(str(source), **{"checkpoint": folder(), **options})


@pytest.fixture(scope="module")
def train(tmp_path_factory) -> Path:
    return make.write_tsv(tmp_path_factory.mktemp("texts") / "train.tsv", 60)


def test_a_table_is_divided_and_tokenised(train):
    task = load(train)
    assert task.domain == "text" and task.classes == ("no", "yes") and task.outputs == 2
    assert [len(s) for s in (task.train, task.val, task.test)] == [42, 6, 12]
    x, y = task.train[0]
    assert x.dtype == torch.int64 and x[0] == 2 and x[-1] == 3 and y in (0, 1)
    assert len(task.input_shape) == 5 and list(task.input_shape) == sorted(task.input_shape)
    assert list(task.metrics) == ["accuracy", "f1", "matthews"]
    assert task.recipe.optimizer == "adamw" and task.recipe.schedule == "linear"
    assert task.fingerprint() == load(train).fingerprint()
    assert task.fingerprint() != load(train, seed=1).fingerprint()
    pickle.dumps(task)


def test_a_batch_is_as_long_as_its_longest_text(train):
    split = load(train).train
    x, y = gather(split, [3, 7, 1])
    assert x.shape[1] == max(len(split[i][0]) for i in (3, 7, 1))
    for row, i in enumerate((3, 7, 1)):
        ids, label = split[i]
        assert torch.equal(x[row, : len(ids)], ids) and not x[row, len(ids) :].any()
        assert y[row] == label


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.integers(5, 30), min_size=1, max_size=9), min_size=1, max_size=8))
def test_padding_keeps_every_token(rows):
    import numpy as np

    split = TokenSplit(rows, np.arange(len(rows)), pad=0)
    x, y = split.batch(list(range(len(rows))))
    assert [row[row != 0].tolist() for row in x] == rows and y.tolist() == list(range(len(rows)))


def test_files_of_splits_are_used_as_given(train):
    make.write_tsv(train.parent / "dev.tsv", 10, seed=1)
    make.write_tsv(train.parent / "held.tsv", 14, seed=2)
    named = load(train, test="held.tsv")
    assert [len(s) for s in (named.train, named.val, named.test)] == [54, 6, 14]
    both = load(train.parent, test=str(train.parent / "held.tsv"))
    assert [len(s) for s in (both.train, both.val, both.test)] == [60, 10, 14]


def test_csv_and_json_lines_of_pairs(tmp_path):
    rows = [{"premise": "w1 w2", "hypothesis": "w3", "label": i % 3} for i in range(30)]
    task = load(make.write_jsonl(tmp_path / "a.jsonl", rows))
    # [CLS] w1 w2 [SEP] w3 [SEP]
    assert task.train[0][0].tolist() == [2, 6, 7, 3, 8, 3] and task.classes == ("0", "1", "2")
    lines = ["sentence,label", *(f'"w{i}, w1",{"ab"[i % 2]}' for i in range(20))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    assert load(tmp_path / "a.csv").classes == ("a", "b")
    (tmp_path / "b.csv").write_text("\n".join(["one,two,three", *("w1,w2,a", "w2,w3,b") * 9]))
    assert not is_text(str(tmp_path / "b.csv"))
    named = load(tmp_path / "b.csv", domain="text", text="one", pair="two", label="three")
    assert len(named.train[0][0]) == 5


def test_a_question_is_read_with_the_sentence_that_may_answer_it(tmp_path):
    rows = [{"question": "w1 w2", "sentence": "w3", "label": i % 2} for i in range(30)]
    task = load(make.write_jsonl(tmp_path / "a.jsonl", rows))
    assert task.train[0][0].tolist() == [2, 6, 7, 3, 8, 3]


def test_unlabelled_texts_have_the_columns_of_training(tmp_path):
    rows = [{"premise": "w1 w2", "hypothesis": "w3", "label": i % 2} for i in range(30)]
    task = load(make.write_jsonl(tmp_path / "a.jsonl", rows))
    pairs = make.write_jsonl(tmp_path / "b.jsonl", [{"text": "w2", "premise": "w1", **PAIR}])
    assert text.inputs(str(pairs), task.preprocess)[1][0][0].tolist() == [2, 6, 3, 8, 3]
    # Another usual name will do, but not one text where there were two.
    other = make.write_jsonl(tmp_path / "c.jsonl", [{"sentence1": "w1", "sentence2": "w3"}])
    assert text.inputs(str(other), task.preprocess)[1][0][0].tolist() == [2, 6, 3, 8, 3]
    alone = make.write_jsonl(tmp_path / "d.jsonl", [{"sentence1": "w1"}])
    with refused("d.jsonl", "hypothesis"):
        text.inputs(str(alone), task.preprocess)
    # Runs of earlier versions know no names.
    old = task.preprocess | {"columns": {"text": "", "pair": "", "label": ""}}
    assert len(text.inputs(str(alone), old)[1]) == 1


PAIR = {"hypothesis": "w3"}


def test_quotes_are_plain_characters_in_a_tsv(tmp_path):
    (tmp_path / "a.tsv").write_text('text\tlabel\n"w1 w2\t1\nw3" w4\t0\n')
    assert read_texts(str(tmp_path / "a.tsv"), Columns()).texts == ['"w1 w2', 'w3" w4']


def test_special_tokens_that_stand_in_a_text_are_words(tmp_path):
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "w1 [SEP] [PAD]\ta\nw2\tb\n" * 10)
    task = load(tmp_path / "a.tsv")
    for i in range(len(task.train)):
        ids = task.train[i][0]
        assert (ids == 3).sum() == 1 and (ids == 0).sum() == 0


def test_long_texts_are_cut_and_said_so(train):
    task = load(train, max_length=5)
    assert max(len(task.train[i][0]) for i in range(len(task.train))) == 5
    assert any("cut to 5" in note for note in task.notes)


def test_balanced_weights_make_classes_count_the_same(tmp_path):
    rows = [{"text": f"w{i}", "label": "a" if i % 5 else "b"} for i in range(30)]
    task = load(make.write_jsonl(tmp_path / "a.jsonl", rows), weights="balanced")
    scores = torch.randn(20, 2)
    y = torch.from_numpy(task.train.labels[:20])
    labels = torch.from_numpy(task.train.labels)
    whole = torch.nn.functional.cross_entropy(
        scores, y, weight=len(labels) / (2.0 * torch.bincount(labels))
    )
    assert float(task.loss(scores, y)) == pytest.approx(float(whole))
    each = torch.nn.functional.cross_entropy(scores, y, reduction="none")
    assert abs(float(whole) - float(each.mean())) > 1e-3
    pickle.dumps(task)


def test_matthews_is_that_of_scikit_learn(train):
    from sklearn.metrics import matthews_corrcoef

    metric = load(train).metrics["matthews"].clone()
    scores, y = torch.randn(40, 2), torch.arange(40) % 2
    metric.update(scores, y)
    assert float(metric.compute()) == pytest.approx(matthews_corrcoef(y, scores.argmax(1)))


def test_unlabelled_texts_are_prepared_alike(train, tmp_path):
    task = load(train)
    (tmp_path / "new.tsv").write_text("text\nw1 good\nw2\n")
    names, split = text.inputs(str(tmp_path / "new.tsv"), task.preprocess)
    assert names == ["line 2", "line 3"] and split[0][0].tolist() == [2, 6, 35, 3]


def test_other_tables_are_left_to_other_domains(tmp_path):
    (tmp_path / "images.csv").write_text("path,label\na.png,x\n")
    assert find_loader(str(tmp_path / "images.csv")) is not text
    assert not is_text(str(tmp_path)) and not is_text("digits") and not is_text("\0.csv")


GOOD = "text\tlabel\n" + "w1\ta\nw2\tb\n" * 10


@pytest.mark.parametrize(
    ("name", "content", "options", "names"),
    [
        ("a.tsv", "", {}, ("a.tsv", "empty")),
        ("a.tsv", "text\tlabel\n", {}, ("a.tsv", "no texts")),
        ("a.tsv", "text\tlabel\nw1\ta\tb\n", {}, ("a.tsv", "line 2", "3 values")),
        ("a.tsv", "text\tlabel\nw1\t\n", {}, ("a.tsv", "line 2", "label")),
        ("a.tsv", "text\tlabel\n \ta\n", {}, ("a.tsv", "line 2", "text")),
        ("a.tsv", "text\ttext\nw1\ta\n", {}, ("'text'", "twice")),
        ("a.tsv", "words\tlabel\nw1\ta\n", {}, ("words", "option text")),
        ("a.tsv", "text\tanswer\nw1\ta\n", {}, ("answer", "option label")),
        ("a.tsv", GOOD, {"label": "nosuch"}, ("'nosuch'", "text, label")),
        ("a.tsv", GOOD, {"pair": "text"}, ("twice",)),
        ("a.tsv", "text\tlabel\n" + "w1\ta\n" * 9, {}, ("one label",)),
        ("a.tsv", "text\tlabel\n" + "".join(f"w1\t{i}\n" for i in range(9)), {}, ("9 labels",)),
        ("a.tsv", GOOD, {"nosuch": 1}, ("'nosuch'", "max_length")),
        ("a.tsv", GOOD, {"max_length": 2}, ("max_length=2",)),
        ("a.tsv", GOOD, {"max_length": "x"}, ("max_length='x'",)),
        ("a.tsv", GOOD, {"seed": -1}, ("seed=-1",)),
        ("a.tsv", GOOD, {"weights": "some"}, ("weights='some'",)),
        ("a.tsv", GOOD, {"split": "2"}, ("split='2'",)),
        ("a.tsv", GOOD, {"test": "none.tsv"}, ("none.tsv",)),
        ("a.tsv", GOOD, {"test": "a.tsv"}, ("a.tsv", "two splits")),
        ("a.tsv", GOOD, {"test": "bad.tsv"}, ("bad.tsv", "line 3", "'c'")),
        ("a.tsv", GOOD, {"checkpoint": ""}, ("checkpoint",)),
        ("a.tsv", GOOD, {"checkpoint": "no/such"}, ("'no/such'",)),
        ("a.jsonl", "[1]\n", {}, ("a.jsonl", "line 1", "JSON object")),
        ("a.jsonl", '{"text": "w1", "label": 1}\n{"text"\n', {}, ("line 2", "JSON object")),
        ("a.jsonl", '{"text": "w1", "label": 1}\n{"text": "w1"}\n', {}, ("line 2", "label")),
        ("a.csv", 'text,label\n"w1,a\n', {}, ("a.csv", "quotes")),
    ],
)
def test_bad_files_and_options_are_refused(name, content, options, names, tmp_path):
    (tmp_path / name).write_text(content)
    (tmp_path / "bad.tsv").write_text("text\tlabel\nw1\ta\nw2\tc\n")
    with refused(*names):
        load(tmp_path / name, **options)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"text\tlabel\n\xff\xfe\ta\n")
    with refused("a.tsv", "UTF-8"):
        load(tmp_path / "a.tsv")
