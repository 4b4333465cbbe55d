"""The command line: ``nas-domains``."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

# Threads of OpenMP that spin while they wait stand still together where other work takes a core: a
# search step became ten times slower. Read when torch is imported, which no command has done yet.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from .core import registry  # noqa: E402
from .core.errors import UsageError  # noqa: E402

app = typer.Typer(
    help="Searches, trains, explains and exports neural networks for your data and device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
STOPPED = 130
"""Status of a process that Ctrl-C ended."""

RunPath = Annotated[Path, typer.Argument(help="A run directory.", show_default=False)]


@app.command()
def search(
    data: Annotated[str, typer.Option(help="A file, a folder or a bundled name such as digits.")],
    out: Annotated[Path, typer.Option(help="Run directory to make.")],
    domain: Annotated[str | None, typer.Option(help="vision, ...; read off the data.")] = None,
    space: Annotated[
        str | None, typer.Option(help="Name and sizes, e.g. darts:cells=4; by the data's kind.")
    ] = None,
    strategy: Annotated[str, typer.Option(help="See: nas-domains list strategies.")] = "auto",
    objective: Annotated[
        list[str] | None, typer.Option(help="accuracy, 'params<=1e6', ...; may be repeated.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Of the search: 10m, epochs=20, trials=50.")
    ] = None,
    train_budget: Annotated[
        str | None, typer.Option(help="Of each full training: 2m, epochs=30.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random but the split.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    validate: Annotated[
        bool, typer.Option(help="Train random and hand-made networks beside the winner.")
    ] = True,
    randoms: Annotated[int, typer.Option(help="How many random architectures.")] = 3,
    train_seeds: Annotated[int, typer.Option(help="Trainings of each network.")] = 1,
    plan: Annotated[Path | None, typer.Option(help="Repeat the exact plan of this run.")] = None,
    split: Annotated[str | None, typer.Option(help="How to split, e.g. val=0.1,test=0.2.")] = None,
    augment: Annotated[str | None, typer.Option(help="shift,flip,cutout or none.")] = None,
    size: Annotated[str | None, typer.Option(help="Side of image files, e.g. 64.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Of the data's loader, e.g. test=dev.tsv; may be repeated."),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="E.g. lr=0.1,batch_size=32.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that train what is proposed.")] = 1,
    storage: Annotated[
        str | None, typer.Option(help="Optuna's storage as a URL; study.db in the run by default.")
    ] = None,
    prior: Annotated[
        list[Path] | None,
        typer.Option(help="A finished run whose best are tried first; may be repeated."),
    ] = None,
    fidelity: Annotated[
        str | None, typer.Option(help="Of a black-box trial: data=0.25,resolution=0.5.")
    ] = None,
    quiet: Annotated[bool, typer.Option(help="Show no progress.")] = False,
) -> None:
    """Searches a network for data, trains it, and compares it with random and hand-made ones."""
    options = {"split": split, "augment": augment, "size": size, **_parse_options(option or [])}
    with _stoppable(out):
        from .compose import search as run_search

        run = run_search(
            space,
            data,
            out=out,
            strategy=strategy,
            objectives=objective or [],
            budget=budget,
            train_budget=train_budget,
            seed=seed,
            device=device,
            precision=precision,
            validate=validate,
            randoms=randoms,
            train_seeds=train_seeds,
            plan=plan,
            domain=domain,
            task_options={key: value for key, value in options.items() if value is not None},
            recipe=_parse_values("recipe", recipe, "lr=0.1,epochs=50"),
            workers=workers,
            storage=storage,
            priors=prior or [],
            fidelity=_parse_values("fidelity", fidelity, "data=0.25,resolution=0.5"),
            quiet=quiet,
        )
    _show(run)


@app.command()
def resume(run: RunPath, quiet: bool = False) -> None:
    """Goes on with a run that was stopped; of a finished one it prints the result."""
    with _stoppable(run):
        from .compose import resume as resume_run

        finished = resume_run(run, quiet=quiet)
    _show(finished)


@app.command()
def report(run: RunPath) -> None:
    """Writes the report of a run: one HTML file that opens without a server."""
    from .core.run import Run

    print(Run.open(run).report())


@app.command()
def predict(
    run: RunPath,
    data: Annotated[str, typer.Argument(help="New data, e.g. a folder of images.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="What to write: predictions.csv, .jsonl for tags of words, or a folder "
            "predictions for masks of volumes."
        ),
    ] = None,
    quiet: bool = False,
) -> None:
    """Classifies or segments new data with the network of a run."""
    from .export.predict import predict as run_predict
    from .export.predict import usual_place

    out = usual_place(run) if out is None else out
    print(f"{run_predict(run, data, out, quiet=quiet)} predictions in {out}")


@app.command()
def export(
    run: RunPath,
    format: Annotated[
        str,
        typer.Option(
            help="onnx, torch, transformers, monai-bundle; of dints arch-code, arch-code-pth."
        ),
    ] = "onnx",
    out: Annotated[Path | None, typer.Option(help="The file or folder to write.")] = None,
) -> None:
    """Exports the network of a run and checks the file against PyTorch."""
    from .export.formats import export as run_export

    path, difference = run_export(run, format, out)
    print(f"{path} (differs from PyTorch by {difference:.1e} of the largest output)")


@app.command("list")
def list_(
    kind: Annotated[
        str, typer.Argument(help="spaces, strategies, tasks, proxies, predictors; or all.")
    ] = "",
) -> None:
    """Lists what there is."""
    kinds = {
        "spaces": registry.spaces,
        "strategies": registry.strategies,
        "tasks": registry.tasks,
        "proxies": registry.proxies,
        "predictors": registry.predictors,
    }
    if kind and kind not in kinds:
        raise UsageError(f"Unknown kind {kind!r}: known are {', '.join(kinds)}.")
    for name in [kind] if kind else kinds:
        table = Table(title=name, title_justify="left", show_header=False, box=None)
        for entry in kinds[name]:
            needs = f" (needs [{entry.extra}])" if entry.missing else ""
            table.add_row(entry.name, entry.domain, entry.summary + needs)
        Console(width=None if sys.stdout.isatty() else 120).print(table, markup=False)


@app.command()
def doctor() -> None:
    """Says what is compiled, which backend runs, and what is installed."""
    from .hardware.doctor import diagnose

    for line in diagnose():
        print(line)


@app.command()
def bench(
    name: Annotated[
        str, typer.Argument(help="Which benchmark; all are listed where left out.")
    ] = "",
    json: Annotated[Path | None, typer.Option(help="Write the rows as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the rows.")] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, or model: a GPU's work, counted without one.")
    ] = "cpu",
) -> None:
    """Times a kernel against its peers, in turn in one process."""
    from . import bench as benches

    if not name:
        print("\n".join(benches.names()))
        return
    print(benches.render(benches.run(name, json=json, plot=plot, device=device)))


@contextmanager
def _stoppable(path: Path) -> Iterator[None]:
    """Ctrl-C ends in a sentence and status 130."""
    try:
        yield
    except KeyboardInterrupt:
        begun = (path / "config.yaml").exists()
        how = f"nas-domains resume {path} goes on from here" if begun else "nothing was begun"
        sys.exit(_say(f"Stopped: {how}.", STOPPED))


def _parse_options(texts: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value or not name.isidentifier() or name in options:
            raise UsageError(
                f"--option {text!r} is not NAME=VALUE with a new name: write --option fold=1/5."
            )
        options[name] = value
    return options


def _parse_values(option: str, text: str | None, example: str) -> dict[str, Any]:
    from .core.space_text import parse_space

    if text is None:
        return {}
    try:
        return parse_space(f"{option}:{text}")[1]
    except UsageError:
        raise UsageError(
            f"--{option} {text!r} is not NAME=VALUE,...: write {example}."
        ) from None


def _show(run: Any) -> None:
    """Prints the result as a table, and where the report is."""
    result = run.result
    metrics = list(result["best"]["metrics"])
    table = Table(title=f"{run.path}: test results", title_justify="left")
    table.add_column("network")
    for metric in metrics:
        table.add_column(metric, justify="right")
    rows = {"winner": result["best"]["metrics"]}
    for i, row in enumerate((result["random_baseline"] or {}).get("metrics", [])):
        rows[f"random {i}"] = row
    rows |= result["baselines"] or {}
    for name, row in rows.items():
        table.add_row(name, *(_number(row.get(metric)) for metric in metrics))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table, markup=False)
    baseline = result["random_baseline"]
    if baseline:
        gain = baseline["winner_beats_mean_by"]
        difference, error = _number(gain["difference"]), _number(gain["standard_error"])
        console.print(
            f"The winner differs from the mean random architecture by {difference} ± {error} "
            f"(standard error, n = {baseline['n']}).",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"Report: {run.path / 'report.html'}", markup=False, highlight=False, soft_wrap=True
    )


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) or abs(value) >= 1e4:
        return f"{value:,.0f}"
    return f"{value:.4f}"


def main() -> None:
    """Entry point: a mistake of the user is one sentence and status 2, Ctrl-C is status 130."""
    try:
        status = app(standalone_mode=False)
    except UsageError as error:
        sys.exit(_say(str(error), 2))
    except (KeyboardInterrupt, typer.Abort):
        status = STOPPED
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:
        # A mistake in the options, found by the parser before any command runs.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "nas-domains"
        # One sentence of the parser's two.
        text = message().rstrip(".?").replace(". Did", ", did")
        sys.exit(_say(f"{text}: see {command} --help.", 2))
    sys.exit(_say("Stopped.", STOPPED) if status == STOPPED else status)


def _say(text: str, status: int) -> int:
    print(text, file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
