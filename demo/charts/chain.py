"""The chain as a picture: who hands what to whom, and how many events that were."""

from collections.abc import Mapping
from dataclasses import dataclass

from demo.charts.canvas import Canvas

_BOX_H, _MARGIN, _PITCH_Y = 48.0, 13.0, 92.0
_PHONE = 600


@dataclass(frozen=True)
class Node:
    """A part of the chain.

    Attributes:
        edge: It is a simulated edge, else a processor.
        count: Which of a run's counts stands below its name; without one only the noun.
    """

    name: str
    edge: bool
    count: str
    noun: str


CHAIN = (
    Node("homes", edge=True, count="readings", noun="readings"),
    Node("intervals", edge=False, count="intervals", noun="intervals"),
    Node("load_forecast", edge=False, count="predictions", noun="forecasts"),
    Node("flexibility", edge=False, count="offers", noun="offers"),
    Node("portfolio", edge=False, count="curve_steps", noun="curve steps"),
    Node("bidding", edge=False, count="bids", noun="bids"),
    Node("market", edge=True, count="activations", noun="activations"),
    Node("dispatch", edge=False, count="instructions", noun="instructions"),
    Node("homes", edge=True, count="reports", noun="answers"),
    Node("intervals", edge=False, count="interval_revisions", noun="restated"),
    Node("baseline", edge=False, count="baselines", noun="baselines"),
    Node("delivery", edge=False, count="deliveries", noun="deliveries"),
    Node("settlement", edge=False, count="settlement_lines", noun="lines"),
    Node("statement", edge=False, count="statements", noun="statements"),
)
"""What happens, in order; homes and intervals stand in it twice, before and after the market."""
_ABOVE = (
    (1, Node("model_training", edge=False, count="models", noun="models")),
    (2, Node("weather", edge=True, count="", noun="forecasts")),
    (3, Node("rules", edge=True, count="", noun="read by all")),
    (5, Node("price", edge=True, count="", noun="retail tariff")),
    (6, Node("clock", edge=True, count="", noun="ticks for all")),
)


def draw(counts: Mapping[str, int], width: int) -> str:
    """Draw the chain as a snake.

    Args:
        counts: As of `demo.facts.counts`.
        width: In px.
    """
    phone = width < _PHONE
    columns = 3 if phone else 7
    rows = -(-len(CHAIN) // columns)
    first = 8.0 if phone else 92.0
    canvas = Canvas(
        width, int(first + _PITCH_Y * (rows - 1) + _BOX_H + 12), "the chain from a home's reading to its statement"
    )
    pitch = (width - 16) / columns
    box = pitch - 2 * _MARGIN

    def place(index: int) -> tuple[float, float]:
        row, column = divmod(index, columns)
        column = column if row % 2 == 0 else columns - 1 - column
        return 8 + pitch * column + _MARGIN, first + _PITCH_Y * row

    for index, node in enumerate(CHAIN):
        x, y = place(index)
        if index + 1 < len(CHAIN):
            _link(canvas, (x, y), place(index + 1), box)
        _box(canvas, x, y, box, node, counts)
    for column, node in () if phone else _ABOVE:
        x, _ = place(column)
        _box(canvas, x, 8, box, node, counts)
        _down(canvas, node, x, box, first)
    return canvas.svg()


def _down(canvas: Canvas, node: Node, x: float, box: float, first: float) -> None:
    """Link what stands above the chain to what it feeds."""
    middle, foot = x + box / 2, 8 + _BOX_H
    if node.name == "model_training":  # it learns from the intervals below it, for the forecast beside them
        turn, into = x + box + _MARGIN, x + box + 2 * _MARGIN + 14
        _arrow(canvas, [(middle, first), (middle, foot)])
        _arrow(canvas, [(x + box, foot - 12), (turn, foot - 12), (turn, first - 8), (into, first - 8), (into, first)])
    elif node.name in ("weather", "price"):
        _arrow(canvas, [(middle, foot), (middle, first)])


def _box(canvas: Canvas, x: float, y: float, width: float, node: Node, counts: Mapping[str, int]) -> None:
    canvas.rect(x, y, width, _BOX_H, "edge" if node.edge else "proc", radius=9)
    canvas.text(x + width / 2, y + 20, node.name, "node", anchor="middle")
    told = f"{counts.get(node.count, 0):,} {node.noun}" if node.count else node.noun
    canvas.text(x + width / 2, y + 37, told, "count", anchor="middle")


def _link(canvas: Canvas, here: tuple[float, float], there: tuple[float, float], box: float) -> None:
    (x1, y1), (x2, y2) = here, there
    middle = y1 + _BOX_H / 2
    if y1 != y2:
        _arrow(canvas, [(x1 + box / 2, y1 + _BOX_H), (x2 + box / 2, y2)])
    elif x2 > x1:
        _arrow(canvas, [(x1 + box, middle), (x2, middle)])
    else:
        _arrow(canvas, [(x1, middle), (x2 + box, middle)])


def _arrow(canvas: Canvas, points: list[tuple[float, float]]) -> None:
    canvas.path(points, "flow")
    (x0, y0), (x, y) = points[-2:]
    if x == x0:
        sign = 1 if y > y0 else -1
        head = [(x - 4, y - 7 * sign), (x, y - 1), (x + 4, y - 7 * sign)]
    else:
        sign = 1 if x > x0 else -1
        head = [(x - 7 * sign, y - 4), (x - 1, y), (x - 7 * sign, y + 4)]
    canvas.path(head, "head", close=True)
