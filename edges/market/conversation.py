"""The market's day: a gate that opens, takes bids, closes and is cleared; then calls of energy."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import Field

from edges.chance import EPOCH, instant, seconds
from edges.market.clearing import Step, call, clear
from edges.market.config import Config
from edges.market.supply import Day, day_of
from energy.ids import composed, part, stamp
from energy.time import QUARTER, local_date, local_day, quarters_of_day
from streams import Conversation, Emit, Session
from streams.columns import UTC_MICROS
from topics import ActivationRequested, BidCleared, BidSubmitted, GateScheduled, PricePublished

_DAY = timedelta(days=1)
_QUARTER_S = 900


class Phase(StrEnum):
    """How far the gate is."""

    SCHEDULED = "SCHEDULED"
    OPEN = "OPEN"
    CLOSED = "CLOSED"
    CLEARED = "CLEARED"


class Bid(NamedTuple):
    """One step for one period, as it was handed in; times in seconds since 1970."""

    portfolio: str
    bid_id: str
    revision: int
    set_id: str
    set_no: int
    set_size: int
    withdrawn: bool
    node: str | None
    start_s: int
    step: int
    quantity_w: int
    minimum_w: int
    capacity_price: int
    energy_price: int
    refused: bool = False  # already; it still counts as part of its submission


class Call(NamedTuple):
    """A call of energy that is decided and not sent."""

    notice_s: int
    activation_id: str
    portfolio: str
    bid_id: str
    node: str | None
    start_s: int
    end_s: int
    quantity_w: int
    energy_price: int


class Market(Session):
    """The gate in progress with its bids, and the calls to come."""

    delivery: date | None = None
    phase: Phase = Phase.CLEARED
    due_at: datetime | None = None
    bids: list[Bid] = Field(default_factory=list)
    calls: list[Call] = Field(default_factory=list)

    def wake_at(self) -> datetime | None:
        """The gate's next step, or a call that is due before it."""
        if self.due_at is None:
            return EPOCH
        return min([self.due_at, *(instant(one.notice_s) for one in self.calls)])


Talk = Conversation[Market, Config]
Made = Emit[GateScheduled] | Emit[BidCleared] | Emit[PricePublished] | Emit[ActivationRequested]


def gate_id(config: Config, day: date) -> str:
    """Return the id of the gate of a day of delivery."""
    return composed(config.product_id, f"{day:%Y%m%d}")


def on_wake(talk: Talk) -> Iterator[Made]:
    """Take the gate's next step, and call what is due."""
    session, config = talk.session, talk.config
    if session.due_at is None:
        _begin(session, config, talk.now)
    while session.due_at is not None and session.due_at <= talk.now:
        yield from _step(session, config)
    now_s = seconds(talk.now)
    due = [one for one in session.calls if one.notice_s <= now_s]
    if due:
        session.calls = [one for one in session.calls if one.notice_s > now_s]
        yield Emit(ActivationRequested, [_request(config, one) for one in due])


def on_event(talk: Talk, event: BidSubmitted) -> Iterator[Made]:
    """Take a bid, or refuse it at once if its gate is not open or it is not for this product."""
    session, config = talk.session, talk.config
    gate = gate_id(config, session.delivery) if session.delivery else ""
    closes_at = _at(config, session.delivery, config.closes) if session.delivery else EPOCH
    bid = Bid(
        portfolio=event.portfolio_id,
        bid_id=event.bid_id,
        revision=event.revision,
        set_id=event.set_id,
        set_no=event.set_no,
        set_size=event.set_size,
        withdrawn=event.status == "WITHDRAWN",
        node=event.grid_node_id,
        start_s=seconds(event.period_start),
        step=event.step,
        quantity_w=event.quantity_w,
        minimum_w=event.min_quantity_w,
        capacity_price=event.price_micros_per_mw_h or 0,
        energy_price=event.price_micros_per_mwh or 0,
    )
    wrong = None
    if event.gate_id != gate or session.phase != Phase.OPEN or talk.now >= closes_at:
        wrong = "GATE_CLOSED", "the gate takes no bids now"
    elif (event.product_id, event.zone, event.direction) != (config.product_id, config.zone, config.direction):
        wrong = "PRODUCT_MISMATCH", f"the gate is for {config.product_id} in {config.zone}, {config.direction}"
    elif event.period_end - event.period_start != QUARTER or not _inside(config, session.delivery, bid.start_s):
        wrong = "PERIOD_INVALID", "the period is no quarter-hour of the day of delivery"
    if wrong:
        yield Emit(BidCleared, _cleared(config, event.gate_id, [(bid, 0, wrong)]))
    if wrong is None or wrong[0] != "GATE_CLOSED":
        bid = bid._replace(refused=wrong is not None)
        if bid not in session.bids:
            session.bids.append(bid)


