"""A sheet to draw charts on: scales, axes, marks, as SVG text.

Colours and line widths are classes of the style sheet (`chart.css.j2`), so that one drawing fits light and dark pages.
"""

import html
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

WIDE, NARROW = 960, 400
_CHAR = 6.1  # mean width of a character at the charts' 11.5 px, in px


def number(value: float) -> str:
    """A coordinate: at most one decimal."""
    text = f"{value:.1f}"
    return text.removesuffix(".0")


def text_width(text: str) -> float:
    """About how wide a text is, in px."""
    return len(text) * _CHAR


@dataclass(frozen=True)
class Linear:
    """A linear scale from values to px."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value lies, in px."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def many(self, values: ArrayLike) -> NDArray[np.float64]:
        """Where values lie, in px."""
        return self.start + (np.asarray(values, float) - self.low) / (self.high - self.low) * (self.end - self.start)


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Return round values that cover a range, in steps of 1, 2, 2.5 or 5 times a power of ten."""
    if high <= low:
        high = low + 1
    raw = (high - low) / max(about, 1)
    power: float = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def plain(value: float) -> str:
    """A tick's label: thousands parted, no needless decimals."""
    text = f"{value:,.4f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text.replace("-", "−")  # noqa: RUF001  # a minus sign


def seconds(times: Iterable[datetime]) -> NDArray[np.float64]:
    """Seconds since 1970 of aware times."""
    return np.array([time.timestamp() for time in times])


@dataclass
class Canvas:
    """A drawing of a fixed size, in px."""

    width: int
    height: int
    label: str
    parts: list[str] = field(default_factory=list)

    @property
    def narrow(self) -> bool:
        """Whether it is drawn for a phone."""
        return self.width < 600

    def add(self, markup: str) -> None:
        """Put markup on top."""
        self.parts.append(markup)

    def rect(self, x: float, y: float, w: float, h: float, cls: str, *, tip: str = "", radius: float = 0) -> None:
        """A rectangle; heights and widths may be negative."""
        x, w = (x + w, -w) if w < 0 else (x, w)
        y, h = (y + h, -h) if h < 0 else (y, h)
        round_ = f' rx="{number(radius)}"' if radius else ""
        body = f"<title>{html.escape(tip)}</title></rect>" if tip else "</rect>"
        size = f'width="{number(w)}" height="{number(h)}"'
        self.add(f'<rect class="{cls}" x="{number(x)}" y="{number(y)}" {size}{round_}>{body}')

    def line(self, x1: float, y1: float, x2: float, y2: float, cls: str) -> None:
        """A straight line."""
        self.add(f'<line class="{cls}" x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"/>')

    def circle(self, x: float, y: float, r: float, cls: str, *, tip: str = "") -> None:
        """A dot."""
        body = f"<title>{html.escape(tip)}</title>" if tip else ""
        self.add(f'<circle class="{cls}" cx="{number(x)}" cy="{number(y)}" r="{number(r)}">{body}</circle>')

    def text(self, x: float, y: float, text: str, cls: str = "label", *, anchor: str = "start") -> None:
        """A text; ``anchor`` is start, middle or end."""
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.add(f'<text class="{cls}" x="{number(x)}" y="{number(y)}"{where}>{html.escape(text)}</text>')

    def path(
        self, points: Sequence[tuple[float, float]] | NDArray[np.float64], cls: str, *, close: bool = False
    ) -> None:
        """A line through points; NaN parts it."""
        drawn = trace(np.asarray(points, float).reshape(-1, 2))
        if drawn:
            self.add(f'<path class="{cls}" d="{drawn}{"Z" if close else ""}"/>')

    def band(self, x: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], cls: str) -> None:
        """The area between two lines; where one of them is NaN it has a hole."""
        whole = ~(np.isnan(low) | np.isnan(high))
        edges = np.flatnonzero(np.diff(np.concatenate([[0], whole.astype(int), [0]])))
        for first, last in edges.reshape(-1, 2):
            if last - first > 1:
                top = np.column_stack([x[first:last], high[first:last]])
                bottom = np.column_stack([x[first:last], low[first:last]])[::-1]
                self.path(np.concatenate([top, bottom]), cls, close=True)

    def legend(self, x: float, y: float, entries: Sequence[tuple[str, str]], *, right: float) -> float:
        """Draw swatches with their names from ``x`` on, breaking lines before ``right``; return the last line's y.

        A class that begins with ``l-`` is drawn as a line, others as a box.
        """
        at = x
        for cls, name in entries:
            width = 24 + text_width(name) + 14
            if at + width - 14 > right and at > x:
                at, y = x, y + 18
            if cls.startswith("l-"):
                self.line(at, y - 4, at + 18, y - 4, cls)
            else:
                self.rect(at, y - 9, 18, 10, cls, radius=2)
            self.text(at + 24, y, name, "label")
            at += width
        return y

    def hover(self, data: Mapping[str, Any]) -> None:
        """Data that the page's script shows beside the pointer: x (px), at (labels), top, bottom, series."""
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        self.add(f'<g class="hover" data-hover="{html.escape(text)}"></g>')

    def svg(self, *, style: str = "") -> str:
        """The drawing as an ``<svg>`` element; with ``style`` it stands alone."""
        head = f"<style>{style}</style>" if style else ""
        name = html.escape(self.label)
        space = ' xmlns="http://www.w3.org/2000/svg"' if style else ""
        return (
            f'<svg{space} class="chart" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" role="img" aria-label="{name}">{head}{"".join(self.parts)}</svg>'
        )


