"""The task of recordings: what it makes of good data."""

import json

import numpy as np
import pytest
import torch

import nas_domains  # noqa: F401
from nas_domains.core.errors import UsageError
from nas_domains.core.task import find_loader, load_task
from nas_domains.data.augment import Chain
from nas_domains.data.augment_speech import STEPS
from nas_domains.speech.tasks import recordings
from tests.conftest import SHARED, needs_shared
from tests.data.make import write_folder as write_pictures
from tests.data.make import write_image
from tests.make import one_sentence
from tests.speech.make import write, write_folder, write_named


def lengths(task):
    return len(task.train), len(task.val), len(task.test)


def notes(task):
    for note in task.notes:
        one_sentence(note)
    return " ".join(task.notes)


def test_a_folder_of_classes(tmp_path):
    task = load_task(write_folder(tmp_path / "tones"))
    assert task.domain == "speech" and task.name == "tones" and task.classes == ("high", "low")
    assert lengths(task) == (15, 4, 5) and task.outputs == 2 and task.recipe.batch_size == 32
    assert list(task.metrics) == ["accuracy", "f1"]
    # 95 % of the recordings, of 0.2 to 0.3 s, are no longer than the frames reach.
    assert task.input_shape[:2] == (1, 40) and 26 <= task.input_shape[2] <= 31
    x, y = task.train.batch(range(15))
    assert x.dtype == torch.float32 and y.dtype == torch.int64
    assert x.mean((0, 1, 3)).abs().max() < 1e-4 and (x.std((0, 1, 3)) - 1).abs().max() < 0.05
    assert torch.equal(task.train[3][0], x[3]) and task.train[3][1] == y[3]
    assert task.augment == Chain(("timeshift", "specaugment"), STEPS)
    assert json.loads(json.dumps(task.preprocess)) == task.preprocess
    assert "padded with silence" in notes(task)


def test_folders_of_splits(tmp_path):
    for part, n in (("train", 6), ("val", 3), ("test", 4)):
        write_folder(tmp_path / part, n=n)
    assert lengths(load_task(str(tmp_path))) == (12, 6, 8)


def test_names_give_labels_and_speakers_who_are_never_divided(tmp_path):
    task = load_task(write_named(tmp_path, ("yes", "no")))
    assert task.classes == ("no", "yes") and lengths(task) == (12, 6, 6)
    heard = [set(part.groups) for part in (task.train, task.val, task.test)]
    assert sum(map(len, heard)) == 4 == len(set.union(*heard)) and "group-wise" in notes(task)


def test_a_speaker_is_left_out(tmp_path):
    root = write_named(tmp_path, ("yes", "no"))
    task = load_task(root, speaker="leave:cleo")
    assert lengths(task) == (12, 6, 6) and "what cleo said" in notes(task)
    assert set(task.train.groups) < {"ann", "bob", "dan"}
    two = load_task(root, speaker="leave:cleo+ann")
    assert lengths(two) == (6, 6, 12)
    # The only speaker left to train on is not divided by name: halves of a search are.
    assert two.train.groups is None
    three = load_task(root, speaker="leave:cleo+ann+bob")
    assert len(three.test) == 18 and "too few speakers" in notes(three)


def test_too_few_speakers_are_divided(tmp_path):
    task = load_task(write_named(tmp_path, ("yes", "no"), ("ann", "bob"), takes=6))
    assert sum(lengths(task)) == 24 and "too few speakers" in notes(task)
    assert task.train.groups is None


def test_digits_have_their_own_split(tmp_path):
    digits = tuple("0123456789")
    task = load_task(write_named(tmp_path, digits, ("ann", "bob"), takes=7))
    assert len(task.test) == 10 * 2 * 5 and task.classes == digits
    assert np.bincount(task.test.labels).tolist() == [10] * 10
    assert "takes 0 to 4" in notes(task) and task.train.groups is None
    left = load_task(str(tmp_path), speaker="leave:bob")
    assert len(left.test) == 70 and "takes 0 to 4" not in notes(left)


def table(tmp_path, header, row, n=24):
    for i in range(n):
        write(tmp_path / "w" / f"{i:02}.wav", 400 * (1 + i % 2), 0.2, seed=i)
    path = tmp_path / "list.csv"
    path.write_text("\n".join([header, *(row(i) for i in range(n))]) + "\n", encoding="utf-8-sig")
    return str(path)


def test_a_table_with_speakers(tmp_path):
    source = table(tmp_path, "path,label,group", lambda i: f"w/{i:02}.wav,{i % 2},s{i // 4}")
    task = load_task(source)
    assert lengths(task) == (16, 4, 4) and task.classes == ("0", "1")
    left = load_task(source, speaker="leave:s0+s1")
    assert len(left.test) == 8 and not {"s0", "s1"} & set(left.train.groups)


