"""Small runs made through the package's own classes, and a reader of the report's HTML."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

import nas_domains as nd
from nas_domains.core.files import write_json
from nas_domains.core.history import Record
from nas_domains.core.run import Run

COSTS = {"params": 3362, "macs": 139392, "latency_ms": 3.25}
ENVIRONMENT = {
    "nas_domains": "0.1.0",
    "python": "3.11.7",
    "platform": "Linux",
    "cpu": "a processor",
    "cores": 2,
    "threads": 1,
    "device": "cpu",
    "packages": {"torch": "2.13.0", "triton": None},
    "ops": {"weighted_sum_fwd": "native"},
    "isa": "avx2",
}


def config(space="nasbench201:cells=1,channels=4", **changes):
    made = nd.load_space(space)
    base = {
        "space": space,
        "space_config": made.config,
        "space_fingerprint": made.fingerprint,
        "task": "digits",
        "task_name": "digits",
        "domain": None,
        "task_options": {},
        "task_fingerprint": "0123456789abcdef",
        "strategy": "random",
        "objectives": [],
        "budget": "trials=3,epochs=1",
        "train_budget": "epochs=2",
        "seed": 1,
        "device": "cpu",
        "precision": "float32",
        "threads": 1,
        "validate": True,
        "randoms": 2,
        "train_seeds": 1,
        "recipe": {},
        "plan": {"batch_size": 64, "search": {"trials": 3, "epochs": 1}, "train": {"epochs": 2}},
    }
    return base | changes


def scores(accuracy, loss=0.5, **more):
    return {"loss": loss, "accuracy": accuracy, "auc": 0.9, **more}


def architectures(settings, count):
    return [dict(a) for a in nd.load_space(settings["space"]).sample(count, 0)]


def train_row(run, name, accuracies, architecture, epochs=2):
    """The records of a row, one training for each accuracy."""
    for seed, accuracy in enumerate(accuracies):
        for epoch in range(1, epochs + 1):
            metrics = scores(None if accuracy is None else accuracy * epoch / epochs)
            detail = {"train_loss": 1.0 / epoch}
            stage = f"train/{name}/{seed}"
            run.history.add(
                Record(stage, epoch, architecture, {"epochs": epoch}, metrics, 0.5, detail)
            )
        run.history.add(
            Record(
                f"test/{name}/{seed}",
                0,
                architecture,
                {"epochs": epochs},
                scores(accuracy) | COSTS,
                0.1,
                {"validation": scores(accuracy), "train_seconds": 1.5 + seed},
            )
        )


def make_run(
    path,
    settings=None,
    *,
    search=(0.4, 0.6, 0.5),
    winner=(0.9,),
    randoms=((0.8,), (0.84,)),
    hand=None,
    difference=0.08,
    error=0.03,
    finish=True,
):
    """A black-box run whose numbers are given."""
    settings = settings or config()
    run = Run.create(path, settings)
    write_json(run.path / "environment.json", ENVIRONMENT)
    drawn = architectures(settings, len(search) + len(randoms))
    for step, (accuracy, architecture) in enumerate(zip(search, drawn, strict=False), 1):
        metrics = scores(accuracy) | COSTS | {"latency_ms": 4.0 - step}
        run.history.add(Record("search", step, architecture, {"epochs": 1}, metrics, 1.0))
    if winner:
        train_row(run, "winner", winner, drawn[1])
    for i, values in enumerate(randoms):
        train_row(run, f"random/{i}", values, drawn[len(search) + i])
    for name, values in (hand or {}).items():
        train_row(run, name, values, None)
    if finish:
        run.save_result(result(run, settings, winner, randoms, hand, difference, error, drawn[1]))
    run.unlock()
    return Run.open(path)


def result(run, settings, winner, randoms, hand, difference, error, architecture):
    """A ``result.json`` in the form of the design."""
    middle = [mean(values) for values in randoms]
    baseline = {
        "n": len(randoms),
        "mean": mean(middle),
        "std": 0.0283,
        "metrics": [scores(m) | COSTS for m in middle],
        "winner_beats_mean_by": {"difference": difference, "standard_error": error},
    }
    records = run.history.of("search")
    objectives = settings["objectives"] or ["accuracy"]
    return {
        "space": settings["space"],
        "strategy": settings["strategy"],
        "seed": settings["seed"],
        "plan": settings["plan"],
        "objectives": objectives,
        "best": {
            "architecture": architecture,
            "metrics": scores(mean(winner)) | COSTS,
            "step": 2,
        },
        "random_baseline": baseline if randoms else None,
        "baselines": {n: scores(mean(v)) | COSTS for n, v in hand.items()} if hand else None,
        "pareto": [
            {"architecture": r.architecture, "metrics": dict(r.metrics)} for r in records[1:]
        ],
        "search_seconds": 3.0,
        "train_seconds": 4.5,
        "environment": ENVIRONMENT,
    }


def mean(values):
    return None if None in values or not values else sum(values) / len(values)


@dataclass
class Page(HTMLParser):
    """What a test asks of a report: its text, exact values, tables, points and drawings."""

    html: str
    text: str = ""
    values: list = field(default_factory=list)
    rows: list = field(default_factory=list)
    points: list = field(default_factory=list)
    drawings: list = field(default_factory=list)
    attributes: list = field(default_factory=list)
    sections: list = field(default_factory=list)

    def __post_init__(self):
        super().__init__()
        self._open = []
        self.feed(self.html)
        self.close()
        self.drawings = self.html.split("<svg ")[1:]
        self.drawings = ["<svg " + d.split("</svg>")[0] + "</svg>" for d in self.drawings]

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self._open.append(tag)
        self.attributes += attrs
        if tag == "data":
            self.values.append(float(attributes["value"]))
            if self.rows:
                self.rows[-1][1].append(float(attributes["value"]))
        if tag == "tr":
            self.rows.append(["", []])
        if tag == "li" and attributes.get("class") in ("good", "bad", "even", "open"):
            self.points.append([attributes["class"], ""])
        if tag == "section":
            self.sections.append(attributes["id"])

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" in self._open:
            return
        self.text += data
        if self._open[-1:] == ["th"] and self.rows:
            self.rows[-1][0] += data
        if self._open[-1:] == ["li"] and self.points:
            self.points[-1][1] += data

    def row(self, name):
        """The exact values of a row of a table."""
        return next(values for label, values in self.rows if label == name)


def page(run):
    """Writes the report of a run and reads it back."""
    return Page(run.report().read_text(encoding="utf-8"))
