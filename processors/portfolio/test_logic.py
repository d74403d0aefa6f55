"""What portfolio promises. Quantities in W, prices in millionths per MWh, all worked out by hand."""

from datetime import timedelta
from typing import Any

import pytest

from energy import rules
from processors.portfolio import SPEC
from streams.testing import TopologyDriver, assert_replayable, assert_rows, utc
from topics import FlexibilityOffered, PortfolioAggregated, ProductDefined, RulePublished, SiteRegistered

AT = "2026-03-02 17:00"
ORIGIN = {"origin": "test", "origin_id": "1"}
OFFER = {
    "portfolio_id": "p",
    "product_id": "local-up",
    "direction": "UP",
    "period_start": utc("2026-03-03 02:00"),
    "period_end": utc("2026-03-03 02:15"),
    "step": 0,
    "status": "AVAILABLE",
    "min_quantity_w": 0,
    "utilisation": "ANY_LEVEL",
    "currency": "USD",
}
ROWS = """
    resource_id | site_id | quantity_w | price_micros_per_mwh | energy_limit_wh | limit_group | revision
    a/battery   | a       | 5000       | 100000000            | 8000            | a           | 0
    b/battery   | b       | 4000       | 150000000            | 40000           | b           | 0
    c/battery   | c       | 3000       | 100000000            |                 |             | 0
"""
CURVE = "step | quantity_w | firm_quantity_w | resources | price_micros_per_mwh | revision | coverage"


def world(driver: TopologyDriver) -> None:
    published = [row | ORIGIN for row in rules.rows(rules.load())]
    driver.pipe(RulePublished, published)
    product: dict[str, Any] = {
        "product_id": "local-up", "valid_from": utc("2026-01-01"), "status": "ACTIVE", "market_id": "m",
        "kind": "LOCAL",
        "commodity": "ELECTRICITY", "direction": "UP", "pricing": "PAY_AS_BID", "activation": "ORDER",
        "resolution_s": 900, "min_quantity_w": 5000, "step_w": 1000, "currency": "USD", "simulated": True,
    }  # fmt: skip
    driver.pipe(ProductDefined, [product | ORIGIN])
    for site in "abc":
        row = {
            "site_id": site, "valid_from": utc("2026-01-01"), "status": "ACTIVE", "kind": "home", "country": "US",
            "timezone": "America/Los_Angeles", "simulated": True, "zone": "z",
        }  # fmt: skip
        driver.pipe(SiteRegistered, [row | ORIGIN])


@pytest.mark.driver(at=AT)
def test_a_curve_has_a_step_a_price_and_firm_is_what_lasts_four_hours(driver: TopologyDriver) -> None:
    world(driver)
    driver.pipe(FlexibilityOffered, ROWS, **OFFER)
    driver.advance(by=timedelta(minutes=15))
    # An activation lasts up to 1 h and comes up to 4 times a day: 8 kWh hold 2 kW. b has 10 kW, so its 4 kW are firm.
    expected = f"""{CURVE}
        0 | 8000 | 5000 | 2 | 100000000 | 0 | 1.0
        1 | 4000 | 4000 | 1 | 150000000 | 0 | 1.0
    """
    assert_rows(driver.read(PortfolioAggregated), PortfolioAggregated, expected)
    assert set(driver.read(PortfolioAggregated)["zone"]) == {"z"}


@pytest.mark.driver(at=AT)
def test_only_what_changed_is_stated_again_and_what_is_gone_has_quantity_0(driver: TopologyDriver) -> None:
    world(driver)
    driver.pipe(FlexibilityOffered, ROWS, **OFFER)
    driver.advance(by=timedelta(minutes=15))
    before = len(driver.read(PortfolioAggregated))
    driver.pipe(FlexibilityOffered, ROWS, **OFFER)  # the same again
    driver.advance(by=timedelta(minutes=15))
    assert len(driver.read(PortfolioAggregated)) == before
    withdrawn = OFFER | {"status": "WITHDRAWN"}
    driver.pipe(FlexibilityOffered, ROWS.splitlines()[1] + "\n" + ROWS.splitlines()[3][:-2] + "1", **withdrawn)
    driver.advance(by=timedelta(minutes=15))
    expected = f"""{CURVE}
        0 | 8000 | 5000 | 2 | 100000000 | 0 | 1.0
        1 | 0    | 0    | 0 | 150000000 | 1 | 1.0
    """
    assert_rows(driver.read(PortfolioAggregated, latest=True), PortfolioAggregated, expected)


@pytest.mark.driver(at=AT)
def test_an_older_revision_that_comes_late_changes_nothing(driver: TopologyDriver) -> None:
    world(driver)
    newer = ROWS.replace("| 0\n", "| 3\n")
    driver.pipe(FlexibilityOffered, newer, **OFFER)
    driver.advance(by=timedelta(minutes=15))
    driver.pipe(FlexibilityOffered, ROWS.replace("5000", "1"), **OFFER)
    driver.advance(by=timedelta(minutes=15))
    assert set(driver.read(PortfolioAggregated)["revision"]) == {0}


def test_cuts_crashes_and_replay_change_nothing() -> None:
    def scenario(driver: TopologyDriver) -> None:
        world(driver)
        for quantity, revision in ((5000, 0), (2500, 1), (5000, 2)):
            rows = ROWS.replace("5000", str(quantity)).replace("| 0\n", f"| {revision}\n")
            driver.pipe(FlexibilityOffered, rows, **OFFER)
            driver.advance(by=timedelta(minutes=15))

    assert_replayable(SPEC, scenario=scenario, at=AT)
