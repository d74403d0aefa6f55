"""What dispatch promises. Two or three homes, powers in W, worked out by hand."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from energy import rules
from energy.dispatch import Problem, Solution, solve
from processors.dispatch import SPEC, logic
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
    assert told(driver, since=2) == [("b", "FOLLOW", 1000), ("b", "REVOKE", 2000)]


@pytest.mark.driver(at=AT)
def test_an_activation_that_is_moved_lets_go_what_lies_outside_and_asks_anew(driver: TopologyDriver) -> None:
    world(driver)
    offer(driver, "a", 3000, price=100)
    activate(driver, 3000, quarters=1)
    driver.advance(by=MINUTE)
    activate(driver, 3000, quarters=1, first=1, revision=1)
    driver.advance(by=MINUTE)
    rows = driver.read(InstructionIssued)[1:].sort("action")
    assert rows.select("action", "period_start").rows() == [("FOLLOW", START + QUARTER), ("REVOKE", START)]


@pytest.mark.driver(at=AT)
def test_who_failed_one_activation_is_not_asked_for_another_at_the_same_time(driver: TopologyDriver) -> None:
    world(driver)
    offer(driver, "a", 5000, price=100)
    offer(driver, "b", 5000, price=200)
    activate(driver, 2000, quarters=1)
    driver.advance(by=MINUTE)
    answer(driver, "a", "OVERRIDDEN")
    activate(driver, 1000, quarters=1, name="y")
    activate(driver, 1000, quarters=1, name="later", first=1)
    driver.advance(by=MINUTE)
    expected = [("a", "FOLLOW", 1000), ("a", "REVOKE", 2000), ("b", "FOLLOW", 1000), ("b", "FOLLOW", 2000)]
    assert told(driver, since=1) == expected
    again = driver.read(InstructionIssued)[1:].filter(InstructionIssued.site_id == "a", pl.col("action") == "FOLLOW")
    assert again["activation_id"].to_list() == ["later"]


@pytest.mark.driver(at=AT)
def test_an_activation_of_a_grid_node_asks_only_its_homes(driver: TopologyDriver) -> None:
    world(driver, nodes={"a": "node-a", "b": "node-b"})
    for site, price in (("a", 100), ("b", 200), ("c", 300)):
        offer(driver, site, 5000, price)
    activate(driver, 9000, quarters=1, grid_node_id="node-b")
    driver.advance(by=MINUTE)
    assert told(driver) == [("b", "FOLLOW", 5000)]


@pytest.mark.driver(at=AT)
def test_what_nobody_can_give_is_asked_for_again_only_when_something_has_changed(
    driver: TopologyDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Problem] = []

    def counted(problem: Problem) -> Solution:
        asked.append(problem)
        return solve(problem)

    monkeypatch.setattr(logic, "solve", counted)
    world(driver)
    offer(driver, "a", 3000, price=100)
    activate(driver, 5000, quarters=1)
    driver.advance(by=MINUTE)
    answer(driver, "a", "ACCEPTED")
    driver.advance(by=timedelta(minutes=10))
    assert len(asked) == 2  # the driver runs each handler twice
    offer(driver, "b", 5000, price=200)
    driver.advance(by=MINUTE)
    assert told(driver, since=1) == [("b", "FOLLOW", 2000)]


ANSWERS = ["ACCEPTED", "ACCEPTED", "ACCEPTED", "REJECTED", "OVERRIDDEN", "ABORTED", None]


@given(
    offers=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 2500)), min_size=3, max_size=3),
    calls=st.lists(
        st.tuples(st.integers(1, 9000), st.integers(0, 2), st.integers(1, 2), st.integers(0, 25)),
        min_size=1,
        max_size=4,
    ),
    answers=st.lists(st.sampled_from(ANSWERS), min_size=30, max_size=30),
)
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_nobody_is_asked_beyond_limits_and_no_activation_beyond_what_it_calls(
    offers: list[tuple[int, int]], calls: list[tuple[int, int, int, int]], answers: list[str | None]
) -> None:
    driver = TopologyDriver(SPEC, at=AT, twice=False)
    try:
        world(driver)
        for site, (power, energy) in zip("abc", offers, strict=True):
            offer(driver, site, power, price=ord(site), energy_wh=energy)
        replies, answered = iter(answers), set()
        for minute in range(60):
            for number, (power, first, quarters, known) in enumerate(calls):
                if known == minute:
                    activate(driver, power, quarters, f"call-{number}", first)
            driver.advance(by=MINUTE)
            for row in driver.read(InstructionIssued).iter_rows(named=True):
                name = row["instruction_id"]
                if row["action"] == "FOLLOW" and name not in answered:
                    answered.add(name)
                    if reply := next(replies, "ACCEPTED"):
                        event = {
                            "site_id": row["site_id"], "instruction_id": name, "status": reply,
                            "occurred_at": driver.now, "resource_id": row["resource_id"], "decided_by": "DEVICE",
                        }  # fmt: skip
                        driver.pipe(InstructionReported, [event | ORIGIN])
        standing = in_force(driver.read(InstructionIssued))
    finally:
        driver.close()
    for at in (utc(AT) + minute * MINUTE for minute in range(120)):
        now = standing.filter((pl.col("period_start") <= at) & (pl.col("period_end") > at))
        for name, power in now.group_by("activation_id").agg(pl.col("quantity_w").sum()).iter_rows():
            assert power <= calls[int(name.removeprefix("call-"))][0]
        for site, power in now.group_by("site_id").agg(pl.col("quantity_w").sum()).iter_rows():
            assert power <= offers["abc".index(site)][0]
    given_wh = pl.col("quantity_w") * (pl.col("period_end") - pl.col("period_start")).dt.total_seconds() / 3600
    for site, energy in standing.group_by("site_id").agg(given_wh.sum()).iter_rows():
        assert energy <= offers["abc".index(site)][1] + 1e-6


def in_force(told: pl.DataFrame) -> pl.DataFrame:
    """The periods of instructions as far as they were not taken back."""
    revoked = told.filter(InstructionIssued.action == "REVOKE").group_by("supersedes_id").agg(
        ended=pl.col("period_start").min()
    )  # fmt: skip
    follow = told.filter(InstructionIssued.action == "FOLLOW")
    ends = follow.join(revoked, left_on="instruction_id", right_on="supersedes_id", how="left")
    return ends.with_columns(period_end=pl.min_horizontal("period_end", "ended")).filter(
        pl.col("period_end") > pl.col("period_start")
    )


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
