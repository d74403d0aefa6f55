"""What dispatch promises. Two or three homes, powers in W, worked out by hand."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from energy import rules
from processors.dispatch import SPEC
from streams.testing import TopologyDriver, assert_replayable, utc
from topics import (
    ActivationRequested,
    FlexibilityOffered,
    InstructionIssued,
    InstructionReported,
    RulePublished,
    SiteRegistered,
)

AT = "2026-03-02 17:40"
START = utc("2026-03-02 18:00")
QUARTER = timedelta(minutes=15)
MINUTE = timedelta(minutes=1)
ORIGIN = {"origin": "test", "origin_id": "1"}


def world(driver: TopologyDriver, nodes: dict[str, str] | None = None) -> None:
    driver.pipe(RulePublished, [row | ORIGIN for row in rules.rows(rules.load())])
    for site in ("a", "b", "c"):
        row = {
            "site_id": site, "valid_from": utc("2026-01-01"), "status": "ACTIVE", "kind": "home", "country": "US",
            "timezone": "America/Los_Angeles", "simulated": True, "grid_node_id": (nodes or {}).get(site), **ORIGIN,
        }  # fmt: skip
        driver.pipe(SiteRegistered, [row])


def offer(
    driver: TopologyDriver, site: str, power: int, price: int, energy_wh: int | None = None, revision: int = 0
) -> None:
    rows = [
        {
            "portfolio_id": "p", "resource_id": f"{site}/battery", "product_id": "up", "direction": "UP",
            "period_start": START + i * QUARTER, "period_end": START + (i + 1) * QUARTER, "step": 0,
            "revision": revision, "site_id": site, "status": "AVAILABLE", "quantity_w": power, "min_quantity_w": 0,
            "utilisation": "ANY_LEVEL", "limit_group": f"{site}/group", "energy_limit_wh": energy_wh,
            "price_micros_per_mwh": price, "currency": "USD",
        }
        for i in range(4)
    ]  # fmt: skip
    driver.pipe(FlexibilityOffered, rows)


def activate(
    driver: TopologyDriver, power: int, quarters: int = 2, name: str = "x", first: int = 0, **more: Any
) -> None:
    event = {
        "portfolio_id": "p", "activation_id": name, "revision": 0, "status": "ORDERED", "kind": "SCHEDULED",
        "product_id": "up", "zone": "z", "direction": "UP", "period_start": START + first * QUARTER,
        "period_end": START + (first + quarters) * QUARTER, "quantity_w": power, "price_micros_per_mwh": 1,
        "currency": "USD",
    }  # fmt: skip
    driver.pipe(ActivationRequested, [event | more | ORIGIN])


def answer(driver: TopologyDriver, site: str, status: str, name: str = "x", number: int = 0) -> None:
    event = {
        "site_id": site, "instruction_id": f"{name}/{site}%2Fbattery/{number}", "status": status,
        "occurred_at": driver.now, "resource_id": f"{site}/battery", "decided_by": "DEVICE",
    }  # fmt: skip
    driver.pipe(InstructionReported, [event | ORIGIN])


def told(driver: TopologyDriver, since: int = 0) -> list[tuple[str, str, int]]:
    """(site, action, W) of each row, sorted by site and time."""
    frame = driver.read(InstructionIssued)[since:].sort("site_id", "action", "period_start", "quantity_w")
    return frame.select("site_id", "action", "quantity_w").rows()


@pytest.mark.driver(at=AT)
def test_the_cheapest_go_first_and_no_more_than_asked(driver: TopologyDriver) -> None:
    world(driver)
    offer(driver, "a", 3000, price=200)
    offer(driver, "b", 4000, price=100)
    activate(driver, 5000)
    driver.advance(by=MINUTE)
    assert told(driver) == [("a", "FOLLOW", 1000)] * 2 + [("b", "FOLLOW", 4000)] * 2
    rows = driver.read(InstructionIssued)
    assert set(rows["respond_by"]) == {utc("2026-03-02 17:43")}
    assert rows.filter(pl.col("site_id") == "b")["power_w"].to_list() == [-4000.0, -4000.0]
    assert rows.filter(pl.col("site_id") == "b")["set_no"].to_list() == [1, 2]
    for site in "ab":
        answer(driver, site, "ACCEPTED")
    driver.advance(by=timedelta(minutes=60))
    assert len(driver.read(InstructionIssued)) == 4  # nothing more to say


@pytest.mark.driver(at=AT)
def test_energy_is_shared_by_the_quarter_hours(driver: TopologyDriver) -> None:
    world(driver)
    offer(driver, "a", 4000, price=100, energy_wh=1500)  # 1,500 Wh over two quarter-hours: 6 kW in all
    offer(driver, "b", 4000, price=200)
    activate(driver, 4000)
    driver.advance(by=MINUTE)
    frame = driver.read(InstructionIssued)
    by_site = dict(frame.group_by("site_id").agg(pl.col("quantity_w").sum()).iter_rows())
    assert by_site == {"a": 6000, "b": 2000}
    by_time = frame.group_by("period_start").agg(pl.col("quantity_w").sum())
    assert set(by_time["quantity_w"]) == {4000}


@pytest.mark.driver(at=AT)
def test_who_refuses_is_let_go_and_others_take_over(driver: TopologyDriver) -> None:
    world(driver)
    for site, price in (("a", 100), ("b", 200), ("c", 300)):
        offer(driver, site, 3000, price)
    activate(driver, 5000)
    driver.advance(by=MINUTE)
    assert told(driver) == [("a", "FOLLOW", 3000)] * 2 + [("b", "FOLLOW", 2000)] * 2
    answer(driver, "a", "REJECTED")
    answer(driver, "b", "ACCEPTED")
    driver.advance(by=MINUTE)
    expected = [("a", "REVOKE", 3000)] * 2 + [("b", "FOLLOW", 1000)] * 2 + [("c", "FOLLOW", 2000)] * 2
    assert told(driver, since=4) == expected
    revoked = driver.read(InstructionIssued).filter(InstructionIssued.action == "REVOKE")
    assert set(revoked["supersedes_id"]) == {"x/a%2Fbattery/0"}


@pytest.mark.driver(at=AT)
def test_who_is_silent_until_respond_by_is_let_go(driver: TopologyDriver) -> None:
    world(driver)
    offer(driver, "a", 5000, price=100)
    offer(driver, "b", 5000, price=200)
    activate(driver, 5000, quarters=1)
    driver.advance(to="2026-03-02 17:42")  # told at 17:41, an answer is waited for until 17:43
    assert told(driver) == [("a", "FOLLOW", 5000)]
    driver.advance(to="2026-03-02 17:43")
    assert told(driver, since=1) == [("a", "REVOKE", 5000), ("b", "FOLLOW", 5000)]
    answer(driver, "b", "ACCEPTED", number=1)
    answer(driver, "a", "ACCEPTED")  # too late: it is not asked again
    driver.advance(by=timedelta(minutes=20))
    assert len(driver.read(InstructionIssued)) == 3


@pytest.mark.driver(at=AT)
def test_in_a_quarter_hour_that_has_begun_only_the_rest_is_asked(driver: TopologyDriver) -> None:
    world(driver)
    offer(driver, "a", 5000, price=100)
    offer(driver, "b", 5000, price=200)
    activate(driver, 5000, quarters=1)
    driver.advance(by=MINUTE)
    answer(driver, "a", "ACCEPTED")
    driver.advance(to="2026-03-02 18:05")
    answer(driver, "a", "ABORTED")
    driver.advance(to="2026-03-02 18:06")
    later = driver.read(InstructionIssued)[1:]
    expected = [("a", "REVOKE", utc("2026-03-02 18:06")), ("b", "FOLLOW", utc("2026-03-02 18:06"))]
    assert later.sort("site_id").select("site_id", "action", "period_start").rows() == expected
    assert set(later["period_end"]) == {START + QUARTER}


@pytest.mark.driver(at=AT)
def test_two_activations_share_power_and_energy_of_a_battery(driver: TopologyDriver) -> None:
    world(driver)
    offer(driver, "a", 4000, price=100, energy_wh=1000)
    activate(driver, 3000, quarters=1)
    activate(driver, 3000, quarters=1, name="y")
    driver.advance(by=MINUTE)
    assert told(driver) == [("a", "FOLLOW", 1000), ("a", "FOLLOW", 3000)]  # 4 kW for a quarter-hour: 1,000 Wh
    for name in "xy":
        answer(driver, "a", "ACCEPTED", name)
    activate(driver, 1000, quarters=1, name="z", first=1)
    driver.advance(by=MINUTE)
    assert len(driver.read(InstructionIssued)) == 2  # no energy left
    offer(driver, "a", 4000, price=100, energy_wh=2000, revision=1)  # restated before any was given
    driver.advance(by=MINUTE)
    assert told(driver, since=2) == [("a", "FOLLOW", 1000)]  # 2,000 less the 1,000 that are still to be given


@pytest.mark.driver(at=AT)
def test_a_grid_node_limits_what_its_homes_do_together(driver: TopologyDriver) -> None:
    world(driver, nodes={"a": "node-a", "b": "node-a", "c": "node-b"})
    for site, price in (("a", 100), ("b", 200), ("c", 300)):
        offer(driver, site, 30_000, price)
    activate(driver, 60_000, quarters=1)
    driver.advance(by=MINUTE)
    # node-a takes 40 kW: 30 of a and 10 of b; the rest is c's
    assert told(driver) == [("a", "FOLLOW", 30_000), ("b", "FOLLOW", 10_000), ("c", "FOLLOW", 20_000)]


@pytest.mark.driver(at=AT)
def test_a_cancelled_activation_lets_everybody_go(driver: TopologyDriver) -> None:
    world(driver)
    offer(driver, "a", 5000, price=100)
    activate(driver, 5000)
    driver.advance(by=MINUTE)
    activate(driver, 5000, revision=1, status="CANCELLED")
    driver.advance(by=MINUTE)
    assert told(driver, since=2) == [("a", "REVOKE", 5000)] * 2
    driver.advance(by=timedelta(minutes=30))
    assert len(driver.read(InstructionIssued)) == 4


@pytest.mark.driver(at=AT)
def test_a_reduced_activation_asks_for_no_more_than_it_is_now(driver: TopologyDriver) -> None:
    world(driver)
    offer(driver, "a", 3000, price=100)
    offer(driver, "b", 3000, price=200)
    activate(driver, 5000, quarters=1)
    driver.advance(by=MINUTE)
    activate(driver, 4000, quarters=1, revision=1)
    driver.advance(by=MINUTE)
    assert told(driver, since=2) == [("b", "REVOKE", 2000)]  # b may not be asked again, a has no more: 1 kW is missing


@pytest.mark.driver(at=AT)
def test_without_an_activation_a_tick_says_nothing(driver: TopologyDriver) -> None:
    world(driver)
    offer(driver, "a", 5000, price=100)
    driver.advance(by=timedelta(minutes=5))
    assert told(driver) == []


def test_cuts_crashes_and_replay_change_nothing() -> None:
    def scenario(driver: TopologyDriver) -> None:
        world(driver)
        for site, price in (("a", 100), ("b", 200), ("c", 300)):
            offer(driver, site, 3000, price, energy_wh=1200)
        activate(driver, 5000)
        driver.advance(by=MINUTE)
        answer(driver, "a", "REJECTED")
        driver.advance(by=timedelta(minutes=5))
        assert driver.read(InstructionIssued).height > 4

    assert_replayable(SPEC, scenario=scenario, at=AT, runs=3)


def test_slots_are_what_is_left() -> None:
    from processors.dispatch.logic import _slots

    call = {"period_start": START, "period_end": START + 2 * QUARTER}
    left: list[tuple[datetime, datetime]] = [(s.start, s.end) for s in _slots(call, START + 20 * MINUTE)]
    assert left == [(START + 20 * MINUTE, START + 2 * QUARTER)]
