import random
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from energy import rules
from energy.intervals import KEYS, Gaps, decide_quality, fold
from processors.intervals import SPEC
from processors.intervals.logic import Newest, Quarter
from streams.hosts.task import Limits
from streams.testing import TopologyDriver, assert_replayable, assert_rows, utc
from topics import IntervalMeasured, ReadingTaken, RulePublished

METER = {"site_id": "h1", "resource_id": "h1/meter", "commodity": "ELECTRICITY", "quality": "MEASURED"}
MEANS = METER | {"duration_s": 300.0}


def publish(driver: TopologyDriver) -> None:
    """The rules that come with flexlog: continuous 15 min, gap 30 min, MEASURED from 99 %, MISSING below 90 %."""
    driver.pipe(RulePublished, rules.rows(rules.load()), origin="test", origin_id="test")
    driver.tick()


@pytest.fixture
def ready(driver: TopologyDriver) -> TopologyDriver:
    publish(driver)
    return driver


def means(driver: TopologyDriver, *readings: tuple[str, float], to: str | None = None) -> None:
    """Five-minute means that end at a time of 2026-01-31 (or the full time given); then time goes on."""
    rows = [{"occurred_at": at(text), "power_w": power} for text, power in readings]
    if to:
        driver.advance(to=at(to))
    driver.pipe(ReadingTaken, rows, **MEANS)


def at(text: str) -> datetime:
    return utc(text if "-" in text else f"2026-01-31 {text}")


def read(driver: TopologyDriver) -> pl.DataFrame:
    return driver.read(IntervalMeasured).sort("period_start", "revision", maintain_order=True)


DAY = pytest.mark.driver(at="2026-01-31 00:00")


@DAY
def test_a_quarter_hour_is_the_sum_of_its_means_once_the_lateness_is_over(ready: TopologyDriver) -> None:
    means(ready, ("00:05", 1200), ("00:10", 600), ("00:15", -300))
    ready.advance(to=at("00:15"))
    assert read(ready).is_empty()  # ten minutes may still bring a reading
    ready.advance(to=at("00:30"))
    # (1200 + 600 - 300) W x 5 min = 100 + 50 - 25 Wh
    assert_rows(
        read(ready),
        IntervalMeasured,
        """
        period_end       | revision | energy_wh | power_min_w | power_max_w | quality  | coverage | samples
        2026-01-31 00:15 | 0        | 125       | -300        | 1200        | MEASURED | 1        | 3
    """,
    )


@DAY
def test_irregular_instants_are_weighted_by_time(ready: TopologyDriver) -> None:
    ready.pipe(
        ReadingTaken,
        """
        occurred_at      | power_w
        2026-01-31 00:00 | 1000
        2026-01-31 00:03 | 1000
        2026-01-31 00:11 | 2000
        2026-01-31 00:21 | 0
        2026-01-31 00:30 | 0
    """,
        **METER,
    )
    ready.advance(to=at("00:45"))
    # 3 min at 1000 W = 50 Wh; 8 min from 1000 to 2000 W = 200 Wh; 4 min from 2000 to 1200 W = 320/3 Wh;
    # then 6 min from 1200 to 0 W = 60 Wh, and nothing
    first, second = read(ready)["energy_wh"].to_list()
    assert first == pytest.approx(250 + 320 / 3, abs=1e-6)
    assert second == pytest.approx(60, abs=1e-6)
    assert read(ready)["samples"].to_list() == [3, 1]


@DAY
def test_registers_count_by_what_they_grew(ready: TopologyDriver) -> None:
    ready.pipe(
        ReadingTaken,
        """
        occurred_at      | energy_import_wh | energy_export_wh
        2026-01-31 00:00 | 5000             | 100
        2026-01-31 00:10 | 5100             | 100
        2026-01-31 00:20 | 5100             | 160
    """,
        **METER,
    )
    ready.advance(to=at("00:30"))
    # +100 Wh in ten minutes, then -60 Wh in ten of which five are in the first quarter-hour
    assert read(ready)["energy_wh"].to_list() == [70.0]


