"""Readings in the order in which they came: what is late, and every sum, is the same for any cut."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.intervals import KEYS, READING, SUMS, Gaps, fold, merge, touched

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
GAPS = Gaps(continuous_s=300, gap_s=1800)
LONGEST_S = 1200
PLACE = [*KEYS, "period_start"]
SCHEMA: dict[str, pl.DataType] = {key: pl.String() for key in KEYS} | READING


def readings(*rows: tuple[str, float, float | None, float]) -> pl.DataFrame:
    """Resource, minutes, duration in seconds, power."""
    full = [
        {
            "resource_id": resource,
            "commodity": "ELECTRICITY",
            "quality": "MEASURED",
            "occurred_at": START + timedelta(microseconds=round(minutes * 60_000_000)),
            "duration_s": duration,
            "power_w": power,
        }
        for resource, minutes, duration, power in rows
    ]
    return pl.DataFrame(full, schema=SCHEMA)


def add(total: pl.DataFrame, more: pl.DataFrame) -> pl.DataFrame:
    known = total.rename({name: name + "_was" for name in total.columns if name not in PLACE})
    merged = merge(more.join(known, on=PLACE, how="left", maintain_order="left"))
    rest = total.join(more, on=PLACE, how="anti", maintain_order="left")
    return pl.concat([rest, merged]).sort(PLACE)


def in_chunks(stream: pl.DataFrame, cuts: list[int]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    last, total, late = None, fold(stream.head(0), arrived=True).quarters, stream.head(0)
    for start, end in pairwise([0, *sorted(cuts), stream.height]):
        part = fold(stream.slice(start, max(0, end - start)), last, GAPS, arrived=True)
        last = (
            part.last if last is None else pl.concat([last, part.last]).unique(KEYS, keep="last", maintain_order=True)
        )
        total, late = add(total, part.quarters), pl.concat([late, part.late])
    assert last is not None
    return total, last.sort(KEYS), late


def test_what_is_not_after_the_newest_before_it_is_late_even_within_a_chunk() -> None:
    made = fold(readings(("a", 5, 300, 1200), ("a", 15, 300, 1200), ("a", 10, 300, 600)), None, GAPS, arrived=True)
    assert made.late["power_w"].to_list() == [600]
    # 5 min and 5 min measured at 1200 W, 5 min between them estimated
    assert made.quarters.select(SUMS[:4]).rows() == [(200_000_000, 100_000_000, 600_000_000, 300_000_000)]


def test_a_reading_come_again_is_no_news_and_another_value_for_its_instant_is() -> None:
    rows = readings(("a", 5, 300, 1200), ("a", 5, 300, 1200), ("a", 10, 300, 1200), ("a", 5, 300, 1200))
    assert fold(rows, None, GAPS, arrived=True).late.is_empty()
    other = fold(readings(("a", 5, 300, 1200), ("a", 5, 300, 7)), None, GAPS, arrived=True)
    assert other.late["power_w"].to_list() == [7]
    assert other.quarters.select("measured_uwh", "samples").rows() == [(100_000_000, 1)]
    assert other.last["power_w"].to_list() == [7]
    again = fold(readings(("a", 5, 300, 1200)), other.last, GAPS, arrived=True)
    assert again.late["power_w"].to_list() == [1200]  # the first value once more is news, for it counts again


@st.composite
def arrivals(draw: st.DrawFn) -> pl.DataFrame:
    one = st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(0, 24).map(lambda number: number * 5.0),
        st.sampled_from([None, 300.0, 300.0, 300.0, float(LONGEST_S)]),
        st.sampled_from([0.0, 600.0, 1200.0]),
    )
    rows = draw(st.lists(one, min_size=1, max_size=30))
    near = sorted(rows, key=lambda row: row[1] + draw(st.sampled_from([0.0, 0.0, 0.0, 12.0, 60.0])))
    return readings(*near)


@settings(max_examples=200, deadline=None)
@given(stream=arrivals(), cuts=st.lists(st.integers(0, 30), max_size=5))
def test_sums_and_last_readings_are_the_same_for_any_cut(stream: pl.DataFrame, cuts: list[int]) -> None:
    total, last, _ = in_chunks(stream, [])
    again, last_again, _ = in_chunks(stream, cuts)
    assert again.equals(total)
    assert last_again.equals(last)


@settings(max_examples=200, deadline=None)
@given(stream=arrivals(), cuts=st.lists(st.integers(0, 30), max_size=5))
def test_where_nothing_late_touched_the_sums_are_those_of_all_readings_in_order(
    stream: pl.DataFrame, cuts: list[int]
) -> None:
    total, _, late = in_chunks(stream, cuts)
    whole = fold(stream, None, GAPS).quarters  # by time; of equal times the last
    dirty = touched(late, gaps=GAPS, longest_s=LONGEST_S)
    assert total.join(dirty, on=PLACE, how="anti").equals(whole.join(dirty, on=PLACE, how="anti"))