def trace(points: NDArray[np.float64]) -> str:
    """Path data through points; NaN parts the line."""
    found: list[str] = []
    pen = "M"
    for x, y in points.tolist():
        if math.isnan(x) or math.isnan(y):
            pen = "M"
            continue
        found.append(f"{pen}{number(x)} {number(y)}")
        pen = "L"
    return "".join(found)


def steps(starts: NDArray[np.float64], ends: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The corners of a line that holds each value from its start to its end."""
    corners = np.empty((2 * len(values), 2))
    corners[0::2, 0], corners[1::2, 0] = starts, ends
    corners[0::2, 1] = corners[1::2, 1] = values
    return corners


@dataclass(frozen=True)
class Panel:
    """A plotting area on a canvas with its scales."""

    canvas: Canvas
    x: Linear
    y: Linear

    @property
    def left(self) -> float:
        """Its left edge."""
        return self.x.start

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x.end

    @property
    def top(self) -> float:
        """Its upper edge."""
        return self.y.end

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y.start

    def y_axis(self, ticks: Sequence[float], unit: str = "", *, form: Callable[[float], str] = plain) -> None:
        """Grid lines and labels; the topmost label has the unit."""
        inside = [tick for tick in ticks if self.y.low - 1e-9 <= tick <= self.y.high + 1e-9]
        for tick in inside:
            at = self.y(tick)
            self.canvas.line(self.left, at, self.right, at, "zero" if tick == 0 else "grid")
            self.canvas.text(self.left - 6, at + 4, form(tick), "tick", anchor="end")
        if unit:
            self.canvas.text(self.left - 6, self.top - 9, unit, "unit", anchor="end")

    def hours(self, since: datetime, until: datetime, timezone: str, *, every: int) -> None:
        """Mark local hours below."""
        zone = ZoneInfo(timezone)
        at = since
        while at <= until:
            local = at.astimezone(zone)
            x = self.x(at.timestamp())
            if local.minute == 0 and local.hour % every == 0 and self.left <= x <= self.right:
                self.canvas.line(x, self.bottom, x, self.bottom + 4, "axis")
                end = at == until and local.hour == 0
                self.canvas.text(x, self.bottom + 17, "24:00" if end else f"{local:%H:%M}", "tick", anchor="middle")
            at += timedelta(minutes=15)

    def days(self, since: datetime, until: datetime, timezone: str, *, label: bool = True) -> None:
        """Part local days, and name them below."""
        zone = ZoneInfo(timezone)
        starts = local_days(since, until, zone)
        for start, end in zip(starts, [*starts[1:], until], strict=True):
            x = self.x(start.timestamp())
            if start > since:
                self.canvas.line(x, self.top, x, self.bottom, "grid")
            middle = (x + self.x(end.timestamp())) / 2
            room = self.x(end.timestamp()) - x
            local = start.astimezone(zone)
            name = f"{local:%a} {local.day} {local:%b}" if room > 66 else f"{local:%a}" if room > 24 else ""
            if label and name:
                self.canvas.text(middle, self.bottom + 17, name, "tick", anchor="middle")


def local_days(since: datetime, until: datetime, zone: ZoneInfo) -> list[datetime]:
    """The begins of the local days in a range; the first is ``since``."""
    found = [since]
    day = since.astimezone(zone).date()
    while True:
        day += timedelta(days=1)
        start = datetime(day.year, day.month, day.day, tzinfo=zone)
        if start >= until:
            return found
        found.append(start)
