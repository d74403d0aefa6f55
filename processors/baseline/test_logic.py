from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from energy.time import QUARTER, quarters_of_day
from processors import baseline
from streams.testing import TopologyDriver, assert_replayable, assert_rows, utc
from topics import (
    ActivationRequested,
    BaselineEstimated,
    InstructionIssued,
    IntervalMeasured,
    Progressed,
    ResourceRegistered,
    RulePublished,
    SiteRegistered,
)

SPEC = replace(baseline.SPEC, every=timedelta(hours=1))  # what it says does not depend on it

ZONE = "America/Los_Angeles"
FOREVER = utc("2020-01-01")
ORIGIN = {"origin": "test", "origin_id": "1"}
RULES = {
    "method": "HIGH_4_OF_5", "method_version": 1, "x": 4, "y": 5, "days_back": 45, "days_min": 3, "by_day_type": 1,
    "adjustment": "RATIO", "adjustment_cap": 0.2, "window_from": 14_400, "window_to": 3_600,
}  # fmt: skip
DAY = date(2026, 2, 18)  # a Wednesday; the weekdays before are 1, 2, 5, 6, 7, 8 and 9 days earlier
HIGH = {1: 100.0, 2: 200.0, 5: 300.0, 6: 400.0, 7: 500.0, 8: 600.0, 9: 700.0}
Level = float | Callable[[datetime], float | None]


def local(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(ZONE)).astimezone(UTC)


def before(days: int) -> date:
    return DAY - timedelta(days=days)


def interval(at: datetime, energy: float | None, site: str = "home-01", **other: Any) -> dict[str, Any]:
    return {
        "site_id": site, "resource_id": f"{site}/meter", "commodity": "ELECTRICITY", "period_start": at,
        "period_end": at + QUARTER, "revision": 0, "energy_wh": energy, "samples": 3, "method": "time-weighted/1",
        "quality": "MISSING" if energy is None else "MEASURED", "coverage": 0.0 if energy is None else 1.0,
    } | other  # fmt: skip


def days_of(levels: Mapping[date, Level], site: str = "home-01") -> list[dict[str, Any]]:
    return [
        interval(at, level(at.astimezone(ZoneInfo(ZONE))) if callable(level) else level, site)
        for day, level in levels.items()
        for at in quarters_of_day(day, ZONE)
    ]


def instructions(name: str, start: datetime, quarters: int = 2, site: str = "home-01") -> list[dict[str, Any]]:
    return [
        {"site_id": site, "instruction_id": f"{name}/{site}", "set_no": number + 1, "set_id": f"{name}/{site}",
         "set_size": quarters, "resource_id": f"{site}/battery", "activation_id": name, "cause": "ACTIVATION",
         "action": "FOLLOW", "form": "POWER", "period_start": start + QUARTER * number,
         "period_end": start + QUARTER * (number + 1), "power_w": -1000.0, "abnormal": False, "direction": "UP",
         "quantity_w": 1000, "fallback": "LOCAL"}
        for number in range(quarters)
    ]  # fmt: skip


def activation(name: str, start: datetime, quarters: int = 2) -> dict[str, Any]:
    return ORIGIN | {
        "portfolio_id": "fontana", "activation_id": name, "revision": 0, "status": "ORDERED", "kind": "SCHEDULED",
        "product_id": "local-up", "zone": "zone", "direction": "UP", "period_start": start,
        "period_end": start + QUARTER * quarters, "quantity_w": 1000, "currency": "USD",
    }  # fmt: skip


def start(driver: TopologyDriver, sites: int = 1, **other: float | str) -> None:
    rules = []
    for name, value in (RULES | other).items():
        kind = {int: "value_long", float: "value_double", str: "value_text"}[type(value)]
        rules.append({"rule_id": f"baseline.{name}", kind: value})
    driver.pipe(RulePublished, rules, scope="", valid_from=FOREVER, status="ACTIVE", unit="1", source="test", **ORIGIN)
    for number in range(1, sites + 1):
        entry = {"site_id": f"home-0{number}", "valid_from": FOREVER, "status": "ACTIVE"} | ORIGIN
        driver.pipe(SiteRegistered, [entry | {"kind": "home", "country": "US", "timezone": ZONE, "simulated": True}])
        meter = {"resource_id": f"home-0{number}/meter", "kind": "meter", "role": "CONSUMER"}
        plant = {"commodity": "ELECTRICITY", "control_type": "NONE", "power_min_w": -9e3, "power_max_w": 9e3}
        driver.pipe(ResourceRegistered, [entry | meter | plant])


EVENT = local(DAY, 18)


@pytest.fixture
def driver() -> Iterator[TopologyDriver]:
    made = TopologyDriver(SPEC, at=EVENT - timedelta(hours=6))
    yield made
    made.close()


def call(driver: TopologyDriver, name: str = "a", start: datetime = EVENT, site: str = "home-01") -> None:
    driver.pipe(ActivationRequested, [activation(name, start)])
    driver.pipe(InstructionIssued, instructions(name, start, site=site))


