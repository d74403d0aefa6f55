"""What delivery promises. Wh worked out by hand: 4 kW for a quarter-hour is 1,000 Wh."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from processors.delivery import SPEC
from streams.testing import TopologyDriver, assert_replayable, assert_rows, utc
from topics import ActivationRequested, BaselineEstimated, DeliveryMeasured, InstructionIssued, IntervalMeasured

AT = "2026-03-02 17:00"
START = utc("2026-03-02 18:00")
QUARTER = timedelta(minutes=15)
SHOWN = "baseline_wh | measured_wh | requested_wh | delivered_wh | quality | revision"


def activate(driver: TopologyDriver, direction: str = "UP") -> None:
    event = {
        "portfolio_id": "p", "activation_id": "x", "revision": 0, "status": "ORDERED", "kind": "SCHEDULED",
        "product_id": "up", "zone": "z", "direction": direction, "period_start": START, "period_end": START + QUARTER,
        "quantity_w": 4000, "currency": "USD", "origin": "t", "origin_id": "1",
    }  # fmt: skip
    driver.pipe(ActivationRequested, [event])


def instruct(driver: TopologyDriver, action: str = "FOLLOW", start: datetime = START, number: int = 0) -> None:
    name = f"x/a/{number}/{action}"
    event: dict[str, Any] = {
        "site_id": "a", "instruction_id": name, "set_no": 1, "set_id": name, "set_size": 1,
        "resource_id": "a/battery", "activation_id": "x", "cause": "ACTIVATION", "action": action, "form": "POWER",
        "period_start": start, "period_end": START + QUARTER, "power_w": -4000.0, "abnormal": False,
        "direction": "UP", "quantity_w": 4000, "fallback": "LOCAL",
    }  # fmt: skip
    driver.pipe(InstructionIssued, [event | ({"supersedes_id": f"x/a/{number}"} if action == "REVOKE" else {})])


def measure(driver: TopologyDriver, energy_wh: float | None, revision: int = 0, quality: str = "MEASURED") -> None:
    event = {
        "site_id": "a", "resource_id": "a/meter", "commodity": "ELECTRICITY", "period_start": START,
        "period_end": START + QUARTER, "revision": revision, "energy_wh": energy_wh, "quality": quality,
        "coverage": 0.0 if energy_wh is None else 1.0, "samples": 3, "method": "m",
    }  # fmt: skip
    driver.pipe(IntervalMeasured, [event])


def baseline(driver: TopologyDriver, energy_wh: float, revision: int = 0, quality: str = "CALCULATED") -> None:
    event = {
        "site_id": "a", "resource_id": "a/meter", "commodity": "ELECTRICITY", "method": "high_5_of_10",
        "method_version": 1, "activation_id": "x", "period_start": START, "period_end": START + QUARTER,
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
