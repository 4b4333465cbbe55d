"""What the tests of mixed operations share."""

import pytest

from nas_domains import ops


@pytest.fixture(params=["reference", "native"])
def backend(request):
    """Runs the test on each backend that is here."""
    if request.param not in ops.available():
        pytest.skip(f"the {request.param} backend is not here")
    with ops.backend(request.param):
        yield request.param
