"""The chain as a picture: who hands what to whom, and how many events that were."""

from collections.abc import Mapping
from dataclasses import dataclass

from demo.charts.canvas import Canvas

_BOX_H = 48.0


@dataclass(frozen=True)
class Node:
    """A part of the chain: its name, whether it is a simulated edge, and what of a run's counts stands below it."""

    name: str
    edge: bool
    count: str = ""
    noun: str = ""


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
    (2, Node("weather", edge=True)),
    (3, Node("rules", edge=True)),
    (5, Node("price", edge=True)),
    (6, Node("clock", edge=True)),
)


def draw(counts: Mapping[str, int], width: int) -> str:
    """Draw the chain as a snake.

    Args:
        counts: As of `demo.facts.counts`.
        width: In px.
    """
    columns = 3 if width < 600 else 7  # noqa: PLR2004  # a phone's width
    rows = -(-len(CHAIN) // columns)
    above = 0.0 if columns == 3 else 84.0  # noqa: PLR2004
    pitch_y = 92.0
    canvas = Canvas(width, int(above + pitch_y * (rows - 1) + _BOX_H + 20), "the chain from a home's reading to its statement")
    pitch = (width - 16) / columns
    box = pitch - 26

    def place(index: int) -> tuple[float, float]:
        row, column = divmod(index, columns)
        column = column if row % 2 == 0 else columns - 1 - column
        return 8 + pitch * column + 13, above + pitch_y * row + 8

    for index, node in enumerate(CHAIN):
        x, y = place(index)
        if index + 1 < len(CHAIN):
            _link(canvas, (x, y), place(index + 1), box)
        _box(canvas, x, y, box, node, counts)
    if above:
        for column, node in _ABOVE:
            x = 8 + pitch * column + 13
            _box(canvas, x, 8, box, node, counts)
            if node.name == "model_training":
                _arrow(canvas, [(x + box / 2, above + 8), (x + box / 2, 8 + _BOX_H)])
                _arrow(canvas, [(x + box, 20 + _BOX_H / 2), (x + box + 13, 20 + _BOX_H / 2), (x + box + 13, above), (x + pitch + 14, above), (x + pitch + 14, above + 8)])
            elif node.name in ("weather", "price"):
                _arrow(canvas, [(x + box / 2, 8 + _BOX_H), (x + box / 2, above + 8)])
    return canvas.svg()


def _box(canvas: Canvas, x: float, y: float, width: float, node: Node, counts: Mapping[str, int]) -> None:
    canvas.rect(x, y, width, _BOX_H, "edge" if node.edge else "proc", radius=9)
    canvas.text(x + width / 2, y + (20 if node.count else 21), node.name, "node", anchor="middle")
    if node.count:
        canvas.text(x + width / 2, y + 37, f"{counts.get(node.count, 0):,} {node.noun}", "count", anchor="middle")
    else:
        canvas.text(x + width / 2, y + 37, "read by all" if node.name in ("rules", "clock") else "simulated" if node.name != "weather" else "forecasts", "count", anchor="middle")


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
