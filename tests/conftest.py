"""What all tests share: where the real data lies, and small fixtures."""

import os
from pathlib import Path

# The networks of the tests are small: one thread is as fast, and other work on the machine does
# not slow it tenfold, as it does threads that wait for each other. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402

SHARED = Path(os.environ.get("NAS_DOMAINS_SHARED", Path(__file__).parents[2] / "shared"))

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real data sets are not here (NAS_DOMAINS_SHARED names them)"
)


@pytest.fixture
def on_memory(monkeypatch):
    """Which passes of mixed edges have computed on memory, and not handed on to the op."""
    from nas_domains.ops.direct import DirectEdge

    seen = []
    for name in ("forward", "backward"):
        own = getattr(DirectEdge, name)

        def told(*arguments, own=own, name=name):
            seen.append(name)
            return own(*arguments)

        monkeypatch.setattr(DirectEdge, name, told)
    return seen