@DAY
def test_what_comes_out_of_order_in_time_is_in_the_first_statement(ready: TopologyDriver) -> None:
    means(ready, ("00:05", 1200), ("00:15", 1200), ("00:10", 600))
    ready.advance(to=at("00:30"))
    assert_rows(read(ready), IntervalMeasured, "revision | energy_wh | quality | samples\n0 | 250 | MEASURED | 3")


@DAY
def test_duplicates_change_nothing_whenever_they_come(ready: TopologyDriver) -> None:
    means(ready, ("00:05", 1200), ("00:05", 1200), ("00:10", 1200), ("00:15", 1200), ("00:10", 1200))
    means(ready, ("00:15", 1200), ("00:05", 1200), to="00:15")
    means(ready, ("00:05", 1200), ("00:10", 1200), ("00:20", 1200), ("00:25", 1200), ("00:30", 1200), to="00:30")
    means(ready, ("00:10", 1200), ("00:30", 1200), to="2026-02-02 07:00")
    ready.advance(to="2026-02-02 09:00")
    measured = read(ready).filter(pl.col("quality") == "MEASURED")
    assert_rows(
        measured,
        IntervalMeasured,
        """
        period_start     | revision | energy_wh | samples
        2026-01-31 00:00 | 0        | 300       | 3
        2026-01-31 00:15 | 0        | 300       | 3
    """,
    )
    assert read(ready)["revision"].to_list() == [0] * len(read(ready))


@DAY
def test_the_last_value_for_an_instant_counts(ready: TopologyDriver) -> None:
    means(ready, ("00:05", 1200), ("00:10", 1200), ("00:15", 1200))
    means(ready, ("00:10", 600), ("00:20", 0), ("00:25", 0), ("00:30", 0), to="00:30")
    ready.advance(to=at("01:00"))
    assert_rows(read(ready).head(2), IntervalMeasured, "revision | energy_wh\n0 | 300\n1 | 250")


@DAY
def test_a_late_reading_makes_a_new_revision_at_the_next_hour(ready: TopologyDriver) -> None:
    means(ready, ("00:05", 1200), ("00:15", 1200), ("00:20", 1200), ("00:25", 1200), ("00:30", 1200))
    means(ready, ("00:10", 600), to="00:35")
    ready.advance(to=at("00:45"))
    # 00:05 to 00:10 interpolated at 1200 W
    assert_rows(
        read(ready).head(1),
        IntervalMeasured,
        """
        revision | energy_wh | quality   | coverage           | samples
        0        | 300       | ESTIMATED | 0.6666666666666666 | 2
    """,
    )
    ready.advance(to=at("01:00"))
    assert_rows(
        read(ready).slice(1, 1),
        IntervalMeasured,
        """
        period_start     | revision | energy_wh | quality  | coverage | samples
        2026-01-31 00:00 | 1        | 250       | MEASURED | 1        | 3
    """,
    )
    assert read(ready).filter(pl.col("revision") > 0).height == 1


@pytest.mark.parametrize("batch_rows", [1, 2, 1000])
def test_what_is_out_of_order_does_not_depend_on_how_batches_were_cut(batch_rows: int) -> None:
    driver = TopologyDriver(SPEC, at="2026-01-31 00:00", limits=Limits(batch_rows=batch_rows))
    publish(driver)
    means(driver, ("00:05", 1200))
    means(driver, ("00:15", 1200), ("00:10", 600), to="01:17")
    driver.advance(to=at("02:00"))
    # 00:15 is in order and leaves a gap, which is stated at once; 00:10 is not and waits for the full hour
    assert_rows(
        read(driver).head(3),
        IntervalMeasured,
        """
        period_start     | revision | energy_wh | quality
        2026-01-31 00:00 | 0        |           | MISSING
        2026-01-31 00:00 | 1        | 300       | ESTIMATED
        2026-01-31 00:00 | 2        | 250       | MEASURED
    """,
    )
    driver.close()


