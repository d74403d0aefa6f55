"""Collect activations and offers; at each tick look who answered, and split what is missing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from energy.dispatch import WS_PER_WH, EnergyLimit, PowerLimit, Problem, Resource, solve
from energy.effective import current
from energy.ids import composed
from energy.rules import rulebook
from energy.time import QUARTER, instant
from streams import Batch, Col, Context, Emit, Keyed
from topics import (
    ActivationRequested,
    FlexibilityOffered,
    InstructionIssued,
    InstructionReported,
    RulePublished,
    SiteRegistered,
)

KEEP = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
FAILED = ("REJECTED", "ABORTED", "OVERRIDDEN", "UNREACHABLE")
HEARD = ("ACCEPTED", "STARTED", "SUCCEEDED")
REFUSED, TAKEN = InstructionReported.status.is_in(FAILED), InstructionReported.status.is_in(HEARD)
Row = dict[str, Any]


class Offered(Keyed, key=("resource_id", "product_id", "direction", "period_start", "step"), expires="period_start"):
    """The newest offer of a resource in a quarter-hour, and the tick after which it came."""

    resource_id: Col[str]
    product_id: Col[str]
    direction: Col[str]
    period_start: Col[datetime]
    step: Col[int]
    portfolio_id: Col[str]
    site_id: Col[str]
    quantity_w: Col[int]
    min_quantity_w: Col[int]
    limit_group: Col[str | None]
    energy_limit_wh: Col[int | None]
    price_micros_per_mwh: Col[int]
    revision: Col[int]
    offered_at: Col[datetime]


class Activation(Keyed, key=("activation_id",), expires="period_end"):
    """An activation that is not over."""

    activation_id: Col[str]
    portfolio_id: Col[str]
    product_id: Col[str]
    direction: Col[str]
    grid_node_id: Col[str | None]
    period_start: Col[datetime]
    period_end: Col[datetime]
    quantity_w: Col[int]
    revision: Col[int]
    rounds: Col[int]


class Order(Keyed, key=("instruction_id",), expires="period_end"):
    """An instruction: until when it is to be answered, whether it was taken back, and whether as it had failed."""

    instruction_id: Col[str]
    activation_id: Col[str]
    resource_id: Col[str]
    site_id: Col[str]
    direction: Col[str]
    limit_group: Col[str | None]
    round_no: Col[int]
    respond_by: Col[datetime]
    period_start: Col[datetime]
    period_end: Col[datetime]
    revoked: Col[bool]
    failed: Col[bool]


class Part(Keyed, key=("instruction_id", "period_start"), expires="period_end"):
    """What an instruction asks in one period; ``period_end`` moves to the front when it is taken back."""

    instruction_id: Col[str]
    period_start: Col[datetime]
    period_end: Col[datetime]
    quantity_w: Col[int]


OFFER = (
    pl.when(FlexibilityOffered.status == "AVAILABLE").then(FlexibilityOffered.quantity_w).otherwise(0),
    pl.when(FlexibilityOffered.utilisation == "ANY_LEVEL").then(0).otherwise(FlexibilityOffered.min_quantity_w)
    .alias("min_quantity_w"),
    FlexibilityOffered.price_micros_per_mwh.fill_null(0),
)  # fmt: skip
"""What is kept of an offer: quantity and least quantity as they can be asked for, and its price."""


def on_batch(ctx: Context[None], batch: Batch[ActivationRequested | FlexibilityOffered]) -> None:
    """Keep the newest revision of each offer and activation."""
    offers = batch[FlexibilityOffered]
    if len(offers):
        _keep_offers(ctx, offers)
    calls = batch[ActivationRequested]
    if len(calls):
        newest = calls.sort("revision", maintain_order=True).unique("activation_id", keep="last", maintain_order=True)
        known = ctx.state(Activation).get(newest.select("activation_id"))
        fresh = (newest["revision"] > known["revision"]).fill_null(value=True)
        called_off = ActivationRequested.status == "CANCELLED"
        ctx.state(Activation).put(
            newest.with_columns(
                quantity_w=pl.when(called_off).then(0).otherwise(ActivationRequested.quantity_w),
                rounds=known["rounds"].fill_null(0),
            ).filter(fresh)
        )


def _keep_offers(ctx: Context[None], offers: pl.DataFrame) -> None:
    key = list(Offered.__key__)
    newest = offers.sort("revision", maintain_order=True).unique(key, keep="last", maintain_order=True)
    known = ctx.state(Offered).get(newest[key])["revision"]
    if known.null_count() < len(known):
        newest = newest.filter((newest["revision"] > known).fill_null(value=True))
    ctx.state(Offered).put(newest.with_columns(*OFFER, offered_at=instant(ctx.now)))


def on_tick(ctx: Context[None]) -> Iterator[Emit[InstructionIssued]]:
    """Take back what failed, ask others for what is missing; nothing where nothing has changed."""
    if ctx.now.date() != ctx.since.date():
        for keyed in (Order, Part, Offered):
            ctx.state(keyed).expire(ctx.now - KEEP)
    if not len(ctx.state(Activation)):
        return
    failed = _failed(ctx)
    if failed or len(ctx.state(Activation).changed()) or len(ctx.state(Offered).changed()):
        desk = Desk(ctx)
        desk.work(failed)
        desk.save()
        if desk.events:
            yield Emit(InstructionIssued, desk.events)
    ctx.state(Activation).expire(ctx.now + MICROSECOND)


def _failed(ctx: Context[None]) -> list[str]:
    """Return the instructions that were refused, broken off or not answered in time, in order."""
    now = instant(ctx.now)
    standing = ctx.state(Order).scan((pl.col("period_end") > now) & ~pl.col("revoked"))
    if standing.is_empty():
        return []
    heard = ctx.table(InstructionReported)[["instruction_id", "status"]]
    bad, good = heard.filter(REFUSED)["instruction_id"], heard.filter(TAKEN)["instruction_id"]
    name, late = pl.col("instruction_id"), pl.col("respond_by") <= now
    fails = name.is_in(bad.implode()) | (late & ~name.is_in(good.implode()))
    found: list[str] = standing.filter(fails)["instruction_id"].to_list()
    return found


@dataclass(frozen=True)
class Slot:
    """A quarter-hour of an activation, or what is left of it."""

    quarter: datetime
    start: datetime
    end: datetime

    @property
    def seconds(self) -> int:
        """Its length."""
        return int((self.end - self.start).total_seconds())

    def touches(self, part: Row) -> bool:
        """Whether a part of an instruction lies in it."""
        return bool(part["period_start"] < self.end and part["period_end"] > self.start)


class Desk:
    """What has been told and may be told, at one tick at which something has changed."""

    def __init__(self, ctx: Context[None]) -> None:
        self.ctx = ctx
        self.now = ctx.now
        self.events: list[InstructionIssued] = []
        self.book = rulebook(ctx.table(RulePublished))
        self.calls = ctx.state(Activation).scan().to_dicts()
        self.orders: dict[str, Row] = {row["instruction_id"]: row for row in ctx.state(Order).scan().to_dicts()}
        self.parts: dict[str, list[Row]] = {}
        for row in ctx.state(Part).scan().to_dicts():
            self.parts.setdefault(row["instruction_id"], []).append(row)
        self.of_call: dict[str, list[Row]] = {}
        self.of_resource: dict[str, list[Row]] = {}
        for order in self.orders.values():
            self._file(order)
        sites = current(ctx.table(SiteRegistered), ctx.now, entry=["site_id"])
        self.node_of: dict[str, str | None] = dict(sites.select("site_id", "grid_node_id").iter_rows())
        self.changed_orders: dict[str, Row] = {}
        self.changed_parts: list[Row] = []
        self.changed_calls: list[Row] = []

    def _file(self, order: Row) -> None:
        self.of_call.setdefault(order["activation_id"], []).append(order)
        self.of_resource.setdefault(order["resource_id"], []).append(order)

    def work(self, failed: list[str]) -> None:
        """Bring all open activations up to date: first take back, then ask, as what one gives up another may use."""
        for name in failed:
            self.orders[name]["failed"] = True
            self._revoke(self.orders[name])
        for call in self.calls:
            self._keep_to(call)
        for call in self.calls:
            slots = _slots(call, self.now)
            missing = [max(call["quantity_w"] - self._told(call, slot), 0) for slot in slots]
            if any(missing):
                self._ask(call, slots, missing)

    def _keep_to(self, call: Row) -> None:
        """Take back, the newest first, what goes beyond an activation that was reduced, moved or cancelled."""
        slots = _slots(call, self.now)
        over = [self._told(call, slot) - call["quantity_w"] for slot in slots]
        for order in reversed(self._live(call)):
            parts = [part for part in self.parts.get(order["instruction_id"], []) if part["period_end"] > self.now]
            outside = any(
                part["period_start"] < call["period_start"] or part["period_end"] > call["period_end"] for part in parts
            )
            if not outside and not any(excess > 0 for excess in over):
                continue
            for part in parts:
                over = [
                    excess - part["quantity_w"] * slot.touches(part) for excess, slot in zip(over, slots, strict=True)
                ]
            self._revoke(order)

    def _live(self, call: Row) -> list[Row]:
        found = [order for order in self.of_call.get(call["activation_id"], []) if not order["revoked"]]
        return sorted(found, key=lambda order: (order["round_no"], order["instruction_id"]))

    def _told(self, call: Row, slot: Slot) -> int:
        return sum(
            part["quantity_w"]
            for order in self.of_call.get(call["activation_id"], [])
            if not order["revoked"]
            for part in self.parts.get(order["instruction_id"], [])
            if slot.touches(part)
        )

    # Asking.

    def _ask(self, call: Row, slots: list[Slot], missing: list[int]) -> None:
        offers = self._offers(call, slots)
        if not offers:
            return
        problem = self._problem(call, slots, missing, offers)
        if not problem.resources:
            return
        solution = solve(problem)
        told: dict[str, list[int]] = {}
        for resource in problem.resources:
            powers = told.setdefault(resource.resource_id.rpartition("#")[0], [0] * len(slots))
            for index, power in enumerate(solution.allotted_w[resource.resource_id]):
                powers[resource.first + index] += power
        told = {name: powers for name, powers in told.items() if any(powers)}
        if not told:
            return
        number = call["rounds"]
        call["rounds"] = number + 1
        self.changed_calls.append(call)
        by_resource = {offer["resource_id"]: offer for offer in offers}
        for name in sorted(told):
            self._instruct(call, by_resource[name], number, slots, told[name])

    def _offers(self, call: Row, slots: list[Slot]) -> list[Row]:
        """The offers for these quarter-hours of those who have not failed then, for whichever activation."""
        node, begin, end = call["grid_node_id"], slots[0].start, slots[-1].end
        found = self.ctx.state(Offered).scan(
            (pl.col("portfolio_id") == call["portfolio_id"])
            & (pl.col("product_id") == call["product_id"])
            & (pl.col("direction") == call["direction"])
            & pl.col("period_start").is_in([slot.quarter for slot in slots])
            & (pl.col("quantity_w") > 0)
        )
        return [
            row
            for row in found.to_dicts()
            if (node is None or self.node_of.get(row["site_id"]) == node)
            and not any(
                order["failed"] and order["period_start"] < end and order["period_end"] > begin
                for order in self.of_resource.get(row["resource_id"], [])
            )
        ]

    def _problem(self, call: Row, slots: list[Slot], missing: list[int], offers: list[Row]) -> Problem:
        index = {slot.quarter: number for number, slot in enumerate(slots)}
        powers: dict[str, list[int]] = {}
        terms: dict[str, Row] = {}
        for row in sorted(offers, key=lambda one: (one["resource_id"], one["step"])):
            name = f"{row['resource_id']}#{row['step']}"
            number = index[row["period_start"]]
            free = row["quantity_w"] - self._committed(row["resource_id"], call["direction"], slots[number])
            powers.setdefault(name, [0] * len(slots))[number] = max(free, 0)
            terms.setdefault(name, row)
        resources = tuple(
            Resource(name, terms[name]["price_micros_per_mwh"], tuple(held), 0, terms[name]["min_quantity_w"])
            for name, held in powers.items()
            if any(held)
        )
        names = {resource.resource_id for resource in resources}
        return Problem(
            tuple(slot.seconds for slot in slots),
            tuple(missing),
            resources,
            self.book.long("dispatch.shortfall_price", self.now, (call["product_id"],)),
            tuple(self._energy_limits(terms, names)),
            tuple(self._node_limits(terms, names, call, slots)),
        )

    def _committed(self, resource_id: str, direction: str, slot: Slot) -> int:
        """Power that a resource has been told already, for whichever activation."""
        return sum(
            part["quantity_w"]
            for order in self.of_resource.get(resource_id, [])
            if order["direction"] == direction and not order["revoked"]
            for part in self.parts.get(order["instruction_id"], [])
            if slot.touches(part)
        )

    def _energy_limits(self, terms: Mapping[str, Row], names: set[str]) -> Iterator[EnergyLimit]:
        groups: dict[str, list[str]] = {}
        for name in sorted(names):
            row = terms[name]
            if row["energy_limit_wh"] is not None:
                groups.setdefault(row["limit_group"] or name, []).append(name)
        for group, members in groups.items():
            limit = min(terms[name]["energy_limit_wh"] for name in members)
            since = max(terms[name]["offered_at"] for name in members)
            yield EnergyLimit(tuple(members), max(limit - self._used_wh(group, since), 0))

    def _used_wh(self, group: str, since: datetime) -> int:
        """Energy that a group has been told to give after its limit was stated; rounded up."""
        watt_seconds = 0
        for order in self.orders.values():
            if order["limit_group"] != group:
                continue
            for part in self.parts.get(order["instruction_id"], []):
                span = (part["period_end"] - max(part["period_start"], since)).total_seconds()
                watt_seconds += part["quantity_w"] * max(int(span), 0)
        return -(-watt_seconds // WS_PER_WH)

    def _node_limits(
        self, terms: Mapping[str, Row], names: set[str], call: Row, slots: list[Slot]
    ) -> Iterator[PowerLimit]:
        members: dict[str, list[str]] = {}
        for name in sorted(names):
            if node := self.node_of.get(terms[name]["site_id"]):
                members.setdefault(node, []).append(name)
        for node, held in members.items():
            rule = self.book.find("dispatch.node_limit", self.now, (node,))
            if rule is None or rule["scope"] != node:
                continue
            limit = self.book.long("dispatch.node_limit", self.now, (node,))
            there = [
                resource_id
                for resource_id, orders in self.of_resource.items()
                if self.node_of.get(orders[0]["site_id"]) == node
            ]
            told = [sum(self._committed(name, call["direction"], slot) for name in there) for slot in slots]
            yield PowerLimit(tuple(held), tuple(max(limit - power, 0) for power in told))

    # Telling.

    def _instruct(self, call: Row, offer: Row, number: int, slots: list[Slot], powers: list[int]) -> None:
        name = composed(call["activation_id"], offer["resource_id"], str(number))
        answer_s = self.book.long("dispatch.reply_by", self.now, (call["product_id"],))
        order = {
            "instruction_id": name,
            "activation_id": call["activation_id"],
            "resource_id": offer["resource_id"],
            "site_id": offer["site_id"],
            "direction": call["direction"],
            "limit_group": offer["limit_group"],
            "round_no": number,
            "respond_by": self.now + timedelta(seconds=answer_s),
            "period_start": call["period_start"],
            "period_end": call["period_end"],
            "revoked": False,
            "failed": False,
        }
        parts = [
            {"instruction_id": name, "period_start": slot.start, "period_end": slot.end, "quantity_w": power}
            for slot, power in zip(slots, powers, strict=True)
            if power
        ]
        self.orders[name] = self.changed_orders[name] = order
        self._file(order)
        self.parts[name] = parts
        self.changed_parts += parts
        self._emit(order, parts, name, action="FOLLOW", respond_by=order["respond_by"])

    def _revoke(self, order: Row) -> None:
        order["revoked"] = True
        self.changed_orders[order["instruction_id"]] = order
        left = []
        for part in self.parts.get(order["instruction_id"], []):
            if part["period_end"] > self.now:
                left.append(part | {"period_start": max(part["period_start"], self.now)})
                part["period_end"] = max(part["period_start"], self.now)
                self.changed_parts.append(part)
        if left:
            name = composed(order["activation_id"], order["resource_id"], str(order["round_no"]), "revoke")
            self._emit(order, left, name, action="REVOKE", supersedes_id=order["instruction_id"])

    def _emit(self, order: Row, parts: list[Row], name: str, **told: Any) -> None:
        sign = -1.0 if order["direction"] == "UP" else 1.0
        fallback: Any = self.book.text("dispatch.fallback", self.now)
        self.events += [
            InstructionIssued(
                site_id=order["site_id"],
                instruction_id=name,
                set_no=number,
                set_id=name,
                set_size=len(parts),
                resource_id=order["resource_id"],
                activation_id=order["activation_id"],
                cause="ACTIVATION",
                form="POWER",
                period_start=part["period_start"],
                period_end=part["period_end"],
                power_w=sign * part["quantity_w"],
                abnormal=False,
                direction=order["direction"],
                quantity_w=part["quantity_w"],
                fallback=fallback,
                **told,
            )
            for number, part in enumerate(parts, 1)
        ]

    def save(self) -> None:
        """Put what has changed into the state."""
        ctx = self.ctx
        for keyed, rows in ((Order, [*self.changed_orders.values()]), (Activation, self.changed_calls)):
            if rows:
                ctx.state(keyed).put(pl.DataFrame(rows, schema=keyed.__columns__))
        if self.changed_parts:
            frame = pl.DataFrame(self.changed_parts, schema=Part.__columns__)
            ctx.state(Part).put(frame.unique(Part.__key__, keep="last", maintain_order=True))


def _slots(call: Row, now: datetime) -> list[Slot]:
    """The quarter-hours of an activation that are not over."""
    slots = []
    at: datetime = call["period_start"]
    while at < call["period_end"]:
        end = min(at + QUARTER, call["period_end"])
        if end > now:
            slots.append(Slot(at, max(at, now), end))
        at = end
    return slots