# The gate.


def _at(config: Config, day: date, clock: time) -> datetime:
    """Return the time of the clock on the day before delivery."""
    return datetime.combine(day - _DAY, clock, ZoneInfo(config.timezone)).astimezone(UTC)


def _inside(config: Config, day: date | None, start_s: int) -> bool:
    if day is None:
        return False
    start, end = local_day(day, config.timezone)
    return start <= instant(start_s) < end and start_s % _QUARTER_S == 0


def _begin(session: Market, config: Config, now: datetime) -> None:
    """Choose the first day whose gate has not opened yet."""
    begin = max(config.start, now)
    day = local_date(begin, config.timezone) + _DAY
    if _at(config, day, config.opens) < begin:
        day += _DAY
    _schedule(session, config, day)
    session.due_at = max(session.due_at or EPOCH, config.start)


def _schedule(session: Market, config: Config, day: date) -> None:
    session.delivery, session.phase, session.bids = day, Phase.CLEARED, []
    session.due_at = _at(config, day, time())


def _step(session: Market, config: Config) -> Iterator[Made]:
    day = session.delivery
    assert day is not None
    traded = (config.trade_from or day) <= day <= (config.trade_until or day)
    match session.phase:
        case Phase.CLEARED:
            session.phase, session.due_at = Phase.SCHEDULED, _at(config, day, config.opens)
        case Phase.SCHEDULED:
            session.phase, session.due_at = Phase.OPEN, _at(config, day, config.closes)
        case Phase.OPEN:
            session.phase, session.due_at = Phase.CLOSED, _at(config, day, config.results)
        case Phase.CLOSED:
            session.phase = Phase.CLEARED
            yield from _results(session, config, day)
    if traded:
        yield Emit(GateScheduled, [_gate(config, day, session.phase)])
    if session.phase == Phase.CLEARED:
        _schedule(session, config, day + _DAY)


def _gate(config: Config, day: date, phase: Phase) -> GateScheduled:
    start, end = local_day(day, config.timezone)
    gate, revision = gate_id(config, day), list(Phase).index(phase)
    return GateScheduled(
        gate_id=gate,
        revision=revision,
        product_id=config.product_id,
        zone=config.zone,
        period_start=start,
        period_end=end,
        delivery_date=day,
        opens_at=_at(config, day, config.opens),
        inputs_until=_at(config, day, config.inputs_until),
        closes_at=_at(config, day, config.closes),
        results_at=_at(config, day, config.results),
        status=phase.value,
        origin=config.market_id,
        origin_id=f"{gate}/{revision}",
    )


# Clearing.


Result = tuple[Bid, int, tuple[str, str] | None]  # the bid, watts bought, why not more


def _results(session: Market, config: Config, day: date) -> Iterator[Made]:
    """Clear all quarter-hours of the day, say what was bought and at which price, and decide the calls."""
    around = day_of(config, day)
    starts = quarters_of_day(day, config.timezone)
    valid, results = _sorted_out(session.bids, config)
    books: dict[int, list[tuple[Step, Bid | None]]] = {}
    prices = []
    for start in starts:
        start_s = seconds(start)
        quarter = _clock_quarter(config, start)
        steps = _steps(around, quarter, valid[start_s])
        bought = clear([step for step, _ in steps], int(around.need_w[quarter]), config.step_w)
        books[start_s] = [
            (Step(step.owner, watts, min(step.minimum_w, watts), step.capacity_price, step.energy_price), bid)
            for (step, bid), watts in zip(steps, bought, strict=True)
            if watts
        ]
        results += [
            (bid, watts, None if watts == bid.quantity_w else ("PRICE_TOO_HIGH", "cheaper bids met the need"))
            for (_, bid), watts in zip(steps, bought, strict=True)
            if bid
        ]
        held = [step for step, _ in books[start_s]]
        prices.append(
            (
                start,
                max((step.capacity_price for step in held), default=0),
                max((step.energy_price for step in held), default=0),
            )
        )
    if results:
        yield Emit(BidCleared, _cleared(config, gate_id(config, day), sorted(results, key=lambda one: one[0].bid_id)))
    yield Emit(PricePublished, _published(config, prices))
    session.calls += _calls(config, day, around, books)


