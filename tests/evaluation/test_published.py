"""The published files of NAS-Bench-201 and NATS-Bench: read, converted, and never run."""

import bz2
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from nas_domains.core.errors import UsageError
from nas_domains.core.evaluate import Fidelity
from nas_domains.evaluation.published import convert, read_published
from nas_domains.evaluation.table import TableEvaluator
from nas_domains.vision.spaces import nasbench201
from tests.make import one_sentence

CELLS = nasbench201(cells=1, channels=2)
ARCHS = [
    "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|none~2|",
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|",
]
EVALUATED = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}


def accuracy(index, dataset, split, epochs, seed):
    """A number that differs for all."""
    return 50 + 10 * index + list(EVALUATED).index(dataset) + len(split) / 10 + epochs / 1000 + (
        seed - 777
    ) / 1e4


def results(index, epochs, seeds=(777, 888), left_out=()):
    """The record of a cell after so many epochs, as the API's ``state_dict`` has it."""
    trials = {}
    for dataset, splits in EVALUATED.items():
        for seed in seeds if dataset not in left_out else ():
            names = [(split, epoch) for split in splits for epoch in range(epochs)]
            values = {
                f"{split}@{e}": np.float64(accuracy(index, dataset, split, e + 1, seed))
                for split, e in names
            }
            trials[dataset, seed] = {
                "name": "infer.tiny",
                "net_state_dict": None,
                "train_acc1es": OrderedDict((e, 1.0) for e in range(epochs)),
                "train_acc5es": None,
                "train_losses": OrderedDict((e, 1.0) for e in range(epochs)),
                "train_times": OrderedDict((e, 1.0) for e in range(epochs)),
                "arch_config": {"arch_str": ARCHS[index], "channel": 16, "num_cells": 5},
                # Costs of one seed are wrong, as they are in the published files.
                "params": 0.1 * (index + 1) + (0.5 if seed == 777 else 0),
                "flop": 11.5 * (index + 1),
                "seed": seed,
                "epochs": epochs,
                "latency": [0.01],
                "eval_names": list(splits),
                "eval_acc1es": values,
                "eval_times": {},
                "eval_losses": dict.fromkeys(values, 1.0),
            }
    return {
        "arch_index": index,
        "arch_str": ARCHS[index],
        "all_results": trials,
        "dataset_seed": {d: list(seeds) for d in EVALUATED if d not in left_out},
        "clear_net_done": True,
    }


def pack(path: Path, content: object) -> Path:
    with bz2.open(path, "wb") as file:
        pickle.dump(content, file)
    return path


def whole(names=("12", "200"), **changes):
    cells = {i: {n: results(i, 3 if n == names[0] else 5) for n in names} for i in range(2)}
    return {"meta_archs": ARCHS, "arch2infos": cells, "evaluated_indexes": [0, 1]} | changes


def folder(place: Path) -> Path:
    place.mkdir()
    content = whole()
    pack(place / "meta.pickle.pbz2", {n: content[n] for n in ("meta_archs", "evaluated_indexes")})
    for i, cell in content["arch2infos"].items():
        pack(place / f"{i:06d}.pickle.pbz2", cell)
    return place