@DAY
@pytest.mark.parametrize("days", [1, 3])
def test_a_reading_days_late_makes_a_new_revision_from_history(ready: TopologyDriver, days: int) -> None:
    means(ready, ("00:05", 1200), ("00:15", 1200), ("00:20", 1200), ("00:25", 1200), ("00:30", 1200))
    late = at("00:37") + timedelta(days=days)
    ready.advance(to=late)
    assert ready.state(Quarter).filter(pl.col("period_start") == at("00:00")).is_empty()
    means(ready, ("00:10", 600))
    ready.advance(by=timedelta(hours=1))
    again = read(ready).filter(pl.col("revision") > 0)
    assert_rows(
        again,
        IntervalMeasured,
        """
        period_start     | revision | energy_wh | quality
        2026-01-31 00:00 | 1        | 250       | MEASURED
    """,
    )
    means(ready, ("00:10", 1200))
    ready.advance(by=timedelta(hours=1))
    again = read(ready).filter(pl.col("revision") > 0)
    assert again.select("revision", "energy_wh").rows() == [(1, 250.0), (2, 300.0)]


@DAY
@pytest.mark.parametrize(("minutes", "quality", "energy"), [(30, "ESTIMATED", 375.0), (35, "MISSING", None)])
def test_a_gap_up_to_thirty_minutes_is_estimated_and_a_longer_one_missing(
    ready: TopologyDriver, minutes: int, quality: str, energy: float | None
) -> None:
    # 00:15 measured at 1000 W, then nothing until a mean of 2000 W that begins `minutes` later
    means(ready, ("00:05", 1000), ("00:10", 1000), ("00:15", 1000))
    end = at("00:15") + timedelta(minutes=minutes + 5)
    ready.pipe(ReadingTaken, [{"occurred_at": end, "power_w": 2000.0}], **MEANS)
    ready.advance(to=at("01:15"))
    gap = read(ready).filter(pl.col("period_start") == at("00:30"))
    # a line from 1000 to 2000 W over 30 minutes: the second half has 1750 W on the mean, 437.5 Wh
    assert gap.select("quality", "energy_wh").rows() == [(quality, None if energy is None else 437.5)]
    before = read(ready).filter(pl.col("period_start") == at("00:15"))
    assert before.select("quality", "energy_wh", "coverage").rows() == [
        (quality, None if energy is None else 312.5, 0.0)
    ]


@DAY
def test_a_backlog_in_order_revises_what_was_missing_without_history(ready: TopologyDriver) -> None:
    means(ready, ("00:05", 1200), ("00:10", 1200), ("00:15", 1200))
    ready.advance(to=at("02:00"))
    missing = read(ready).filter(pl.col("quality") == "MISSING")
    assert missing["period_start"].to_list() == [at("00:15") + timedelta(minutes=15 * n) for n in range(6)]
    assert missing["revision"].to_list() == [0] * 6
    means(ready, *(((at("00:15") + timedelta(minutes=5 * n)).strftime("%H:%M"), 600.0) for n in range(1, 22)))
    ready.host.history = pytest.fail  # type: ignore[method-assign]
    ready.advance(to=at("02:15"))
    latest = ready.read(IntervalMeasured, latest=True)
    assert latest["quality"].to_list() == ["MEASURED"] * 8
    assert latest["energy_wh"].to_list() == [300.0] + [150.0] * 7
    assert latest["revision"].to_list() == [0] + [1] * 6 + [0]


@DAY
def test_a_backlog_older_than_the_state_is_worked_out_from_history(ready: TopologyDriver) -> None:
    means(ready, ("00:05", 1200), ("00:10", 1200), ("00:15", 1200))
    ready.advance(to=at("12:00"))
    times = [at("00:15") + timedelta(minutes=5 * n) for n in range(1, 142)]
    means(ready, *((f"{time:%Y-%m-%d %H:%M}", 600.0) for time in times))
    ready.advance(to=at("13:15"))
    latest = ready.read(IntervalMeasured, latest=True).filter(pl.col("period_start") < at("12:00"))
    assert latest.height == 48
    assert latest["energy_wh"].to_list() == [300.0] + [150.0] * 47
    assert latest["revision"].to_list() == [0] + [1] * 46 + [0]
    assert latest["samples"].to_list() == [3] * 48


