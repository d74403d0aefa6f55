from datetime import UTC, datetime

import polars as pl
import pytest

from energy.periods import by_quarter, to_energy_wh
from energy.time import UTC_MICROS, quarters_of_day


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 2, 1, hour, minute, second, tzinfo=UTC)


def spans(*rows: tuple[str, datetime, datetime]) -> pl.DataFrame:
    schema = {"id": pl.String(), "period_start": UTC_MICROS, "period_end": UTC_MICROS}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_a_span_is_taken_apart_at_the_quarter_hours() -> None:
    split = by_quarter(spans(("a", at(10, 7), at(10, 31)), ("b", at(10), at(10, 15))))
    minutes = pl.col("overlap_us") // 60_000_000
    assert split.select("id", "quarter_start", minutes).rows() == [
        ("a", at(10), 8),
        ("a", at(10, 15), 15),
        ("a", at(10, 30), 1),
        ("b", at(10), 15),
    ]


def test_empty_and_reversed_spans_give_nothing() -> None:
    split = by_quarter(spans(("a", at(10), at(10)), ("b", at(11), at(10))))
    assert split.columns == ["id", "period_start", "period_end", "quarter_start", "overlap_us"]
    assert split.is_empty()


@pytest.mark.parametrize(("day", "quarters"), [((2026, 3, 8), 92), ((2026, 11, 1), 100), ((2026, 7, 1), 96)])
def test_a_local_day_has_its_quarter_hours(day: tuple[int, int, int], quarters: int) -> None:
    starts = quarters_of_day(datetime(*day, tzinfo=UTC).date(), "America/Los_Angeles")
    whole = spans(("a", starts[0], starts[-1].replace(minute=59)))
    assert by_quarter(whole)["quarter_start"].to_list() == starts
    assert len(starts) == quarters


@pytest.mark.parametrize(
    ("power", "seconds", "energy"), [(5_000, 900, 1_250), (10, 900, 2), (6, 900, 2), (2, 900, 0), (7_200, 90, 180)]
)
def test_energy_is_rounded_half_to_even(power: int, seconds: int, energy: int) -> None:
    # 10 W and 6 W for a quarter-hour are 2.5 and 1.5 Wh, 2 W are 0.5: each to the even neighbour
    frame = pl.DataFrame({"w": [power], "us": [seconds * 1_000_000]})
    assert frame.select(to_energy_wh(pl.col("w"), pl.col("us"))).item() == energy
