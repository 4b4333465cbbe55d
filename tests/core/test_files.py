"""Files are written whole or not at all."""

import json
import math
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nas_domains.core.files import check_place, finite, plain, write_atomic, write_json, write_text
from tests.core.refusal import refused


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    return path


def alone(path, text):
    return os.listdir(path.parent) == [path.name] and path.read_text(encoding="utf-8") == text


def test_replaces_the_file(path):
    write_text(path, "né\n")
    assert alone(path, "né\n")


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_a_writer_that_fails_leaves_the_old_file_alone(path, error):
    def fail(temporary):
        temporary.write_text("half")
        raise error

    with pytest.raises(type(error)):
        write_atomic(path, fail)
    assert alone(path, "old")


def test_a_full_disk_is_one_sentence(path):
    def fail(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with refused(repr(str(path)), "No space left on device"):
        write_atomic(path, fail)
    assert alone(path, "old")


def test_folders_on_the_way_are_made(tmp_path):
    check_place(tmp_path / "a" / "b" / "file")
    assert not list(tmp_path.iterdir())
    write_text(tmp_path / "a" / "b" / "file", "x")
    assert (tmp_path / "a" / "b" / "file").read_text() == "x"


@pytest.mark.parametrize("place", ["file/x", "folder"])
def test_a_place_that_cannot_be_written_is_refused_beforehand(tmp_path, place):
    (tmp_path / "file").write_text("a")
    (tmp_path / "folder").mkdir()
    with refused(place):
        check_place(tmp_path / place)


def test_plain_is_what_yaml_and_json_have():
    content = {"a": (np.int64(3), np.float32(0.5)), 1: Path("x"), "b": [None, True, "t"]}
    assert plain(content) == {"a": [3, 0.5], "1": "x", "b": [None, True, "t"]}


def test_a_folder_in_its_place_is_one_sentence(tmp_path):
    (tmp_path / "folder").mkdir()
    with refused(repr(str(tmp_path / "folder"))):
        write_text(tmp_path / "folder", "x")
    assert os.listdir(tmp_path) == ["folder"]


def test_the_old_file_is_there_until_the_new_one_is_whole(path):
    seen = []

    def write(temporary):
        temporary.write_text("new")
        seen.append(path.read_text())

    write_atomic(path, write)
    assert seen == ["old"] and alone(path, "new")


def test_permissions_are_those_of_an_ordinary_file(path):
    before = os.umask(0o027)
    try:
        write_text(path, "x")
        assert os.umask(0o027) == 0o027, "the umask is as it was"
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_killed_while_writing_leaves_the_old_file(path):
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from nas_domains.core.files import write_atomic\n"
        "def write(temporary):\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomic(Path(sys.argv[1]), write)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(path)])
    assert killed.returncode == -9
    assert path.read_text() == "old"


def test_json_has_null_where_a_number_is_not_finite(path):
    write_json(path, {"a": [math.nan, (math.inf, 1.5)], "b": {"c": -math.inf}, "d": "NaN"})
    content = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert content == {"a": [None, [None, 1.5]], "b": {"c": None}, "d": "NaN"}


def test_finite_changes_nothing_else():
    content = {"a": [1, True, None, "x", 0.0, -1e300]}
    assert finite(content) == content
