"""Readings folded into quarter-hours as they come; what came out of order is worked out again from history."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
from pydantic import BaseModel, ConfigDict

from energy.intervals import SUMS, Gaps, decide_quality, fold, merge, touched
from energy.time import QUARTER, quarter_start, quarters_between
from streams import Batch, Col, Context, Emit, Keyed, Reject
from topics import IntervalMeasured, ReadingTaken, RulePublished

RESOURCE = ("site_id", "resource_id", "commodity")
PLACE = (*RESOURCE, "period_start")
EXTREMES = ("power_min_w", "power_max_w")
STATED = ("energy_wh", *EXTREMES, "quality", "coverage", "samples")
"""What tells one statement of a quarter-hour from another."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
METHOD = "time-weighted/1"


class Config(BaseModel):
    """How long things are remembered, and what is believed of a reading.

    Attributes:
        keep: how long a quarter-hour that is over stays in the state, so that readings which come in order after an
            outage revise it without history.
        silent_after: a resource that has said nothing for so long is no longer stated as MISSING.
        restate_every: when quarter-hours that were stated before a reading came out of order are worked out again.
        longest_s: a reading that is the mean of a longer time is refused.
        ahead: a reading from further in the future than this when it was appended is refused: the device's clock is
            wrong, and all that it says next would count as late.
    """

    model_config = ConfigDict(frozen=True)

    keep: timedelta = timedelta(hours=6)
    silent_after: timedelta = timedelta(days=1)
    restate_every: timedelta = timedelta(hours=6)
    longest_s: float = 3600.0
    ahead: timedelta = timedelta(days=1)


class Waiting(Keyed, key=("number",)):
    """A reading that came before the rules were known."""

    number: Col[int]
    site_id: Col[str]
    resource_id: Col[str]
    commodity: Col[str]
    occurred_at: Col[datetime]
    duration_s: Col[float | None]
    power_w: Col[float | None]
    energy_import_wh: Col[float | None]
    energy_export_wh: Col[float | None]
    quality: Col[str]


class Known(Keyed, key=RESOURCE):
    """A resource that speaks, and since when."""

    site_id: Col[str]
    resource_id: Col[str]
    commodity: Col[str]
    since: Col[datetime]


class Newest(Keyed, key=RESOURCE):
    """The newest reading of a resource: where the curve goes on."""

    site_id: Col[str]
    resource_id: Col[str]
    commodity: Col[str]
    occurred_at: Col[datetime]
    duration_s: Col[float | None]
    power_w: Col[float | None]
    energy_import_wh: Col[float | None]
    energy_export_wh: Col[float | None]
    quality: Col[str]


class Quarter(Keyed, key=PLACE, expires="period_start"):
    """What a quarter-hour's readings add up to, and the revision that was stated last (0 too while none was)."""

    site_id: Col[str]
    resource_id: Col[str]
    commodity: Col[str]
    period_start: Col[datetime]
    measured_uwh: Col[int]
    estimated_uwh: Col[int]
    measured_us: Col[int]
    estimated_us: Col[int]
    samples: Col[int]
    power_min_w: Col[float | None]
    power_max_w: Col[float | None]
    revision: Col[int]


class Touched(Keyed, key=PLACE):
    """A quarter-hour to be stated again: from the state, or worked out anew from history."""

    site_id: Col[str]
    resource_id: Col[str]
    commodity: Col[str]
    period_start: Col[datetime]
    again: Col[bool]
    anew: Col[bool]