def estimates(driver: TopologyDriver) -> pl.DataFrame:
    return driver.read(BaselineEstimated).sort("activation_id", "resource_id", "period_start", "revision")


def test_the_baseline_is_the_mean_of_the_four_highest_of_the_last_five_days_of_its_type(
    driver: TopologyDriver,
) -> None:
    start(driver)
    weekend = {before(3): 9000.0, before(4): 9000.0}
    driver.pipe(IntervalMeasured, days_of({before(n): level for n, level in HIGH.items()} | weekend))
    call(driver)
    driver.advance(to=EVENT + timedelta(hours=1))
    # 500, 400, 300 and 200 of 500, 400, 300, 200, 100; the day itself has said nothing before 17:00, so no adjustment
    assert_rows(
        estimates(driver),
        BaselineEstimated,
        f"""
        resource_id   | activation_id | period_start             | energy_wh | adjustment_ratio | days_used | quality
        home-01/meter | a             | {EVENT:%Y-%m-%d %H:%M}   | 350       | 1                | 4         | CALCULATED
        home-01/meter | a             | {EVENT:%Y-%m-%d} 02:15   | 350       | 1                | 4         | CALCULATED
        """,
    )
    assert estimates(driver).select("method", "method_version", "purpose", "revision").row(0) == (
        "HIGH_4_OF_5", 1, "SETTLEMENT", 0,
    )  # fmt: skip


@pytest.mark.parametrize(("today", "energy"), [(385.0, 385.0), (700.0, 420.0), (7.0, 280.0)])
def test_the_same_day_adjustment_is_capped(driver: TopologyDriver, today: float, energy: float) -> None:
    start(driver)
    driver.pipe(IntervalMeasured, days_of({before(n): level for n, level in HIGH.items()}))
    window = [local(DAY, 14) + QUARTER * number for number in range(12)]
    other = [(local(DAY, 13, 45), 9000.0), (local(DAY, 17), 9000.0)]  # before and after the window of 14:00 to 17:00
    driver.pipe(IntervalMeasured, [interval(at, level) for at, level in [*((at, today) for at in window), *other]])
    call(driver)
    driver.advance(to=EVENT + timedelta(hours=1))
    assert estimates(driver)["energy_wh"].to_list() == pytest.approx([energy, energy])
    assert estimates(driver)["unadjusted_wh"].to_list() == [350.0, 350.0]


def test_days_with_instructions_are_no_reference(driver: TopologyDriver) -> None:
    start(driver, sites=2)
    for site in ("home-01", "home-02"):
        driver.pipe(IntervalMeasured, days_of({before(n): level for n, level in HIGH.items()}, site))
        call(driver, site=site)
    driver.pipe(InstructionIssued, instructions("old", local(before(7), 3)))  # home-01, at another time of that day
    driver.pipe(ActivationRequested, [activation("old", local(before(7), 3))])
    driver.advance(to=EVENT + timedelta(hours=1))
    now = estimates(driver).filter(BaselineEstimated.activation_id == "a", BaselineEstimated.period_start == EVENT)
    # home-01: 600 in place of 500, so 600, 400, 300, 200
    assert now.select("resource_id", "energy_wh").rows() == [("home-01/meter", 375.0), ("home-02/meter", 350.0)]


def test_it_waits_for_the_intervals_and_holds_the_watermark_until_then(driver: TopologyDriver) -> None:
    def watermark() -> datetime:
        return driver.read(Progressed)["watermark"].to_list()[-1]  # type: ignore[no-any-return]

    start(driver)
    driver.pipe(IntervalMeasured, days_of({before(n): level for n, level in HIGH.items()}))
    call(driver)
    driver.complete(IntervalMeasured, to=EVENT + timedelta(minutes=29))
    driver.advance(to=EVENT + timedelta(hours=3))
    assert estimates(driver).is_empty()
    assert watermark() == EVENT
    driver.complete(IntervalMeasured, to=EVENT + timedelta(minutes=30))
    driver.advance(by=timedelta(hours=1))
    assert len(estimates(driver)) == 2
    assert watermark() == EVENT + timedelta(minutes=30)


def test_a_changed_reference_day_gives_a_new_revision_and_other_changes_none(driver: TopologyDriver) -> None:
    start(driver)
    driver.pipe(IntervalMeasured, days_of({before(n): level for n, level in HIGH.items()}))
    call(driver)
    driver.advance(to=EVENT + timedelta(hours=1))
    same_time, other_time = local(before(5), 18), local(before(5), 3)
    driver.pipe(IntervalMeasured, [interval(other_time, 1.0, revision=1), interval(local(before(3), 18), 1.0)])
    driver.advance(by=timedelta(hours=1))
    assert len(estimates(driver)) == 2
    driver.pipe(IntervalMeasured, [interval(same_time, 340.0, revision=1)])
    driver.advance(by=timedelta(hours=1))
    # the first quarter-hour's mean is 360 now, the second's still 350
    found = estimates(driver).select(pl.col("period_start") - EVENT, "revision", "energy_wh")
    assert found.rows() == [(timedelta(), 0, 350.0), (timedelta(), 1, 360.0), (QUARTER, 0, 350.0)]


