from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.intervals import KEYS, READING, SUMS, Gaps, decide_quality, fold, merge, touched

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
GAPS = Gaps(continuous_s=900, gap_s=1800)
Row = dict[str, object]


def at(minutes: float) -> datetime:
    return START + timedelta(microseconds=round(minutes * 60_000_000))


def mean(minutes: float, power_w: float, duration_s: float = 300.0, resource: str = "r1", **rest: object) -> Row:
    return {"resource_id": resource, "occurred_at": at(minutes), "duration_s": duration_s, "power_w": power_w} | rest


def instant(minutes: float, power_w: float, resource: str = "r1", **rest: object) -> Row:
    return {"resource_id": resource, "occurred_at": at(minutes), "power_w": power_w} | rest


def register(minutes: float, bought: float | None, sold: float | None = None, resource: str = "r1") -> Row:
    return {
        "resource_id": resource,
        "occurred_at": at(minutes),
        "energy_import_wh": bought,
        "energy_export_wh": sold,
    }


def readings(*rows: Row) -> pl.DataFrame:
    full = [{"commodity": "ELECTRICITY", "quality": "MEASURED"} | row for row in rows]
    schema: dict[str, pl.DataType] = {key: pl.String() for key in KEYS}
    return pl.DataFrame(full, schema=schema | READING)


def by_quarter(frame: pl.DataFrame, *names: str) -> dict[int, tuple[object, ...]]:
    """Chosen columns by minutes since the start."""
    minutes = ((frame["period_start"] - START).dt.total_minutes()).to_list()
    return dict(zip(minutes, frame.select(names).iter_rows(), strict=True))


def energy(frame: pl.DataFrame) -> dict[int, tuple[object, ...]]:
    return by_quarter(frame, "measured_uwh", "estimated_uwh")


def test_three_means_of_five_minutes_make_a_quarter_hour() -> None:
    quarters = fold(readings(mean(5, 1200), mean(10, 600), mean(15, -300))).quarters
    # 100 + 50 - 25 Wh
    assert by_quarter(quarters, *SUMS, "power_min_w", "power_max_w") == {
        0: (125_000_000, 0, 900_000_000, 0, 3, -300.0, 1200.0)
    }


def test_a_mean_over_a_boundary_is_cut_there() -> None:
    quarters = fold(readings(mean(20, 3600, 600))).quarters
    assert by_quarter(quarters, "measured_uwh", "measured_us", "samples") == {
        0: (300_000_000, 300_000_000, 0),
        15: (300_000_000, 300_000_000, 1),
    }


def test_a_mean_over_many_quarter_hours_is_cut_at_each() -> None:
    quarters = fold(readings(mean(60, 1000, 3600))).quarters
    assert energy(quarters) == {0: (250_000_000, 0), 15: (250_000_000, 0), 30: (250_000_000, 0), 45: (250_000_000, 0)}
    assert quarters["samples"].to_list() == [0, 0, 0, 1]


@pytest.mark.parametrize(("power_w", "uwh"), [(1.8, 0), (5.4, 2), (9.0, 2), (-5.4, -2), (12.6, 4)])
def test_a_piece_is_rounded_half_even_to_whole_microwatt_hours(power_w: float, uwh: int) -> None:
    # 1000 µs: 0.5, 1.5, 2.5, -1.5, 3.5 µWh
    assert fold(readings(mean(1, power_w, 0.001))).quarters["measured_uwh"].to_list() == [uwh]


def test_each_piece_is_rounded_before_it_is_added() -> None:
    # 1 W for 1 s is 277.78 µWh: 278 each, while 3 s in one are 833.33
    seconds = [mean(number / 60, 1.0, 1.0) for number in (1, 2, 3)]
    assert fold(readings(*seconds)).quarters["measured_uwh"].to_list() == [834]
    assert fold(readings(mean(3 / 60, 1.0, 3.0))).quarters["measured_uwh"].to_list() == [833]


def test_instants_are_joined_by_straight_lines() -> None:
    quarters = fold(readings(instant(10, 0), instant(20, 1200)), gaps=GAPS).quarters
    # 600 W at the boundary: 300 W and 900 W on the mean for five minutes each
    assert by_quarter(quarters, "measured_uwh", "estimated_uwh", "samples", "power_min_w", "power_max_w") == {
        0: (25_000_000, 0, 1, 0.0, 600.0),
        15: (75_000_000, 0, 1, 600.0, 1200.0),
    }


def test_instants_further_apart_than_expected_are_estimated() -> None:
    quarters = fold(readings(instant(0, 1000), instant(20, 1000)), gaps=GAPS).quarters
    assert energy(quarters) == {0: (0, 250_000_000), 15: (0, 83_333_333)}


def test_a_first_instant_says_nothing_of_the_time_before() -> None:
    quarters = fold(readings(instant(15, 500))).quarters
    assert by_quarter(quarters, *SUMS, "power_min_w", "power_max_w") == {15: (0, 0, 0, 0, 1, 500.0, 500.0)}


