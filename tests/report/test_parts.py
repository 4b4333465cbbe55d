"""The parts of a report: cells without overlaps, round ticks, numbers, command lines."""

import shlex
from xml.etree import ElementTree

import pytest
from torchmetrics import MeanMetric
from torchmetrics.utilities.data import dim_zero_cat
from typer.testing import CliRunner

import nas_domains as nd
from nas_domains import cli
from nas_domains.report import reproduce, svg, words
from nas_domains.report.cell import draw_cell
from nas_domains.report.content import Content
from nas_domains.report.palette import colours
from tests.make import Widths, images

from .make import config, make_run, page


def drawn(space, seed):
    """Every cell of a random architecture, as (edges, drawing)."""
    (architecture,) = space.sample(1, seed)
    palette = colours(space.candidates)
    for kind, edges in space.genotype(architecture).items():
        yield edges, ElementTree.fromstring(draw_cell(space.design, edges, palette, kind))


def box(rect):
    x, y, width, height = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_no_label_of_a_cell_overlaps_another_or_leaves_the_drawing(name):
    space = nd.load_space(name)
    for seed in range(60):
        for edges, root in drawn(space, seed):
            width, height = float(root.get("width")), float(root.get("height"))
            pills = [box(rect) for rect in root.iter("rect")]
            circles = [
                tuple(float(c.get(k)) for k in ("cx", "cy", "r")) for c in root.iter("circle")
            ]
            nodes = [(x - r, y - r, x + r, y + r) for x, y, r in circles]
            assert len(pills) == len(edges)
            assert len(nodes) == space.design.inputs + space.design.nodes + 1
            boxes = pills + nodes
            for i, one in enumerate(boxes):
                assert one[0] >= 0 and one[1] >= 0 and one[2] <= width and one[3] <= height
                assert not any(overlap(one, other) for other in boxes[:i])


@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_labels_fit_into_their_pills_and_name_all_edges(name):
    space = nd.load_space(name)
    for edges, root in drawn(space, 3):
        groups = [g for g in root.iter("g") if "pill" in (g.get("class") or "")]
        for group in groups:
            # 6.9 is the mean advance of a semi-bold letter at this size in DejaVu, a wide font.
            assert len(group.find("text").text) * 6.9 < float(group.find("rect").get("width"))
        titles = {group.find("title").text for group in groups}
        assert titles == {f"{i} to {j}: {name}" for (i, j), name in edges.items()}


def test_lines_pass_between_pills_and_nodes():
    space = nd.load_space("darts")
    for seed in range(60):
        for _, root in drawn(space, seed):
            pills = [box(rect) for rect in root.iter("rect")]
            for line in root.iter("path"):
                numbers = line.get("d").replace("M", "").replace("C", " ").replace(",", " ")
                x1, y1, *_, x2, y2 = map(float, numbers.split())
                if y1 == y2:
                    straight = (x1 + 0.2, y1 - 0.1, x2 - 0.2, y2 + 0.1)
                    assert not any(overlap(straight, pill) for pill in pills)


def test_none_is_faded_and_kinds_have_their_own_colours():
    palette = colours(
        ["none", "skip_connect", "sep_conv_3x3", "dil_conv_3x3", "max_pool_3x3", "x"]
    )
    assert list(palette.values()) == ["none-1", "skip-1", "conv-1", "conv-2", "pool-1", "other-1"]
    space = nd.load_space("nasbench201")
    edges = dict.fromkeys(space.design.edges, "none")
    assert draw_cell(space.design, edges, palette, "cell").count("pill none-1 faded") == 6


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (89.5, 93.8, False, [90, 91, 92, 93]),
        (1, 2, True, [1, 2]),
        (0.9, 50.1, True, [10, 20, 30, 40, 50]),
        (3000, 7000, False, [3000, 4000, 5000, 6000, 7000]),
    ],
)
def test_ticks_are_round_and_inside(low, high, whole, expected):
    assert svg.ticks(low, high, whole=whole) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [
        (0.2, 0.2, "0.2"),
        (90, 1, "90"),
        (1.5, 0.5, "1.5"),
        (3000, 1000, "3 k"),
        (2.5e6, 5e5, "2.5 M"),
    ],
)
def test_tick_text_has_the_decimals_that_the_step_needs(value, step, text):
    assert svg.tick_text(value, step) == text


