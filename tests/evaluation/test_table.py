"""The table gives what it holds, and refuses what it does not."""

from pathlib import Path

import numpy as np
import pytest

from nas_domains.core.errors import UsageError
from nas_domains.core.evaluate import Fidelity
from nas_domains.evaluation.table import TableEvaluator
from nas_domains.vision.spaces import darts, nasbench201
from tests.conftest import SHARED, needs_shared

CELLS = nasbench201(cells=1, channels=2)
OPS = [str(option) for option in CELLS.choices[0].options]
EDGES = ["1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2"]


def write(path: Path, **changes: object) -> Path:
    arrays: dict[str, object] = {
        "ops": np.array(OPS),
        "edges": np.array(EDGES),
        "datasets": np.array(["one", "two"]),
        "arch": np.array([[0, 1, 2, 3, 4, 0], [1, 1, 1, 1, 1, 2]]),
        **{
            name: np.arange(4.0).reshape(2, 2) + 10 * i
            for i, name in enumerate(("val_acc_12ep", "test_acc_200ep", "params_M", "mflops"))
        },
    } | changes
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def test_it_gives_the_row_of_a_cell(tmp_path: Path) -> None:
    times = tmp_path / "times.npz"
    np.savez(times, devices=np.array(["a", "b"]), latency_ms=np.array([[1.0, 2.0], [3.0, 4.0]]))
    table = TableEvaluator(CELLS, write(tmp_path / "t.npz"), "two", latency=times, device="a")
    names = [choice.name for choice in CELLS.choices]
    assert sorted(names) == sorted("->".join(reversed(e.split("<-"))) for e in EDGES)
    options = {"->".join(reversed(e.split("<-"))): OPS[1] for e in EDGES} | {"2->3": OPS[2]}
    cell = CELLS.architecture(options)
    assert table.row(cell) == 1
    metrics = table(cell, Fidelity(12), trial=0)
    assert metrics == {
        "accuracy": 0.03,
        "params": 23_000_000,
        "macs": 33_000_000,
        "latency_ms": 3.0,
    }
    assert table(cell, Fidelity(200), trial=0)["accuracy"] == pytest.approx(0.13)
    with pytest.raises(UsageError, match="epochs=7"):
        table(cell, Fidelity(7), trial=0)
    with pytest.raises(UsageError, match="no cell"):
        table.row(dict.fromkeys(options, OPS[3]))


def test_bad_tables_are_refused(tmp_path: Path) -> None:
    good = write(tmp_path / "good.npz")
    noise = tmp_path / "noise.npz"
    noise.write_bytes(b"PK\x03\x04 no table")
    for match, arguments in (
        ("lacks 'arch'", (CELLS, write(tmp_path / "a.npz", arch=None), "one")),
        ("no data set 'three'.*one, two", (CELLS, good, "three")),
        ("use nasbench201", (darts(cells=2, channels=2), good, "one")),
        ("noise.npz", (CELLS, noise, "one")),
        ("gone.npz", (CELLS, tmp_path / "gone.npz", "one")),
        ("No such file", (CELLS, tmp_path / "NAS-Bench-201-v1_1-096897.pth", "one")),
        ("is no .npz", (CELLS, tmp_path / "table.csv", "one")),
    ):
        with pytest.raises(UsageError, match=match) as caught:
            TableEvaluator(*arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="no device"):
        times = tmp_path / "times.npz"
        np.savez(times, devices=np.array(["a"]), latency_ms=np.ones((2, 1)))
        TableEvaluator(CELLS, good, "one", latency=times)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = write(tmp_path / "evil.npz", ops=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UsageError, match="evil.npz"):
        TableEvaluator(CELLS, path, "one")


@needs_shared
def test_the_shared_table_holds_published_numbers() -> None:
    table = TableEvaluator(CELLS, SHARED / "data/nasbench201/table.npz", "cifar10")
    best = CELLS.from_arch_str(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+"
        "|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    )
    assert table(best, Fidelity(200), trial=0)["accuracy"] == pytest.approx(0.9437, abs=1e-4)
