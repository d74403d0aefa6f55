"""When models are trained, on what, and how they become events."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from energy import forecast
from energy.effective import current
from energy.ids import composed, stamp
from energy.rules import Rulebook
from energy.time import quarter_start
from streams import Col, Context, Emit, Keyed
from topics import (
    IntervalMeasured,
    ModelTrained,
    ResourceRegistered,
    RulePublished,
    SiteRegistered,
    WeatherPredicted,
)

MEASURED = ("resource_id", "period_start", "energy_wh", "quality")
PURPOSE = "load_forecast"
SCOPES: dict[str, forecast.Purpose] = {"load": "LOAD", "pv": "PV"}
QUARTERS_PER_HOUR = 4


class Config(BaseModel):
    """When models are trained and how.

    Attributes:
        learn_days: days of data before the first training. A forecast for a day's gate needs its model two days before
            that day: 26 lets the 29th day be the first that is traded.
        retrain_days: days from one training to the next.
        sites_max: how many sites teach, at most.
        weather_lead: how old a weather forecast is when it is used, at least.
        chunk_bytes: the most bytes of a model in one event.
        training: LightGBM's settings; each scope's own by default.
    """

    model_config = ConfigDict(frozen=True)

    learn_days: int = Field(default=26, ge=1)
    retrain_days: int = Field(default=7, ge=1)
    sites_max: int = Field(default=40, ge=1)
    weather_lead: timedelta = timedelta(hours=24)
    chunk_bytes: int = Field(default=500_000, ge=1)
    training: forecast.Training | None = None


class Trained(Keyed, key=("purpose",)):
    """Since when there is data, and when models were trained last."""

    purpose: Col[str]
    since: Col[datetime]
    trained_at: Col[datetime | None]


def on_tick(ctx: Context[Config]) -> Iterator[Emit[ModelTrained]]:
    """Train when it is time."""
    until = quarter_start(ctx.watermark(IntervalMeasured))
    known = ctx.state(Trained).scan()
    row = known.row(0, named=True) if len(known) else _begun(ctx, until)
    if row is None:
        return
    last = row["trained_at"]
    config = ctx.config
    if last is None and until - row["since"] < timedelta(days=config.learn_days):
        return
    if last is not None and ctx.now - last < timedelta(days=config.retrain_days):
        return
    ctx.state(Trained).put(pl.DataFrame([row | {"trained_at": ctx.now}], schema=Trained.__columns__))
    start = max(row["since"], until - _window(ctx))
    powers = measured(ctx, start, until)
    weather = forecast.weather_as_known(
        ctx.history(WeatherPredicted, since=start, until=until), ctx.config.weather_lead
    )
    for scope, purpose in SCOPES.items():
        rows = powers.filter(pl.col("kind") == scope)
        try:
            models = forecast.train(rows, weather, purpose=purpose, settings=config.training)
        except ValueError:  # nothing of this kind has a past
            continue
        yield Emit(ModelTrained, events(models.dumps(), scope, start, until, ctx.now, config))


def _window(ctx: Context[Config]) -> timedelta:
    book = Rulebook(ctx.table(RulePublished).to_dicts())
    return timedelta(seconds=book.long("forecast.training", ctx.now))


def _begun(ctx: Context[Config], until: datetime) -> dict[str, Any] | None:
    """Remember since when there is data; None while there is none."""
    if not len(resources(ctx)):
        return None
    first = measured(ctx, until - _window(ctx), until)["period_start"].min()
    if first is None:
        return None
    row: dict[str, Any] = {"purpose": PURPOSE, "since": first, "trained_at": None}
    ctx.state(Trained).put(pl.DataFrame([row], schema=Trained.__columns__))
    return row


def resources(ctx: Context[Config]) -> pl.DataFrame:
    """The resources that teach: ``resource_id, kind, site_id, timezone, weather_cell``."""
    now = ctx.now
    sites = current(ctx.table(SiteRegistered), now, entry=["site_id"])
    held = current(ctx.table(ResourceRegistered), now, entry=["resource_id"])
    held = held.filter(pl.col("kind").is_in(list(SCOPES)))
    sites = sites.join(held, on="site_id", how="semi", maintain_order="left")
    sites = sites[:: -(-len(sites) // ctx.config.sites_max)] if len(sites) else sites
    return held.select("resource_id", "kind", "site_id").join(
        sites.select("site_id", "timezone", "weather_cell"), on="site_id", maintain_order="left"
    )


def measured(ctx: Context[Config], start: datetime, until: datetime) -> pl.DataFrame:
    """What was measured of the resources that teach, with the mean power of each quarter-hour."""
    teaching = resources(ctx)
    keys = teaching["site_id"].unique(maintain_order=True).to_list()
    told = ctx.history(IntervalMeasured, since=start, until=until, keys=keys, columns=MEASURED)
    told = told.filter((pl.col("quality") != "MISSING") & pl.col("energy_wh").is_not_null())
    return told.select("resource_id", "period_start", power_w=pl.col("energy_wh") * QUARTERS_PER_HOUR).join(
        teaching, on="resource_id", maintain_order="left"
    )


def events(
    payload: bytes, scope: str, start: datetime, until: datetime, now: datetime, config: Config
) -> list[ModelTrained]:
    """A model as a set of chunks."""
    import lightgbm  # noqa: PLC0415  # slow to import

    model_id = composed(PURPOSE, scope, stamp(until))
    chunks = [payload[at : at + config.chunk_bytes] for at in range(0, len(payload), config.chunk_bytes)]
    return [
        ModelTrained(
            model_id=model_id,
            set_no=number,
            set_id=model_id,
            set_size=len(chunks),
            purpose=PURPOSE,
            scope=scope,
            algorithm=f"{forecast.ALGORITHM} {lightgbm.__version__}",
            format=forecast.FORMAT,
            feature_set=forecast.FEATURE_SET,
            fingerprint=forecast.fingerprint(payload),
            payload=chunk,
            trained_from=start,
            trained_to=until,
            valid_from=now,
            seed=forecast.SEED,
        )
        for number, chunk in enumerate(chunks, 1)
    ]