def test_a_late_reading_of_the_adjustment_window_gives_a_new_revision(driver: TopologyDriver) -> None:
    start(driver)
    driver.pipe(IntervalMeasured, days_of({before(n): level for n, level in HIGH.items()}))
    call(driver)
    driver.advance(to=EVENT + timedelta(hours=1))
    driver.pipe(IntervalMeasured, [interval(local(DAY, 16), 385.0)])
    driver.advance(by=timedelta(hours=1))
    latest = driver.read(BaselineEstimated, latest=True)
    assert latest["energy_wh"].to_list() == pytest.approx([385.0, 385.0])
    assert latest["revision"].to_list() == [1, 1]


def test_days_that_lack_readings_are_replaced_by_older_ones(driver: TopologyDriver) -> None:
    start(driver)
    levels: dict[date, Level] = {before(n): 100.0 for n in (1, 2, 5, 6, 7, 8, 9)}
    gaps: dict[date, Level] = {day: (lambda at: None if at.hour == 18 else 100.0) for day in levels}
    old: dict[date, Level] = {before(n): 40.0 for n in (33, 34, 35, 36, 37)}
    driver.pipe(IntervalMeasured, days_of(gaps | old))
    call(driver)
    driver.advance(to=EVENT + timedelta(hours=1))
    assert estimates(driver).select("energy_wh", "days_used").rows() == [(40.0, 4), (40.0, 4)]


@pytest.mark.parametrize(("days", "quality", "energy"), [(2, "MISSING", 0.0), (3, "ESTIMATED", 200.0)])
def test_too_few_days_give_an_estimate_or_none(driver: TopologyDriver, days: int, quality: str, energy: float) -> None:
    start(driver)
    driver.pipe(IntervalMeasured, days_of({before(n): HIGH[n] for n in (1, 2, 5)[:days]}))
    call(driver)
    driver.advance(to=EVENT + timedelta(hours=1))
    assert estimates(driver).select("quality", "energy_wh", "days_used").row(0) == (quality, energy, days)


def test_a_site_without_a_meter_has_no_baseline_and_says_so(driver: TopologyDriver) -> None:
    start(driver)
    site = {"site_id": "home-02", "valid_from": FOREVER, "status": "ACTIVE", "kind": "home", "country": "US"}
    driver.pipe(SiteRegistered, [ORIGIN | site | {"timezone": ZONE, "simulated": True}])
    call(driver, site="home-02")
    driver.advance(to=EVENT + timedelta(hours=1))
    assert estimates(driver).select("resource_id", "quality").row(0) == ("home-02/battery", "MISSING")


@pytest.mark.parametrize(
    ("day", "references"),
    [
        (date(2026, 3, 9), (3, 4, 5, 6)),  # the Monday after clocks went forward, its references before
        (date(2026, 3, 8), (1, 7, 8, 14)),  # the Sunday of 92 quarter-hours itself
        (date(2026, 11, 1), (1, 7, 8, 14)),  # the Sunday of 100
        (date(2026, 11, 8), (1, 7, 8, 14)),  # the Sunday after, which has that Sunday for a reference
    ],
)
def test_days_are_matched_by_the_wall_clock_across_daylight_saving(day: date, references: tuple[int, ...]) -> None:
    event = local(day, 18)
    driver = TopologyDriver(SPEC, at=event)
    try:
        start(driver, adjustment="NONE")
        levels: dict[date, Level] = {day - timedelta(days=n): (lambda at: at.hour * 10.0) for n in references}
        driver.pipe(IntervalMeasured, days_of(levels))
        call(driver, start=event)
        driver.advance(to=event + timedelta(hours=1))
        assert estimates(driver).select("energy_wh", "days_used").rows() == [(180.0, 4), (180.0, 4)]
    finally:
        driver.close()


def test_cuts_partitions_and_crashes_change_nothing() -> None:
    def scenario(driver: TopologyDriver) -> None:
        start(driver, sites=3)
        levels: dict[date, Level] = {before(n): (lambda at: 100.0 + at.hour) for n in (1, 2, 5, 6)}
        for number in (1, 2, 3):
            rows = days_of(levels, f"home-0{number}")
            driver.pipe(IntervalMeasured, [row for row in rows if row["period_start"].hour in {0, 2}])
            call(driver, site=f"home-0{number}")
        driver.advance(to=EVENT + timedelta(hours=1))
        driver.pipe(IntervalMeasured, [interval(local(before(2), 18), 7.0, "home-02", revision=1)])
        driver.pipe(IntervalMeasured, [interval(local(DAY, 16), 100.0, "home-03")])
        driver.advance(to=EVENT + timedelta(hours=3))
        assert driver.read(BaselineEstimated)["revision"].sum() == 3

    assert_replayable(
        SPEC, scenario=scenario, at=EVENT - timedelta(hours=2), tick=timedelta(hours=1), runs=2, partitions=(2, 3)
    )
