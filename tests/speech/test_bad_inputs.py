"""Every bad input ends in one sentence that names the file, the line or the value."""

import importlib.util

import numpy as np
import pytest
import soundfile

import nas_domains  # noqa: F401
from nas_domains.core.errors import UsageError
from nas_domains.core.task import load_task
from tests.data.make import write_folder as write_pictures
from tests.make import one_sentence
from tests.speech.make import RATE, tone, write, write_folder, write_named


def refused(source, *said, **options):
    with pytest.raises(UsageError) as caught:
        load_task(str(source), domain="speech", **options)
    one_sentence(str(caught.value), *said)


def spoil(path, case):
    if case == "nan":
        wave = tone(440)
        wave[5] = np.nan
        soundfile.write(path, wave, RATE, subtype="FLOAT")
    elif case == "no samples":
        soundfile.write(path, np.zeros(0, np.float32), RATE)
    else:
        whole = path.read_bytes()
        path.write_bytes({"zero bytes": b"", "no wav": b"<html>", "cut": whole[:30]}[case])


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("zero bytes", "is empty"),
        ("no wav", "cannot be read as wav"),
        ("cut", "cannot be read as wav"),
        ("no samples", "holds no samples"),
        ("nan", "NaN or infinite sample, the first at 5"),
    ],
)
def test_files(tmp_path, case, said):
    root = write_folder(tmp_path / "d", n=6)
    spoil(tmp_path / "d" / "low" / "004.wav", case)
    refused(root, "low/004.wav", said)


def folder_cases(root, case):
    if case == "one class":
        write_folder(root, ("only",), 6)
    elif case == "few":
        write_folder(root, ("a", "b", "c"), 1)
    elif case == "no pattern":
        write_named(root)
        write(root / "hello.wav")
    elif case == "one label":
        write_named(root, ("7",))
    elif case == "unseen class":
        write_folder(root / "train", n=4)
        write_folder(root / "test", ("high", "odd"), n=4)
    elif case == "no train":
        write_folder(root / "test", n=4)
    elif case == "pictures":
        write_pictures(root)
    else:
        root.mkdir()


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("one class", "one class only ('only')"),
        ("few", "3 training samples for 3 classes"),
        ("no pattern", "'hello.wav' is not LABEL_SPEAKER_TAKE.wav"),
        ("one label", "one class only ('7')"),
        ("unseen class", "label 'odd' in its test split"),
        ("no train", "no folder train"),
        ("pictures", "holds no recordings, only 20 other file(s)"),
        ("empty", "holds no recordings, no files"),
    ],
)
def test_folders(tmp_path, case, said):
    folder_cases(tmp_path / "data", case)
    refused(tmp_path / "data", "data", said)


GOOD = "path,label\n" + "".join(f"{i}.wav,{i % 2}\n" for i in range(10))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (GOOD + "none.wav,1\n", "line 12: there is no file 'none.wav'"),
        (GOOD + "0.wav,\n", "line 12: the label is missing"),
        (GOOD + "./3.wav,1\n", "line 12: the recording of line 5 is named again"),
        (GOOD.replace(",1\n", ",0\n"), "one class only"),
        ("file,label\n0.wav,1\n", "no column 'path'"),
        ("path,label,split\n0.wav,a,dunno\n", "line 2: the split 'dunno'"),
        (
            "path,label,group,split\n"
            + "".join(
                f"{i}.wav,{i % 2},p{i // 2},{'train' if i < 7 else 'test'}\n" for i in range(10)
            ),
            "group 'p3' in both its train and its test",
        ),
    ],
)
def test_tables(tmp_path, content, said):
    for i in range(10):
        write(tmp_path / f"{i}.wav", seed=i, seconds=0.1)
    (tmp_path / "x.csv").write_text(content)
    refused(tmp_path / "x.csv", "x.csv", said)


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    return write_named(tmp_path_factory.mktemp("named"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"speaker": "leave:zoe"}, ("zoe", "ann, bob, cleo, dan")),
        ({"speaker": "leave:ann+zoe"}, ("zoe",)),
        ({"speaker": "leave:ann+bob+cleo+dan"}, ("nobody", "train on")),
        ({"speaker": "ann"}, ("speaker='ann'", "leave:NAME")),
        ({"speaker": "leave:"}, ("speaker='leave:'",)),
        ({"speaker": "leave:ann+"}, ("speaker='leave:ann+'",)),
        ({"speaker": "leave:ann", "split": "test=0.2"}, ("own test split",)),
        ({"bins": 4}, ("bins=4",)),
        ({"bins": "many"}, ("bins='many'",)),
        ({"rate": 10}, ("rate=10", "1000")),
        ({"rate": "8000.5"}, ("rate='8000.5'", "whole")),
        ({"seconds": 0}, ("seconds=0", "0.05")),
        ({"seconds": "nan"}, ("seconds='nan'",)),
        ({"seconds": 11}, ("seconds=11",)),
        ({"seed": -1}, ("seed=-1",)),
        ({"split": "half"}, ("'half'",)),
        ({"augment": "flip"}, ("'flip'", "timeshift, pitch, specaugment")),
        ({"size": 64}, ("'size'", "augment, bins, features, form, rate, seconds, seed, speaker")),
    ],
)
def test_options(named, options, said):
    refused(named, *said, **options)


def test_who_speaks_must_be_known(tmp_path):
    refused(write_folder(tmp_path / "d", n=4), "does not say who speaks", speaker="leave:ann")
    rows = [f"{i}.wav,{i % 2},p{i // 5},{'train' if i < 5 else 'test'}" for i in range(10)]
    for i in range(10):
        write(tmp_path / f"{i}.wav", seconds=0.1)
    (tmp_path / "x.csv").write_text("\n".join(["path,label,group,split", *rows]))
    refused(tmp_path / "x.csv", "brings its own split", speaker="leave:p0")


@pytest.mark.parametrize("domain", [None, "speech"])
def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch, domain):
    root = write_folder(tmp_path / "d", n=2)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "soundfile" else found(name)
    )
    with pytest.raises(UsageError) as caught:
        load_task(root, domain=domain)
    one_sentence(str(caught.value), "nas_domains[speech]")
