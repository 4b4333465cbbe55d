"""The published files of NAS-Bench-201 and NATS-Bench, as the arrays of a table.

They are pickles. A pickle may name any function to call; here the names are limited to
dictionaries and to stand-ins that make plain numbers, and a file that names another is refused
before anything is called. Numpy's own dtypes and arrays are not among them: a file could have
them read addresses that it wrote itself.
"""

import bz2
import pickle
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UsageError
from ..core.files import write_atomic
from ..core.progress import Reporter
from ..core.space_text import load_space

__all__ = ["convert", "is_published", "read_published"]

ENDING = ".pickle.pbz2"
SPLITS = {
    "cifar10": (("cifar10-valid", "x-valid"), ("cifar10", "ori-test")),
    "cifar100": (("cifar100", "x-valid"), ("cifar100", "x-test")),
    "ImageNet16-120": (("ImageNet16-120", "x-valid"), ("ImageNet16-120", "x-test")),
}
"""Data set -> what its accuracy after 12 epochs is of, and after 200: (trained on, scored on)."""
_EPOCHS = {"12": ("12", "less"), "200": ("200", "full")}
"""Epochs -> the names that NATS-Bench and NAS-Bench-201 have for them."""
_KINDS = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "b1")
_TRUSTED = 888
"""Seed whose costs hold where those of several seeds differ, as the published API has it."""

Results = Mapping[str, Any]
"""The record of a cell: "all_results" and "dataset_seed"."""


def is_published(path: Path) -> bool:
    """Whether a path looks like a published file or folder."""
    return path.suffix in (".pth", ".pbz2") or path.is_dir()


def read_published(path: str | Path, reporter: Reporter | None = None) -> dict[str, Any]:
    """Reads all cells.

    Args:
        path: ``NATS-tss-v1_0-3ffb9-simple``, the folder; ``NATS-tss-v1_0-3ffb9.pickle.pbz2``;
            or ``NAS-Bench-201-v1_1-096897.pth``. The folder needs little memory, the files about
            ten times their size.
        reporter: Shows progress; none where None.

    Returns:
        The arrays that :class:`nas_domains.evaluation.table.TableEvaluator` describes. A data set
        that is not there for every cell is left out.

    Raises:
        UsageError: It is no such file or folder, is damaged, or holds what numbers do not need.
    """
    path = Path(path)
    archs, cells = _cells(path)
    # Any: it has the strings of cells, which other spaces have not.
    space: Any = load_space("nasbench201")
    rows = [_row(path, space, arch) for arch in archs]
    columns: dict[str, list[list[float]]] = {
        name: [] for name in ("val_acc_12ep", "test_acc_200ep", "params_M", "mflops")
    }
    with (reporter or Reporter(quiet=True)).bar("read", len(archs), "cells") as advance:
        for number, cell in enumerate(cells, 1):
            try:
                numbers = _numbers(cell)
            except (
                LookupError, ArithmeticError, TypeError, ValueError, AttributeError, StopIteration
            ):  # fmt: skip
                raise UsageError(
                    f"The cell {number - 1} of {str(path)!r} is not as the benchmark's are: "
                    "restore it from a copy."
                ) from None
            for name, row in numbers.items():
                columns[name].append(row)
            advance(number)
    arrays = {name: np.array(column, np.float32) for name, column in columns.items()}
    whole = [
        all(np.isfinite(column[:, i]).all() for column in arrays.values())
        for i in range(len(SPLITS))
    ]
    if not any(whole):
        raise UsageError(f"{str(path)!r} holds no data set that all its cells were trained on.")
    return {
        "ops": np.array(space.choices[0].options),
        "edges": np.array(["<-".join(reversed(c.name.split("->"))) for c in space.choices]),
        "datasets": np.array([name for name, kept in zip(SPLITS, whole, strict=True) if kept]),
        "arch": np.array(rows, np.int8),
        **{name: column[:, whole] for name, column in arrays.items()},
    }


