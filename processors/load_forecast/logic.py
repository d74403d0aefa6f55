"""Once a local day the next one is forecast, with the newest model."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from energy import forecast
from energy.effective import current
from energy.time import UTC_MICROS, local_date, local_day, quarters_of_day
from streams import Batch, Col, Context, Emit, Keyed
from streams.errors import StreamsError
from topics import (
    IntervalMeasured,
    LoadPredicted,
    ModelTrained,
    ResourceRegistered,
    SiteRegistered,
    WeatherPredicted,
)

PURPOSE = "load_forecast"
MEASURED = ("resource_id", "period_start", "energy_wh", "quality")
SCOPES = ("load", "pv")
QUARTERS_PER_HOUR = 4
DAY = timedelta(days=1)
AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)


class Config(BaseModel):
    """When and from what it is forecast.

    Attributes:
        issue_hour: hour of the local clock at which the next day is forecast.
        history_days: how far back measured quarter-hours are looked at; the models know lags of four weeks.
    """

    model_config = ConfigDict(frozen=True)

    issue_hour: int = Field(default=9, ge=0, le=23)
    history_days: int = Field(default=30, ge=7)


class Resource(Keyed, key=("resource_id", "valid_from")):
    """A resource that is forecast, as registered."""

    resource_id: Col[str]
    valid_from: Col[datetime]
    valid_to: Col[datetime | None]
    status: Col[str]
    site_id: Col[str]
    kind: Col[str]
    commodity: Col[str]


class Due(Keyed, key=("site_id",)):
    """When a site is forecast next."""

    site_id: Col[str]
    next_at: Col[datetime]


def on_batch(ctx: Context[Config], batch: Batch[ResourceRegistered]) -> None:
    """Keep the resources that are forecast; a site that is new is due at once."""
    entries = batch[ResourceRegistered].filter(ResourceRegistered.kind.is_in(SCOPES))
    ctx.state(Resource).put(entries.unique(Resource.__key__, keep="last", maintain_order=True))
    sites = ctx.state(Due).get(entries.select("site_id").unique(maintain_order=True))
    new = sites.filter(pl.col("next_at").is_null())
    ctx.state(Due).put(new.with_columns(next_at=pl.lit(AT_ONCE)))


def on_tick(ctx: Context[Config]) -> Iterator[Emit[LoadPredicted]]:
    """Forecast the sites whose hour has come."""
    if not len(ctx.state(Due)):
        return
    due = ctx.state(Due).scan(Due.next_at <= ctx.now)
    if not len(due) or not len(trained := ctx.table(ModelTrained)):
        return
    models = newest_models(trained, ctx.now)
    sites = current(ctx.table(SiteRegistered), ctx.now, entry=["site_id"])
    sites = sites.join(due, on="site_id", how="semi", maintain_order="left")
    for timezone in sites["timezone"].unique(maintain_order=True):
        here = sites.filter(pl.col("timezone") == timezone).select("site_id", "timezone", "weather_cell")
        today = local_date(ctx.now, timezone)
        issue_at = _at_hour(today, ctx.config.issue_hour, timezone)
        if ctx.now < issue_at:
            next_at = issue_at
        else:
            made = predicted(ctx, here, today + DAY, models)
            if not len(made):
                continue
            yield Emit(LoadPredicted, made)
            next_at = _at_hour(today + DAY, ctx.config.issue_hour, timezone)
        ctx.state(Due).put(here.with_columns(next_at=pl.lit(next_at, UTC_MICROS)))


def _at_hour(day: date, hour: int, timezone: str) -> datetime:
    return datetime.combine(day, time(hour), ZoneInfo(timezone)).astimezone(UTC)


def newest_models(trained: pl.DataFrame, now: datetime) -> dict[str, Mapping[str, Any]]:
    """The newest complete model of each scope: its row, with the whole ``payload``.

    Raises:
        StreamsError: the bytes are not those that the fingerprint is of.
    """
    found: dict[str, Mapping[str, Any]] = {}
    usable = trained.filter((pl.col("purpose") == PURPOSE) & (pl.col("valid_from") <= now))
    for _, chunks in usable.sort("valid_from", "model_id", "set_no").group_by("model_id", maintain_order=True):
        row = chunks.row(0, named=True)
        if len(chunks) == row["set_size"]:
            found[row["scope"]] = row | {"payload": b"".join(chunks["payload"])}
    for model in found.values():
        if hashlib.sha256(model["payload"]).hexdigest() != model["fingerprint"]:
            raise StreamsError(
                f"model {model['model_id']} has other bytes than its fingerprint {model['fingerprint']} says; find out "
                "who wrote it to forecast.model, and train anew"
            )
    return found


def predicted(
    ctx: Context[Config], sites: pl.DataFrame, day: date, models: Mapping[str, Mapping[str, Any]]
) -> pl.DataFrame:
    """The forecast of a local day for the sites of one time zone.

    Args:
        ctx: the task's.
        sites: ``site_id, timezone, weather_cell``.
        day: the local day.
        models: by scope.

    Returns:
        Rows of LoadPredicted; none for a resource without a past or a model.
    """
    timezone = sites["timezone"][0]
    start, end = local_day(day, timezone)
    held = current(ctx.state(Resource).scan(), ctx.now, entry=["resource_id"])
    held = held.select("resource_id", "site_id", "kind", "commodity").join(sites, on="site_id", maintain_order="left")
    past = measured(ctx, held, start)
    weather = weather_of(ctx.table(WeatherPredicted), start, end)
    quarters = pl.DataFrame({"period_start": quarters_of_day(day, timezone)}, schema={"period_start": UTC_MICROS})
    parts = []
    for scope, model in models.items():
        targets = held.filter(pl.col("kind") == scope).join(quarters, how="cross", maintain_order="left_right")
        if not len(targets) or not len(past):
            continue
        made = forecast.predict(forecast.loads(model["payload"]), past, targets, weather)
        parts.append(
            made.select(
                "site_id",
                "resource_id",
                "commodity",
                "period_start",
                *forecast.COLUMNS,
                "mean_w",
                issued_at=pl.lit(ctx.now, UTC_MICROS),
                period_end=pl.col("period_start") + timedelta(minutes=15),
                model_id=pl.lit(model["model_id"]),
                model_fingerprint=pl.lit(model["fingerprint"]),
            )
        )
    return pl.concat(parts) if parts else pl.DataFrame()


def measured(ctx: Context[Config], resources: pl.DataFrame, start: datetime) -> pl.DataFrame:
    """The mean power of the resources' quarter-hours before a day, as far as they are known."""
    sites = resources["site_id"].unique(maintain_order=True).to_list()
    since = start - ctx.config.history_days * DAY
    told = ctx.history(IntervalMeasured, since=since, until=start, keys=sites, columns=MEASURED)
    told = told.filter((pl.col("quality") != "MISSING") & pl.col("energy_wh").is_not_null())
    powers = told.select("resource_id", "period_start", power_w=pl.col("energy_wh") * QUARTERS_PER_HOUR)
    return powers.join(resources.select("resource_id", "timezone"), on="resource_id", maintain_order="left")


def weather_of(table: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """The newest forecast of each cell and period of a day."""
    rows = table.filter((pl.col("period_end") > start) & (pl.col("period_start") < end))
    return rows.sort("weather_cell", "period_start", "issued_at", "source").unique(
        ["weather_cell", "period_start"], keep="last", maintain_order=True
    )
