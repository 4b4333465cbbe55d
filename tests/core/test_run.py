"""Run directories: made whole or not at all, used by one process at a time."""

import json
import os
import subprocess
import sys

import pytest

from nas_domains.core.architecture import Architecture
from nas_domains.core.history import Record
from nas_domains.core.run import CONFIG, LOCK, RESULT, Run
from tests.core.refusal import refused

CONFIG_OF_TESTS = {
    "space": "darts:cells=2",
    "seed": 1,
    "plan": {"epochs": 2},
    "data": None,
    "space_fingerprint": "0123",
}


def tree(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


@pytest.fixture
def run(tmp_path):
    made = Run.create(tmp_path / "run", CONFIG_OF_TESTS)
    yield made
    made.unlock()


def test_create_then_open(run):
    assert tree(run.path) == sorted([CONFIG, LOCK])
    again = Run.open(run.path)
    assert again.config == CONFIG_OF_TESTS and again.path == run.path
    assert not again.finished and len(again.history) == 0
    run.config["plan"] = {"epochs": 3}
    run.save_config()
    assert Run.open(str(run.path)).config["plan"] == {"epochs": 3}


def test_create_makes_folders_above_it(tmp_path):
    Run.create(tmp_path / "a" / "b" / "c", CONFIG_OF_TESTS).unlock()
    assert Run.open(tmp_path / "a" / "b" / "c").config == CONFIG_OF_TESTS


def test_create_takes_an_empty_folder(tmp_path):
    Run.create(tmp_path, CONFIG_OF_TESTS).unlock()
    assert Run.open(tmp_path).config == CONFIG_OF_TESTS


def test_result_is_there_once_the_run_has_finished(run):
    point = {"architecture": {"op": "skip"}, "metrics": {"accuracy": float("nan")}}
    run.save_result({"best": point, "pareto": [point]})
    again = Run.open(run.path)
    assert again.finished
    for found in (again.best, *again.pareto):
        assert found.architecture == Architecture((("op", "skip"),), "0123")
        assert found.metrics == {"accuracy": None}


def test_history_is_kept_in_the_directory(run):
    run.history.add(Record("search", 0, {"a": 1}, {}, {"accuracy": 0.5}, 1.0))
    assert [r.step for r in Run.open(run.path).history] == [0]
    assert run.folder("checkpoints").is_dir() and run.folder("checkpoints").is_dir()


LOCKING = """
import sys
from nas_domains.core.run import Run
run = Run.open(sys.argv[1])
run.lock()
print("locked", flush=True)
sys.stdin.read()
"""


def test_one_process_at_a_time(run):
    command = [sys.executable, "-c", LOCKING, str(run.path)]
    fails = subprocess.run(command, input="", capture_output=True, text=True)
    assert fails.returncode != 0 and "in use by another process" in fails.stderr
    run.unlock()
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "locked\n"
        with refused(repr(str(run.path)), "in use"):
            run.lock()
        assert Run.open(run.path).config == CONFIG_OF_TESTS, "reading needs no lock"
        other.kill()
        other.wait()
        run.lock()
    finally:
        other.kill()
        other.communicate()


def test_a_lock_is_given_back(run):
    run.unlock()
    run.unlock()
    run.lock()


def test_a_used_directory_is_refused_and_left_alone(run):
    run.unlock()
    before = (tree(run.path), (run.path / CONFIG).read_bytes())
    with refused(repr(str(run.path)), "not finished", f"resume {run.path}"):
        Run.create(run.path, CONFIG_OF_TESTS)
    assert (tree(run.path), (run.path / CONFIG).read_bytes()) == before
    run.lock()


def test_a_finished_run_is_refused(run):
    run.save_result({})
    run.unlock()
    with refused(repr(str(run.path)), "finished run", f"report {run.path}"):
        Run.create(run.path, CONFIG_OF_TESTS)


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with refused(repr(str(tmp_path)), "not empty"):
        Run.create(tmp_path, CONFIG_OF_TESTS)
    assert tree(tmp_path) == ["thesis.txt"]


def test_a_file_is_refused_and_left_alone(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    with refused(repr(str(file)), "is a file"):
        Run.create(file, CONFIG_OF_TESTS)
    with refused(repr(str(file / "below"))):
        Run.create(file / "below", CONFIG_OF_TESTS)
    assert tree(tmp_path) == ["file"] and file.read_text() == "x"


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"], ids=["long", "null"])
def test_an_impossible_name_is_refused(tmp_path, name):
    with refused("--out"):
        Run.create(tmp_path / name, CONFIG_OF_TESTS)
    with refused("no run"):
        Run.open(tmp_path / name)
    assert tree(tmp_path) == []


def test_a_link_to_nowhere_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with refused(repr(str(tmp_path / "link"))):
        Run.create(tmp_path / "link", CONFIG_OF_TESTS)
    assert tree(tmp_path) == ["link"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_place_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    try:
        for place in (tmp_path, tmp_path / "below"):
            with refused(repr(str(place)), "--out"):
                Run.create(place, CONFIG_OF_TESTS)
        assert tree(tmp_path) == []
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs Linux's /proc")
def test_a_place_in_which_not_even_root_writes_is_refused():
    for place in ("/proc/run", "/proc/self/fdinfo"):
        with refused(repr(place)):
            Run.create(place, CONFIG_OF_TESTS)


def test_nothing_is_left_where_the_configuration_cannot_be_written(tmp_path):
    """The file-size limit of the system stands for a full disk."""
    script = (
        "import resource, sys\n"
        "from nas_domains.core.run import Run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4, 4))\n"
        "Run.create(sys.argv[1], {'space': 'darts' * 100})\n"
    )
    for place in (tmp_path / "new", tmp_path):
        failed = subprocess.run(
            [sys.executable, "-c", script, str(place)], capture_output=True, text=True
        )
        assert "UsageError: Cannot write" in failed.stderr, failed.stderr
        assert tree(tmp_path) == []


def test_no_run_is_refused(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with refused(repr(str(place)), CONFIG):
            Run.open(place)


@pytest.mark.parametrize(
    "content", [b"", b"[1, 2]", b"a: [", b"\xff\xfe\x00", b"seed: 1", b"!!python/object:x {}"]
)
def test_a_damaged_configuration_is_refused(run, content):
    (run.path / CONFIG).write_bytes(content)
    with refused(repr(str(run.path / CONFIG))):
        Run.open(run.path)


def test_no_result_yet_is_one_sentence(run):
    with refused(repr(str(run.path)), "no result yet"):
        _ = run.result


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"best": {}'])
def test_a_damaged_result_is_refused(run, content):
    (run.path / RESULT).write_bytes(content)
    with refused(repr(str(run.path / RESULT)), "delete it"):
        _ = run.best


def test_the_configuration_is_plain_text_in_its_order(run):
    lines = (run.path / CONFIG).read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["space: darts:cells=2", "seed: 1"]
    json.dumps(Run.open(run.path).config)


def test_what_a_kill_left_of_a_file_is_cleared(tmp_path):
    run = Run.create(tmp_path / "a", {"space": "x"})
    left = run.folder("checkpoints") / ".search.safetensors.abc.part"
    left.write_bytes(b"half")
    (run.path / ".gitignore").write_text("mine")
    run.unlock()
    Run.open(tmp_path / "a").lock()
    assert not left.exists() and (run.path / ".gitignore").exists()


def test_a_kill_in_the_first_write_leaves_a_free_folder(tmp_path):
    (tmp_path / ".config.yaml.abc.part").write_text("half")
    Run.create(tmp_path, CONFIG_OF_TESTS).unlock()


def test_discard_leaves_a_folder_that_was_there(tmp_path):
    for path, made in ((tmp_path / "there", False), (tmp_path / "new", True)):
        if not made:
            path.mkdir()
        run = Run.create(path, CONFIG_OF_TESTS)
        run.folder("checkpoints")
        run.discard()
        assert path.exists() != made and not tree(path)
