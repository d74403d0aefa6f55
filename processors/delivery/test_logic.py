"""What delivery promises. Wh worked out by hand: 4 kW for a quarter-hour is 1,000 Wh."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy.time import UTC_MICROS
from processors import delivery
from processors.delivery.logic import Instruction, requested, shared
from streams.testing import TopologyDriver, assert_replayable, assert_rows, utc
from topics import ActivationRequested, BaselineEstimated, DeliveryMeasured, InstructionIssued, IntervalMeasured

SPEC = replace(delivery.SPEC, every=timedelta(hours=1))  # what it says does not depend on it

AT = "2026-03-02 17:00"
START = utc("2026-03-02 18:00")
QUARTER = timedelta(minutes=15)
SHOWN = "baseline_wh | measured_wh | requested_wh | delivered_wh | quality | revision"


def activate(driver: TopologyDriver, direction: str = "UP", name: str = "x") -> None:
    event = {
        "portfolio_id": "p", "activation_id": name, "revision": 0, "status": "ORDERED", "kind": "SCHEDULED",
        "product_id": "up", "zone": "z", "direction": direction, "period_start": START, "period_end": START + QUARTER,
        "quantity_w": 4000, "currency": "USD", "origin": "t", "origin_id": "1",
    }  # fmt: skip
    driver.pipe(ActivationRequested, [event])


def instruct(
    driver: TopologyDriver, action: str = "FOLLOW", start: datetime = START, number: int = 0, **other: Any
) -> None:
    name = f"x/a/{number}/{action}"
    event: dict[str, Any] = {
        "site_id": "a", "instruction_id": name, "set_no": 1, "set_id": name, "set_size": 1,
        "resource_id": "a/battery", "activation_id": "x", "cause": "ACTIVATION", "action": action, "form": "POWER",
        "period_start": start, "period_end": START + QUARTER, "power_w": -4000.0, "abnormal": False,
        "direction": "UP", "quantity_w": 4000, "fallback": "LOCAL",
    }  # fmt: skip
    driver.pipe(
        InstructionIssued, [event | ({"supersedes_id": f"x/a/{number}/FOLLOW"} if action == "REVOKE" else {}) | other]
    )


def measure(driver: TopologyDriver, energy_wh: float | None, revision: int = 0, quality: str = "MEASURED") -> None:
    event = {
        "site_id": "a", "resource_id": "a/meter", "commodity": "ELECTRICITY", "period_start": START,
        "period_end": START + QUARTER, "revision": revision, "energy_wh": energy_wh, "quality": quality,
        "coverage": 0.0 if energy_wh is None else 1.0, "samples": 3, "method": "m",
    }  # fmt: skip
    driver.pipe(IntervalMeasured, [event])


def baseline(
    driver: TopologyDriver, energy_wh: float, revision: int = 0, quality: str = "CALCULATED", name: str = "x"
) -> None:
    event = {
        "site_id": "a", "resource_id": "a/meter", "commodity": "ELECTRICITY", "method": "high_5_of_10",
        "method_version": 1, "activation_id": name, "period_start": START, "period_end": START + QUARTER,
        "revision": revision, "purpose": "SETTLEMENT", "energy_wh": energy_wh, "unadjusted_wh": energy_wh,
        "adjustment_ratio": 1.0, "days_used": 5, "known_until": START, "quality": quality,
    }  # fmt: skip
    driver.pipe(BaselineEstimated, [event])


def check(driver: TopologyDriver, *rows: str) -> None:
    assert_rows(driver.read(DeliveryMeasured), DeliveryMeasured, "\n".join([SHOWN, *rows]))


@pytest.mark.driver(at=AT)
def test_up_is_baseline_less_measured(driver: TopologyDriver) -> None:
    activate(driver)
    instruct(driver)
    measure(driver, -250.5)  # half-even: -250
    baseline(driver, 700.4)
    driver.advance(to="2026-03-02 19:00")
    check(driver, "700 | -250 | 1000 | 950 | CALCULATED | 0")
    driver.advance(by=timedelta(hours=3))
    assert len(driver.read(DeliveryMeasured)) == 1


@pytest.mark.driver(at=AT)
def test_down_is_measured_less_baseline(driver: TopologyDriver) -> None:
    activate(driver, "DOWN")
    instruct(driver)
    measure(driver, 900.0)
    baseline(driver, 100.0)
    driver.advance(to="2026-03-02 19:00")
    check(driver, "100 | 900 | 1000 | 800 | CALCULATED | 0")


@pytest.mark.driver(at=AT)
def test_what_was_taken_back_counts_until_its_revocation(driver: TopologyDriver) -> None:
    activate(driver)
    instruct(driver)
    instruct(driver, "REVOKE", START + timedelta(minutes=6))  # 6 of 15 minutes stay: 400 Wh
    measure(driver, 0.0)
    baseline(driver, 300.0)
    driver.advance(to="2026-03-02 19:00")
    check(driver, "300 | 0 | 400 | 300 | CALCULATED | 0")


@pytest.mark.driver(at=AT)
def test_who_was_let_go_before_it_began_delivers_nothing(driver: TopologyDriver) -> None:
    activate(driver)
    instruct(driver)
    instruct(driver, "REVOKE")
    measure(driver, 0.0)
    baseline(driver, 300.0)
    driver.advance(to="2026-03-02 19:00")
    check(driver)


@pytest.mark.driver(at=AT)
def test_a_late_interval_and_a_new_baseline_are_new_revisions(driver: TopologyDriver) -> None:
    activate(driver)
    instruct(driver)
    measure(driver, 0.0)
    baseline(driver, 500.0)
    driver.advance(to="2026-03-02 19:00")
    measure(driver, 100.0, revision=1)
    driver.advance(to="2026-03-05 19:00")
    baseline(driver, 600.0, revision=1)
    driver.advance(to="2026-03-05 20:00")
    measure(driver, 100.0, revision=2)  # the same value again: nothing to say
    driver.advance(to="2026-03-05 21:00")
    check(
        driver,
        "500 | 0   | 1000 | 500 | CALCULATED | 0",
        "500 | 100 | 1000 | 400 | CALCULATED | 1",
        "600 | 100 | 1000 | 500 | CALCULATED | 2",
    )


@pytest.mark.driver(at=AT)
def test_what_is_missing_proves_nothing(driver: TopologyDriver) -> None:
    activate(driver)
    instruct(driver)
    measure(driver, None, quality="MISSING")
    baseline(driver, 500.0)
    driver.advance(to="2026-03-02 19:00")
    measure(driver, 200.0, revision=1, quality="ESTIMATED")
    driver.advance(to="2026-03-02 20:00")
    baseline(driver, 0.0, revision=1, quality="MISSING")
    driver.advance(to="2026-03-02 21:00")
    check(
        driver,
        "500 | 500 | 1000 | 0   | MISSING   | 0",
        "500 | 200 | 1000 | 300 | ESTIMATED | 1",
        "200 | 200 | 1000 | 0   | MISSING   | 2",
    )


@pytest.mark.driver(at=AT)
def test_the_watermark_waits_for_the_baseline(driver: TopologyDriver) -> None:
    activate(driver)
    instruct(driver)
    measure(driver, 0.0)
    driver.advance(to="2026-03-02 20:00")
    assert reported(driver) == START
    baseline(driver, 500.0)
    driver.advance(to="2026-03-02 21:00")
    assert reported(driver) > START + QUARTER


def reported(driver: TopologyDriver) -> datetime:
    topic = driver.topology.topic("stream.progress.v1")
    slab = driver.host.log.read(topic.name, 0, 0)
    found: datetime = driver.host.codec.decode_events(topic, slab.events)[-1]["watermark"]
    return found


@pytest.mark.driver(at=AT)
def test_several_activations_of_a_site_share_what_its_meter_shows(driver: TopologyDriver) -> None:
    activate(driver)
    activate(driver, name="y")
    instruct(driver)
    instruct(driver, instruction_id="y", set_id="y", activation_id="y", power_w=-1000.0, quantity_w=1000)
    measure(driver, -250.0)
    baseline(driver, 700.0)
    driver.advance(to="2026-03-02 19:00")
    assert driver.read(DeliveryMeasured).is_empty()  # y's baseline is still to come
    baseline(driver, 9999.0, name="y")
    driver.advance(to="2026-03-02 20:00")
    # 950 Wh less than the baseline of x, asked were 1000 and 250: 300 are missing, shared 4 : 1
    check(
        driver,
        "510  | -250 | 1000 | 760 | CALCULATED | 0",
        "-60  | -250 | 250  | 190 | CALCULATED | 0",
    )
    instruct(driver, "REVOKE", instruction_id="y/revoke", activation_id="y", supersedes_id="y")
    driver.advance(to="2026-03-02 21:00")
    latest = driver.read(DeliveryMeasured, latest=True)
    assert latest.select("activation_id", "requested_wh", "delivered_wh", "baseline_wh").rows() == [
        ("x", 1000, 950, 700),
        ("y", 0, 0, -250),
    ]


def site(*rows: tuple[str, int], base: float | None, meter: float | None) -> pl.DataFrame:
    """One site's quarter-hour: (direction, requested Wh) of each activation, its baseline and its meter."""
    return pl.DataFrame(
        [
            {"site_id": "a", "period_start": START, "activation_id": f"{number:02d}", "called_from": START,
             "direction": direction, "requested_wh": wh, "energy_wh_b": base, "quality_b": "CALCULATED",
             "method_b": "m", "method_version_b": 1, "energy_wh_m": meter, "quality_m": "MEASURED", "coverage_m": 1.0}
            for number, (direction, wh) in enumerate(rows)
        ],
        schema_overrides={"energy_wh_b": pl.Float64, "energy_wh_m": pl.Float64, "period_start": UTC_MICROS},
    )  # fmt: skip