def written(kind: str, place: Path) -> Path:
    if kind == "folder":
        return folder(place / "NATS-tss-v1_0-3ffb9-simple")
    if kind == "pbz2":
        return pack(place / "NATS-tss-v1_0-3ffb9.pickle.pbz2", whole())
    path = place / "NAS-Bench-201-v1_1-096897.pth"
    zipped = kind == "pth"
    torch.save(whole(("less", "full")), path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("kind", ["folder", "pbz2", "pth", "old pth"])
def test_it_gives_what_the_benchmark_has(kind: str, tmp_path: Path) -> None:
    path = written(kind, tmp_path)
    expected = {
        ("cifar10", 12): ("cifar10-valid", "x-valid", 3),
        ("cifar10", 200): ("cifar10", "ori-test", 5),
        ("cifar100", 12): ("cifar100", "x-valid", 3),
        ("cifar100", 200): ("cifar100", "x-test", 5),
        ("ImageNet16-120", 200): ("ImageNet16-120", "x-test", 5),
    }
    for (dataset, epochs), (on, split, last) in expected.items():
        table = TableEvaluator(CELLS, path, dataset)
        for index, arch in enumerate(ARCHS):
            metrics = table(CELLS.from_arch_str(arch), Fidelity(epochs), trial=0)
            mean = np.mean([accuracy(index, on, split, last, seed) for seed in (777, 888)])
            assert metrics["accuracy"] == pytest.approx(mean / 100, abs=1e-6)
            assert metrics["params"] == round(1e5 * (index + 1))
            assert metrics["macs"] == round(11.5e6 * (index + 1))


def test_a_converted_file_is_the_same_table(tmp_path: Path) -> None:
    path = folder(tmp_path / "NATS")
    made = convert(path, tmp_path / "table.npz", quiet=True)
    arrays = read_published(path)
    with np.load(made, allow_pickle=False) as file:
        assert set(file.files) == set(arrays)
        assert all(np.array_equal(file[name], arrays[name]) for name in arrays)
    cell = CELLS.from_arch_str(ARCHS[1])
    tables = [TableEvaluator(CELLS, place, "cifar100") for place in (path, made)]
    assert len({str(table(cell, Fidelity(200), trial=0)) for table in tables}) == 1
    with pytest.raises(UsageError, match=r"table\.csv"):
        convert(path, tmp_path / "table.csv", quiet=True)


def test_a_data_set_that_a_cell_lacks_is_left_out(tmp_path: Path) -> None:
    content = whole()
    content["arch2infos"][1]["12"] = results(1, 3, left_out=("cifar100", "ImageNet16-120"))
    path = pack(tmp_path / "a.pickle.pbz2", content)
    assert read_published(path)["datasets"].tolist() == ["cifar10"]
    with pytest.raises(UsageError, match="no data set 'cifar100'"):
        TableEvaluator(CELLS, path, "cifar100")


class Evil:
    """Would make a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("kind", ["pbz2", "pth", "folder"])
def test_nothing_in_a_file_is_run(kind: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    if kind == "pth":
        path = tmp_path / "a.pth"
        torch.save(whole(extra=Evil(mark)), path)
    elif kind == "pbz2":
        path = pack(tmp_path / "a.pickle.pbz2", whole(extra=Evil(mark)))
    else:
        path = folder(tmp_path / "NATS")
        pack(path / "000001.pickle.pbz2", Evil(mark))
    with pytest.raises(UsageError) as caught:
        read_published(path)
    one_sentence(str(caught.value), "more than numbers")
    assert not mark.exists()


def huge(index):
    """A cell whose accuracies are larger than any float."""
    found = {name: results(index, 3) for name in ("12", "200")}
    for trial in found["12"]["all_results"].values():
        trial["eval_acc1es"] = dict.fromkeys(trial["eval_acc1es"], 10**400)
    return found


BAD = {
    "noise": (lambda p: p.write_bytes(b"noise"), "damaged"),
    "cut short": (lambda p: p.write_bytes(pack(p, whole()).read_bytes()[:200]), "damaged"),
    "a list": (lambda p: pack(p, [1, 2]), "has no meta_archs"),
    "no cells": (lambda p: pack(p, whole(arch2infos={})), "has no arch2infos"),
    "a missing cell": (lambda p: pack(p, whole(arch2infos={0: {}})), "lacks the cell 1"),
    "another record": (lambda p: pack(p, whole(arch2infos={0: {}, 1: {}})), "The cell 0"),
    "a list of records": (lambda p: pack(p, whole(arch2infos=[1, 2])), "has no arch2infos"),
    "a huge number": (
        lambda p: pack(p, {**whole(), "arch2infos": {i: huge(i) for i in range(2)}}),
        "The cell 0",
    ),
    "size space": (lambda p: pack(p, whole(meta_archs=["64:64:64", "8:8:8"])), "no cell of NAS"),
    "gone": (lambda p: None, "No such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused(case: str, tmp_path: Path) -> None:
    make, said = BAD[case]
    path = tmp_path / "a.pickle.pbz2"
    make(path)
    with pytest.raises(UsageError) as caught:
        read_published(path)
    one_sentence(str(caught.value), "a.pickle.pbz2", said)


def test_a_folder_that_lacks_a_cell_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "NATS")
    (path / "000001.pickle.pbz2").unlink()
    with pytest.raises(UsageError, match="000001"):
        read_published(path)


class Forged:
    """An array or a number of numpy whose elements are addresses that the file wrote."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __reduce__(self):
        if self.kind == "array":
            return np.ndarray, ((1,), np.dtype("O"), b"A" * 8)
        scalar = np.float64(0).__reduce__()[0]
        dtype = np.dtype({"object": "O", "record": "i4,i4", "void": "V8"}[self.kind])
        return scalar, (dtype, b"A" * 8)


@pytest.mark.parametrize("kind", ["array", "object", "record", "void"])
@pytest.mark.parametrize("ending", ["pbz2", "pth"])
def test_no_address_is_read_from_a_file(kind: str, ending: str, tmp_path: Path) -> None:
    content = whole(extra=Forged(kind))
    path = tmp_path / ("a.pth" if ending == "pth" else "a.pickle.pbz2")
    if ending == "pth":
        torch.save(content, path)
    else:
        pack(path, content)
    with pytest.raises(UsageError) as caught:
        read_published(path)
    one_sentence(str(caught.value), "more than numbers")


def test_numbers_of_every_kind_are_read(tmp_path: Path) -> None:
    content = whole()
    for trial in content["arch2infos"][0]["200"]["all_results"].values():
        trial["params"], trial["epochs"] = np.float32(0.25), np.int64(5)
        trial["flop"] = np.dtype(">f8").type(7.5)
    pair = [pack(tmp_path / "a.pickle.pbz2", content), tmp_path / "a.pth"]
    torch.save(content, pair[1])
    for path in pair:
        arrays = read_published(path)
        assert arrays["params_M"][0, 0] == 0.25 and arrays["mflops"][0, 0] == 7.5
