"""The task of tagging: tokens and classes, pieces, networks of tokens, and what is refused."""

import json
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.compose import search
from nas_domains.core.registry import tasks
from nas_domains.core.task import IGNORED, find_loader, load_task
from nas_domains.data.tokens import TaggedSplit
from nas_domains.nn.encoder import LayerSize, made_up
from nas_domains.nn.text_classifier import classifier_of
from nas_domains.testing.supernets import SupernetContract
from nas_domains.text.checkpoint import open_checkpoint
from nas_domains.text.entities import EntityF1
from nas_domains.text.tags import Pieces, tags
from tests.core.refusal import refused
from tests.nn.test_model_space import ModelContract
from tests.text import make
from tests.text.test_scratch import small as from_scratch
from tests.text.test_spaces import folder, small


def load(source, **options):
    return load_task(str(source), **{"checkpoint": folder(), **options})


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    return make.write_conll(tmp_path_factory.mktemp("tags") / "train.conll", 60)


def test_sentences_are_divided_and_tokenised(train):
    task = load(train)
    assert task.domain == "text" and task.classes == ("B-Q", "I-Q", "O")
    assert [len(s) for s in (task.train, task.val, task.test)] == [42, 6, 12]
    assert task.space == f"transformer:checkpoint={folder()},each=token"
    assert list(task.metrics) == ["accuracy", "f1"]
    assert isinstance(task.metrics["f1"], EntityF1)
    x, y = task.train[0]
    assert x.shape == y.shape and x[0] == 2 and x[-1] == 3
    assert y[0] == y[-1] == IGNORED and set(y[1:-1].tolist()) <= {0, 1, 2}
    assert task.fingerprint() == load(train).fingerprint()
    assert task.fingerprint() != load(train, seed=1).fingerprint()
    pickle.dumps(task)
    learnt = load_task(str(train))
    assert learnt.space == "text-heads:vocabulary=4000,max_length=128,pool=none"
    assert learnt.augment is not None and task.augment is None


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.integers(5, 30), min_size=1, max_size=9), min_size=1, max_size=8))
def test_padding_has_no_class(rows):
    split = TaggedSplit(rows, [[i] * len(row) for i, row in enumerate(rows)], pad=0)
    x, y = split.batch(range(len(rows)))
    assert x.shape == y.shape == (len(rows), max(map(len, rows)))
    for i, row in enumerate(rows):
        assert x[i].tolist() == row + [0] * (x.shape[1] - len(row))
        assert y[i].tolist() == [i] * len(row) + [IGNORED] * (x.shape[1] - len(row))
        assert torch.equal(split[i][0], torch.tensor(row)) and len(split[i][1]) == len(row)
    part = split.by_length()
    assert part.lengths().tolist() == sorted(map(len, rows))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(3, 8))
def test_every_word_is_in_one_piece_with_one_class(lengths, longest):
    pieces = Pieces(lambda words: [[int(w)] * int(w) for w in words], 90, 91, 0, longest)
    split = pieces.split([[str(n) for n in lengths]], [list(range(len(lengths)))])
    classes, tokens = [], []
    for ids, marks in zip(split.ids, split.tags, strict=True):
        assert len(ids) == len(marks) <= longest and ids[0] == 90 and ids[-1] == 91
        classes += [c for c in marks if c != IGNORED]
        tokens += ids[1:-1].tolist()
    assert classes == list(range(len(lengths)))
    assert tokens == [n for n in lengths for _ in range(min(n, longest - 2))]


def test_long_sentences_are_cut_between_words(train):
    task = load(train, max_length=5)
    assert max(task.train.lengths()) == 5 and "cut" in task.notes[-1]
    words = sum(int((y != IGNORED).sum()) for s in (task.train, task.val, task.test) for _, y in s)
    whole = load(train)
    assert words == sum(
        int((y != IGNORED).sum()) for s in (whole.train, whole.val, whole.test) for _, y in s
    )


def test_only_the_first_token_of_a_word_has_a_class(tmp_path):
    made = make.write_conll(tmp_path / "train.conll", 60)
    task = load_task(str(made), vocabulary=64, lower="false")
    pieces = Pieces.of(task.preprocess)
    assert pieces.encode(["☂", "poor"])[0] == [1]
    split = pieces.split([["badbad", "☂"]], [[0, 2]])
    first, second = pieces.encode(["badbad", "☂"])
    assert len(first) > 1 and len(second) == 1
    assert split.tags[0].tolist() == [
        IGNORED, 0, *[IGNORED] * (len(first) - 1), 2, *[IGNORED] * (len(second) - 1), IGNORED,
    ]  # fmt: skip


def test_a_separator_that_someone_wrote_is_none():
    pieces = Pieces.of({"checkpoint": folder(), "max_length": 12})
    (tokens,) = pieces.encode(["[SEP]"])
    assert 3 not in tokens


