"""Data sets of medical imaging by name: fetched once, where a network allows, then read from disk.

``monai:Task04_Hippocampus`` is one of the Medical Segmentation Decathlon, from where MONAI has it;
``medmnist:breastmnist`` or ``medmnist:breastmnist:64`` one of MedMNIST, from where its package has
it. They lie in ``NAS_DOMAINS_DATA``, by default ``nas_domains`` in the user's folder of caches.
"""

import contextlib
import importlib.util
import io
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..core.errors import UsageError
from ..core.task import Split, Task
from .tasks import MedMnist, Segmentation, decathlon, medmnist

SIZES = ("28", "64", "128", "224")
"""Sides of MedMNIST's images in pixels; 28 where none is named."""


def data_folder() -> Path:
    """Where data sets lie that were fetched by name."""
    named = os.environ.get("NAS_DOMAINS_DATA")
    return Path(named) if named else Path.home() / ".cache" / "nas_domains"


class Named:
    """A loader of data sets by name; satisfies :class:`nas_domains.core.task.TaskLoader`.

    Args:
        prefix: What its sources begin with, and a colon.
        reader: What reads them once they are there.
        place: The name behind the prefix -> the file or folder, fetched where it is not there.
    """

    def __init__(
        self, prefix: str, reader: Segmentation | MedMnist, place: Callable[[str], Path]
    ) -> None:
        self.prefix, self.reader, self.place = f"{prefix}:", reader, place

    def accepts(self, source: str) -> bool:
        """Whether a source has the prefix."""
        return source.startswith(self.prefix)

    def load(self, source: str, **options: Any) -> Task:
        """Fetches the data where they are not there, and reads them; see the reader for options.

        Raises:
            UsageError: No such data set, none that can be fetched, or a bad option.
        """
        return self.reader.load(str(self.place(source.removeprefix(self.prefix))), **options)

    def inputs(self, source: str, preprocess: Mapping[str, Any]) -> tuple[list[str], Split]:
        """As the reader's, which a run remembers."""
        return self.reader.inputs(source, preprocess)


def decathlon_folder(name: str) -> Path:
    """The folder of a task of the Medical Segmentation Decathlon.

    Raises:
        UsageError: No such task, or it cannot be fetched.
    """
    from monai.apps import DecathlonDataset, download_url, extractall

    known = DecathlonDataset.resource
    if name not in known:
        raise UsageError(f"monai:{name} is no data set: known are {', '.join(sorted(known))}.")
    root = data_folder()
    folder = root / name
    if not folder.is_dir():
        archive = root / f"{name}.tar"

        def fetch() -> None:
            download_url(known[name], archive, DecathlonDataset.md5[name], "md5")
            # A folder that is there is whole.
            with tempfile.TemporaryDirectory(dir=root) as made:
                extractall(archive, made)
                with contextlib.suppress(OSError):  # where another process was faster
                    os.replace(Path(made) / name, folder)
            archive.unlink(missing_ok=True)

        _fetch(f"monai:{name}", fetch)
    return folder


def medmnist_file(name: str) -> Path:
    """The .npz of a MedMNIST data set.

    Raises:
        UsageError: No such data set or size, the package is missing, or it cannot be fetched.
    """
    if importlib.util.find_spec("medmnist") is None:
        raise UsageError(f"medmnist:{name} needs the package medmnist: pip install medmnist.")
    # Without its own requirements the package prints that these are missing; this needs none.
    with contextlib.redirect_stdout(io.StringIO()):
        from medmnist.info import INFO
    from monai.apps import download_url

    flag, _, size = name.partition(":")
    if flag not in INFO:
        raise UsageError(f"medmnist:{name} is no data set: known are {', '.join(sorted(INFO))}.")
    ending = "" if size in ("", SIZES[0]) else f"_{size}"
    if f"url{ending}" not in INFO[flag]:
        sizes = [s for s in SIZES if s == SIZES[0] or f"url_{s}" in INFO[flag]]
        raise UsageError(f"medmnist:{name} has no such size: known are {', '.join(sizes)}.")
    file = data_folder() / f"{flag}{ending}.npz"
    if not file.is_file():
        url, digest = INFO[flag][f"url{ending}"], INFO[flag][f"MD5{ending}"]

        def fetch() -> None:
            # A file that is there is whole.
            with tempfile.TemporaryDirectory(dir=file.parent) as made:
                download_url(url, Path(made) / file.name, digest, "md5")
                os.replace(Path(made) / file.name, file)

        _fetch(f"medmnist:{name}", fetch)
    return file


def _fetch(source: str, fetch: Callable[[], None]) -> None:
    folder = data_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fetch()
    except Exception as error:  # it raises many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UsageError(
            f"{source!r} cannot be fetched into {str(folder)!r} ({reason[:200]}): fetch it by "
            "other means and name its place."
        ) from None


monai_named = Named("monai", decathlon, decathlon_folder)
medmnist_named = Named("medmnist", medmnist, medmnist_file)