def _clock_quarter(config: Config, start: datetime) -> int:
    local = start.astimezone(ZoneInfo(config.timezone))
    return local.hour * 4 + local.minute // 15


def _steps(around: Day, quarter: int, bids: list[Bid]) -> list[tuple[Step, Bid | None]]:
    """Collect what everybody offers for a quarter-hour; others before us where prices are equal."""
    others: list[tuple[Step, Bid | None]] = [
        (
            Step(
                f"0/{number:04d}",
                int(around.quantity_w[number, quarter]),
                0,
                int(around.capacity_price[number, quarter]),
                int(around.energy_price[number, quarter]),
            ),
            None,
        )
        for number in range(len(around.quantity_w))
    ]
    ours = [
        (Step(f"1/{bid.bid_id}", bid.quantity_w, bid.minimum_w, bid.capacity_price, bid.energy_price), bid)
        for bid in bids
    ]
    return others + ours


def _sorted_out(bids: list[Bid], config: Config) -> tuple[defaultdict[int, list[Bid]], list[Result]]:
    """Keep the newest revision of each bid in complete submissions, by quarter-hour; refuse what breaks a rule."""
    sizes = Counter(bid.set_id for bid in bids)
    newest: dict[str, Bid] = {}
    refused: list[Result] = []
    for bid in sorted((bid for bid in bids if not bid.refused), key=lambda one: (one.bid_id, one.revision)):
        if sizes[bid.set_id] != bid.set_size:
            refused.append((bid, 0, ("SET_INCOMPLETE", f"{sizes[bid.set_id]} of {bid.set_size} bids came")))
        else:
            newest[bid.bid_id] = bid
    refused = [one for one in refused if one[0].bid_id not in newest]
    valid: defaultdict[int, list[Bid]] = defaultdict(list)
    live = sorted((bid for bid in newest.values() if not bid.withdrawn), key=lambda one: (one.start_s, one.portfolio))
    for (start_s, _), group in groupby(live, key=lambda one: (one.start_s, one.portfolio)):
        held = list(group)
        total_w = sum(bid.quantity_w for bid in held)
        for bid in held:
            wrong = _wrong(bid, total_w, config)
            if wrong:
                refused.append((bid, 0, wrong))
            else:
                valid[start_s].append(bid)
    return valid, refused


def _wrong(bid: Bid, total_w: int, config: Config) -> tuple[str, str] | None:
    if bid.quantity_w % config.step_w:
        return "QUANTITY_INVALID", f"{bid.quantity_w} W is no multiple of {config.step_w} W"
    if total_w < config.min_quantity_w:
        return "QUANTITY_INVALID", f"{total_w} W in all is less than {config.min_quantity_w} W"
    if bid.capacity_price > config.capacity_price_max or bid.energy_price > config.energy_price_max:
        return "PRICE_TOO_HIGH", "dearer than the market buys"
    return None


def _cleared(config: Config, gate: str, results: list[Result]) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for bid, watts, reason in results:
        status = "REJECTED" if not watts else "ACCEPTED" if watts == bid.quantity_w else "PARTIAL"
        rows.append(
            {
                "portfolio_id": bid.portfolio,
                "bid_id": bid.bid_id,
                "trade_id": "",
                "revision": bid.revision,
                "status": status,
                "gate_id": gate,
                "product_id": config.product_id,
                "zone": config.zone,
                "direction": config.direction,
                "period_start": instant(bid.start_s),
                "period_end": instant(bid.start_s + _QUARTER_S),
                "quantity_w": watts,
                "price_micros_per_mwh": bid.energy_price if watts else None,
                "price_micros_per_mw_h": bid.capacity_price if watts else None,
                "currency": config.currency,
                "reason_code": reason and reason[0],
                "reason_text": reason and reason[1],
                "origin": config.market_id,
                "origin_id": f"{bid.bid_id}/{bid.revision}/{status}",
            }
        )
    columns = BidCleared.__topic__.columns
    return pl.DataFrame(rows, schema={name: columns[name] for name in rows[0]}, orient="row")


