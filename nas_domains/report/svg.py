"""SVG elements, and a chart with axes; colours come from the page, so they follow its theme."""

import math
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

Point = tuple[float, float]
Element = ElementTree.Element
MOST_LETTERS = 22
"""Letters of a row's name that a chart shows."""


def element(parent: Element | None, tag: str, text: str = "", **attributes: Any) -> Element:
    """Adds an element; ``_`` in a name stands for ``-``, numbers are cut to two decimals.

    Args:
        parent: Where it is added, or None for a root.
        tag: E.g. "path".
        text: Its text; characters that XML cannot hold are dropped.
        **attributes: None leaves one out; ``cls`` stands for ``class``.
    """
    made = ElementTree.Element(tag)
    for name, value in attributes.items():
        if value is not None:
            shown = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
            made.set("class" if name == "cls" else name.replace("_", "-"), clean(str(shown)))
    if text:
        made.text = clean(text)
    if parent is not None:
        parent.append(made)
    return made


def clean(text: str) -> str:
    """The text without the control characters that XML forbids."""
    return "".join(c if c >= " " or c in "\t\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def drawing(width: float, height: float, label: str, cls: str) -> Element:
    """A root whose size follows the page's column; the label is for those who cannot see it."""
    return element(
        None,
        "svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
        cls=cls,
    )


def markup(root: Element) -> Markup:
    """The drawing as text that a template puts in as it is; ElementTree has escaped it."""
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def box(
    root: Element,
    x: float,
    y: float,
    width: float,
    height: float,
    cls: str,
    shade: float,
    said: str,
) -> None:
    """A rounded box in the colour of a class, the darker the larger the shade, 0 to 1.

    Args:
        root: Where it is added.
        x: Its left side.
        y: Its upper side.
        width: Of the box.
        height: Of the box.
        cls: Class whose colour it has.
        shade: Opacity of what is inside.
        said: What a reader sees who points at it; nothing where empty.
    """
    made = element(
        root,
        "rect",
        x=x,
        y=y,
        width=width,
        height=height,
        rx=3,
        cls=cls,
        style=f"fill: var(--c); fill-opacity: {shade:.2f}; stroke: var(--c)",
    )
    if said:
        element(made, "title", said)


def path(points: Sequence[Point]) -> str:
    """A line through the points."""
    return "M" + "L".join(f"{x:.2f},{y:.2f}" for x, y in points)


def ticks(low: float, high: float, most: int = 5, whole: bool = False) -> list[float]:
    """Round numbers between two values, at most ``most + 1`` of them.

    Args:
        low: Smallest value.
        high: Largest value, above ``low``.
        most: Steps that fit.
        whole: Whether only whole numbers make sense.
    """
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float, step: float) -> str:
    """A tick's number with the decimals that its step needs; thousands and millions shortened."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size and step >= size / 1000:
            return f"{value / size:.3f}".rstrip("0").rstrip(".") + f" {unit}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.{decimals}f}"


def span(values: Sequence[float], pad: float = 0.06) -> tuple[float, float]:
    """The range of some values with room around it, also where they are all the same."""
    low, high = min(values), max(values)
    room = (high - low) * pad or max(abs(high) * 0.05, 1e-6)
    return low - room, high + room


class Chart:
    """Axes with a grid, on which lines and dots are drawn in the units of the data.

    Args:
        label: Said to those who cannot see it.
        x: Range of the horizontal axis.
        y: Range of the vertical axis.
        x_name: Name under the horizontal axis.
        y_name: Name over the vertical axis.
        size: Width and height.
        whole: Whether only whole numbers make sense on the horizontal axis.
        rows: Names in place of numbers on the vertical axis, top down at y = 0, 1, ...
    """

    def __init__(
        self,
        label: str,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        x_name: str,
        y_name: str = "",
        size: tuple[float, float] = (440, 270),
        whole: bool = False,
        rows: Sequence[str] = (),
    ) -> None:
        width, height = size
        self.x, self.y = x, y
        self.root = drawing(width, height, label, "chart")
        y_ticks = [] if rows else ticks(*y)
        y_step = y_ticks[1] - y_ticks[0] if len(y_ticks) > 1 else 1.0
        names = [tick_text(t, y_step) for t in y_ticks]
        longest = max((len(name) for name in (*names, *rows)), default=1)
        self.left = 14 + 7.2 * min(longest, MOST_LETTERS)
        self.right, self.bottom = width - 14, height - 42
        self.top = 26.0 if y_name else 10.0
        if y_name:
            element(self.root, "text", y_name, x=4, y=14, cls="axis")
        for tick, name in zip(y_ticks, names, strict=True):
            self._row(self.at(x[0], tick)[1], name)
        for i, name in enumerate(rows):
            cut = name if len(name) <= MOST_LETTERS else name[: MOST_LETTERS - 1] + "…"
            self._row(self.at(x[0], i)[1], cut)
        x_ticks = ticks(*x, most=6, whole=whole)
        x_step = x_ticks[1] - x_ticks[0] if len(x_ticks) > 1 else 1.0
        # Epochs and trials are counted from one.
        for tick in (t for t in x_ticks if t >= 1 or not whole):
            at = self.at(tick, y[0])[0]
            if rows:
                self._line("grid", at, self.top, at, self.bottom)
            element(
                self.root,
                "text",
                tick_text(tick, x_step),
                x=at,
                y=self.bottom + 17,
                text_anchor="middle",
            )
        self._line("base", self.left, self.bottom, self.right, self.bottom)
        middle = (self.left + self.right) / 2
        element(
            self.root, "text", x_name, x=middle, y=height - 7, text_anchor="middle", cls="axis"
        )

    def at(self, x: float, y: float) -> Point:
        """Where a point of the data lies in the drawing."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            self.left + across * (self.right - self.left),
            self.bottom - up * (self.bottom - self.top),
        )

    def line(self, points: Sequence[tuple[float, float | None]], cls: str, name: str) -> None:
        """A line with a gap where a value is missing, and dots where the points are few."""
        group = element(self.root, "g", cls=f"line {cls}")
        element(group, "title", name)
        part: list[Point] = []
        for x, y in [*points, (0.0, None)]:
            if y is not None:
                part.append(self.at(x, y))
            elif part:
                if len(part) > 1:
                    element(group, "path", d=path(part))
                if len(points) <= 25:
                    for px, py in part:
                        element(group, "circle", cx=px, cy=py, r=2.4)
                part = []

    def dot(self, x: float, y: float, cls: str, name: str, radius: float = 4.5) -> None:
        """A dot that tells its name when it is pointed at."""
        cx, cy = self.at(x, y)
        element(element(self.root, "circle", cx=cx, cy=cy, r=radius, cls=cls), "title", name)

    def band(self, low: float, high: float, cls: str) -> None:
        """A band over the full height, between two values of x."""
        left, right = (min(max(self.at(v, 0)[0], self.left), self.right) for v in (low, high))
        element(
            self.root,
            "rect",
            x=left,
            y=self.top,
            width=max(right - left, 0.0),
            height=self.bottom - self.top,
            cls=cls,
        )

    def upright(self, x: float, cls: str) -> None:
        """A line over the full height."""
        at = self.at(x, 0)[0]
        self._line(cls, at, self.top, at, self.bottom)

    def whisker(self, low: float, high: float, y: float, cls: str) -> None:
        """A line between two values of x, such as what a dot may be off by."""
        group = element(self.root, "g", cls=f"line thin {cls}")
        element(group, "path", d=path([self.at(low, y), self.at(high, y)]))

    def mark(self, x: float, y: float, cls: str) -> None:
        """A short upright line at a point."""
        at, middle = self.at(x, y)
        self._line(cls, at, middle - 8, at, middle + 8)

    def note(self, x: float, y: float, text: str) -> None:
        """Small text centred at a place of the drawing, not of the data."""
        element(self.root, "text", text, x=x, y=y, text_anchor="middle", cls="note")

    @property
    def markup(self) -> Markup:
        """The chart as text for the template."""
        return markup(self.root)

    def _row(self, at: float, name: str) -> None:
        self._line("grid", self.left, at, self.right, at)
        element(self.root, "text", name, x=self.left - 7, y=at + 4, text_anchor="end")

    def _line(self, cls: str, x1: float, y1: float, x2: float, y2: float) -> None:
        element(self.root, "line", x1=x1, y1=y1, x2=x2, y2=y2, cls=cls)
