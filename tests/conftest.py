"""What all tests share: where the real data lies, and small fixtures."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("NAS_DOMAINS_SHARED", Path(__file__).parents[2] / "shared"))

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real data sets are not here (NAS_DOMAINS_SHARED names them)"
)