def _published(config: Config, prices: list[tuple[datetime, int, int]]) -> pl.DataFrame:
    """Publish the dearest that was bought: the market pays each its own bid."""
    frame = pl.DataFrame(
        prices,
        schema={"period_start": UTC_MICROS, "price_micros_per_mw_h": pl.Int64, "price_micros_per_mwh": pl.Int64},
        orient="row",
    )
    return frame.with_columns(
        period_end=pl.col("period_start") + QUARTER,
        zone=pl.lit(config.zone),
        product_id=pl.lit(config.product_id),
        kind=pl.lit("CLEARING"),
        revision=pl.lit(0, pl.Int64),
        commodity=pl.lit("ELECTRICITY"),
        status=pl.lit("FINAL"),
        currency=pl.lit(config.currency),
        origin=pl.lit(config.market_id),
        origin_id=pl.format("{}/{}", pl.lit(config.product_id), pl.col("period_start").dt.strftime("%Y%m%dT%H%M%SZ")),
    )


# Calls.


def _calls(config: Config, day: date, around: Day, books: dict[int, list[tuple[Step, Bid | None]]]) -> list[Call]:
    """Choose who is called in each block, by the price of energy among those bought in all of its quarter-hours."""
    starts = sorted(books)
    clock = {_clock_quarter(config, instant(start_s)): start_s for start_s in reversed(starts)}
    found = []
    for first, length, share in around.calls:
        if first not in clock:
            continue  # the hour that daylight saving leaves out
        block = [clock[first] + _QUARTER_S * number for number in range(length)]
        if block[-1] not in books:
            continue
        held = _held(books, block)
        need_w = min(int(around.need_w[_clock_quarter(config, instant(start_s))]) for start_s in block)
        called = call([step for step, _ in held], round(need_w * share), config.step_w)
        for (step, bid), watts in zip(held, called, strict=True):
            if bid and watts:
                where = (bid.node,) if bid.node else ()
                name = composed(gate_id(config, day), stamp(instant(block[0])), str(bid.step), *where)
                end_s = block[-1] + _QUARTER_S
                notice_s = block[0] - config.notice_s
                found.append(
                    Call(notice_s, name, bid.portfolio, bid.bid_id, bid.node, block[0], end_s, watts, step.energy_price)
                )
    return found


def _held(books: dict[int, list[tuple[Step, Bid | None]]], block: list[int]) -> list[tuple[Step, Bid | None]]:
    """Reduce a block to what was bought of each step in all of its quarter-hours, at the mean of its energy prices."""
    by_owner: dict[str, list[tuple[Step, Bid | None]]] = {}
    for start_s in block:
        for step, bid in books[start_s]:
            owner = step.owner if bid is None else f"1/{part(bid.portfolio)}/{bid.node}/{bid.step:04d}"
            by_owner.setdefault(owner, []).append((step, bid))
    held = []
    for owner, entries in sorted(by_owner.items()):
        if len(entries) == len(block):
            steps = [step for step, _ in entries]
            quantity_w = min(step.quantity_w for step in steps)
            least_w = min(max(step.minimum_w for step in steps), quantity_w)
            price = round(sum(step.energy_price for step in steps) / len(steps))
            held.append((Step(owner, quantity_w, least_w, steps[0].capacity_price, price), entries[0][1]))
    return held


def _request(config: Config, one: Call) -> ActivationRequested:
    return ActivationRequested(
        portfolio_id=one.portfolio,
        activation_id=one.activation_id,
        revision=0,
        status="ORDERED",
        kind="SCHEDULED",
        product_id=config.product_id,
        bid_id=one.bid_id,
        zone=config.zone,
        grid_node_id=one.node,
        direction=config.direction,
        period_start=instant(one.start_s),
        period_end=instant(one.end_s),
        quantity_w=one.quantity_w,
        reply_by=instant(one.notice_s + config.reply_s),
        price_micros_per_mwh=one.energy_price,
        currency=config.currency,
        reason_code="CONGESTION",
        reason_text="simulated need of the grid",
        origin=config.market_id,
        origin_id=f"{one.activation_id}/0",
    )