def test_what_is_asked_up_and_down_at_once_is_netted() -> None:
    rows = shared(site(("UP", 1000), ("DOWN", 400), base=700.0, meter=200.0))
    # asked for 600 less in all, it was 500 less: 100 short, shared 1000 : 400 (71.4 and 28.6)
    assert rows.select("delivered_wh", "baseline_wh", "measured_wh").rows() == [(929, 1129, 200), (429, -229, 200)]


@given(
    st.lists(st.tuples(st.sampled_from(["UP", "DOWN"]), st.integers(1, 10**6)), min_size=1, max_size=6),
    st.integers(-(10**6), 10**6),
    st.integers(-(10**6), 10**6),
)
def test_the_deliveries_of_a_site_sum_to_what_its_meter_shows(
    asked: list[tuple[str, int]], base: int, meter: int
) -> None:
    rows = shared(site(*asked, base=float(base), meter=float(meter)))
    up = [wh if way == "UP" else -wh for way, wh in rows.select("direction", "delivered_wh").iter_rows()]
    assert sum(up) == base - meter
    for (_, wanted), got in zip(asked, rows.iter_rows(named=True), strict=True):
        sign = 1 if got["direction"] == "UP" else -1
        assert got["delivered_wh"] == sign * (got["baseline_wh"] - got["measured_wh"])
        assert got["requested_wh"] == wanted
    if len(asked) == 1:
        assert rows["baseline_wh"].item() == base


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 11, 1), 3), (date(2026, 3, 8), 1), (date(2026, 7, 1), 2)])
def test_from_one_to_three_by_the_wall_clock_is_as_long_as_the_day_makes_it(day: date, hours: int) -> None:
    zone = ZoneInfo("America/Los_Angeles")
    begin, end = (datetime(day.year, day.month, day.day, hour, tzinfo=zone).astimezone(UTC) for hour in (1, 3))
    told = {
        "instruction_id": "i", "set_no": 1, "site_id": "a", "activation_id": "x", "action": "FOLLOW",
        "supersedes_id": None, "period_start": begin, "period_end": end, "quantity_w": 4000,
    }  # fmt: skip
    wh = requested(pl.DataFrame([told], schema=Instruction.__columns__))["requested_wh"]
    assert wh.to_list() == [1000] * 4 * hours


def test_cuts_crashes_and_replay_change_nothing() -> None:
    def scenario(driver: TopologyDriver) -> None:
        activate(driver)
        instruct(driver)
        measure(driver, 0.0)
        baseline(driver, 500.0)
        driver.advance(to="2026-03-02 19:00")
        measure(driver, 100.0, revision=1)
        driver.advance(to="2026-03-02 20:00")

    assert_replayable(SPEC, scenario=scenario, at=AT, runs=3)
