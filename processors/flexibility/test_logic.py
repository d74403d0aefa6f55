from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from energy import rules
from energy.time import UTC_MICROS, local_day, quarters_of_day
from processors.flexibility import SPEC
from streams.testing import TopologyDriver, assert_replayable, assert_rows, utc
from topics import (
    ContractChanged,
    FlexibilityOffered,
    LoadPredicted,
    PreferenceSet,
    PricePublished,
    ProductDefined,
    ResourceRegistered,
    RulePublished,
    SiteRegistered,
    StateReported,
)

LOS_ANGELES = "America/Los_Angeles"
ORIGIN = {"origin": "test", "origin_id": "test"}
FROM: dict[str, Any] = {"valid_from": utc("2026-01-01"), "status": "ACTIVE"} | ORIGIN
TODAY = date(2026, 2, 2)
DAY = date(2026, 2, 3)
AT = "2026-02-02 08:00"  # midnight in Los Angeles
QUANTILES = ("q05_w", "q10_w", "q25_w", "q50_w", "q75_w", "q90_w", "q95_w")
NOON = pytest.mark.driver(at=AT)


def world(driver: TopologyDriver, site: str = "h1", timezone: str = LOS_ANGELES, **product: Any) -> None:
    """A battery of 10 kWh and 5 kW, 90 % each way, of which the owner keeps 20 %; 7 kW import, 1 kW export."""
    driver.pipe(RulePublished, rules.rows(rules.load()), **ORIGIN)
    local = {
        "product_id": "local-up", "market_id": "m", "kind": "LOCAL", "commodity": "ELECTRICITY", "direction": "UP",
        "pricing": "PAY_AS_BID", "activation": "ORDER", "resolution_s": 900, "min_quantity_w": 5000, "step_w": 1000,
        "currency": "USD", "simulated": True,
    }  # fmt: skip
    driver.pipe(ProductDefined, [FROM | local | product])
    home = {
        "site_id": site, "kind": "home", "country": "US", "timezone": timezone, "simulated": True, "zone": "z",
        "import_limit_w": 7000.0, "export_limit_w": 1000.0,
    }  # fmt: skip
    driver.pipe(SiteRegistered, [FROM | home])
    battery = {
        "site_id": site, "resource_id": f"{site}/battery", "kind": "battery", "role": "STORAGE",
        "commodity": "ELECTRICITY", "control_type": "FRBC", "power_min_w": -5000.0, "power_max_w": 5000.0,
        "storage_wh": 10_000.0, "fill_level_min": 0.0, "fill_level_max": 1.0, "charge_efficiency": 0.9,
        "discharge_efficiency": 0.9, "response_s": 5.0,
    }  # fmt: skip
    driver.pipe(ResourceRegistered, [FROM | battery])
    contract(driver, site)
    prefer(driver, site, fill_level_min=0.2)


def contract(driver: TopologyDriver, site: str = "h1", **more: Any) -> None:
    row = {
        "site_id": site, "contract_id": f"contract-{site}", "kind": "FLEXIBILITY", "account_id": f"account-{site}",
        "counterparty_id": "aggregator", "portfolio_id": "p", "currency": "USD",
    }  # fmt: skip
    driver.pipe(ContractChanged, [FROM | row | more])


def prefer(driver: TopologyDriver, site: str = "h1", **more: Any) -> None:
    row = {"site_id": site, "resource_id": f"{site}/battery", "preference_id": "standard", "automation": "AUTOMATIC"}
    driver.pipe(PreferenceSet, [FROM | row | more])


def price(driver: TopologyDriver, day: date, micros: int = 200_000_000, timezone: str = LOS_ANGELES) -> None:
    start, end = local_day(day, timezone)
    row = {
        "zone": "z", "product_id": "retail", "kind": "RETAIL", "period_start": start, "period_end": end, "revision": 0,
        "commodity": "ELECTRICITY", "status": "FINAL", "currency": "USD", "price_micros_per_mwh": micros,
    }  # fmt: skip
    driver.pipe(PricePublished, [row | ORIGIN])


def predict(
    driver: TopologyDriver, day: date, load_w: float = 4000, pv_w: float = -1000, site: str = "h1",
    timezone: str = LOS_ANGELES,
) -> None:  # fmt: skip
    starts = pl.DataFrame({"period_start": quarters_of_day(day, timezone)}, schema={"period_start": UTC_MICROS})
    for kind, power in (("load", load_w), ("pv", pv_w)):
        rows = starts.with_columns(
            period_end=pl.col("period_start") + timedelta(minutes=15),
            issued_at=pl.lit(driver.now, UTC_MICROS),
            **{name: pl.lit(power, pl.Float64) for name in QUANTILES},
        )
        names = {"site_id": site, "resource_id": f"{site}/{kind}", "commodity": "ELECTRICITY"}
        driver.pipe(LoadPredicted, rows, **names, model_id="m", model_fingerprint="f")