def test_classes_may_count_the_same(train):
    task = load(train, weights="balanced")
    output = torch.zeros((1, 3, 4))
    output[0, 2] = 5.0
    y = torch.tensor([[IGNORED, 0, 2, 2]])
    assert float(task.loss(output, y)) > float(load(train).loss(output, y))


def test_other_tags_are_scored_by_class(tmp_path):
    rows = [{"tokens": ["a", "b"], "pos_tags": [i % 3, 1]} for i in range(30)]
    task = load(make.write_jsonl(tmp_path / "train.jsonl", rows))
    assert task.classes == ("0", "1", "2")
    output = torch.nn.functional.one_hot(torch.tensor([[0, 1, 1]]), 3).transpose(1, 2).float()
    for metric, expected in (("accuracy", 2 / 3), ("f1", (1 + 2 / 3 + 0) / 3)):
        own = task.metrics[metric].clone()
        own.update(torch.cat([output, output[..., :1]], 2), torch.tensor([[0, 1, 2, IGNORED]]))
        assert float(own.compute()) == pytest.approx(expected), metric


def test_classes_are_in_the_order_of_a_checkpoint_that_has_the_same(train, tmp_path):
    names = ["O", "I-Q", "B-Q"]
    make.checkpoint(tmp_path / "a", each="token")
    config = tmp_path / "a" / "config.json"
    content = json.loads(config.read_text())
    for theirs, order in ((names, tuple(names)), (["x", "y", "z"], ("B-Q", "I-Q", "O"))):
        content["id2label"] = dict(enumerate(theirs))
        config.write_text(json.dumps(content))
        task = load(train, checkpoint=str(tmp_path / "a"))
        assert task.classes == order and task.preprocess["tags"] == list(order)
        y = task.train[0][1]
        words = [order[i] for i in y[y != IGNORED].tolist()]
        assert set(words) <= set(names) and words.count("O") >= 1
    texts = make.write_tsv(tmp_path / "t.tsv")
    content["id2label"] = {"0": "yes", "1": "no"}
    config.write_text(json.dumps(content))
    assert load(texts, checkpoint=str(tmp_path / "a")).classes == ("yes", "no")
    content["id2label"] = {"0": "yes", "7": "no"}
    config.write_text(json.dumps(content))
    assert load(texts, checkpoint=str(tmp_path / "a")).classes == ("no", "yes")


def test_keys_of_json_lines_may_have_any_name(tmp_path):
    rows = [{"sentence": ["w1", "bad"], "kinds": ["A", "B"]} for _ in range(20)]
    task = load(make.write_jsonl(tmp_path / "a.jsonl", rows), word="sentence", tag="kinds")
    assert task.classes == ("A", "B")
    # Texts that bring their words are texts.
    rows = [{"text": "w1 w2", "tokens": ["w1", "w2"], "label": i % 2} for i in range(20)]
    assert load(make.write_jsonl(tmp_path / "b.jsonl", rows)).preprocess["loader"] == "text"


def test_the_report_does_not_say_that_sentences_are_stratified(train):
    for split in ("random", "val=0.2"):
        assert not any("stratified" in note for note in load(train, split=split).notes)


def test_which_task_reads_what(train, tmp_path):
    assert find_loader(str(train), None) is tags and tasks.load("tags") is tags
    rows = [{"text": "a", "label": "b"}]
    assert find_loader(str(make.write_jsonl(tmp_path / "a.jsonl", rows)), None) is not tags
    names, split = tags.inputs(str(train), load(train, max_length=5).preprocess)
    assert len(names) == len(split) > 60 and names[0].startswith("line ")


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("a X\n\nb X\n", {}, ("one tag",)),
        ("a b\n", {}, ("one tag",)),
        ("a 1\nb 2\nc 3\nd 4\ne 5\n", {}, ("5 tags for 5 words", "option tag")),
        (None, {"text": "x"}, ("'tags'", "'text'", "word")),
        (None, {"weights": "x"}, ("weights='x'",)),
        (None, {"max_length": 2}, ("max_length",)),
        (None, {"tag": "x"}, ("tag='x'",)),
        (None, {"lower": "false"}, ("lower", "without a checkpoint")),
        (None, {"test": "gone.conll"}, ("gone.conll",)),
        (None, {"checkpoint": ""}, ("checkpoint",)),
        (None, {"split": "val=2"}, ("split='val=2'",)),
    ],
)
def test_bad_data_and_options_are_refused(text, options, said, train, tmp_path):
    if text is not None:
        (tmp_path / "t.conll").write_text(text)
    with refused(*said):
        load(train if text is None else tmp_path / "t.conll", **options)


def test_a_tag_that_training_does_not_have_is_refused(train, tmp_path):
    (tmp_path / "test.conll").write_text("good O\n\nw1 B-X\n")
    with refused("test.conll", "line 3", "'B-X'", "B-Q"):
        load(train, test=str(tmp_path / "test.conll"))


