"""Local days and quarter-hours of a time zone, as UTC.

A market day is local: midnight to midnight of the wall clock, so it has 92, 96 or 100 quarter-hours where daylight
saving begins or ends (Nord Pool, SDAC: 15-minute market time unit; UFTP numbers the periods of a day from 1).
Everything that flows is UTC and half-open `[start, end)`; only these functions know wall clocks.

Where midnight does not exist (daylight saving that begins at 00:00, as in Cairo) the day starts at the instant of the
change; where it comes twice (Havana) it starts at the first.
"""

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICRO = timedelta(microseconds=1)
QUARTER = timedelta(minutes=15)
QUARTER_US = 900_000_000
QUARTERS_PER_HOUR = 4
CLOCK_QUARTERS = 96
"""Quarter-hours on the face of a day's clock; the day itself may have 92 or 100."""
UTC_MICROS = pl.Datetime("us", "UTC")

WEEKDAY = "WEEKDAY"
WEEKEND = "WEEKEND"


def instant(moment: datetime) -> pl.Expr:
    """Return a literal of an aware instant; polars converts an aware datetime by two queries, ten times the cost."""
    return pl.lit((moment - EPOCH) // MICRO, UTC_MICROS)


def local_day(day: date, timezone: str) -> tuple[datetime, datetime]:
    """Return the UTC start and end of a local day: 23, 24 or 25 hours apart."""
    zone = ZoneInfo(timezone)
    following = day + timedelta(days=1)
    start = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    return start, datetime(following.year, following.month, following.day, tzinfo=zone).astimezone(UTC)


def local_date(instant: datetime, timezone: str) -> date:
    """Return the wall-clock date of an aware instant."""
    return instant.astimezone(ZoneInfo(timezone)).date()


def quarter_start(instant: datetime) -> datetime:
    """Return the start of the quarter-hour that holds an aware instant, in UTC.

    Quarter-hours of all time zones in use begin together: their offsets are multiples of 15 minutes.
    """
    moment = instant.astimezone(UTC)
    return moment.replace(minute=moment.minute - moment.minute % 15, second=0, microsecond=0)


def quarters_between(start: datetime, end: datetime) -> list[datetime]:
    """Return the starts of the quarter-hours that lie in, or begin in, UTC `[start, end)`."""
    first = quarter_start(start)
    if first < start:
        first += QUARTER
    count = max(0, -((first - end) // QUARTER))
    return [first + QUARTER * number for number in range(count)]


def quarters_of_day(day: date, timezone: str) -> list[datetime]:
    """Return the UTC starts of a local day's quarter-hours: 92, 96 or 100 of them."""
    return quarters_between(*local_day(day, timezone))


def day_type(day: date, holidays: Collection[date] = ()) -> str:
    """Return WEEKEND for Saturday, Sunday and the holidays given, else WEEKDAY."""
    return WEEKEND if day.isoweekday() >= 6 or day in holidays else WEEKDAY


def to_local_date(instant: pl.Expr, timezone: str) -> pl.Expr:
    """Return a UTC column's wall-clock dates."""
    return instant.dt.convert_time_zone(timezone).dt.date()


def day_start(day: pl.Expr, timezone: str) -> pl.Expr:
    """Return the UTC instants at which a column of local dates begins."""
    midnight = day.cast(pl.Datetime("us"))
    # A midnight that the clock jumps over: all such jumps are of one hour, so 01:00 is the instant of the change.
    jumped = (midnight + timedelta(hours=1)).dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    start = midnight.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null").fill_null(jumped)
    return start.dt.convert_time_zone("UTC")


def to_day_start(instant: pl.Expr, timezone: str) -> pl.Expr:
    """Truncate a UTC column to the start of the local day, in UTC."""
    return day_start(to_local_date(instant, timezone), timezone)


def to_quarter_start(instant: pl.Expr) -> pl.Expr:
    """Truncate a UTC column to the quarter-hour."""
    return instant.dt.truncate("15m")


def to_clock_quarter(instant: pl.Expr, timezone: str) -> pl.Expr:
    """Return the quarter-hour on the wall clock, 0 to 95 (Int64): the repeated hour of autumn has the same twice."""
    local = instant.dt.convert_time_zone(timezone)
    return local.dt.hour().cast(pl.Int64) * QUARTERS_PER_HOUR + local.dt.minute().cast(pl.Int64) // 15


def to_period_number(instant: pl.Expr, timezone: str) -> pl.Expr:
    """Return the number of the quarter-hour in its local day, from 1 to 92, 96 or 100, each once (UFTP's ISP)."""
    since = instant.cast(pl.Int64) - to_day_start(instant, timezone).cast(pl.Int64)
    return since // QUARTER_US + 1


def to_day_type(day: pl.Expr, holidays: Collection[date] = ()) -> pl.Expr:
    """Return WEEKEND for Saturday, Sunday and the holidays given, else WEEKDAY, for a column of local dates."""
    free = day.dt.weekday() >= 6
    if holidays:
        free |= day.is_in(sorted(holidays))
    return pl.when(free).then(pl.lit(WEEKEND)).otherwise(pl.lit(WEEKDAY))


def with_local(frame: pl.DataFrame, *, time: str = "period_start", timezone: str = "timezone") -> pl.DataFrame:
    """Add the wall clock of each row's own time zone.

    Args:
        frame: Rows with a UTC column `time` and the IANA name of a time zone in `timezone`.
        time: Name of the UTC column.
        timezone: Name of the time-zone column.

    Returns:
        The rows in their order, with `local_date` (Date) and `clock_quarter` (Int64, 0 to 95).
    """
    zones = frame[timezone].unique(maintain_order=True).to_list()
    dates = pl.lit(None, pl.Date)
    quarters = pl.lit(None, pl.Int64)
    for zone in zones:
        here = pl.col(timezone) == zone
        dates = pl.when(here).then(to_local_date(pl.col(time), zone)).otherwise(dates)
        quarters = pl.when(here).then(to_clock_quarter(pl.col(time), zone)).otherwise(quarters)
    if len(zones) == 1:
        dates, quarters = to_local_date(pl.col(time), zones[0]), to_clock_quarter(pl.col(time), zones[0])
    return frame.with_columns(local_date=dates, clock_quarter=quarters)