def test_a_table_with_splits(tmp_path):
    def row(i):
        return f"{i % 2},w/{i:02}.wav,{'test' if i > 17 else 'train'}"

    task = load_task(table(tmp_path, "label,path,split", row))
    assert len(task.test) == 6 and sum(lengths(task)) == 24


def test_rates_are_made_one(tmp_path):
    root = write_folder(tmp_path / "d")
    write(tmp_path / "d" / "high" / "x.wav", rate=16000)
    write(tmp_path / "d" / "low" / "y.flac", rate=44100, channels=2)
    task = load_task(root)
    assert task.preprocess["rate"] == 8000 and sum(lengths(task)) == 26
    said = notes(task)
    assert "16000 Hz (1), 44100 Hz (1) are resampled to 8000 Hz" in said
    assert "1 recordings of several channels" in said
    asked = load_task(root, rate="16000", bins="20", seconds="0.5")
    assert asked.preprocess["rate"] == 16000 and asked.input_shape == (1, 20, 51)


def test_rates_above_those_of_speech_are_halved(tmp_path):
    for i in range(12):
        write(tmp_path / "ab"[i % 2] / f"{i}.wav", 300 * (1 + i % 2), rate=48000)
    assert load_task(str(tmp_path)).preprocess["rate"] == 16000


def test_the_seed_and_the_split_option_cut_it(tmp_path):
    root = write_folder(tmp_path / "d")
    base = load_task(root)
    assert load_task(root, seed="0").fingerprint() == base.fingerprint()
    assert load_task(root, seed=1).fingerprint() != base.fingerprint()
    task = load_task(root, split="val=0.2,test=0.3", augment="none")
    assert lengths(task)[2] > len(base.test) and task.augment is None


def test_recordings_are_told_from_images(tmp_path):
    assert find_loader(write_folder(tmp_path / "sounds")) is recordings
    assert find_loader(write_named(tmp_path / "named")) is recordings
    assert find_loader(write_pictures(tmp_path / "pictures")) is not recordings
    both = tmp_path / "both"
    write_image(both / "a" / "1.png")
    write(both / "a" / "2.wav")
    assert not recordings.accepts(str(both))
    (tmp_path / "p.csv").write_text("path,label\na.png,1\n")
    (tmp_path / "s.csv").write_text("label;path\n1;A.WAV\n")
    assert not recordings.accepts(str(tmp_path / "p.csv"))
    assert recordings.accepts(str(tmp_path / "s.csv"))
    for nothing in ("\0", "", "none.csv", "\0.csv", "digits", str(tmp_path / "none")):
        assert recordings.accepts(nothing) is False


def test_new_recordings_are_prepared_alike(tmp_path):
    task = load_task(write_folder(tmp_path / "d"), split="test=0.25")
    names, split = recordings.inputs(str(tmp_path / "d"), task.preprocess)
    assert names[:2] == ["high/000.wav", "high/001.wav"] and len(split) == 24
    seen = {x.numpy().tobytes() for part in (task.train, task.val, task.test) for x, _ in part}
    assert {x.numpy().tobytes() for x, _ in split} == seen
    one = recordings.inputs(str(tmp_path / "d" / "low" / "003.wav"), task.preprocess)
    torch.testing.assert_close(one[1][0][0], split[names.index("low/003.wav")][0])
    (tmp_path / "d" / "list.csv").write_text("path\nlow/003.wav\n")
    listed = recordings.inputs(str(tmp_path / "d" / "list.csv"), task.preprocess)
    assert listed[0] == ["low/003.wav"] and torch.equal(listed[1].x, one[1].x)
    for bad, said in (
        ("none", "No such file"),
        ("x.txt", "no recording by its ending"),
        ("empty", "holds no recordings"),
        ("bad.csv", "line 2: there is no file 'z.wav'"),
    ):
        (tmp_path / "x.txt").write_text("x")
        (tmp_path / "empty").mkdir(exist_ok=True)
        (tmp_path / "bad.csv").write_text("path\nz.wav\n")
        with pytest.raises(UsageError) as caught:
            recordings.inputs(str(tmp_path / bad), task.preprocess)
        one_sentence(str(caught.value), bad, said)


@needs_shared
@pytest.mark.slow
def test_free_spoken_digits():
    root = str(SHARED / "data" / "free-spoken-digit-dataset" / "recordings")
    task = load_task(root)
    assert lengths(task) == (1530, 270, 200) and task.input_shape == (1, 40, 65)
    assert task.classes == tuple("0123456789") and task.recipe.batch_size == 64
    left = load_task(root, speaker="leave:theo")
    assert lengths(left) == (1000, 500, 500)
    assert set(left.train.groups) | set(left.val.groups) == {"george", "jackson", "nicolas"}