def convert(path: str | Path, out: str | Path, *, quiet: bool = False) -> Path:
    """Writes a published file as an ``.npz``, which loads at once.

    Args:
        path: See :func:`read_published`.
        out: The ``.npz``.
        quiet: Show no progress.

    Raises:
        UsageError: As :func:`read_published`; or the place is no ``.npz`` or cannot be written.
    """
    out = Path(out)
    if out.suffix != ".npz":
        raise UsageError(f"{str(out)!r} is no .npz by its ending: name it table.npz.")
    arrays = read_published(path, Reporter(quiet))

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_atomic(out, write)
    return out


def _cells(path: Path) -> tuple[Sequence[str], Iterator[Results]]:
    """The cells' strings, and for each {"12": results, "200": results} as they are read."""
    if path.is_dir():
        archs = _of(path / f"meta{ENDING}", _unpacked(path / f"meta{ENDING}"), "meta_archs")
        places = [path / f"{i:06d}{ENDING}" for i in range(len(archs))]
        return archs, (_unpacked(place) for place in places)
    content = _tensors(path) if path.suffix == ".pth" else _unpacked(path)
    archs = _of(path, content, "meta_archs")
    infos = _of(path, content, "arch2infos", Mapping)
    missing = next((i for i in range(len(archs)) if i not in infos), None)
    if missing is not None:
        raise UsageError(f"{str(path)!r} lacks the cell {missing}: restore it from a copy.")
    return archs, (infos[i] for i in range(len(archs)))


def _of(path: Path, content: Any, name: str, kind: type = list) -> Any:
    found = content.get(name) if isinstance(content, Mapping) else None
    if not isinstance(found, kind) or not found:
        raise UsageError(
            f"{str(path)!r} has no {name}: name a file of NAS-Bench-201 or of NATS-Bench's "
            "topology space."
        )
    return found


def _row(path: Path, space: Any, arch: object) -> list[int]:
    """Number of the option of each choice of a cell."""
    try:
        architecture = space.from_arch_str(str(arch))
    except UsageError:
        raise UsageError(
            f"{str(path)!r} holds {str(arch)[:80]!r}, which is no cell of NAS-Bench-201: name a "
            "file of its topology space."
        ) from None
    return [choice.options.index(architecture[choice.name]) for choice in space.choices]


def _numbers(cell: Results) -> dict[str, list[float]]:
    """A row of each column, NaN where a data set is missing."""
    by_epochs = {
        epochs: next(cell[name] for name in names if name in cell)
        for epochs, names in _EPOCHS.items()
    }
    rows: dict[str, list[float]] = {
        "val_acc_12ep": [_accuracy(by_epochs["12"], *first) for first, _ in SPLITS.values()],
        "test_acc_200ep": [_accuracy(by_epochs["200"], *last) for _, last in SPLITS.values()],
    }
    for name, key in (("params_M", "params"), ("mflops", "flop")):
        rows[name] = [_cost(by_epochs["200"], on, key) for _, (on, _) in SPLITS.values()]
    return rows


def _trials(results: Results, dataset: str) -> dict[int, Results]:
    seeds = results["dataset_seed"].get(dataset, ())
    return {int(seed): results["all_results"][dataset, seed] for seed in seeds}


def _accuracy(results: Results, dataset: str, split: str) -> float:
    """Percent after the last epoch, the mean over seeds."""
    found = []
    for trial in _trials(results, dataset).values():
        accuracy = trial["eval_acc1es"].get(f"{split}@{trial['epochs'] - 1}")
        if accuracy is not None:
            found.append(float(accuracy))
    return float(np.mean(found)) if found else float("nan")


def _cost(results: Results, dataset: str, key: str) -> float:
    trials = _trials(results, dataset)
    values = {seed: float(trial[key]) for seed, trial in trials.items()}
    if len({f"{value:.5f}" for value in values.values()}) > 1 and _TRUSTED in values:
        return values[_TRUSTED]
    return float(np.mean(list(values.values()))) if values else float("nan")


