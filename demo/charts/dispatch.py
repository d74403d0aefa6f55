"""One activation as it went: who was asked when, who fell out, and who took over."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from demo.charts.canvas import Canvas, Linear, Panel
from demo.figures import Trouble

_ROWS = 22
_ROW = 22


@dataclass(frozen=True)
class Order:
    """An instruction and what became of it.

    Attributes:
        outcome: followed, refused, no answer, overridden or stopped; of the others the reason.
        fell_out: Another had to take over.
    """

    site_id: str
    issued_at: datetime
    since: datetime
    until: datetime
    quantity_w: int
    answered_at: datetime | None
    revoked_at: datetime | None
    outcome: str
    late: bool

    @property
    def fell_out(self) -> bool:
        """Whether it was taken back."""
        return self.revoked_at is not None


def orders(trouble: Trouble) -> list[Order]:
    """Read each instruction's fate from its reports and revocations, in the order they were issued."""
    revoked = {
        row["supersedes_id"]: row["issued_at"]
        for row in trouble.orders.iter_rows(named=True)
        if row["action"] == "REVOKE"
    }
    first = trouble.orders["issued_at"].min()
    found = []
    for row in trouble.orders.filter(pl.col("action") == "FOLLOW").iter_rows(named=True):
        reports = trouble.reports.filter(pl.col("instruction_id") == row["instruction_id"])
        answers = reports.filter(pl.col("status").is_in(["ACCEPTED", "REJECTED"]))
        found.append(
            Order(
                site_id=row["site_id"],
                issued_at=row["issued_at"],
                since=row["since"],
                until=row["until"],
                quantity_w=row["quantity_w"] or 0,
                answered_at=answers["occurred_at"].min() if answers.height else None,  # type: ignore[arg-type]
                revoked_at=revoked.get(row["instruction_id"]),
                outcome=_outcome(reports, revoked=row["instruction_id"] in revoked),
                late=isinstance(first, datetime) and row["issued_at"] - first > timedelta(seconds=30),
            )
        )
    return found


def _outcome(reports: pl.DataFrame, *, revoked: bool) -> str:
    reasons = dict(reports.select("status", "reason_code").iter_rows())
    words = {
        "REJECTED": "refused",
        "ABORTED": "stopped",
        "OVERRIDDEN": "overridden",
        "UNREACHABLE": "unreachable",
    }
    for status, word in words.items():
        if status in reasons:
            reason = reasons[status]
            return f"{word}: {reason.lower().replace('_', ' ')}" if reason and status == "ABORTED" else word
    if not {"ACCEPTED", "STARTED", "SUCCEEDED"} & reasons.keys():
        return "no answer"
    return "taken back" if revoked else "followed"


def draw(trouble: Trouble, timezone: str, width: int) -> str:
    """Draw an activation's instructions as bars in time, one row each.

    Pale is the time between order and begin, full the time in which the home was to deliver. A cross is a revocation.
    """
    found = orders(trouble)
    odd = [order for order in found if order.fell_out or order.late]
    calm = [order for order in found if not (order.fell_out or order.late)]
    shown = sorted([*odd[:_ROWS], *calm[: max(_ROWS - len(odd), 0)]], key=lambda order: order.issued_at)
    hidden = len(found) - len(shown)
    canvas = Canvas(
        width, 78 + _ROW * len(shown) + 22, "one activation: which homes were asked, fell out and took over"
    )
    used = canvas.legend(
        12,
        16,
        [("a-notice", "asked"), ("a-delivered", "in force"), ("a-replaced", "took over"), ("a-gone", "fell out")],
        right=width - 14,
    )
    names = max((len(order.site_id) for order in shown), default=8) * 7 + 18
    begin = min(order.issued_at for order in found) - timedelta(minutes=1)
    right = width - (112 if canvas.narrow else 216)
    x = Linear(begin.timestamp(), (trouble.until + timedelta(minutes=1)).timestamp(), names, right)
    bottom = used + 34 + _ROW * len(shown)
    panel = Panel(canvas, x, Linear(0, 1, bottom, used + 28))
    since, until = x(trouble.since.timestamp()), x(trouble.until.timestamp())
    canvas.rect(since, panel.top, until - since, bottom - panel.top, "a-asked")
    panel.hours(begin.replace(minute=0, second=0, microsecond=0), trouble.until, timezone, every=1)
    _quarters(panel, trouble, timezone)
    for place, order in enumerate(shown):
        _row(canvas, panel, order, used + 34 + _ROW * place)
    if hidden:
        canvas.text(names, bottom + 34, f"and {hidden} more homes that followed", "label")
    return canvas.svg()


def _quarters(panel: Panel, trouble: Trouble, timezone: str) -> None:
    at = trouble.since
    while at <= trouble.until:
        x = panel.x(at.timestamp())
        panel.canvas.line(x, panel.top, x, panel.bottom, "grid")
        local = at.astimezone(ZoneInfo(timezone))
        if local.minute:
            panel.canvas.text(x, panel.bottom + 17, f"{local:%H:%M}", "tick", anchor="middle")
        at += timedelta(minutes=15)


def _row(canvas: Canvas, panel: Panel, order: Order, top: float) -> None:
    middle = top + _ROW / 2
    canvas.text(panel.left - 8, middle + 4, order.site_id, "tick", anchor="end")
    tip = f"{order.site_id}: {order.quantity_w / 1000:.1f} kW, {order.outcome}"
    issued, since, until = (panel.x(time.timestamp()) for time in (order.issued_at, order.since, order.until))
    end = until if order.revoked_at is None else panel.x(max(order.revoked_at, order.issued_at).timestamp())
    canvas.rect(issued, middle - 3, max(min(since, end) - issued, 1), 6, "a-notice", tip=tip, radius=2)
    if end > since:
        canvas.rect(
            since, middle - 7, end - since, 14, "a-replaced" if order.late else "a-delivered", tip=tip, radius=2
        )
    if order.answered_at is not None and order.outcome != "refused":
        canvas.circle(panel.x(order.answered_at.timestamp()), middle, 3.5, "dot", tip=f"accepted: {order.site_id}")
    if order.revoked_at is not None:
        if until > end:
            canvas.rect(max(end, since), middle - 7, until - max(end, since), 14, "a-gone", tip=tip, radius=2)
        for dx, dy in ((4, 4), (4, -4)):
            canvas.line(end - dx, middle - dy, end + dx, middle + dy, "cross")
    word = order.outcome if not order.late or order.fell_out else "took over"
    shown = word.partition(":")[0] if canvas.narrow else f"{order.quantity_w / 1000:.1f} kW, {word}"
    canvas.text(panel.right + 8, middle + 4, shown, "bad" if order.fell_out else "label")
