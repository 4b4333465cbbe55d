"""Recordings to samples."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from nas_domains.data.audio import read_info, read_wave, resampled
from tests.core.refusal import refused
from tests.speech.make import RATE, tone, write

STEP = {"PCM_U8": 2**-7, "PCM_16": 2**-15, "PCM_24": 2**-23, "PCM_32": 2**-23, "FLOAT": 0.0}
"""Depth -> one step of it; float32 itself holds 24 bits."""


@pytest.mark.parametrize("subtype", STEP)
def test_depths(tmp_path, subtype):
    path = write(tmp_path / "a.wav", subtype=subtype)
    wave = read_wave(path, RATE)
    assert wave.dtype == np.float32 and wave.shape == (2400,)
    assert np.abs(wave - tone(440)).max() <= STEP[subtype]


def test_flac_holds_what_wav_does(tmp_path):
    path = write(tmp_path / "a.wav")
    stored, _ = soundfile.read(path, dtype="int16")
    soundfile.write(tmp_path / "a.flac", stored, RATE)
    assert np.array_equal(read_wave(str(tmp_path / "a.flac"), RATE), read_wave(path, RATE))


def test_channels_are_averaged(tmp_path):
    left, right = tone(300, seed=1), tone(500, seed=2)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), RATE, subtype="FLOAT")
    wave = read_wave(str(tmp_path / "a.wav"), RATE)
    np.testing.assert_allclose(wave, (left + right) / 2, atol=1e-6)
    assert read_info(str(tmp_path / "a.wav")).channels == 2


@pytest.mark.parametrize(("stored", "rate"), [(16000, 8000), (8000, 16000), (44100, 16000)])
def test_a_tone_keeps_its_pitch_and_level_when_resampled(stored, rate):
    time = np.arange(stored) / stored
    wave = resampled(np.sin(2 * np.pi * 1000 * time).astype(np.float32), stored, rate)
    assert wave.dtype == np.float32 and len(wave) == rate
    spectrum = np.abs(np.fft.rfft(wave)) / (rate / 2)
    assert spectrum.argmax() == 1000 and spectrum[1000] == pytest.approx(1, abs=0.01)


def test_what_a_lower_rate_cannot_hold_is_taken_away():
    time = np.arange(16000) / 16000
    wave = resampled(np.sin(2 * np.pi * 6000 * time).astype(np.float32), 16000, 8000)
    assert np.abs(wave[100:-100]).max() < 0.01, "6 kHz would be heard as 2 kHz"


def damaged(path, case):
    whole = Path(write(path)).read_bytes()
    content = {
        "empty": b"",
        "text": b"this is no recording",
        "header": whole[:20],
        "other": b"\x89PNG" + whole[4:],
    }.get(case)
    if content is not None:
        path.write_bytes(content)
    elif case == "no samples":
        soundfile.write(path, np.zeros(0, np.float32), RATE)
    else:
        wave = tone(440)
        wave[7] = {"nan": np.nan, "inf": np.inf}[case]
        soundfile.write(path, wave, RATE, subtype="FLOAT")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("empty", "is empty"),
        ("text", "cannot be read as wav"),
        ("header", "cannot be read as wav"),
        ("other", "cannot be read as wav"),
        ("no samples", "no samples"),
        ("nan", "first at 7"),
        ("inf", "first at 7"),
    ],
)
def test_bad_files_are_named(tmp_path, case, said):
    path = tmp_path / "a.wav"
    damaged(path, case)
    with refused("a.wav", said):
        read_wave(str(path), RATE)
    if case not in ("nan", "inf"):
        with refused("a.wav", said):
            read_info(str(path))


def test_a_flac_that_does_not_say_how_long_it_is(tmp_path):
    path = tmp_path / "a.flac"
    noise = np.random.default_rng(0).normal(0, 0.1, 10 * RATE).astype(np.float32)
    soundfile.write(path, noise, RATE, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    # The last 36 bits of bytes 10 to 17 of the first block are the number of samples.
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with refused("a.flac", "encode it anew"):
        read_info(str(path))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    (tmp_path / "b.wav").mkdir()
    for name, said in (("a.wav", "No such file"), ("b.wav", "cannot be read")):
        with refused(name, said):
            read_wave(str(tmp_path / name), RATE)