def report(driver: TopologyDriver, fill_level: float | None = None, site: str = "h1", **more: Any) -> None:
    row = {
        "site_id": site, "resource_id": f"{site}/battery", "actuator_id": "", "occurred_at": driver.now,
        "fill_level": fill_level,
    }  # fmt: skip
    driver.pipe(StateReported, [row | more])


def offered(driver: TopologyDriver, **where: Any) -> pl.DataFrame:
    frame = driver.read(FlexibilityOffered, latest=True)
    for name, value in where.items():
        frame = frame.filter(pl.col(name) == value)
    return frame


@pytest.fixture
def ready(driver: TopologyDriver) -> TopologyDriver:
    """Everything is known at midnight; the forecast of the next day is there at 09:00."""
    world(driver)
    price(driver, TODAY)
    driver.advance(to="2026-02-02 17:00")
    predict(driver, DAY)
    return driver


@NOON
def test_the_next_local_day_is_offered_at_a_quarter_past_nine_in_both_directions(ready: TopologyDriver) -> None:
    ready.advance(to="2026-02-02 17:00")
    assert ready.read(FlexibilityOffered).is_empty()
    ready.advance(to="2026-02-02 17:15")
    made = ready.read(FlexibilityOffered)
    assert made.height == 2 * 96
    for direction in ("UP", "DOWN"):
        assert offered(ready, direction=direction)["period_start"].to_list() == quarters_of_day(DAY, LOS_ANGELES)
    # up: (0.9 - 0.2) x 10 kWh x 0.9 = 6300 Wh; room 3000 + 1000 W; 40 + (1/0.81 - 1) x 200 = 86.913580 per MWh
    # down: (1 - 0.9) x 10 kWh / 0.9 = 1111 Wh, 4444 W for a quarter-hour; room 7000 - 3000 W; 0.81 x 40 + 0.19 x 200
    assert_rows(
        made.head(2),
        FlexibilityOffered,
        """
        direction | period_end       | quantity_w | energy_limit_wh | price_micros_per_mwh | revision | status
        DOWN      | 2026-02-03 08:15 | 4000       | 1111            | 70400000             | 0        | AVAILABLE
        DOWN      | 2026-02-03 08:30 | 4000       | 1111            | 70400000             | 0        | AVAILABLE
    """,
    )
    assert_rows(
        offered(ready, direction="UP").tail(1),
        FlexibilityOffered,
        """
        portfolio_id | period_start     | quantity_w | energy_limit_wh | price_micros_per_mwh | limit_group
        p            | 2026-02-04 07:45 | 4000       | 6300            | 86913580             | h1%2Fbattery/20260203/UP
    """,
    )
    assert set(made["response_s"]) == {5.0}
    # 6300 Wh at 4000 W
    assert offered(ready, direction="UP")["max_duration_s"].unique().to_list() == [5670.0]


@NOON
def test_without_a_forecast_or_a_retail_price_nothing_is_offered_until_there_is_one(driver: TopologyDriver) -> None:
    world(driver)
    driver.advance(to="2026-02-02 17:30")
    assert driver.read(FlexibilityOffered).is_empty()
    predict(driver, DAY)
    driver.advance(to="2026-02-02 18:00")
    assert driver.read(FlexibilityOffered).is_empty()
    price(driver, TODAY)
    driver.advance(to="2026-02-02 18:15")
    assert driver.read(FlexibilityOffered).height == 2 * 96


@NOON
def test_the_price_of_the_same_hour_a_day_before_counts_until_the_new_one_is_published(driver: TopologyDriver) -> None:
    world(driver)
    price(driver, TODAY, 100_000_000)
    price(driver, DAY, 300_000_000)
    price(driver, date(2026, 2, 4), 900_000_000)
    predict(driver, DAY)
    driver.advance(to="2026-02-02 17:15")
    # 40 + (1/0.81 - 1) x 300
    assert set(offered(driver, direction="UP")["price_micros_per_mwh"]) == {110_370_370}


@NOON
def test_only_what_changed_is_sent_again(ready: TopologyDriver) -> None:
    ready.advance(to="2026-02-02 17:15")
    predict(ready, DAY)
    report(ready, 0.9)
    ready.advance(to="2026-02-02 18:00")
    assert ready.read(FlexibilityOffered).height == 2 * 96
    predict(ready, DAY, load_w=4000, pv_w=-2000)
    ready.advance(to="2026-02-02 18:15")
    # forecast 2000 W: room up 3000 W; down 5000 W, which the battery's 4444 W do not reach
    again = ready.read(FlexibilityOffered).filter(pl.col("revision") == 1)
    told = again.group_by("direction", maintain_order=True).agg(pl.col("quantity_w").unique().first(), n=pl.len())
    assert sorted(told.rows()) == [("DOWN", 4444, 96), ("UP", 3000, 96)]
    assert ready.read(FlexibilityOffered).height == 4 * 96