class _Kind:
    """Stands for numpy's dtype, of plain numbers alone: a real one may read pointers."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if code not in _KINDS:
            raise pickle.UnpicklingError(f"it holds numbers of the kind {code!r}")
        self.code, self.order = code, "<"

    def __setstate__(self, state: Sequence[Any]) -> None:
        if state[1] not in ("<", ">", "|", "=") or any(state[2:5]):
            raise pickle.UnpicklingError("it holds numbers of several parts")
        self.order = state[1]


class _Scalar:
    """Stands for numpy's maker of a number. It has no attributes that a file could change."""

    __slots__ = ()

    def __call__(self, kind: object, data: object) -> Any:
        """The number as one of Python's."""
        if type(kind) is not _Kind or type(data) is not bytes:
            raise pickle.UnpicklingError("it holds a number of an unknown kind")
        order: Any = kind.order
        dtype = np.dtype(kind.code).newbyteorder(order)
        if len(data) != dtype.itemsize:
            raise pickle.UnpicklingError("it holds a number of another length")
        return np.frombuffer(data, dtype)[0].item()


class _Latin1:
    """Stands for how old pickles write bytes."""

    __slots__ = ()

    def __call__(self, text: object, encoding: object) -> bytes:
        """The bytes of a text."""
        if type(text) is not str or encoding != "latin1":
            raise pickle.UnpicklingError("it holds bytes in another encoding")
        return text.encode("latin1")


def _trusted() -> dict[tuple[str, str], Any]:
    """The names that a published pickle may call: dictionaries, and stand-ins for numpy's."""
    scalar = _Scalar()
    return {
        ("collections", "OrderedDict"): OrderedDict,
        ("collections", "defaultdict"): defaultdict,
        ("builtins", "list"): list,
        ("builtins", "dict"): dict,
        ("builtins", "set"): set,
        ("_codecs", "encode"): _Latin1(),
        ("numpy", "dtype"): _Kind,
        ("numpy.core.multiarray", "scalar"): scalar,
        ("numpy._core.multiarray", "scalar"): scalar,
    }


class _Numbers(pickle.Unpickler):
    """Reads dictionaries, lists and numbers, and nothing else."""

    names = _trusted()

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for, if it is one of the few."""
        found = self.names.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return found


def _unpacked(path: Path) -> Any:
    def load() -> Any:
        with bz2.open(path, "rb") as file:
            return _Numbers(file).load()

    return _opened(path, load)


def _tensors(path: Path) -> Any:
    import torch

    names: list[Any] = [
        (call, f"{module}.{name}") for (module, name), call in _Numbers.names.items()
    ]

    def load() -> Any:
        with torch.serialization.safe_globals(names):
            return torch.load(path, map_location="cpu", weights_only=True)

    return _opened(path, load)


def _opened(path: Path, load: Callable[[], Any]) -> Any:
    """What a file holds, or one sentence on why it is not opened."""
    try:
        return load()
    except FileNotFoundError:
        raise UsageError(f"No such file: {str(path)!r}.") from None
    except (IsADirectoryError, PermissionError) as error:
        raise UsageError(f"{str(path)!r} cannot be read ({error.strerror}).") from None
    except MemoryError:
        raise
    except Exception as error:
        # pickle, bz2 and torch have a dozen exceptions for damaged and forged files.
        raise UsageError(_refused(path, error)) from None


def _refused(path: Path, error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:120]
    # Torch's error tells at length how to run the file all the same.
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named or "Weights only" in reason:
        reason = f"it names {named[1]}" if named else "it is no file of torch"
    return (
        f"{str(path)!r} is damaged, or holds more than numbers, and is not opened ({reason}): "
        "restore it from a copy."
    )
