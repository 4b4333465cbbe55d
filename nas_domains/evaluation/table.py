"""Scores that are looked up in a table of trained architectures."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.architecture import Architecture
from ..core.errors import UsageError
from ..core.evaluate import Evaluator, Fidelity, Metrics
from ..core.space import SearchSpace
from .published import is_published, read_published

COLUMNS = {12: "val_acc_12ep", 200: "test_acc_200ep"}
"""Epochs of training -> the column that holds the accuracy after them, in percent."""
NEEDED = ("ops", "edges", "datasets", "arch", "params_M", "mflops", *COLUMNS.values())


class TableEvaluator(Evaluator):
    """Looks NAS-Bench-201's cells up (Dong & Yang 2020, arXiv 2001.00326).

    The table is an ``.npz``: ``arch`` [N, 6] are numbers of the names in ``ops``, in the order of
    ``edges`` ("1<-0", ...); ``val_acc_12ep``, ``test_acc_200ep``, ``params_M`` and ``mflops``
    [N, D] belong to the ``datasets``. The accuracy after 12 epochs is of the validation split;
    after 200 the table has that of the test split alone, as published comparisons of searches do.
    Published files are read too; :func:`nas_domains.evaluation.published.convert` makes an
    ``.npz`` of one, which loads at once.

    Args:
        space: The space ``nasbench201``.
        path: The ``.npz``; or a published file of NAS-Bench-201 or NATS-Bench, see
            :func:`nas_domains.evaluation.published.read_published`.
        dataset: One of the table's.
        latency: An ``.npz`` with ``devices`` [K] and ``latency_ms`` [N, K] of the same rows.
        device: One of those.

    Attributes:
        columns: Name -> the table's column of the data set [N].

    Raises:
        UsageError: The file is not such a table, of another space, or lacks the data set or the
            device.
    """

    def __init__(
        self,
        space: SearchSpace,
        path: str | Path,
        dataset: str = "cifar10",
        *,
        latency: str | Path | None = None,
        device: str | None = None,
    ) -> None:
        place = Path(path)
        arrays = read_published(place) if is_published(place) else _read(place, NEEDED)
        at = _position(arrays["datasets"], dataset, "data set", path)
        self.columns: dict[str, npt.NDArray[Any]] = {
            name: arrays[name][:, at] for name in (*COLUMNS.values(), "params_M", "mflops")
        }
        if latency is not None:
            times = _read(Path(latency), ("devices", "latency_ms"))
            where = _position(times["devices"], device or "", "device", latency)
            self.columns["latency_ms"] = times["latency_ms"][:, where]
        self._edges = ["->".join(reversed(e.split("<-"))) for e in arrays["edges"].tolist()]
        options = {c.name: set(c.options) for c in space.choices}
        names = arrays["ops"].tolist()
        if sorted(options) != sorted(self._edges) or any(
            o != set(names) for o in options.values()
        ):
            raise UsageError(
                f"The table {str(path)!r} is not of the space {space.name!r}: use nasbench201."
            )
        self._rows = {tuple(names[i] for i in r): n for n, r in enumerate(arrays["arch"].tolist())}

    def row(self, architecture: Mapping[str, Any]) -> int:
        """Where an architecture stands in the table.

        Raises:
            UsageError: It is not in the table.
        """
        row = self._rows.get(tuple(architecture[edge] for edge in self._edges))
        if row is None:
            raise UsageError(f"The table has no cell {dict(architecture)}: use a complete one.")
        return row

    def __call__(self, architecture: Architecture, fidelity: Fidelity, *, trial: int) -> Metrics:
        """See :class:`Evaluator`; ``accuracy`` is a fraction.

        Raises:
            UsageError: The table was not made with that many epochs.
        """
        if fidelity.epochs not in COLUMNS:
            raise UsageError(
                f"epochs={fidelity.epochs} is not in the table: it has "
                f"{' and '.join(map(str, COLUMNS))}."
            )
        row = self.row(architecture)
        latency = self.columns.get("latency_ms")
        return {
            "accuracy": float(self.columns[COLUMNS[fidelity.epochs]][row]) / 100,
            "params": round(float(self.columns["params_M"][row]) * 1e6),
            # The benchmark counts a multiplication and its addition as one.
            "macs": round(float(self.columns["mflops"][row]) * 1e6),
            "latency_ms": None if latency is None else float(latency[row]),
        }


def _position(names: npt.NDArray[Any], name: str, kind: str, path: str | Path) -> int:
    known = names.tolist()
    if name not in known:
        raise UsageError(
            f"{str(path)!r} has no {kind} {name!r}: name one of {', '.join(map(str, known))}."
        )
    return int(known.index(name))


def _read(path: Path, needed: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    if path.suffix != ".npz":
        raise UsageError(
            f"{str(path)!r} is no .npz, and no .pth or .pickle.pbz2 of the benchmark: name one of "
            "them."
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in needed if name not in file.files]
            if not missing:
                return {name: file[name] for name in needed}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UsageError(
            f"Cannot read the table {str(path)!r} ({error}): name the .npz of the benchmark."
        ) from None
    raise UsageError(
        f"The table {str(path)!r} lacks {missing[0]!r}: it needs {', '.join(needed)}."
    )
