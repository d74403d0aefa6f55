"""What bidding promises. With two price scenarios the best bid can be worked out by hand."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from energy import rules
from processors.bidding import SPEC
from streams.testing import TopologyDriver, assert_replayable, utc
from topics import BidSubmitted, GateScheduled, PortfolioAggregated, PricePublished, ProductDefined, RulePublished

AT = "2026-03-02 17:00"
OPENS, INPUTS, CLOSES = utc("2026-03-02 16:00"), utc("2026-03-02 18:00"), utc("2026-03-02 18:30")
DAY = utc("2026-03-03 08:00")  # local midnight in California
ORIGIN = {"origin": "test", "origin_id": "1"}
QUARTER = timedelta(minutes=15)


def world(driver: TopologyDriver, prices: Sequence[int] = (10, 30), periods: int = 2, **product: Any) -> None:
    driver.pipe(RulePublished, [row | ORIGIN for row in rules.rows(rules.load())])
    defined: dict[str, Any] = {
        "product_id": "local-up", "valid_from": utc("2026-01-01"), "status": "ACTIVE", "market_id": "m",
        "kind": "LOCAL", "commodity": "ELECTRICITY", "direction": "UP", "pricing": "PAY_AS_BID",
        "activation": "ORDER", "resolution_s": 900, "min_quantity_w": 5000, "step_w": 1000, "currency": "USD",
        "simulated": True,
    }  # fmt: skip
    driver.pipe(ProductDefined, [defined | product | ORIGIN])
    driver.pipe(
        GateScheduled,
        [
            {
                "gate_id": "g/1", "revision": 0, "product_id": "local-up", "zone": "z", "period_start": DAY,
                "period_end": DAY + periods * QUARTER, "opens_at": OPENS, "inputs_until": INPUTS,
                "closes_at": CLOSES, "status": "OPEN",
            } | ORIGIN
        ],
    )  # fmt: skip
    for days, price in enumerate(prices, 2):
        past = [DAY - timedelta(days=days) + i * QUARTER for i in range(periods)]
        driver.pipe(PricePublished, [clearing(start, price * 1_000_000) for start in past])


def clearing(start: datetime, price: int) -> dict[str, Any]:
    return {
        "zone": "z", "product_id": "local-up", "kind": "CLEARING", "period_start": start,
        "period_end": start + QUARTER, "revision": 0, "commodity": "ELECTRICITY", "status": "FINAL",
        "price_micros_per_mwh": 0, "price_micros_per_mw_h": price, "currency": "USD",
    } | ORIGIN  # fmt: skip


def curve(driver: TopologyDriver, *steps: tuple[int, int], periods: int = 2) -> None:
    rows = [
        {
            "portfolio_id": "p", "zone": "z", "grid_node_id": "", "product_id": "local-up", "direction": "UP",
            "period_start": DAY + i * QUARTER, "period_end": DAY + (i + 1) * QUARTER, "step": number, "revision": 0,
            "quantity_w": quantity, "firm_quantity_w": quantity, "min_quantity_w": 0, "utilisation": "ANY_LEVEL",
            "resources": 1, "price_micros_per_mwh": cost * 1_000_000, "currency": "USD", "known_until": OPENS,
            "coverage": 1.0, "decided_by": "WATERMARK",
        }
        for i in range(periods)
        for number, (quantity, cost) in enumerate(steps)
    ]  # fmt: skip
    driver.pipe(PortfolioAggregated, rows)


def bids(driver: TopologyDriver) -> list[tuple[Any, ...]]:
    frame = driver.read(BidSubmitted).sort("period_start", "step")
    return frame.select("step", "quantity_w", pl.col("price_micros_per_mw_h") // 1_000_000, "decided_by").rows()


@pytest.mark.driver(at=AT)
def test_it_waits_for_the_watermark_and_bids_the_best_price(driver: TopologyDriver) -> None:
    world(driver)
    curve(driver, (7500, 100))
    driver.complete(PortfolioAggregated, to="2026-03-02 17:45")
    driver.advance(to="2026-03-02 18:00")
    assert bids(driver) == []
    driver.complete(PortfolioAggregated, to="2026-03-02 18:00")
    driver.advance(to="2026-03-02 18:15")
    # At 10 it is won always: 10 a MW and hour; at 30 every other time: 15. So 30, and 7 whole steps of 1 kW.
    assert bids(driver) == [(0, 7000, 30, "WATERMARK")] * 2
    events = driver.read(BidSubmitted)
    assert events["bid_id"].to_list() == ["g%2F1/p/20260303T080000Z/0", "g%2F1/p/20260303T081500Z/0"]
    assert events["set_no"].to_list() == [1, 2]
    assert set(events["set_size"]) == {2}
    assert set(events["price_micros_per_mwh"]) == {110_000_000}  # cost and 10 % margin
    assert set(events["coverage"]) == {1.0}
    driver.advance(to="2026-03-02 18:30")
    assert len(bids(driver)) == 2  # once


@pytest.mark.driver(at=AT)
def test_the_deadline_forces_a_bid_and_it_says_so(driver: TopologyDriver) -> None:
    world(driver, prices=(10, 10), periods=4)
    curve(driver, (6000, 100), periods=3)
    driver.complete(PortfolioAggregated, to="2026-03-02 17:30")
    driver.advance(to="2026-03-02 18:15")
    assert bids(driver) == [(0, 6000, 10, "DEADLINE")] * 3
    events = driver.read(BidSubmitted)
    assert set(events["coverage"]) == {0.75}
    assert set(events["known_until"]) == {utc("2026-03-02 17:30")}


@pytest.mark.driver(at=AT)
def test_less_than_the_minimum_is_no_bid(driver: TopologyDriver) -> None:
    world(driver)
    curve(driver, (4999, 100))
    driver.advance(to="2026-03-02 18:15")
    assert bids(driver) == []


@pytest.mark.driver(at=AT)
def test_without_past_prices_there_is_no_bid(driver: TopologyDriver) -> None:
    world(driver, prices=())
    curve(driver, (9000, 100))
    driver.advance(to="2026-03-02 18:15")
    assert bids(driver) == []


@pytest.mark.driver(at=AT)
@pytest.mark.parametrize("quarters", [92, 100])
def test_a_day_of_23_or_25_hours_is_bid_whole(driver: TopologyDriver, quarters: int) -> None:
    world(driver, prices=(10,), periods=quarters)
    curve(driver, (5000, 100), periods=quarters)
    driver.advance(to="2026-03-02 18:15")
    assert len(bids(driver)) == quarters


def test_cuts_crashes_and_replay_change_nothing() -> None:
    def scenario(driver: TopologyDriver) -> None:
        world(driver, prices=(10, 20, 30))
        curve(driver, (6000, 100), (5000, 150))
        driver.advance(to="2026-03-02 17:30")
        curve(driver, (7000, 90), (5000, 140))
        driver.advance(to="2026-03-02 18:30")
        assert driver.read(BidSubmitted).height

    assert_replayable(SPEC, scenario=scenario, at=AT, runs=3)
