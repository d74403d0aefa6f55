"""When the tariff is published, and what it says."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from edges import dataset
from edges.chance import EPOCH
from energy.time import local_date, local_day
from streams import Conversation, Emit, Session
from streams.columns import UTC_MICROS
from topics import PricePublished

_HOUR = timedelta(hours=1)
_MICROS_PER_MWH = 1_000_000_000  # a dollar per kWh is a thousand dollars per MWh


class Config(BaseModel):
    """The tariff.

    Attributes:
        data: Folder with the data set's files.
        first_day: The Monday that the data set's first row begins.
        start: Its local day is the first with prices.
        publish_h: Hour of the local clock at which the next day's prices come out.
        zone: Where it holds.
        product_id: What it is called.
        currency: Of the prices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = ""
    first_day: date = dataset.FIRST_DAY
    start: datetime = datetime(2023, 4, 10, 7, tzinfo=UTC)
    publish_h: int = Field(default=12, ge=0, le=23)
    zone: str = "10Y-LOCAL-DEMO"
    product_id: str = "retail"
    currency: str = "USD"


class Tariff(Session):
    """The next local day whose prices come out, and when."""

    next_day: date | None = None
    next_at: datetime | None = None

    def wake_at(self) -> datetime | None:
        """When the next day's prices come out."""
        return self.next_at or EPOCH


Talk = Conversation[Tariff, Config]


def on_wake(talk: Talk) -> Iterator[Emit[PricePublished]]:
    """Publish the days that are due; at the first wake today's."""
    session, config = talk.session, talk.config
    day = session.next_day or local_date(max(config.start, talk.now), dataset.TIMEZONE)
    while session.next_day is None or _due(config, day) <= talk.now:
        yield Emit(PricePublished, _prices(config, day))
        day += timedelta(days=1)
        session.next_day, session.next_at = day, _due(config, day)


def _due(config: Config, day: date) -> datetime:
    """Return when a day's prices come out: the day before at `publish_h`."""
    return datetime.combine(day - timedelta(days=1), time(config.publish_h), ZoneInfo(dataset.TIMEZONE)).astimezone(UTC)


def _prices(config: Config, day: date) -> pl.DataFrame:
    start, end = local_day(day, dataset.TIMEZONE)
    hours = [start + _HOUR * number for number in range((end - start) // _HOUR)]
    tariff = dataset.tariff(config.data)
    prices = [round(float(tariff[dataset.row_of(hour, config.first_day)]) * _MICROS_PER_MWH) for hour in hours]
    return pl.DataFrame({
        "period_start": pl.Series(hours, dtype=UTC_MICROS),
        "price_micros_per_mwh": pl.Series(prices, dtype=pl.Int64),
    }).with_columns(
        period_end=pl.col("period_start") + _HOUR,
        zone=pl.lit(config.zone),
        product_id=pl.lit(config.product_id),
        kind=pl.lit("RETAIL"),
        revision=pl.lit(0, pl.Int64),
        commodity=pl.lit("ELECTRICITY"),
        status=pl.lit("FINAL"),
        currency=pl.lit(config.currency),
        origin=pl.lit("price"),
        origin_id=pl.format("{}/{}", pl.lit(config.product_id), pl.col("period_start").dt.strftime("%Y%m%dT%H%M%SZ")),
    )  # fmt: skip
