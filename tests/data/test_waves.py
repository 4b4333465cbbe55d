"""Recordings as samples."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nas_domains.data.recordings import read_recordings
from nas_domains.data.rule import SplitRule
from nas_domains.data.waves import Waves, read_wave_parts, read_waves, wave_preprocess
from tests.speech.make import RATE, write, write_folder

RULE = SplitRule.parse(None)


def test_each_recording_has_zero_mean_and_unit_variance_and_silence_behind() -> None:
    rng = np.random.default_rng(0)
    waves = [rng.integers(-9000, 20000, n).astype(np.int16) for n in (50, 80, 7)]
    x, y = Waves(waves, 80, np.array([0, 1, 2])).batch([2, 0])
    assert x.shape == (2, 80) and y.tolist() == [2, 0]
    for row, n in zip(x, (7, 50), strict=True):
        assert abs(float(row[:n].mean())) < 1e-5
        assert abs(float(row[:n].std(correction=0)) - 1) < 1e-3
        assert (row[n:] == 0).all()
    raw, _ = Waves(waves, 80, np.array([0, 1, 2]), normalised=False).batch([0])
    assert torch.equal(raw[0, :50], torch.from_numpy(waves[0].astype(np.float32) / 32767))


def test_splits_are_those_of_spectrograms_and_inputs_are_prepared_alike(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "tones", n=10)
    parts = read_wave_parts(read_recordings(source), RULE, 0)
    assert parts.rate == RATE and parts.classes == ("high", "low")
    assert {name: len(s) for name, s in parts.splits.items()} == {"train": 13, "val": 3, "test": 4}
    assert any("samples" in note and "0.2" in note for note in parts.notes)
    paths = [str(tmp_path / "tones" / "high" / f"{i:03d}.wav") for i in range(10)]
    again = read_waves(paths, wave_preprocess(parts)).batch(range(10))[0]
    known = torch.cat([s.batch(range(len(s)))[0] for s in parts.splits.values()])
    for row in again:
        assert (known == row).all(1).any()


@pytest.mark.parametrize("seconds", [0.1, 0.5])
def test_rate_and_length_as_asked(tmp_path: Path, seconds: float) -> None:
    source = write_folder(tmp_path / "tones", n=10)
    parts = read_wave_parts(read_recordings(source), RULE, 0, rate=4000, seconds=seconds)
    x = parts.splits["train"].batch([0])[0]
    assert x.shape == (1, round(4000 * seconds))
    assert ((x == 0).sum() == 0) == (seconds < 0.2)


def test_samples_beyond_full_scale_are_clipped(tmp_path: Path) -> None:
    import soundfile

    path = tmp_path / "loud.wav"
    write(path, 440, 0.1)
    loud = 3 * soundfile.read(path)[0]
    soundfile.write(path, loud, RATE, subtype="FLOAT")
    made = read_waves([str(path)], {"rate": RATE, "samples": len(loud), "normalised": False})
    assert float(made.batch([0])[0].abs().max()) == 1
