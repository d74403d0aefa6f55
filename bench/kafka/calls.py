"""Activations at an even pace beside those of the simulated market, and how long each waited for its instructions."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl
from pydantic import BaseModel, ConfigDict

from edges.chance import EPOCH
from energy.ids import composed, stamp
from energy.time import QUARTER, quarter_start
from streams import Conversation, Edge, Emit, Session, records
from streams.contracts import Record
from topics import ActivationRequested

NOTICE: Final = timedelta(minutes=15)
"""At least so long after the call its quarter-hour begins."""
KINDS: Final = ("minute", "quarter-hour", "full hour")
"""Of ticks, by who decides before dispatch: nobody; flexibility; intervals, load_forecast and flexibility."""
_REPLY = timedelta(minutes=2)


class Config(BaseModel):
    """Who is called, and when.

    Attributes:
        since: The first call, UTC.
        count: How many there are.
        every: Time between them.
        portfolio_id, product_id, zone, market_id, currency: As in the rest of the simulation.
        quantity_w: What each asks for in its quarter-hour.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    since: datetime
    count: int
    every: timedelta = timedelta(minutes=5)
    portfolio_id: str = "fontana"
    product_id: str = "local-up"
    zone: str = "10Y-LOCAL-DEMO"
    market_id: str = "local-market"
    currency: str = "USD"
    quantity_w: int = 1_000


class Calls(Session):
    """How many calls were made, and when the next one is due."""

    made: int = 0
    next_at: datetime | None = EPOCH

    def wake_at(self) -> datetime | None:
        """The next call."""
        return self.next_at


def on_wake(talk: Conversation[Calls, Config]) -> Iterator[Emit[ActivationRequested]]:
    """Call, if a call is due."""
    session, config = talk.session, talk.config
    if session.next_at is None or session.next_at == EPOCH:
        session.next_at = config.since
        return
    yield Emit(ActivationRequested, [request(config, session.next_at, session.made)])
    session.made += 1
    session.next_at = config.since + session.made * config.every if session.made < config.count else None


def request(config: Config, now: datetime, number: int) -> ActivationRequested:
    """A call for the first quarter-hour that begins after the notice."""
    start = quarter_start(now + NOTICE + QUARTER - timedelta(microseconds=1))
    name = composed("bench", stamp(start), str(number))
    return ActivationRequested(
        portfolio_id=config.portfolio_id,
        activation_id=name,
        revision=0,
        status="ORDERED",
        kind="DIRECT",
        product_id=config.product_id,
        zone=config.zone,
        direction="UP",
        period_start=start,
        period_end=start + QUARTER,
        quantity_w=config.quantity_w,
        reply_by=now + _REPLY,
        price_micros_per_mwh=100_000_000,
        currency=config.currency,
        reason_code="CONGESTION",
        reason_text="called at an even pace",
        origin=config.market_id,
        origin_id=f"{name}/0",
    )


def edge(config: Config) -> Edge[Calls, Config, Record, ActivationRequested]:
    """A market that calls at an even pace."""
    return Edge(
        name="calls",
        version=1,
        session=Calls,
        writes=records(ActivationRequested),
        keys=("calls",),
        config=config,
        on_wake=on_wake,
    )


def waits(called: pl.DataFrame, ticks: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """How long each activation waited until the last of its instructions could be read.

    An activation is decided at the first tick that is appended with or after it. Instructions that came after the next
    tick are not its answer: they are what was asked of others later.

    Args:
        called: ``activation_id``, ``appended_ms``.
        ticks: ``tick_at``, ``appended_ms``, ascending.
        told: instructions: ``activation_id``, ``appended_ms``, ``readable_ms``.

    Returns:
        ``activation_id``, ``tick`` (of `KINDS`), ``wait_ms`` from the activation's append, ``tick_ms`` from the
        tick's; the last two null where nothing was answered at that tick.
    """
    minute = pl.col("tick_at").dt.minute()
    kind = pl.when(minute == 0).then(pl.lit(KINDS[2])).when(minute % 15 == 0).then(pl.lit(KINDS[1]))
    decided = ticks.select(
        tick=kind.otherwise(pl.lit(KINDS[0])),
        ticked_ms="appended_ms",
        until_ms=pl.col("appended_ms").shift(-1).fill_null(pl.col("appended_ms").max() + 1e12),
    )
    at = called.select("activation_id", called_ms="appended_ms").sort("called_ms", maintain_order=True)
    at = at.join_asof(decided, left_on="called_ms", right_on="ticked_ms", strategy="forward")
    answered = (
        at.join(told, on="activation_id", maintain_order="left")
        .filter(pl.col("appended_ms").is_between("ticked_ms", "until_ms", closed="left"))
        .group_by("activation_id", maintain_order=True)
        .agg(pl.col("readable_ms").max())
    )
    found = at.join(answered, on="activation_id", how="left", maintain_order="left")
    return found.select(
        "activation_id",
        "tick",
        wait_ms=pl.col("readable_ms") - pl.col("called_ms"),
        tick_ms=pl.col("readable_ms") - pl.col("ticked_ms"),
    )


def summary(found: pl.DataFrame) -> dict[str, Any]:
    """Milliseconds of `waits`: all together, and by the tick that decided.

    Raises:
        RuntimeError: no activation was answered.
    """
    answered = found.drop_nulls("wait_ms")
    if answered.is_empty():
        raise RuntimeError(f"none of {found.height} activations was answered at its tick")
    by_tick = {kind: answered.filter(tick=kind) for kind in KINDS}
    return {
        "activations": found.height,
        "answered": answered.height,
        **_shares(answered["wait_ms"]),
        "from_tick": _shares(answered["tick_ms"]),
        "by_tick": {
            kind: {"answered": part.height, **_shares(part["wait_ms"])} for kind, part in by_tick.items() if part.height
        },
    }


def _shares(values: pl.Series) -> dict[str, float]:
    names = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    cuts = {name: values.quantile(share, interpolation="higher") for name, share in names.items()}
    return {name: round(float(cut or 0.0), 1) for name, cut in cuts.items()}