@NOON
def test_the_reported_level_counts_for_the_next_two_hours(ready: TopologyDriver) -> None:
    ready.advance(to="2026-02-03 16:00")
    report(ready, 0.9)
    ready.advance(to="2026-02-03 16:15")
    assert ready.read(FlexibilityOffered).height == 2 * 96
    report(ready, 0.87)  # within the threshold of 5 % of the storage
    ready.advance(to="2026-02-03 16:30")
    assert ready.read(FlexibilityOffered).height == 2 * 96
    report(ready, 0.5)
    ready.advance(to="2026-02-03 16:45")
    again = ready.read(FlexibilityOffered).filter(pl.col("revision") == 1)
    assert again["period_start"].min() == utc("2026-02-03 17:00")
    assert again["period_start"].max() == utc("2026-02-03 18:30")
    # up: 0.3 x 10 kWh x 0.9; down: 0.5 x 10 kWh / 0.9
    both = again.select("direction", "energy_limit_wh", "quantity_w").unique().sort("direction").rows()
    assert both == [("DOWN", 5555, 4000), ("UP", 2700, 4000)]
    ready.advance(to="2026-02-03 17:30")
    assert ready.read(FlexibilityOffered).filter(pl.col("revision") == 2).is_empty()
    assert ready.read(FlexibilityOffered).height == 2 * 96 + len(again)
    ready.advance(to="2026-02-03 17:45")
    later = ready.read(FlexibilityOffered).filter(pl.col("revision") == 1)
    assert later["period_start"].max() == utc("2026-02-03 19:30")  # an hour on it is two hours ahead again
    report(ready, 0.9)
    ready.advance(to="2026-02-03 18:00")
    back = offered(ready, direction="UP").filter(pl.col("period_start") == utc("2026-02-03 18:15"))
    assert back.select("revision", "energy_limit_wh").rows() == [(2, 6300)]


@NOON
def test_a_level_in_wh_counts_as_a_share_of_the_storage(ready: TopologyDriver) -> None:
    ready.advance(to="2026-02-03 16:00")
    report(ready, stored_wh=5000.0)
    ready.advance(to="2026-02-03 16:15")
    again = ready.read(FlexibilityOffered).filter((pl.col("revision") == 1) & (pl.col("direction") == "UP"))
    assert set(again["energy_limit_wh"]) == {2700}


@NOON
def test_an_older_report_that_comes_late_changes_nothing(ready: TopologyDriver) -> None:
    ready.advance(to="2026-02-03 16:00")
    report(ready, 0.9)
    report(ready, 0.3, occurred_at=utc("2026-02-03 15:55"))
    ready.advance(to="2026-02-03 16:15")
    assert ready.read(FlexibilityOffered).height == 2 * 96


@NOON
@pytest.mark.parametrize("trouble", [{"available": False}, {"overridden": True}, {"fault_code": "E7"}])
def test_a_battery_that_cannot_be_instructed_is_withdrawn_for_now(
    ready: TopologyDriver, trouble: dict[str, Any]
) -> None:
    ready.advance(to="2026-02-03 16:00")
    report(ready, 0.9, **trouble)
    ready.advance(to="2026-02-03 16:15")
    gone = ready.read(FlexibilityOffered).filter(pl.col("status") == "WITHDRAWN")
    assert gone["period_start"].unique().sort().to_list() == [
        utc("2026-02-03 16:30") + timedelta(minutes=15) * n for n in range(7)
    ]
    assert set(gone["quantity_w"]) == {0}
    report(ready, 0.9)
    ready.advance(to="2026-02-03 16:30")
    back = offered(ready, status="AVAILABLE", direction="UP", revision=2)
    assert back["period_start"].min() == utc("2026-02-03 16:45")


@NOON
def test_an_owner_who_has_opted_out_offers_nothing_in_those_hours(ready: TopologyDriver) -> None:
    # Tuesdays (bit 1) from 18:00 to 20:00 local time
    prefer(ready, preference_id="out", automation="OFF", available=False, weekdays=2, day_from_s=64800, day_to_s=72000)
    ready.advance(to="2026-02-02 17:15")
    starts = offered(ready, direction="UP")["period_start"].to_list()
    out = [utc("2026-02-04 02:00") + timedelta(minutes=15) * n for n in range(8)]
    assert sorted({*starts, *out}) == quarters_of_day(DAY, LOS_ANGELES)
    assert not {*starts} & {*out}