@DAY
def test_a_silent_resource_is_missing_for_a_day_and_then_forgotten(ready: TopologyDriver) -> None:
    means(ready, ("00:05", 1200), ("00:10", 1200), ("00:15", 1200))
    ready.advance(to="2026-02-02 00:00")
    told = read(ready)
    # the last reading is of 00:15: at the tick of 00:30 a day later the watermark, 00:20, is more than a day past it
    assert told["period_start"].max() == utc("2026-01-31 23:45")
    assert told["quality"].to_list() == ["MEASURED"] + ["MISSING"] * 95
    assert ready.state(Newest).is_empty()
    means(ready, ("2026-02-02 00:05", 1200), ("2026-02-02 00:10", 1200), ("2026-02-02 00:15", 1200))
    ready.advance(to="2026-02-02 00:30")
    back = read(ready).filter(pl.col("period_start") > utc("2026-02-01 12:00"))
    assert_rows(back, IntervalMeasured, "period_start | revision | energy_wh\n2026-02-02 00:00 | 0 | 300")


@DAY
def test_readings_that_come_before_the_rules_wait_for_them(driver: TopologyDriver) -> None:
    means(driver, ("00:05", 1200), ("00:15", 1200), ("00:10", 600))
    driver.advance(to=at("00:45"))
    assert read(driver).is_empty()
    means(driver, ("00:20", 600), ("00:25", 600), ("00:30", 600))
    publish(driver)
    driver.advance(to=at("01:00"))
    assert read(driver).filter(pl.col("energy_wh").is_not_null()).select("energy_wh", "revision").rows() == [
        (250.0, 0),
        (150.0, 0),
    ]


@DAY
def test_a_rule_counts_from_its_date(driver: TopologyDriver) -> None:
    published = rules.rows(rules.load())
    changed = [row | {"valid_to": utc("2026-01-31 01:00")} for row in published if row["rule_id"] == "readings.gap"]
    shorter = [row | {"valid_from": utc("2026-01-31 01:00"), "valid_to": None, "value_long": 300} for row in changed]
    others = [row for row in published if row["rule_id"] != "readings.gap"]
    driver.pipe(RulePublished, [*others, *changed, *shorter], origin="test", origin_id="test")
    driver.tick()
    # ten minutes are lost in the third and in the fifth quarter-hour
    heard = [5, 10, 15, 20, 25, 30, 35, 50, 55, 60, 65, 80, 85, 90]
    driver.pipe(
        ReadingTaken, [{"occurred_at": at("00:00") + timedelta(minutes=m), "power_w": 600.0} for m in heard], **MEANS
    )
    driver.advance(to=at("02:00"))
    told = driver.read(IntervalMeasured).filter(pl.col("samples") > 0)
    assert told["quality"].to_list() == ["MEASURED", "MEASURED", "ESTIMATED", "MEASURED", "MISSING", "MEASURED"]


@DAY
def test_a_mean_of_too_long_a_time_is_refused(ready: TopologyDriver) -> None:
    means(ready, ("00:05", 1200))
    ready.pipe(ReadingTaken, [{"occurred_at": at("00:15"), "power_w": 1.0, "duration_s": 7200.0}], **METER)
    ready.pipe(ReadingTaken, [{"occurred_at": at("00:15"), "power_w": 1200.0, "duration_s": 600.0}], **METER)
    ready.advance(to=at("00:30"))
    assert [found["reason_text"] for found in ready.rejected(ReadingTaken)] == [
        "duration_s is longer than 3600 s; send the means of shorter times"
    ]
    assert read(ready)["energy_wh"].to_list() == [300.0]


@DAY
def test_a_reading_of_a_time_without_rules_is_refused(ready: TopologyDriver) -> None:
    means(ready, ("00:05", 1200), ("1999-12-31 23:55", 5), ("00:10", 1200), ("00:15", 1200))
    ready.advance(to=at("00:30"))
    assert [found["reason_code"] for found in ready.rejected(ReadingTaken)] == ["REFUSED"]
    assert read(ready)["energy_wh"].to_list() == [300.0]


