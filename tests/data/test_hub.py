"""Data sets of Hugging Face's hub: what is read, on sets that the tests write, and refusals."""

import json
import sys

import pytest

from nas_domains.core.task import find_loader, load_task
from nas_domains.data.hub import hub_sentences, hub_texts, open_hub
from nas_domains.data.tagged import Fields
from nas_domains.data.text import Columns
from nas_domains.text.tasks import text
from tests.core.refusal import refused
from tests.text import make

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """Without a network, and without what other tests have cached."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    open_hub.cache_clear()


def saved(folder, **splits):
    """A folder as save_to_disk writes it; a split is (columns, features)."""
    made = {
        name: datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        for name, (columns, features) in splits.items()
    }
    datasets.DatasetDict(made).save_to_disk(folder)
    return f"hf:{folder}"


def sentiments(n, known=True):
    rows = make.texts(n)
    features = {
        "sentence": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["no", "yes"]),
        "idx": datasets.Value("int32"),
    }
    columns = {
        "sentence": [x for x, _ in rows],
        "label": [("no", "yes").index(y) if known else -1 for _, y in rows],
        "idx": list(range(n)),
    }
    return columns, features


def entities(n):
    rows = make.tagged(n)
    kinds = datasets.ClassLabel(names=["O", "B-Q", "I-Q"])
    features = {
        "tokens": datasets.List(datasets.Value("string")),
        "ner_tags": datasets.List(kinds),
    }
    columns = {
        "tokens": [words for words, _ in rows],
        "ner_tags": [[kinds.str2int(t) for t in tags] for _, tags in rows],
    }
    return columns, features


def test_texts_have_the_names_of_their_classes(tmp_path):
    source = saved(
        tmp_path / "a",
        train=sentiments(40),
        validation=sentiments(10),
        test=sentiments(8, known=False),
    )
    found = hub_texts(source, Columns())
    # The hidden labels of a benchmark are none.
    assert list(found) == ["train", "val"]
    rows = make.texts(40)
    assert found["train"].texts == [x for x, _ in rows]
    assert found["train"].labels == [y for _, y in rows] and found["train"].lines[0] == 1
    assert find_loader(source) is text
    task = load_task(source)
    assert task.classes == ("no", "yes") and len(task.val) == 10 and task.name == "a"
    assert len(task.train) + len(task.test) == 40
    assert task.fingerprint() == load_task(source).fingerprint()


def test_tagged_words_become_the_other_task(tmp_path):
    source = saved(tmp_path / "a", train=entities(40), validation=entities(10))
    found = hub_sentences(source, Fields())
    assert [(w, t) for w, t in zip(found["train"].words, found["train"].tags, strict=True)] == [
        (words, tags) for words, tags in make.tagged(40)
    ]
    task = load_task(source)
    assert task.preprocess["loader"] == "tags" and set(task.classes) == {"B-Q", "I-Q", "O"}
    assert task.space.endswith("pool=none")
    assert load_task(source, word="tokens", tag="ner_tags").classes == task.classes


def test_folders_of_files_are_data_sets_too(tmp_path):
    (tmp_path / "b").mkdir()
    make.write_jsonl(
        tmp_path / "b" / "train.jsonl",
        [{"text": x, "pair": "w1", "label": y} for x, y in make.texts(30)],
    )
    found = hub_texts(f"hf:{tmp_path / 'b'}", Columns(pair="pair"))
    assert found["train"].labels[:2] == ["no", "yes"] and found["train"].pairs[0] == "w1"


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    texts = saved(tmp_path / "a", train=sentiments(20))
    broken = sentiments(20)
    broken[0]["label"][3] = -1
    hole = saved(tmp_path / "b", train=broken)
    alone = saved(tmp_path / "c", test=sentiments(20))
    words = entities(20)
    words[0]["tokens"][2] = words[0]["tokens"][2][:-1]
    uneven = saved(tmp_path / "d", train=words)
    for source, options, said in (
        ("hf:", {}, ("hf:NAME",)),
        ("hf:nobody/nothing", {}, ("'hf:nobody/nothing'", "cannot be loaded")),
        (f"hf:{tmp_path / 'gone'}", {}, ("gone", "cannot be loaded")),
        (alone, {}, ("no split train", "test")),
        (hole, {}, ("row 4", "label is missing")),
        (uneven, {}, ("row 3", "tags for")),
        (texts, {"text": "x"}, ("'x'", "sentence")),
        (texts, {"test": "x.tsv"}, ("option test",)),
        (uneven, {"tag": "x"}, ("x", "option tag")),
    ):
        with refused(*said):
            load_task(source, **options)
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with refused("pip install 'nas_domains[hub]'"):
        open_hub("hf:other")


def test_a_run_goes_on_from_its_name(tmp_path):
    import nas_domains as nd

    source = saved(tmp_path / "a", train=sentiments(40))
    run = nd.search(
        "text-heads:layers=1,heads=2,width=8,feeds=8,vocabulary=100",
        source,
        out=tmp_path / "run",
        strategy="random",
        budget="trials=1,epochs=1",
        train_budget="epochs=1",
        randoms=1,
        quiet=True,
    )
    assert run.config["task"] == source
    assert nd.resume(run.path, quiet=True).result == run.result
    assert json.loads((run.path / "result.json").read_text())["strategy"] == "random"