def test_a_gap_is_a_line_between_its_neighbours_and_estimated() -> None:
    quarters = fold(readings(mean(5, 1000), mean(20, 2000)), gaps=GAPS).quarters
    # 12:00-12:05 at 1000 W, a line to 2000 W at 12:15 (mean 1500 W for ten minutes), 12:15-12:20 at 2000 W
    assert by_quarter(quarters, *SUMS) == {
        0: (83_333_333, 250_000_000, 300_000_000, 600_000_000, 1),
        15: (166_666_667, 0, 300_000_000, 0, 1),
    }


@pytest.mark.parametrize(("minutes", "estimated"), [(30.0, 500_000_000), (30.0 + 1 / 60e6, 0)])
def test_a_gap_up_to_the_limit_is_estimated_and_a_longer_one_missing(minutes: float, estimated: int) -> None:
    quarters = fold(readings(mean(0, 1000), mean(minutes + 5, 1000)), gaps=GAPS).quarters
    assert quarters["estimated_uwh"].sum() == estimated


def test_where_means_overlap_the_earlier_keeps_what_it_covered() -> None:
    quarters = fold(readings(mean(10, 600, 600), mean(15, 1200, 600))).quarters
    assert energy(quarters) == {0: (200_000_000, 0)}  # ten minutes at 600 W, five at 1200 W
    assert quarters["measured_us"].to_list() == [900_000_000]


def test_a_reading_that_is_itself_estimated_stays_so() -> None:
    quarters = fold(readings(mean(5, 1200), mean(10, 1200, quality="ESTIMATED"), mean(15, 1200))).quarters
    assert energy(quarters) == {0: (200_000_000, 100_000_000)}


def test_a_line_from_or_to_an_estimated_instant_is_estimated() -> None:
    rows = readings(instant(0, 600), instant(5, 600, quality="ESTIMATED"), instant(10, 600), instant(15, 600))
    assert energy(fold(rows, gaps=GAPS).quarters) == {0: (50_000_000, 100_000_000), 15: (0, 0)}


def test_registers_alone_give_import_less_export_between_them() -> None:
    quarters = fold(readings(register(0, 1000, 50), register(10, 1100, 60), register(15, 1110, None))).quarters
    # +100 - 10 Wh in ten minutes (540 W), then +10 Wh in five (120 W) by the import register alone
    assert by_quarter(quarters, "measured_uwh", "power_min_w", "power_max_w") == {
        0: (100_000_000, 120.0, 540.0),
        15: (0, None, None),
    }


def test_a_register_that_was_reset_says_nothing() -> None:
    quarters = fold(readings(register(0, 1000), register(5, 3), register(10, 13))).quarters
    assert by_quarter(quarters, "measured_uwh", "measured_us", "samples") == {0: (10_000_000, 300_000_000, 3)}


def test_registers_far_apart_are_estimated_then_missing() -> None:
    apart = fold(readings(register(0, 0), register(30, 100), register(75, 1000)), gaps=GAPS).quarters
    assert energy(apart) == {0: (0, 50_000_000), 15: (0, 50_000_000), 30: (0, 0), 75: (0, 0)}


def test_what_cannot_be_used_is_left_out() -> None:
    rows = readings(mean(5, 1200), register(10, None), mean(15, 9e9, quality="MISSING"))
    assert fold(rows).quarters["samples"].to_list() == [1]
    assert fold(rows.slice(1)).quarters.height == 0
    assert fold(rows.slice(1)).quarters.schema == fold(rows).quarters.schema


def test_of_equal_times_the_last_row_counts_and_resources_do_not_mix() -> None:
    rows = readings(mean(10, 1, resource="b"), mean(5, 7), mean(5, 1200), mean(5, 600, resource="b"))
    quarters = fold(rows, gaps=GAPS).quarters
    assert quarters["resource_id"].to_list() == ["b", "r1"]
    assert energy(quarters.filter(pl.col("resource_id") == "r1")) == {0: (100_000_000, 0)}
    assert quarters["samples"].to_list() == [2, 1]


def test_what_comes_behind_the_last_known_reading_is_late_and_not_folded() -> None:
    first = fold(readings(mean(5, 1200), mean(20, 1200)))
    again = fold(readings(mean(20, 1200), mean(20, 1200), mean(10, 600), mean(20, 5), mean(25, 1200)), first.last)
    assert again.late["occurred_at"].to_list() == [at(10), at(20)]
    assert energy(again.quarters) == {15: (100_000_000, 0)}
    assert again.last["occurred_at"].to_list() == [at(25)]


def test_a_late_reading_touches_the_quarter_hours_within_its_reach() -> None:
    late = readings(mean(50, 1, 300))
    frame = touched(late, gaps=Gaps(continuous_s=300, gap_s=600))
    assert ((frame["period_start"] - START).dt.total_minutes()).to_list() == [30, 45, 60]
    both = touched(readings(mean(50, 1), mean(50, 1), instant(50, 2, "a")), gaps=Gaps(continuous_s=60, gap_s=60))
    assert list(zip(both["resource_id"], (both["period_start"] - START).dt.total_minutes(), strict=True)) == [
        ("a", 45),
        ("r1", 30),  # a line of a minute to 12:45, where the mean begins
        ("r1", 45),
    ]
    around = touched(readings(instant(50, 1)), gaps=Gaps(continuous_s=60, gap_s=60), longest_s=3600)
    assert ((around["period_start"] - START).dt.total_minutes()).to_list() == [-15, 0, 15, 30, 45]


