"""The op contract on the Triton kernels, interpreted on the CPU. Drawn shapes run as PTX instead.

In a process of its own, as Triton reads TRITON_INTERPRET when a kernel is defined.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the Triton kernels need triton")
TESTS = Path(__file__).parents[1]


def test_the_op_contract_holds_under_the_interpreter():
    ignored = TESTS / "ops/test_backend.py"  # about the choice, and run in processes of its own
    command = [sys.executable, "-m", "pytest", "-rs", "-k", "triton and not any_shape", f"--ignore={ignored}"]
    done = subprocess.run(
        [*command, TESTS / "ops"],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    unexplained = [line for line in skipped if "the op has no Triton kernel" not in line]
    assert "passed" in done.stdout and not unexplained, done.stdout[-2000:]
