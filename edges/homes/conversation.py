"""The homes' side: readings and states every quarter-hour, answers to instructions, batteries that carry them out."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, zip_longest
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from edges import dataset
from edges.chance import EPOCH, instant, seconds
from edges.homes import faults
from edges.homes.config import Config, Faults
from edges.homes.faults import Answer
from edges.homes.fleet import (
    BATTERY,
    KINDS,
    LOAD,
    METER,
    PV,
    QUARTER_S,
    STEP_S,
    STEPS,
    Fleet,
    fleet,
    powers,
    readings,
    states,
)
from edges.homes.registry import Registration, registrations
from streams import Conversation, Emit, Session
from streams.columns import UTC_MICROS
from topics import InstructionIssued, InstructionReported, ReadingTaken, StateReported

Floats = NDArray[np.float64]

_HOUR_S = 3600
_WHOLE = 0.9  # of the power asked for: less is a battery at its end
_NEARLY_WH = 1.0
_LATE = {"row": pl.Int64, "occurred_at": pl.Int64, "power_w": pl.Float64}


class Row(NamedTuple):
    """One period of an instruction."""

    number: int
    start_s: int
    end_s: int
    power_w: float | None  # None: not what it can do


class Order(BaseModel):
    """An instruction: its periods as far as they are heard, and what became of it.

    It is in force from `from_s`, when the home agreed, until `until_s`, if it was taken back.
    """

    home: int
    activation: str
    size: int
    revokes: str = ""
    rows: list[Row] = Field(default_factory=list)
    taken: bool = False
    done: bool = False
    factor: float = 1.0
    from_s: int = 0
    until_s: int | None = None

    @property
    def start_s(self) -> int:
        """Begin of its first period."""
        return min(row.start_s for row in self.rows)

    @property
    def end_s(self) -> int:
        """End of its last period."""
        return max(row.end_s for row in self.rows)


class Report(NamedTuple):
    """What a home will say, and when."""

    at_s: int
    instruction_id: str
    home: int
    status: str
    power_w: float | None = None
    reason_code: str | None = None
    reason_text: str | None = None


class Kept(NamedTuple):
    """Readings of one step that are sent later: load and PV follow from the time, the battery does not."""

    due_s: int
    home: int
    taken_s: int
    kinds: int  # bits of KINDS
    battery_w: float


class Homes(Session):
    """What the homes remember: stored energy, instructions, and readings that wait for their connection."""

    next_at: datetime | None = None  # the end of the first quarter-hour that is not yet told
    sent_at: datetime | None = None  # when it is told
    stored_wh: list[float] = Field(default_factory=list)
    orders: dict[str, Order] = Field(default_factory=dict)
    reports: list[Report] = Field(default_factory=list)
    kept: list[Kept] = Field(default_factory=list)
    silent: dict[int, int] = Field(default_factory=dict)
    trouble: str = ""
    troubled: int = 0
    dark: dict[int, tuple[int, int]] = Field(default_factory=dict)

    def wake_at(self) -> datetime | None:
        """The next quarter-hour, or an answer that is due before it."""
        if self.sent_at is None:
            return EPOCH
        first = min((report.at_s for report in self.reports), default=None)
        return self.sent_at if first is None else min(self.sent_at, instant(first))


Talk = Conversation[Homes, Config]
Made = Registration | Emit[ReadingTaken] | Emit[StateReported] | Emit[InstructionReported]


def on_wake(talk: Talk) -> Iterator[Made]:
    """Register at the first wake; then say what has happened since the last one."""
    session, config = talk.session, talk.config
    made = fleet(config)
    if session.next_at is None:
        yield from registrations(config)
        begin_s = max(seconds(config.start), seconds(talk.now))
        session.next_at = instant(begin_s - begin_s % QUARTER_S + QUARTER_S)
        session.sent_at = _sent_at(config, session.next_at)
        session.stored_wh = (made.batteries.capacity_wh * config.target_fill_level).tolist()
    now_s = seconds(talk.now)
    if session.sent_at is not None and session.sent_at <= talk.now:
        told: list[tuple[pl.DataFrame, pl.DataFrame]] = []
        while (end_s := seconds(session.next_at)) <= now_s:
            told.append(_quarter(Quarter(session, config, made, end_s)))
            session.next_at = instant(end_s + QUARTER_S)
        yield Emit(ReadingTaken, pl.concat([sent for sent, _ in told]))
        yield Emit(StateReported, pl.concat([now for _, now in told]))
        session.sent_at = _sent_at(config, session.next_at)
    due = sorted(
        (one for one in session.reports if one.at_s <= now_s), key=lambda one: (one.at_s, one.home, one.status)
    )
    if due:
        session.reports = [one for one in session.reports if one.at_s > now_s]
        due.sort(key=lambda one: (one.at_s, one.home, one.status))
        due = [one for one in due if not _dark(session, one.home, one.at_s)]
        if said := [one for one in due if one.status != "STARTED" or _holds(session, one)]:
            yield Emit(InstructionReported, _reported(made, said))


def _sent_at(config: Config, end: datetime) -> datetime:
    """Return when a quarter-hour's readings are sent: at its end, in quiet times with those that follow."""
    together = instant(-(-seconds(end) // config.quiet_s) * config.quiet_s)
    return together if config.quiet_until is not None and together <= config.quiet_until else end


def on_event(talk: Talk, event: InstructionIssued) -> None:
    """Hear one period of an instruction; when all are heard, decide what the home does."""
    session, made = talk.session, fleet(talk.config)
    home = made.number.get(event.site_id)
    if home is None:
        return
    order = session.orders.get(event.instruction_id)
    if order is None:
        revokes = (event.supersedes_id or "") if event.action == "REVOKE" else ""
        order = Order(home=home, activation=event.activation_id or "", size=event.set_size, revokes=revokes)
        session.orders[event.instruction_id] = order
    if order.taken or order.done or any(row.number == event.set_no for row in order.rows):
        return
    power_w = event.power_w if event.form == "POWER" and event.resource_id == f"{event.site_id}/battery" else None
    order.rows.append(Row(event.set_no, seconds(event.period_start), seconds(event.period_end), power_w))
    if len(order.rows) == order.size:
        _decide(talk, event.instruction_id, order)


# Instructions.


def _decide(talk: Talk, instruction_id: str, order: Order) -> None:
    session, home, now_s = talk.session, order.home, seconds(talk.now)
    away = session.silent.get(home, 0) > now_s or _dark(session, home, now_s)
    if away or not faults.connected(talk.config, now_s)[home]:
        order.done = True  # it never arrives
        return
    answer, delay_s = faults.answer(talk.config, home, order.activation)
    if order.revokes:
        _revoke(session, order, now_s)
        session.reports.append(Report(now_s + delay_s, order.revokes, home, "REVOKED"))
        return
    trouble = _trouble(session, order, talk.config.faults)
    answer = trouble or answer
    refusal = _refusal(order, answer, now_s + delay_s)
    if answer == Answer.SILENT:
        order.done = True
        session.silent[home] = now_s + talk.config.faults.silence_s
    elif refusal:
        order.done = True
        session.reports.append(Report(now_s + delay_s, instruction_id, home, "REJECTED", None, *refusal))
    else:
        order.taken = True
        order.factor = talk.config.faults.short_factor if answer == Answer.SHORT else 1.0
        order.from_s = now_s + delay_s
        session.reports.append(Report(order.from_s, instruction_id, home, "ACCEPTED"))
        session.reports.append(Report(max(order.from_s, order.start_s), instruction_id, home, "STARTED"))
        _darken(session, order, talk.config.faults)


def _darken(session: Homes, order: Order, shares: Faults) -> None:
    """From some time on, one of the homes that are to act at a time loses its connection then."""
    if shares.dark_from is None or order.start_s < seconds(shares.dark_from):
        return
    alone = all(order.start_s != since_s for since_s, _ in session.dark.values())
    if alone and len(session.dark) < shares.dark_homes and order.home not in session.dark:
        session.dark[order.home] = (order.start_s, order.start_s + shares.dark_s)


def _dark(session: Homes, home: int, at_s: int) -> bool:
    since_s, until_s = session.dark.get(home, (0, 0))
    return since_s <= at_s < until_s


def _refusal(order: Order, answer: Answer, at_s: int) -> tuple[str, str] | None:
    if any(row.power_w is None for row in order.rows):
        return "NOT_SUPPORTED", "only the battery can be told, and only a power"
    if order.end_s <= at_s:
        return "TOO_LATE", "the instruction is over before it could be followed"
    if answer == Answer.REFUSE:
        return "DEVICE_NOT_READY", "simulated refusal"
    return None


def _trouble(session: Homes, order: Order, shares: Faults) -> Answer | None:
    """In the one activation that is to go badly, the first homes asked refuse and fall silent in turn."""
    if shares.trouble_from is None or order.start_s < seconds(shares.trouble_from):
        return None
    session.trouble = session.trouble or order.activation
    refusals, silences = [Answer.REFUSE] * shares.trouble_refusals, [Answer.SILENT] * shares.trouble_silences
    turns = [turn for turn in chain(*zip_longest(refusals, silences)) if turn]
    if session.trouble != order.activation or session.troubled >= len(turns):
        return None
    session.troubled += 1
    return turns[session.troubled - 1]


def _revoke(session: Homes, order: Order, now_s: int) -> None:
    order.done = True
    target = session.orders.get(order.revokes)
    if target is not None and not target.done:
        target.until_s = max(order.start_s, now_s)


def _holds(session: Homes, report: Report) -> bool:
    until_s = session.orders[report.instruction_id].until_s
    return until_s is None or until_s > report.at_s


# What happens in a quarter-hour.


@dataclass(frozen=True, eq=False)
class Quarter:
    """A quarter-hour that is over."""

    session: Homes
    config: Config
    made: Fleet
    end_s: int

    @property
    def start_s(self) -> int:
        """Its beginning, in seconds since 1970."""
        return self.end_s - QUARTER_S

    def powers(self) -> tuple[Floats, Floats]:
        """Load and PV of each home and step, shape (homes, 3), in W."""
        hour_s = self.start_s // _HOUR_S * _HOUR_S
        first = (self.start_s - hour_s) // STEP_S
        load_w, pv_w = powers(self.config, hour_s)
        return load_w[:, first : first + STEPS], pv_w[:, first : first + STEPS]


def _quarter(quarter: Quarter) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Let the batteries act; the readings and the states that are sent of the quarter-hour."""
    session, made, end_s = quarter.session, quarter.made, quarter.end_s
    load_w, pv_w = quarter.powers()
    asked_w, busy = _asked(quarter)
    battery_w = _follow(quarter, asked_w, busy, load_w + pv_w)
    _finish(quarter, asked_w, battery_w)
    up = faults.connected(quarter.config, end_s)
    if session.silent:
        session.silent = {home: until_s for home, until_s in session.silent.items() if until_s > end_s}
        up[list(session.silent)] = False
    up[[home for home in session.dark if _dark(session, home, end_s)]] = False
    power_w = np.empty((len(made), len(KINDS), STEPS))
    power_w[:, BATTERY], power_w[:, LOAD], power_w[:, PV] = battery_w, load_w, pv_w
    power_w[:, METER] = load_w + pv_w + battery_w
    sent = _sent(quarter, power_w, up)
    now = states(made, end_s, np.array(session.stored_wh))
    return sent, now if up.all() else now.filter(pl.Series(up))


def _asked(quarter: Quarter) -> tuple[Floats, NDArray[np.bool_]]:
    """Sum what the instructions ask of each battery in each step; several add up, parts of a step count in part."""
    shape = (len(quarter.made), STEPS)
    asked_w, busy = np.zeros(shape), np.zeros(shape, np.bool_)
    for order in quarter.session.orders.values():
        if not order.taken or order.done:
            continue
        until_s = quarter.end_s if order.until_s is None else order.until_s
        for row in order.rows:
            for step in range(STEPS):
                begin_s = quarter.start_s + step * STEP_S
                span_s = min(row.end_s, until_s, begin_s + STEP_S) - max(row.start_s, order.from_s, begin_s)
                if span_s > 0:
                    asked_w[order.home, step] += order.factor * (row.power_w or 0.0) * span_s / STEP_S
                    busy[order.home, step] = True
    return asked_w, busy


def _follow(quarter: Quarter, asked_w: Floats, busy: NDArray[np.bool_], net_w: Floats) -> Floats:
    """Let the batteries do what is asked, or charge at night, within the limits of their homes."""
    config, batteries, hours = quarter.config, quarter.made.batteries, STEP_S / _HOUR_S
    stored_wh = np.array(quarter.session.stored_wh)
    clock_h = instant(quarter.start_s).astimezone(ZoneInfo(dataset.TIMEZONE)).hour
    night = (clock_h - config.recharge_from_h) % 24 < (config.recharge_until_h - config.recharge_from_h) % 24
    target_wh = batteries.capacity_wh * config.target_fill_level
    if not busy.any() and not (night and (stored_wh < target_wh).any()):
        return asked_w
    done_w = np.empty_like(asked_w)
    for step in range(STEPS):
        missing_w = np.maximum(target_wh - stored_wh, 0.0) / (batteries.efficiency * hours)
        own_w = np.minimum(missing_w, config.recharge_w) if night else 0.0
        wanted_w = np.where(busy[:, step], asked_w[:, step], own_w)
        least_w = np.minimum(-config.export_limit_w - net_w[:, step], 0.0)
        most_w = np.maximum(config.import_limit_w - net_w[:, step], 0.0)
        done_w[:, step], stored_wh = batteries.follow(stored_wh, np.clip(wanted_w, least_w, most_w), hours)
    quarter.session.stored_wh = stored_wh.round(6).tolist()
    return done_w


def _finish(quarter: Quarter, asked_w: Floats, done_w: Floats) -> None:
    """End what is over, taken back, or cannot go on because the battery is at its end; forget what is long over."""
    session, end_s = quarter.session, quarter.end_s
    for instruction_id, order in list(session.orders.items()):
        if order.taken and not order.done:
            home = order.home
            last = max(step for step in range(STEPS) if step == 0 or asked_w[home, step])
            done, asked = float(done_w[home, last]), float(asked_w[home, last])
            reason = _at_its_end(quarter, home, done, asked)
            if order.until_s is not None and order.until_s <= end_s:
                order.done = True
            elif reason:
                order.done = True
                session.reports.append(Report(end_s, instruction_id, home, "ABORTED", done, *reason))
            elif order.end_s <= end_s:
                order.done = True
                session.reports.append(Report(end_s, instruction_id, home, "SUCCEEDED", done))
        if order.end_s <= end_s - _HOUR_S:
            del session.orders[instruction_id]


def _at_its_end(quarter: Quarter, home: int, done_w: float, asked_w: float) -> tuple[str, str] | None:
    if abs(done_w) >= _WHOLE * abs(asked_w):
        return None
    stored_wh, batteries = quarter.session.stored_wh[home], quarter.made.batteries
    if asked_w < 0 and stored_wh <= batteries.reserve_wh[home] + _NEARLY_WH:
        return "STORAGE_EMPTY", "the battery is down to its owner's reserve"
    if asked_w > 0 and stored_wh >= batteries.capacity_wh[home] - _NEARLY_WH:
        return "STORAGE_FULL", "the battery is full"
    return None


# What is sent.


def _sent(quarter: Quarter, power_w: Floats, up: NDArray[np.bool_]) -> pl.DataFrame:
    """The quarter-hour's readings as far as they are sent now, after those that waited for it."""
    session, end_s = quarter.session, quarter.end_s
    released = sorted((k for k in session.kept if k.due_s <= end_s and up[k.home]), key=lambda k: (k.home, k.taken_s))
    if released:
        session.kept = [k for k in session.kept if k.due_s > end_s or not up[k.home]]
    rows = readings(quarter.made, end_s, power_w)
    fates = faults.fates(quarter.config, end_s)
    if fates.any() or not up.all():
        here = up[:, None, None]
        times = np.where(here & ~np.isin(fates, (faults.LATE, faults.DAY_LATE, faults.LOST)), 1, 0)
        times[here & (fates == faults.TWICE)] = 2
        if (times != 1).any():
            rows = rows[np.repeat(np.arange(rows.height), times.ravel())]
        _keep(quarter, power_w[:, BATTERY], up, fates)
    return pl.concat([_late(quarter, released), rows]) if released else rows


def _keep(quarter: Quarter, battery_w: Floats, up: NDArray[np.bool_], fates: NDArray[np.int64]) -> None:
    """Put aside what is sent later: single readings, and all of a home without connection."""

    def keep(due_s: int, home: int, step: int, kinds: int) -> None:
        taken_s = quarter.start_s + STEP_S * (step + 1)
        quarter.session.kept.append(Kept(due_s, home, taken_s, kinds, float(battery_w[home, step])))

    end_s = quarter.end_s
    for reading in np.flatnonzero(np.isin(fates, (faults.LATE, faults.DAY_LATE, faults.AGAIN))).tolist():
        home, kind, step = (int(part) for part in np.unravel_index(reading, fates.shape))
        if up[home]:
            delay_s = faults.delay_s(quarter.config, int(fates[home, kind, step]), end_s, reading)
            keep(end_s + delay_s, home, step, 1 << kind)
    for home in np.flatnonzero(~up).tolist():
        for step in range(STEPS):
            kinds = sum(1 << kind for kind in range(len(KINDS)) if fates[home, kind, step] != faults.LOST)
            keep(end_s, home, step, kinds)


def _late(quarter: Quarter, released: list[Kept]) -> pl.DataFrame:
    rows = []
    for one in released:
        hour_s = (one.taken_s - STEP_S) // _HOUR_S * _HOUR_S
        step = (one.taken_s - STEP_S - hour_s) // STEP_S
        load_w, pv_w = (float(power[one.home, step]) for power in powers(quarter.config, hour_s))
        values = (one.battery_w, load_w, load_w + pv_w + one.battery_w, pv_w)
        rows += [
            (one.home * len(KINDS) + kind, one.taken_s * 1_000_000, values[kind])
            for kind in range(len(KINDS))
            if one.kinds >> kind & 1
        ]
    late = pl.DataFrame(rows, schema=_LATE, orient="row").sort("row", maintain_order=True)
    columns = quarter.made.columns[late["row"] * STEPS]
    return columns.hstack([late["occurred_at"].cast(UTC_MICROS), late["power_w"]])


def _reported(made: Fleet, due: list[Report]) -> pl.DataFrame:
    return pl.DataFrame({
        "site_id": [made.sites[report.home] for report in due],
        "instruction_id": [report.instruction_id for report in due],
        "status": [report.status for report in due],
        "occurred_at": pl.Series([instant(report.at_s) for report in due], dtype=UTC_MICROS),
        "resource_id": [f"{made.sites[report.home]}/battery" for report in due],
        "decided_by": ["DEVICE"] * len(due),
        "power_w": pl.Series([report.power_w for report in due], dtype=pl.Float64),
        "reason_code": pl.Series([report.reason_code for report in due], dtype=pl.String),
        "reason_text": pl.Series([report.reason_text for report in due], dtype=pl.String),
        "origin": ["homes"] * len(due),
        "origin_id": [f"{report.instruction_id}/{report.status}" for report in due],
    })  # fmt: skip