def test_quality_follows_from_what_is_covered() -> None:
    minute = 60_000_000
    sums = pl.DataFrame({
        "measured_uwh": [100, 50, 0, 90_000_000], "estimated_uwh": [0, 50, 10, 0],
        "measured_us": [15 * minute, 10 * minute, 0, 13 * minute + minute // 2],
        "estimated_us": [0, 5 * minute, 9 * minute, 0],
    })  # fmt: skip
    decided = decide_quality(sums, measured_min=0.99, coverage_min=0.9)
    assert decided["quality"].to_list() == ["MEASURED", "ESTIMATED", "MISSING", "ESTIMATED"]
    assert decided["coverage"].to_list() == pytest.approx([1.0, 1.0, 0.6, 0.9])
    # 90 Wh in 13.5 minutes are 100 Wh in 15
    assert decided["energy_wh"].to_list() == pytest.approx([0.0001, 0.0001, None, 100.0])


def test_a_quarter_hour_without_time_covered_is_missing() -> None:
    heard = fold(readings(instant(15, 500))).quarters
    decided = decide_quality(heard, measured_min=0.99, coverage_min=0.0)
    assert decided.select("energy_wh", "quality", "coverage").rows() == [(None, "MISSING", 0.0)]


def together(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    names = [*KEYS, "period_start"]
    known = one.rename({name: name + "_was" for name in one.columns if name not in names})
    new = other.join(known, on=names, how="left", maintain_order="left")
    rest = one.join(other, on=names, how="anti", maintain_order="left")
    return pl.concat([rest, merge(new)]).sort(names)


@st.composite
def streams(draw: st.DrawFn) -> pl.DataFrame:
    rows = []
    for resource in ("r1", "r2"):
        minutes = draw(st.lists(st.integers(0, 7_200_000_000), max_size=12, unique=True))
        for micros in sorted(minutes):
            power = draw(st.floats(-1e5, 1e5))
            kind = draw(st.sampled_from(["mean", "instant", "register", "estimated"]))
            duration = draw(st.floats(0.001, 4000))
            minute = micros / 60e6
            rows.append({
                "mean": mean(minute, power, duration, resource),
                "instant": instant(minute, power, resource),
                "register": register(minute, abs(power), draw(st.none() | st.floats(0, 10)), resource),
                "estimated": mean(minute, power, duration, resource, quality="ESTIMATED"),
            }[kind])  # fmt: skip
    return readings(*rows).sort("occurred_at", maintain_order=True)


@settings(max_examples=150, deadline=None)
@given(stream=streams(), cuts=st.lists(st.integers(0, 24), max_size=4))
def test_folding_in_chunks_gives_exactly_the_sums_of_folding_at_once(stream: pl.DataFrame, cuts: list[int]) -> None:
    whole = fold(stream, gaps=GAPS)
    last, total = None, whole.quarters.head(0)
    bounds = [0, *sorted(cuts), stream.height]
    for start, end in pairwise(bounds):
        part = fold(stream.slice(start, max(0, end - start)), last, GAPS)
        assert part.late.is_empty()
        last = (
            pl.concat([last, part.last]).unique(KEYS, keep="last", maintain_order=True)
            if last is not None
            else part.last
        )
        total = together(total, part.quarters)
    assert total.equals(whole.quarters)
    assert last is not None
    assert last.sort(KEYS).equals(whole.last.sort(KEYS))


def curve_energy_uwh(rows: pl.DataFrame, gaps: Gaps) -> Fraction:
    """Exact area under the curve of one resource's means and instants, by the definition in the module's text."""
    total, before = Fraction(0), None
    for row in rows.iter_rows(named=True):
        t = (row["occurred_at"] - START) // timedelta(microseconds=1)
        power = Fraction(row["power_w"])
        length = round((row["duration_s"] or 0) * 1e6)
        level_from = t - length
        if before:
            gap = t - length - before[0]
            if 0 < gap <= max(gaps.gap_s, 0 if length else gaps.continuous_s) * 1e6:
                total += (before[1] + power) / 2 * gap
            level_from = max(level_from, before[0])
        total += power * max(0, t - level_from)
        before = (t, power)
    return total / 3600


@settings(max_examples=100, deadline=None)
@given(stream=streams())
def test_the_energy_is_the_area_under_the_curve(stream: pl.DataFrame) -> None:
    one = stream.filter((pl.col("resource_id") == "r1") & pl.col("power_w").is_not_null())
    quarters = fold(one, gaps=GAPS).quarters
    total = sum(quarters["measured_uwh"].to_list()) + sum(quarters["estimated_uwh"].to_list())
    pieces = quarters.height * 2 + 2 * one.height
    assert abs(total - curve_energy_uwh(one, GAPS)) <= pieces  # half a µWh a piece, and floats
    covered = quarters["measured_us"] + quarters["estimated_us"]
    assert covered.is_between(0, 900_000_000).all()