Row = dict[str, Any]


def trouble(seed: int, hours: int = 30, latest: int = 100) -> list[tuple[int, Row]]:
    """Readings of two homes and when they come (quarter-hours): late, doubled, corrected, lost, after outages."""
    rng = random.Random(seed)
    sent: list[tuple[int, Row]] = []
    outage = 0
    for number in range(1, 12 * hours + 1):
        due = (number + 2) // 3
        outage = rng.choice([3, min(40, latest)]) if not outage and rng.random() < 0.02 else max(0, outage - 1)
        for site in ("h1", "h2"):
            row: Row = METER | {
                "site_id": site, "resource_id": f"{site}/meter", "duration_s": rng.choice([300.0, 300.0, None]),
                "occurred_at": at("00:00") + timedelta(minutes=5 * number), "power_w": float(rng.randint(-3000, 3000)),
            }  # fmt: skip
            chance = rng.random()
            if chance < 0.05:
                continue
            sent.append(
                (
                    due
                    + (
                        rng.choice([late for late in (1, 3, 7, 17, 50, 100) if late <= latest])
                        if chance < 0.1
                        else outage
                    ),
                    row,
                )
            )
            if chance > 0.9:
                sent.append((due + rng.choice([0, 1, min(9, latest)]), row))
            if chance > 0.97:
                sent.append((due + rng.choice([0, 1, min(60, latest)]), row | {"power_w": 0.0}))
    return sorted(sent, key=lambda one: one[0])


def play(sent: list[tuple[int, Row]]) -> list[tuple[datetime, list[Row]]]:
    last = sent[-1][0]
    return [
        (at("00:00") + timedelta(minutes=15 * quarter), [row for due, row in sent if due == quarter])
        for quarter in range(last + 1)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_in_the_end_every_quarter_hour_is_that_of_all_its_readings(seed: int) -> None:
    driver = TopologyDriver(SPEC, at="2026-01-31 00:00", twice=False)
    publish(driver)
    sent = trouble(seed)
    for moment, rows in play(sent):
        driver.advance(to=moment)
        if rows:
            driver.pipe(ReadingTaken, rows)
    driver.advance(by=timedelta(hours=2))
    # the readings as they are in the end, by the definition, all at once
    final = {(row["site_id"], row["occurred_at"]): row for _, row in sent}
    readings = pl.DataFrame(list(final.values()), schema=ReadingTaken.__topic__.columns).sort("occurred_at")
    whole = decide_quality(fold(readings, None, Gaps(900, 1800)).quarters, measured_min=0.99, coverage_min=0.9)
    told = driver.read(IntervalMeasured, latest=True).filter(pl.col("samples") > 0)
    names = ["resource_id", "period_start", "energy_wh", "quality", "samples", "power_min_w", "power_max_w"]
    until = driver.now - timedelta(minutes=30)
    expected = whole.filter((pl.col("samples") > 0) & (pl.col("period_start") < until))
    assert told.select(names).equals(expected.sort(*KEYS, "period_start").select(names))
    assert told["revision"].sum() > 20
    revisions = driver.read(IntervalMeasured).sort("resource_id", "period_start", "revision")
    counted = revisions.with_columns(n=pl.int_range(pl.len()).over("resource_id", "period_start"))
    assert (counted["revision"] == counted["n"]).all()  # 0, 1, 2, … each once
    driver.close()


def test_any_cut_any_crash_and_any_number_of_partitions_give_the_same_events() -> None:
    moments = play(trouble(7, hours=3, latest=7))

    def scenario(driver: TopologyDriver) -> None:
        publish(driver)
        for moment, rows in moments:
            driver.advance(to=moment)
            if rows:
                driver.pipe(ReadingTaken, rows)
        driver.advance(by=timedelta(hours=2))

    assert_replayable(SPEC, scenario=scenario, at="2026-01-31 00:00", runs=3)
