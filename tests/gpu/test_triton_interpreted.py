"""The op contract on the Triton kernels, interpreted on the CPU. Drawn shapes run as PTX instead.

In processes of their own, as Triton reads TRITON_INTERPRET when a kernel is defined.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the Triton kernels need triton")
TESTS = Path(__file__).parents[1]
FILES = ["test_norm_weighted_sum.py", "test_sample_paths.py", "test_weighted_sum.py"]


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_the_op_contract_holds_under_the_interpreter(file):
    command = [sys.executable, "-m", "pytest", "-rs", "-k", "triton and not any_shape"]
    done = subprocess.run(
        [*command, TESTS / "ops" / file],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    unexplained = [line for line in skipped if "depend on the number of threads" not in line]
    assert "passed" in done.stdout and not unexplained, done.stdout[-2000:]
