"""The command line, as a person types it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nas_domains import __version__
from nas_domains.cli import main
from tests.make import one_sentence, stripped

OPTIONS = ["--space", "nasbench201:cells=1,channels=4", "--strategy", "darts", "--seed", "2"]


def nas_domains(*arguments: str | Path, **options: str) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    command = [sys.executable, "-m", "nas_domains.cli", *map(str, arguments)]
    environment = os.environ | options
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set in MedMNIST's layout: bright or dark on noise."""
    path = tmp_path_factory.mktemp("data") / "small.npz"
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 64), ("val", 24), ("test", 24)):
        labels = np.arange(n) % 2
        noise = rng.integers(0, 120, (n, 9, 9))
        arrays[f"{part}_images"] = (noise + 100 * labels[:, None, None]).astype(np.uint8)
        arrays[f"{part}_labels"] = labels[:, None].astype(np.uint8)
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    done = nas_domains(
        "search",
        "--data",
        data,
        "--out",
        out,
        *OPTIONS,
        "--budget",
        "epochs=1",
        "--train-budget",
        "epochs=2",
        "--randoms",
        "2",
    )
    assert done.returncode == 0, done.stderr
    assert "winner" in done.stdout and "resnet18-quarter" in done.stdout
    assert "standard error, n = 2" in done.stdout
    assert "Plan: search 1 steps" in done.stderr
    return out


def test_what_a_finished_run_offers(run: Path, data: Path, tmp_path: Path) -> None:
    again = nas_domains("resume", run)
    assert again.returncode == 0 and "winner" in again.stdout
    report = nas_domains("report", run)
    assert report.returncode == 0 and report.stdout.strip() == str(run / "report.html")
    predicted = nas_domains("predict", run, data, "--out", tmp_path / "p.csv")
    assert predicted.returncode == 0 and "24 predictions" in predicted.stdout
    exported = nas_domains("export", run, "--format", "torch")
    assert exported.returncode == 0 and (run / "export" / "model.pt2").is_file()


