"""Log-mel spectrograms against transformers' own."""

import numpy as np
import pytest
import torch

from nas_domains.data.mel import FLOOR, MelShape, check_bins, fitted, log_mel, spectrograms
from tests.core.refusal import refused
from tests.speech.make import tone, write

audio_utils = pytest.importorskip("transformers.audio_utils")


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 16000])
def test_frames_are_those_of_transformers(rate):
    shape = MelShape(rate, 31, 40)
    wave = fitted(tone(700, 0.3, rate=rate), shape.samples)
    length = 2 << (shape.window - 1).bit_length()
    bank = audio_utils.mel_filter_bank(length // 2 + 1, 40, 20.0, rate / 2, rate)
    assert bank.any(0).all(), "each band holds a frequency"
    expected = audio_utils.spectrogram(
        wave.astype(np.float64),
        audio_utils.window_function(shape.window, "hann"),
        shape.window,
        shape.hop,
        fft_length=length,
        power=2.0,
        pad_mode="constant",
        mel_filters=bank,
        mel_floor=FLOOR,
        log_mel="log",
        dtype=np.float64,
    )
    found = log_mel(torch.from_numpy(wave)[None], shape)
    assert found.shape == (1, *shape.size) == (1, 1, 40, 31)
    # float32 keeps the transform to 1e-6 of its largest amplitude, of which the noise has 1e-2.
    assert np.abs(found[0, 0].numpy() - expected).max() < 1e-3


def test_a_tone_lies_in_its_band():
    shape = MelShape(8000, 21, 40)
    waves = [torch.from_numpy(fitted(tone(hz), shape.samples)) for hz in (300, 2000)]
    low, high = log_mel(torch.stack(waves), shape)
    assert low.mean(2).argmax() < high.mean(2).argmax()


def test_silence_is_the_floor():
    shape = MelShape(8000, 5, 40)
    found = log_mel(torch.zeros(2, shape.samples), shape)
    assert torch.equal(found, torch.full_like(found, FLOOR).log())


@pytest.mark.parametrize(
    ("length", "samples", "expected"),
    [
        (5, 5, [1, 2, 3, 4, 5]),
        (5, 3, [2, 3, 4]),
        (5, 2, [2, 3]),
        (2, 5, [0, 1, 2, 0, 0]),
        (1, 2, [1, 0]),
    ],
)
def test_recordings_are_fitted_to_their_middle(length, samples, expected):
    assert fitted(np.arange(1, length + 1, dtype=np.float32), samples).tolist() == expected


def test_a_batch_is_its_files(tmp_path):
    shape = MelShape(8000, 21, 16)
    paths = [write(tmp_path / f"{i}.wav", 300 * (i + 1), 0.1 + 0.1 * i) for i in range(3)]
    whole = spectrograms(paths, shape)
    for i, path in enumerate(paths):
        torch.testing.assert_close(spectrograms([path], shape)[0], whole[i])


@pytest.mark.parametrize("bad", [7, 129, -1, "x", "4.5", None, ""])
def test_bands_out_of_range_are_refused(bad):
    with refused("bins", bad):
        check_bins(bad)
    assert check_bins("40") == check_bins(40) == 40