def test_span_has_room_even_around_one_value():
    low, high = svg.span([3.0, 3.0])
    assert low < 3 < high
    low, high = svg.span([0.0])
    assert low < 0 < high


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("accuracy", 0.91504, "91.50 %"),
        ("auc", 0.99606, "0.9961"),
        ("params", 701178, "701 k"),
        ("params", 3362, "3.36 k"),
        ("params", 12, "12"),
        ("macs", 2173184, "2.17 M"),
        ("latency_ms", 3.1902, "3.19 ms"),
        ("latency_ms", 0.0, "0 ms"),
        ("loss", None, "not known"),
        ("accuracy", float("nan"), "not known"),
    ],
)
def test_numbers_in_a_sentence(metric, value, text):
    assert words.with_unit(metric, value) == text


def test_command_line_gives_the_values_of_the_config_to_the_search(tmp_path, monkeypatch):
    settings = config(
        objectives=["accuracy", "latency_ms<=5"],
        task_options={"split": "val=0.1,test=0.2", "fold": "1/5"},
        recipe={"lr": 0.1, "batch_size": 32},
        fidelity={"data": 0.25, "resolution": 0.5},
        validate=False,
        budget="10m",
        domain="vision",
        train_seeds=2,
        workers=2,
        prior_runs=["runs/first", "runs/the second"],
    )
    text = reproduce.command(Content(make_run(tmp_path / "a run", settings)))
    seen = {}
    monkeypatch.setattr(
        "nas_domains.compose.search",
        lambda space, task, **kw: seen.update(kw, space=space, task=task),
    )
    monkeypatch.setattr(cli, "_show", lambda run: None)
    parts = shlex.split(text.replace("\\\n", " "))
    done = CliRunner().invoke(cli.app, parts[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert parts[0] == "nas-domains"
    assert str(seen["out"]) == "a run-again"
    same = (
        "space", "task", "strategy", "objectives", "budget", "train_budget", "seed", "device",
        "precision", "validate", "randoms", "train_seeds", "domain", "task_options", "recipe",
        "fidelity", "workers",
    )  # fmt: skip
    assert [str(path) for path in seen["priors"]] == settings["prior_runs"]
    assert {key: seen[key] for key in same} == {key: settings[key] for key in same}


def test_command_line_writes_the_sizes_of_a_space_given_as_an_object(tmp_path):
    settings = config() | {"space": "nasbench201"}
    run = make_run(tmp_path / "run", settings)
    assert (
        "--space nasbench201:cells=1,channels=4,supernet_cells=1,supernet_channels=4"
        in reproduce.command(Content(run))
    )


def test_what_was_given_in_python_has_no_command_line(tmp_path):
    assert reproduce.command(Content(make_run(tmp_path / "run", config(task=None)))) is None


class Far(MeanMetric):
    """Made small, and told for each sample as a single number."""

    higher_is_better = False

    def __init__(self):
        super().__init__()
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def update(self, output, y):
        super().update(output.abs())
        self.values.append(output.abs().mean(1))

    def each(self):
        return dim_zero_cat(self.values)


@pytest.mark.parametrize("objectives", [[], ["far<=99"]])
def test_a_metric_of_ones_own_that_is_made_small(tmp_path, objectives):
    data = [images(n, i) for i, n in enumerate((48, 24, 24))]
    run = nd.search(
        Widths(),
        nd.Task.from_datasets(*data, metrics={"far": Far()}),
        out=tmp_path / "a",
        objectives=objectives,
        strategy="random",
        budget="trials=3,epochs=1",
        train_budget="epochs=1",
        randoms=2,
        quiet=True,
    )
    content = Content(run)
    assert (content.goal.metric, content.goal.direction) == ("far", "min")
    read = page(run)
    assert "paired over 24 cases" in read.text
    best = min(r.metrics["far"] for r in run.history.of("search"))
    assert run.result["best"]["search_metrics"]["far"] == best