def test_lists_and_doctor_say_what_there_is() -> None:
    listed = nas_domains("list")
    for name in ("darts", "nasbench201", "random", "digits", "csv", "synflow", "forest"):
        assert re.search(rf"^ *{name} ", listed.stdout, re.MULTILINE), name
    assert "npz" not in nas_domains("list", "proxies").stdout
    doctor = nas_domains("doctor")
    assert doctor.returncode == 0
    assert __version__ in doctor.stdout and "weighted_sum_fwd" in doctor.stdout
    assert "reference" in nas_domains("doctor", NAS_DOMAINS_BACKEND="reference").stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["serach"], ["serach", "--help"]),
        (["search", "--data", "digits"], ["--out", "--help"]),
        (["search", "--data", "digits", "--out", "x", "--seed", "one"], ["--seed"]),
        (["search", "--data", "digits", "--out", "x", "--sede", "1"], ["--sede"]),
        (["search", "--data", "none.npz", "--out", "x"], ["none.npz"]),
        (["search", "--data", "digits", "--out", "x", "--recipe", "lr"], ["--recipe", "lr"]),
        (["search", "--data", "digits", "--out", "x", "--fidelity", "a"], ["--fidelity", "a"]),
        (["search", "--data", "digits", "--out", "/proc/x"], ["/proc/x", "--out"]),
        (["search", "--data", "digits", "--out", "/dev/null"], ["/dev/null", "--out"]),
        (["resume", "none"], ["none"]),
        (["report", "none"], ["none"]),
        (["predict", "none", "x"], ["none"]),
        (["export", "none"], ["none"]),
        (["list", "things"], ["things", "spaces"]),
        (["bench", "nothing"], ["nothing"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_sentence(
    arguments: list[str],
    named: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["nas-domains", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    chosen = ("Space: ", "Strategy: ")
    lines = [x for x in capsys.readouterr().err.splitlines() if not x.startswith(chosen)]
    one_sentence("\n".join(lines), *named)
    assert not list(tmp_path.iterdir())


def test_used_and_finished_runs_are_named(run: Path, data: Path) -> None:
    done = nas_domains("search", "--data", data, "--out", run, *OPTIONS)
    assert done.returncode == 2
    one_sentence(done.stderr, str(run), "finished")


def _begin(data: Path, out: Path, *options: str) -> "subprocess.Popen[str]":
    command = [
        sys.executable,
        "-m",
        "nas_domains.cli",
        "search",
        "--data",
        str(data),
        "--out",
        str(out),
        *OPTIONS,
        *options,
    ]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _wait_for(path: Path, process: "subprocess.Popen[str]", lines: int = 0) -> None:
    """Until a file is there with that many lines."""
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not come: {process.communicate()}")


def _interrupted(process: subprocess.Popen[str]) -> str:
    """What a process says on Ctrl-C.

    An interrupt that comes while Python cleans up an object is lost, in any program; then a person
    presses the keys again.
    """
    for _ in range(4):
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=30)[1]
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    raise AssertionError(f"Ctrl-C did not end it: {process.communicate()[1]}")


def test_ctrl_c_is_one_sentence_and_a_run_in_use_is_locked(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    process = _begin(data, out, "--budget", "epochs=1000000", "--train-budget", "epochs=1")
    _wait_for(out / "history.jsonl", process, 2)
    second = nas_domains("resume", out)
    assert second.returncode == 2
    one_sentence(second.stderr, str(out), "in use")
    errors = _interrupted(process)
    assert process.returncode == 130
    assert "Traceback" not in errors
    one_sentence(errors.strip().splitlines()[-1], f"resume {out}")


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_in_the_same_result(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL while planning, searching and training; then ``resume``; on two threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    options = ["--budget", "epochs=6", "--train-budget", "epochs=6", "--randoms", "2"]
    whole = nas_domains("search", "--data", data, "--out", tmp_path / "whole", *OPTIONS, *options)
    assert whole.returncode == 0, whole.stderr
    expected = json.loads((tmp_path / "whole" / "result.json").read_text())
    rng = np.random.default_rng()
    for lines in rng.choice(28, 3, replace=False).tolist():
        out = tmp_path / f"killed-{lines}"
        process = _begin(data, out, *options)
        _wait_for(out / ("history.jsonl" if lines else "config.yaml"), process, lines)
        time.sleep(float(rng.uniform(0, 0.3)))
        process.kill()
        process.communicate()
        resumed = nas_domains("resume", out)
        assert resumed.returncode == 0, f"killed after {lines} records: {resumed.stderr}"
        assert stripped(json.loads((out / "result.json").read_text())) == stripped(expected)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_black_box_run_that_is_killed_loses_nothing(
    data: Path, tmp_path: Path, workers: str
) -> None:
    """SIGKILL twice in the search, then ``resume``: with one worker the same result."""
    options = ["--strategy", "evolution", "--budget", "trials=5,epochs=2", "--workers", workers]
    options += ["--train-budget", "epochs=2", "--no-validate"]
    out = tmp_path / "killed"
    process = _begin(data, out, *options)
    _wait_for(out / "history.jsonl", process, 2)
    process.kill()
    process.communicate()
    before = (out / "history.jsonl").read_text().splitlines()[:-1]
    process = subprocess.Popen([sys.executable, "-m", "nas_domains.cli", "resume", str(out)])
    _wait_for(out / "history.jsonl", process, 5)
    process.kill()
    process.communicate()
    resumed = nas_domains("resume", out)
    assert resumed.returncode == 0, resumed.stderr
    lines = (out / "history.jsonl").read_text().splitlines()
    assert lines[: len(before)] == before
    records = [r for r in map(json.loads, lines) if r["stage"] == "search"]
    # Two workers end in any order.
    assert sorted(r["step"] for r in records) == [1, 2, 3, 4, 5]
    assert len({json.dumps(r["architecture"]) for r in records}) == 5
    if workers == "1":
        whole = nas_domains("search", "--data", data, "--out", tmp_path / "a", *OPTIONS, *options)
        assert whole.returncode == 0, whole.stderr
        expected = json.loads((tmp_path / "a" / "result.json").read_text())
        assert stripped(json.loads((out / "result.json").read_text())) == stripped(expected)