def test_a_space_of_the_other_kind_is_refused(train, tmp_path):
    data, texts = str(train), str(make.write_tsv(tmp_path / "t.tsv"))
    for space, task, said in (
        (f"transformer:checkpoint={folder()}", data, "each=token"),
        (f"transformer:checkpoint={folder()},each=token", texts, "each=text"),
        ("text-heads", data, "pool=none"),
        ("text-heads:pool=none", texts, "pool=mean"),
    ):
        with refused(said):
            search(space, task, out=tmp_path / "run", quiet=True)
    with refused("each='word'", "text or token"):
        small(each="word")


class TestTokensOfBert(SupernetContract):
    input_shapes = ((3, 9, 12), (5,))
    samples = 10
    rounding = 1e-6

    def output_shape(self, shape):
        return (self.outputs, max(shape))

    def make_space(self):
        return small(each="token")

    def other_space(self):
        return small()

    def inputs(self, shape, seed=0, batch=4):
        if len(shape) == 2:
            return super().inputs(shape, seed, batch)
        longest = max(shape)
        return made_up(open_checkpoint(folder()).spec, [longest, 4, longest - 1, 2])


class TestTokensFromScratch(ModelContract):
    input_shapes = ((3, 9, 12), (5,))
    samples = 10
    rounding = 2e-6

    def output_shape(self, shape):
        return (self.outputs, max(shape))

    def make_space(self):
        return from_scratch(pool="none")

    def other_space(self):
        return from_scratch()

    def inputs(self, shape, seed=0, batch=4):
        if len(shape) == 2:
            return super().inputs(shape, seed, batch)
        longest = max(shape)
        return made_up(from_scratch().spec, [longest, 4, longest - 1, 2])


@pytest.mark.parametrize("each", ["bert", "scratch"])
def test_padding_changes_no_token_and_has_no_scores(each):
    space = small(each="token") if each == "bert" else from_scratch(pool="none")
    network = space.build(space.largest(), (6,), 3) if each == "bert" else space.build(
        space.sample(1, 0)[0], (6,), 3
    )  # fmt: skip
    spec = space.checkpoint.spec if each == "bert" else space.spec
    network, x = network.double().eval(), made_up(spec, [12, 5, 2])
    found = network(x)
    assert found.shape == (3, 3, 12)
    for row, length in enumerate((12, 5, 2)):
        alone = network(x[row : row + 1, :length])
        torch.testing.assert_close(found[row, :, :length], alone[0])
        assert not found[row, :, length:].any()


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_classifiers_of_tokens_are_read_and_those_of_texts_are_not(family, tmp_path):
    theirs = make.checkpoint(tmp_path / "token", family, each="token")
    found = open_checkpoint(tmp_path / "token", "token")
    network = classifier_of(found.spec, [LayerSize(4, 32)] * 2, 3, "token").eval()
    found.fill(network)
    ids = made_up(found.spec, [9, 5])
    real = ids != found.spec.pad
    with torch.no_grad():
        expected = theirs(ids, attention_mask=real.long()).logits
        mine = network(ids).transpose(1, 2)
    assert (mine - expected)[real].abs().max() < 1e-5
    make.checkpoint(tmp_path / "text", family)
    for saved, wanted in (("text", "token"), ("token", "text")):
        other = open_checkpoint(tmp_path / saved, wanted)
        torch.manual_seed(0)
        fresh = classifier_of(other.spec, [LayerSize(4, 32)] * 2, 3, wanted)
        before = fresh.head.classifier.weight.clone()
        other.fill(fresh)
        assert torch.equal(fresh.head.classifier.weight, before)


def test_words_of_roberta_have_a_blank_before_them(monkeypatch):
    from nas_domains.text import tags as module

    seen = []

    class Tokenizer:
        unk_token_id = 1

        def __call__(self, words, **_):
            seen.extend(words)
            return {"input_ids": [[7] for _ in words]}

    monkeypatch.setattr(module, "load_tokenizer", lambda _: Tokenizer())
    Pieces.of({"checkpoint": folder("roberta"), "max_length": 9}).encode(["a", "b"])
    Pieces.of({"checkpoint": folder(), "max_length": 9}).encode(["c"])
    assert seen == [" a", " b", "c"]


def test_distances_from_a_teacher_are_means_over_tokens():
    from nas_domains.evaluation.train import distilled, imitated

    g = torch.Generator().manual_seed(0)
    one, other = torch.randn((2, 3, 5), generator=g), torch.randn((2, 3, 5), generator=g)
    rows = (t.transpose(1, 2).reshape(10, 3) for t in (one, other))
    zero = torch.tensor(0.0)
    expected = distilled(zero, *rows)
    torch.testing.assert_close(distilled(zero, one, other), expected)
    assert float(distilled(zero, one, one)) == 0
    # Padding has no scores, and changes nothing.
    wide = [torch.nn.functional.pad(t, (0, 7)) for t in (one, other)]
    torch.testing.assert_close(distilled(zero, *wide), expected)
    rows = (t.transpose(1, 2).reshape(10, 3) for t in (one, other))
    first, second = rows
    known = torch.nn.functional.cross_entropy(first, second.softmax(1))
    torch.testing.assert_close(imitated(*wide), known)
