"""How a refusal must read: one sentence that names the value."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nas_domains.core.errors import UsageError
from tests.make import one_sentence


@contextmanager
def refused(*names: object) -> Iterator[None]:
    """Expects a UsageError of one sentence in which each name stands."""
    with pytest.raises(UsageError) as caught:
        yield
    one_sentence(str(caught.value), *map(str, names))
