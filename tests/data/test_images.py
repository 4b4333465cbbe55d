"""Image splits: values, normalisation, caching, decoding."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nas_domains.core.errors import UsageError
from nas_domains.core.task import Split
from nas_domains.data.decode import decode, read_header
from nas_domains.data.images import ArrayImages, FileImages, channel_statistics
from tests.make import one_sentence

from .make import write_image


@given(st.integers(1, 600), st.integers(1, 3), st.integers(0, 99), st.sampled_from([0, 1e6]))
def test_statistics_equal_numpys(n, channels, seed, offset):
    pixels = np.random.default_rng(seed).normal(offset, 3, (n, 3, 2, channels))
    mean, std = channel_statistics(ArrayImages(pixels.astype(np.float32), np.zeros(n, np.int64)))
    exact = pixels.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(std, exact.std((0, 1, 2)), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64, ">u2"])
def test_array_images(dtype):
    pixels = np.random.default_rng(0).integers(0, 200, (20, 5, 4, 3)).astype(dtype)
    labels = np.arange(20, dtype=np.int64)
    images = ArrayImages(pixels, labels, scale=255.0)
    images = images.normalised(*channel_statistics(images))
    assert isinstance(images, Split) and len(images) == 20
    x, y = images.batch([3, 3, 19])
    assert x.dtype == torch.float32 and x.shape == (3, 3, 5, 4) and y.tolist() == [3, 3, 19]
    assert y.dtype == torch.int64 and x.is_contiguous()
    single, label = images[-1]
    assert torch.equal(single, x[2]) and label == 19
    everything, _ = images.batch(range(20))
    torch.testing.assert_close(everything.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        everything.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0
    )
    with pytest.raises(IndexError):
        images[20]
    assert sum(1 for _ in images) == 20


def test_a_constant_channel_stays_finite():
    images = ArrayImages(np.full((4, 2, 2, 1), 7, np.uint8), np.zeros(4, np.int64))
    images = images.normalised(*channel_statistics(images))
    assert torch.equal(images.batch([0, 1])[0], torch.zeros(2, 1, 2, 2))


def test_a_torch_loader_takes_them():
    images = ArrayImages(np.zeros((5, 2, 2, 1), np.uint8), np.arange(5))
    x, y = next(iter(torch.utils.data.DataLoader(images, batch_size=5)))
    assert x.shape == (5, 1, 2, 2) and y.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("room", [0, 3, 10])
def test_files_are_the_same_whatever_is_cached(tmp_path, room, monkeypatch):
    paths = [write_image(tmp_path / f"{i}.png", seed=i) for i in range(10)]
    images = FileImages(paths, np.arange(10), (12, 10), 1, cache_bytes=room * 120)
    images.fill()
    calls = []

    def counted(path, *rest):
        calls.append(path)
        return decode(path, *rest)

    monkeypatch.setattr("nas_domains.data.images.decode", counted)
    x, _ = images.batch([9, 0, 9, 4])
    exact = [np.asarray(Image.open(paths[i])) for i in (9, 0, 9, 4)]
    assert torch.equal(x[:, 0], torch.tensor(np.stack(exact)).float() * np.float32(1 / 255))
    assert len(calls) == {0: 4, 3: 3, 10: 0}[room]


def test_orientation_is_undone(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert read_header(str(tmp_path / "a.jpg")).size == (40, 20)
    upright = decode(str(tmp_path / "a.jpg"), (40, 20), 1, False)
    assert upright[5:15].mean() > 250 and upright[25:35].mean() < 5


def test_sixteen_bits_keep_their_depth(tmp_path):
    values = (np.arange(120, dtype=np.uint16) * 30).reshape(12, 10)
    path = str(tmp_path / "a.png")
    Image.fromarray(values).save(path)
    assert read_header(path).deep and read_header(path).grey
    assert (decode(path, (12, 10), 1, True)[:, :, 0] == values).all()
    assert decode(path, (12, 10), 1, False).max() == round(119 * 30 / 257)
    assert decode(path, (12, 10), 3, False).shape == (12, 10, 3)
    eight = write_image(tmp_path / "b.png")
    wide, narrow = (decode(eight, (12, 10), 1, deep).astype(int) for deep in (True, False))
    assert (wide == 257 * narrow).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_grey_or_rgb(tmp_path, mode, channels):
    image = Image.fromarray(np.full((6, 8, 3), 200, np.uint8)).convert(mode)
    path = str(tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png"))
    image.save(path)
    pixels = decode(path, (3, 4), channels, False)
    assert pixels.shape == (3, 4, channels) and pixels.dtype == np.uint8
    assert abs(int(pixels.mean()) - (255 if mode == "1" else 200)) < 60


def test_a_large_jpeg_is_reduced_to_nearly_the_same(tmp_path):
    x = np.linspace(0, 255, 1600)
    pixels = np.repeat(np.repeat(x[None, :, None], 1200, 0), 3, 2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    small = decode(str(tmp_path / "a.jpg"), (60, 80), 3, False).astype(float)
    exact = np.asarray(Image.fromarray(pixels).resize((80, 60), Image.Resampling.BILINEAR))
    assert np.abs(small - exact).max() <= 4


def broken_files(tmp_path):
    whole = Path(write_image(tmp_path / "whole.png", (50, 50))).read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    jpeg = (tmp_path / "whole.jpg").read_bytes()
    yield "zero.png", b""
    yield "cut.png", whole[: len(whole) // 2]
    yield "head.png", whole[:20]
    yield "text.png", b"this is a note, not an image"
    yield "cut.jpg", jpeg[: len(jpeg) // 2]
    yield "bits.png", whole[:60] + bytes(200) + whole[260:]


def test_broken_files_are_named(tmp_path):
    for name, content in broken_files(tmp_path):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UsageError) as caught:
            decode(str(path), (10, 10), 1, False)
        one_sentence(str(caught.value), name)


def test_stacks_and_floating_point_files_are_refused(tmp_path):
    slices = [Image.fromarray(np.full((5, 5), i, np.uint8)) for i in range(4)]
    slices[0].save(tmp_path / "stack.tif", save_all=True, append_images=slices[1:])
    with pytest.raises(UsageError, match="holds 4 images.*medical"):
        read_header(str(tmp_path / "stack.tif"))
    Image.fromarray(np.zeros((5, 5), np.float32)).save(tmp_path / "real.tif")
    with pytest.raises(UsageError, match="floating-point"):
        read_header(str(tmp_path / "real.tif"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "gif", "bmp", "webp", "ppm"])
def test_any_damage_to_a_file_is_found_or_harmless(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(150):
        content = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        # Headers are short: half of the damage goes there.
        reach = min(len(content), 64) if rng.random() < 0.5 else len(content)
        for place in rng.integers(0, reach, 4):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            read_header(str(path))
            assert decode(str(path), (8, 8), 3, False).shape == (8, 8, 3)
        except UsageError as error:
            one_sentence(str(error), path.name)
