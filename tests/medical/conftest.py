"""Skips what needs the extra, and makes the data that several tests read."""

import pytest

pytest.importorskip("monai")
pytest.importorskip("nibabel")

from tests.medical.make import write_folder  # noqa: E402


@pytest.fixture(scope="session")
def balls(tmp_path_factory):
    """A folder of twelve tiny volumes."""
    return write_folder(tmp_path_factory.mktemp("balls") / "Task99_Balls")
