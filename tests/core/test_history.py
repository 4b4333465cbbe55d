"""The record of a run: kept once, read back alike, and never damaged further."""

import json
import math
import os

import pytest

from nas_domains.core.history import History, Record
from tests.core.refusal import refused


def record(step=0, stage="search", **changes):
    fields = {
        "stage": stage,
        "step": step,
        "architecture": {"a": 1, "b": "x"},
        "fidelity": {"epochs": 3},
        "metrics": {"accuracy": 0.1 + step, "auc": None},
        "seconds": 1.5,
        "detail": {"rates": [0.1, 0.2]},
    }
    return Record(**{**fields, **changes})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.jsonl"


def test_reads_back_what_was_added(path):
    history = History(path)
    assert not path.exists() and len(history) == 0
    for step in range(3):
        history.add(record(step))
    history.add(record(0, "train/winner/0", architecture=None))
    again = History(path)
    assert list(again) == list(history) and len(again) == 4
    assert again.find("search", 2) == record(2)
    assert again.find("search", 3) is None and again.find("train", 0) is None


def test_a_step_recorded_already_stays_as_it_was(path):
    history = History(path)
    first = history.add(record(1, seconds=1.0))
    assert history.add(record(1, seconds=2.0)) is first
    again = History(path)
    assert again.add(record(1, seconds=3.0)).seconds == 1.0
    assert len(again) == 1 and len(path.read_bytes().splitlines()) == 1


def test_a_step_that_stands_twice_in_the_file_counts_once(path):
    History(path).add(record(1))
    path.write_bytes(path.read_bytes() * 2)
    assert len(History(path)) == 1


def test_stages_are_sorted_by_step(path):
    history = History(path)
    for step in (2, 0, 1):
        history.add(record(step))
        history.add(record(step, "other"))
    assert [r.step for r in history.of("search")] == [0, 1, 2]
    assert [r.step for r in history] == [2, 2, 0, 0, 1, 1]
    assert history.of("no such stage") == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_becomes_null(path, value):
    history = History(path)
    stored = history.add(record(metrics={"accuracy": value}, detail={"deep": [{"x": (value, 1)}]}))
    assert stored.metrics == {"accuracy": None}
    assert stored.detail == {"deep": [{"x": [None, 1]}]}
    assert list(History(path)) == [stored]
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))


def test_a_line_cut_short_at_any_byte_is_dropped(path):
    history = History(path)
    history.add(record(0))
    whole = path.read_bytes()
    history.add(record(1))
    both = path.read_bytes()
    for cut in range(len(whole), len(both)):
        path.write_bytes(both[:cut])
        again = History(path)
        assert [r.step for r in again] == [0]
        assert path.read_bytes() == both[:cut], "reading changes nothing"
        again.add(record(1))
        again.add(record(2))
        assert path.read_bytes().startswith(both) and len(History(path)) == 3
        path.write_bytes(both[:cut])
        again = History(path)
        again.drop(("no such stage",))
        assert path.read_bytes() == whole
        again.add(record(1))
        assert path.read_bytes() == both


def test_a_first_line_cut_short_is_dropped(path):
    History(path).add(record(0))
    path.write_bytes(path.read_bytes()[:-1])
    history = History(path)
    assert len(history) == 0
    history.add(record(3))
    assert [r.step for r in History(path)] == [3]


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"7", b"{}", b'{"stage": "search"}', b"\xff\xfe", b"null"]
)
def test_a_corrupt_line_is_named_by_its_number(path, line):
    history = History(path)
    for step in range(4):
        history.add(record(step))
    lines = path.read_bytes().split(b"\n")
    lines[2] = line
    path.write_bytes(b"\n".join(lines))
    before = path.read_bytes()
    with refused("Line 3", repr(str(path))):
        History(path)
    assert path.read_bytes() == before


def test_drop_takes_out_one_stage(path):
    history = History(path)
    for stage in ("search", "train/winner/0", "train/winner/1"):
        for step in range(2):
            history.add(record(step, stage))
    history.drop(("train/winner/0",))
    for h in (history, History(path)):
        assert [r.stage for r in h] == ["search"] * 2 + ["train/winner/1"] * 2
        assert h.find("train/winner/0", 0) is None
    assert os.listdir(path.parent) == [path.name]
    history.add(record(0, "train/winner/0", seconds=9.0))
    assert History(path).find("train/winner/0", 0).seconds == 9.0


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    history = History(tmp_path / "no such folder" / "history.jsonl")
    with refused("no such folder", "make room"):
        history.add(record())
    assert len(history) == 0, "what is not on the disk is not known either"


def test_a_stage_may_be_dropped_from_a_file_cut_short(path):
    history = History(path)
    history.add(record(0, "train/winner/0"))
    history.add(record(0))
    history.add(record(1))
    path.write_bytes(path.read_bytes()[:-5])
    history = History(path)
    history.drop(("train/winner/0",))
    history.add(record(1))
    assert list(History(path)) == [record(0), record(1)]