@NOON
def test_the_level_that_the_owner_wants_ready_is_assumed_and_the_least_price_holds(ready: TopologyDriver) -> None:
    prefer(ready, preference_id="ready", ready_fill_level=0.6, min_price_micros_per_mwh=80_000_000)
    contract(ready, min_price_micros_per_mwh=75_000_000)
    ready.advance(to="2026-02-02 17:15")
    # up: 0.4 x 10 kWh x 0.9 at its cost; down: 0.4 x 10 kWh / 0.9 at the least price
    told = ready.read(FlexibilityOffered).select("direction", "energy_limit_wh", "price_micros_per_mwh").unique()
    assert sorted(told.rows()) == [("DOWN", 4444, 80_000_000), ("UP", 3600, 86_913_580)]


@NOON
def test_a_preference_that_changes_is_offered_anew(ready: TopologyDriver) -> None:
    ready.advance(to="2026-02-02 17:15")
    prefer(ready, fill_level_min=0.5, valid_from=utc("2026-02-03 20:00"))
    ready.advance(to="2026-02-02 17:30")
    again = ready.read(FlexibilityOffered).filter(pl.col("revision") == 1)
    assert set(again["direction"]) == {"UP"}
    assert again["period_start"].min() == utc("2026-02-03 20:00")
    assert set(again["energy_limit_wh"]) == {3600}  # (0.9 - 0.5) x 10 kWh x 0.9


@NOON
def test_a_contract_that_ends_withdraws_what_was_offered_after_it(ready: TopologyDriver) -> None:
    ready.advance(to="2026-02-02 17:15")
    contract(ready, valid_to=utc("2026-02-03 20:00"))
    ready.advance(to="2026-02-02 17:30")
    gone = ready.read(FlexibilityOffered).filter(pl.col("revision") == 1)
    assert set(gone["status"]) == {"WITHDRAWN"}
    assert gone["period_start"].min() == utc("2026-02-03 20:00")
    assert gone.height == 2 * 48


@NOON
def test_without_a_contract_nothing_is_offered(driver: TopologyDriver) -> None:
    world(driver)
    price(driver, TODAY)
    contract(driver, kind="SUPPLY")
    predict(driver, DAY)
    driver.advance(to="2026-02-02 18:00")
    assert driver.read(FlexibilityOffered).is_empty()


@NOON
def test_a_direction_goes_to_the_products_that_buy_it(driver: TopologyDriver) -> None:
    world(driver)
    world(driver, product_id="local-down", direction="DOWN")
    price(driver, TODAY)
    predict(driver, DAY)
    driver.advance(to="2026-02-02 17:15")
    told = offered(driver).select("direction", "product_id").unique().sort("direction").rows()
    assert told == [("DOWN", "local-down"), ("UP", "local-up")]


@pytest.mark.parametrize(
    ("day", "count", "timezone"),
    [
        (date(2026, 3, 8), 92, LOS_ANGELES),
        (date(2026, 11, 1), 100, LOS_ANGELES),
        (date(2026, 3, 29), 92, "Europe/Brussels"),
        (date(2026, 10, 25), 100, "Europe/Brussels"),
    ],
)
def test_a_day_of_92_and_of_100_quarter_hours_is_offered_whole(day: date, count: int, timezone: str) -> None:
    before = day - timedelta(days=1)
    driver = TopologyDriver(SPEC, at=quarters_of_day(before, timezone)[0])
    world(driver, timezone=timezone)
    price(driver, before, timezone=timezone)
    price(driver, day, timezone=timezone)
    predict(driver, day, timezone=timezone)
    driver.advance(by=timedelta(hours=9, minutes=15))
    up = offered(driver, direction="UP")
    assert up["period_start"].to_list() == quarters_of_day(day, timezone)
    assert up.height == count
    assert up["limit_group"].unique().to_list() == [f"h1%2Fbattery/{day:%Y%m%d}/UP"]
    driver.close()


def test_any_cut_any_crash_and_any_number_of_partitions_give_the_same_offers() -> None:
    def scenario(driver: TopologyDriver) -> None:
        for site in ("h1", "h2", "h3"):
            world(driver, site)
        price(driver, TODAY)
        for site in ("h1", "h2", "h3"):
            predict(driver, DAY, site=site)
        driver.advance(to="2026-02-03 07:45")
        for step in range(3):
            for number, site in enumerate(("h1", "h2", "h3")):
                report(driver, 0.9 - 0.1 * number * step, site)
            driver.advance(by=timedelta(minutes=15))
        contract(driver, "h2", valid_to=utc("2026-02-03 12:00"))
        driver.advance(by=timedelta(minutes=30))

    assert_replayable(SPEC, scenario=scenario, at="2026-02-03 07:30", runs=2)
