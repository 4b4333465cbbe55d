"""The choice of backend: by environment, by context manager, and with parts missing."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nas_domains import ops
from nas_domains.core.errors import UsageError
from nas_domains.ops.backend import native_module

USE = """
import torch
from nas_domains import ops
x = torch.ones(3, requires_grad=True)
w = torch.ones(2, requires_grad=True)
ops.weighted_sum([x, x], w).sum().backward()
assert x.grad.tolist() == [2, 2, 2] and w.grad.tolist() == [3, 3]
print(ops.active("cpu")["weighted_sum_fwd"], ops.available())
"""
BLOCK = "import sys; sys.modules[{!r}] = None\n"


def python(code, **env):
    """Runs code in a new interpreter; returns its output, or the last line of its error."""
    full = {k: v for k, v in os.environ.items() if not k.startswith("NAS_DOMAINS_")} | env
    done = subprocess.run([sys.executable, "-c", code], env=full, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().split("\n")[-1]


def test_the_copy_under_test_is_the_one_meant():
    """`make sanitize` tests another build of the package, and must not test this one."""
    copy = os.environ.get("NAS_DOMAINS_TESTED_COPY")
    if copy is None:
        pytest.skip("the installed package is the one under test")
    assert Path(native_module().__file__).is_relative_to(copy)


def test_without_triton_and_without_compiled_module():
    code = BLOCK.format("triton") + BLOCK.format("nas_domains._C") + USE
    assert python(code) == "reference ['reference']"


def test_without_triton():
    backend = "native" if native_module() else "reference"
    assert python(BLOCK.format("triton") + USE).startswith(backend)


@pytest.mark.parametrize(
    ("name", "block", "sentence"),
    [
        ("native", "nas_domains._C", "NAS_DOMAINS_BACKEND is native, which needs the compiled"),
        ("triton", "triton", "NAS_DOMAINS_BACKEND is triton, which needs the package triton"),
        ("fast", "triton", "NAS_DOMAINS_BACKEND is 'fast'; use one of auto, native, triton"),
    ],
)
def test_a_backend_asked_for_and_missing_is_an_error(name, block, sentence):
    assert sentence in python(BLOCK.format(block) + USE, NAS_DOMAINS_BACKEND=name)


def test_reference_by_environment():
    assert python(USE, NAS_DOMAINS_BACKEND="reference").startswith("reference")


def test_instruction_set_by_environment():
    if native_module() is None:
        pytest.skip("the native backend needs the compiled module")
    show = "from nas_domains import ops; print(ops.info()['isa'])"
    assert python(show, NAS_DOMAINS_ISA="portable") == "portable"
    assert "UsageError: NAS_DOMAINS_ISA is 'sse9'; use one of portable" in python(
        USE, NAS_DOMAINS_ISA="sse9"
    )
    with pytest.raises(ValueError, match="no instruction set 'sse9'"):
        native_module().set_isa("sse9")


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("NAS_DOMAINS_BACKEND", "fast", "NAS_DOMAINS_BACKEND is 'fast'; use one of auto, native"),
        ("NAS_DOMAINS_ISA", "sse9", "NAS_DOMAINS_ISA is 'sse9'; use one of portable"),
        ("PYTHONPATH", "{broken}", "nas_domains._C does not load with torch"),
    ],
)
def test_the_command_line_says_it_in_one_sentence(variable, value, sentence, tmp_path):
    if variable == "NAS_DOMAINS_ISA" and native_module() is None:
        pytest.skip("the native backend needs the compiled module")
    # Stands for a module that was compiled for another torch.
    (tmp_path / "sitecustomize.py").write_text(
        "import nas_domains\nnas_domains.__path__.insert(0, __file__.rpartition('/')[0])\n"
    )
    (tmp_path / "_C.py").write_text("raise ImportError('undefined symbol: torch_of_later')")
    env = {k: v for k, v in os.environ.items() if not k.startswith("NAS_DOMAINS_")}
    done = subprocess.run(
        [sys.executable, "-m", "nas_domains.cli", "doctor"],
        env=env | {variable: value.format(broken=tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and sentence in done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.endswith(".\n")


def test_context_manager_restores_and_nests():
    before = ops.active("cpu")
    with ops.backend("reference"):
        assert set(ops.active("cpu").values()) == {"reference"}
        with ops.backend("auto"):
            assert ops.active("cpu")["weighted_sum_fwd"] != "triton"
        assert ops.choice() == "reference"
    assert ops.active("cpu") == before
    with pytest.raises(UsageError, match="The backend is 'cuda'; use one of"), ops.backend("cuda"):
        pass


def test_the_choice_reaches_the_dispatcher(monkeypatch):
    """The backend that `active` names is the one that computes, not only the one reported."""
    calls = []
    op = torch.ops.nas_domains.weighted_sum_fwd
    module = importlib.import_module("nas_domains.ops.backend")  # ops.backend is the function
    entry = module._ops["weighted_sum_fwd"]
    spy = module._Op(
        lambda *args: calls.append(1) or entry.reference(*args), entry.triton, entry.native
    )
    monkeypatch.setitem(module._ops, "weighted_sum_fwd", spy)
    x, w = torch.ones(2), torch.ones(1)
    with ops.backend("reference"):
        op([x], w)
    assert calls == ([1] if entry.native else [])
    op([x], w)
    assert len(calls) == (1 if entry.native else 0)
