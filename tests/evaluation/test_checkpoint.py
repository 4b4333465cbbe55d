"""Checkpoints: everything comes back as it was, and a damaged file is one sentence."""

import copy
import math
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nas_domains.evaluation import checkpoint
from tests.core.refusal import refused


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.safetensors"


def same(a, b):
    if isinstance(a, torch.Tensor):
        return (
            isinstance(b, torch.Tensor)
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and torch.equal(a.nan_to_num(7), b.nan_to_num(7))
        )
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and (a == b or (a != a and b != b))


SHARED = torch.arange(12.0)
STATES = {
    "scalars": {"a": 1, "b": -2.5, "c": None, "d": True, "e": "né\n", "f": 2**70},
    "not finite": [math.nan, math.inf, -math.inf, 0.1, 1e-300],
    "whole keys": {0: {1: torch.ones(2)}, "0": {"1": 2}, -3: []},
    "nested": [[], {}, [{}], {"a": [torch.zeros(1), {"b": [torch.ones(1)]}]}],
    "names that look like ours": {"tensor": "0", "map": [], "list": {}, "value": {"tensor": "1"}},
    "no tensor": {"a": 1},
    "a tensor alone": torch.arange(3),
    "a value alone": 5,
    "empty tensors": [torch.empty(0), torch.empty(3, 0, 2), torch.tensor(5.0), torch.tensor(7)],
    "types": [
        torch.tensor([1, 2.5]).to(dtype)
        for dtype in (
            torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
            torch.int16, torch.int8, torch.uint8, torch.bool,
        )
    ],
    "shared memory": [SHARED, SHARED, SHARED[2:5], SHARED.view(3, 4)],
    "strides": [
        SHARED.view(3, 4).T, SHARED[::2], SHARED.expand(2, 12),
        torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    ],
    "values": torch.tensor([math.nan, math.inf, -0.0, 1e-45]),
    "gradients": [nn.Parameter(torch.ones(2))],
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_round_trip(path, name):
    checkpoint.save(path, STATES[name])
    loaded = checkpoint.load(path)
    assert same(STATES[name], loaded)
    assert list(path.parent.iterdir()) == [path]


def test_negative_zero_and_every_bit_come_back(path):
    bits = torch.randint(-(2**31), 2**31, (1000,), dtype=torch.int32).view(torch.float32)
    checkpoint.save(path, bits)
    assert torch.equal(checkpoint.load(path).view(torch.int32), bits.view(torch.int32))


def test_what_is_saved_is_a_copy(path):
    x = torch.ones(3)
    checkpoint.save(path, {"x": x})
    loaded = checkpoint.load(path)
    loaded["x"].add_(1)
    assert x.sum() == 3 and checkpoint.load(path)["x"].sum() == 3


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: torch.optim.Adam(p, 0.01, betas=(0.5, 0.999)),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, amsgrad=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("steps_before", [0, 3])
def test_an_optimizer_goes_on_with_the_same_bits(path, name, steps_before):
    torch.manual_seed(0)
    # Convolutions whose weights lie channels-last, as those of a network here do.
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(45, 2))
    model = model.to(memory_format=torch.channels_last)
    optimizer = OPTIMIZERS[name](model.parameters())

    def train(model, optimizer, steps):
        for step in steps:
            x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            model(x).square().sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    train(model, optimizer, range(steps_before))
    checkpoint.save(path, {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        parameter.data.fill_(9)
    again = OPTIMIZERS[name](other.parameters())
    state = checkpoint.load(path)
    other.load_state_dict(state["model"])
    again.load_state_dict(state["optimizer"])
    for m, o in ((model, optimizer), (other, again)):
        train(m, o, range(steps_before, steps_before + 4))
    assert same(model.state_dict(), other.state_dict())
    assert same(optimizer.state_dict(), again.state_dict())


def test_a_file_cut_short_anywhere_is_refused(path):
    checkpoint.save(path, {"a": torch.ones(100), "b": [1, 2]})
    whole = path.read_bytes()
    for length in [*range(0, 64), *range(64, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with refused(repr(str(path)), "delete it"):
            checkpoint.load(path)


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 100, b"\xff" * 100, b"PK\3\4" * 30])
def test_a_foreign_file_is_refused(path, content):
    path.write_bytes(content)
    with refused(repr(str(path))):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"other": "x"},
        *(
            {"state": state}
            for state in (
                "", "x", "[]", "{}", "null", '{"map": 5}', '{"list": 5}', '{"other": 1}',
                '{"tensor": "9"}', '{"map": [[[1], {"value": 1}]]}', '{"value": 1, "map": []}',
            )
        ),
    ],
)  # fmt: skip
def test_a_safetensors_file_of_something_else_is_refused(path, metadata):
    save_file({"weight": torch.ones(2)}, path, metadata=metadata)
    with refused(repr(str(path))):
        checkpoint.load(path)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("a")
    with refused("file/x.safetensors"):
        checkpoint.save(tmp_path / "file" / "x.safetensors", {"a": 1})


BETWEEN = """
import os, signal, sys, torch
from pathlib import Path
from nas_domains.evaluation import checkpoint
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save(Path(sys.argv[1]), {"new": torch.ones(10)})
"""
FULL = """
import resource, sys, torch
from pathlib import Path
from nas_domains.evaluation import checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
checkpoint.save(Path(sys.argv[1]), {"new": torch.ones(10_000)})
"""


def test_killed_before_the_new_file_is_in_place_leaves_the_old(path):
    checkpoint.save(path, {"old": 1})
    killed = subprocess.run([sys.executable, "-c", BETWEEN, str(path)])
    assert killed.returncode == -9
    assert checkpoint.load(path) == {"old": 1}


def test_a_full_disk_leaves_the_old_file_and_is_one_sentence(path):
    """The file-size limit of the system stands for the disk."""
    checkpoint.save(path, {"old": 1})
    failed = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True
    )
    assert "UsageError: Cannot write" in failed.stderr, failed.stderr
    assert checkpoint.load(path) == {"old": 1} and list(path.parent.iterdir()) == [path]
