from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from energy.time import quarters_of_day
from processors import settlement
from streams.testing import TopologyDriver, assert_replayable, assert_rows, utc
from topics import (
    ActivationRequested,
    BidCleared,
    ContractChanged,
    DeliveryMeasured,
    FlexibilityOffered,
    LineSettled,
    ProductDefined,
    RulePublished,
)

SPEC = replace(settlement.SPEC, every=timedelta(hours=1))  # what it says does not depend on it

FOREVER = utc("2020-01-01")
ORIGIN = {"origin": "test", "origin_id": "1"}
REST = {"portfolio_id": "fontana", "product_id": "local-up", "direction": "UP"}
RULES = {
    "capacity_share": 700_000, "energy_share": 800_000, "penalty_share": 500_000, "penalty_factor": 1_500_000,
    "over_delivery_paid": 0, "correction_window": 90 * 86_400,
}  # fmt: skip


def rule(name: str, value: int, since: datetime = FOREVER) -> dict[str, Any]:
    return {
        "rule_id": f"settlement.{name}", "scope": "", "valid_from": since, "status": "ACTIVE", "value_long": value,
        "unit": "1", "source": "test",
    }  # fmt: skip


def contract(number: int, since: datetime = FOREVER, **other: Any) -> dict[str, Any]:
    return {
        "site_id": f"home-0{number}", "contract_id": f"contract-0{number}", "valid_from": since, "status": "ACTIVE",
        "kind": "FLEXIBILITY", "account_id": f"account-0{number}", "counterparty_id": "aggregator",
        "portfolio_id": "fontana", "currency": "USD",
    } | other  # fmt: skip


# home-01 has what the rules say, home-02 half of everything, home-03 offers and delivers without a contract.
CONTRACTS = (
    contract(1),
    contract(2, capacity_share_ppm=500_000, energy_share_ppm=500_000, penalty_share_ppm=500_000),
)


def start(driver: TopologyDriver, rules: Sequence[dict[str, Any]] = (), **other: int) -> None:
    driver.pipe(RulePublished, [*(rule(name, value) for name, value in (RULES | other).items()), *rules], **ORIGIN)
    driver.pipe(ContractChanged, list(CONTRACTS), **ORIGIN)
    driver.pipe(
        ProductDefined,
        [{"product_id": "local-up", "valid_from": FOREVER, "status": "ACTIVE", "market_id": "local-market",
          "kind": "LOCAL", "commodity": "ELECTRICITY", "direction": "UP", "pricing": "PAY_AS_BID",
          "activation": "ORDER", "resolution_s": 900, "min_quantity_w": 5000, "step_w": 1000, "currency": "USD",
          "simulated": True}],
        **ORIGIN,
    )  # fmt: skip


def period(at: str | datetime, quarters: int = 1) -> dict[str, datetime]:
    begin = utc(at) if isinstance(at, str) else at
    return {"period_start": begin, "period_end": begin + timedelta(minutes=15 * quarters)}


def offer(home: int, at: str | datetime, watt: int, **other: Any) -> dict[str, Any]:
    return REST | period(at) | {
        "resource_id": f"home-0{home}/battery", "site_id": f"home-0{home}", "step": 0, "revision": 0,
        "status": "AVAILABLE", "quantity_w": watt, "min_quantity_w": 0, "utilisation": "ANY_LEVEL", "currency": "USD",
    } | other  # fmt: skip


def cleared(bid: str, at: str | datetime, watt: int, price: int = 12_000_000, revision: int = 0) -> dict[str, Any]:
    return REST | ORIGIN | period(at) | {
        "bid_id": bid, "trade_id": "", "revision": revision, "status": "ACCEPTED" if watt else "REJECTED",
        "gate_id": "gate", "zone": "zone", "quantity_w": watt, "price_micros_per_mw_h": price, "currency": "USD",
    }  # fmt: skip


def called(name: str, at: str, quarters: int, watt: int, price: int, **other: Any) -> dict[str, Any]:
    return REST | ORIGIN | period(at, quarters) | {
        "activation_id": name, "revision": 0, "status": "ORDERED", "kind": "SCHEDULED", "zone": "zone",
        "quantity_w": watt, "price_micros_per_mwh": price, "currency": "USD",
    } | other  # fmt: skip


def measured(name: str, home: int, at: str | datetime, asked: int, made: int, **other: Any) -> dict[str, Any]:
    return REST | period(at) | {
        "activation_id": name, "resource_id": f"home-0{home}/meter", "revision": 0, "site_id": f"home-0{home}",
        "baseline_wh": made, "measured_wh": 0, "requested_wh": asked, "delivered_wh": made, "method": "HIGH_4_OF_5",
        "method_version": 1, "quality": "CALCULATED", "coverage": 1.0,
    } | other  # fmt: skip


@pytest.fixture
def driver() -> Iterator[TopologyDriver]:
    made = TopologyDriver(SPEC, at="2026-02-01 10:00")
    start(made)
    yield made
    made.close()


def balance(lines: pl.DataFrame, account: str, other: str | None = None) -> int:
    rows = lines.filter(LineSettled.account_id == account)
    return int((rows if other is None else rows.filter(LineSettled.counterparty_id == other))["amount_micros"].sum())


def test_capacity_is_paid_and_shared_by_what_was_offered(driver: TopologyDriver) -> None:
    at = "2026-02-01 12:00"
    driver.pipe(FlexibilityOffered, [offer(1, at, 3000), offer(2, at, 1000), offer(3, at, 2000)])
    driver.pipe(BidCleared, [cleared("gate/fontana/1", at, 6000)])
    driver.advance(to="2026-02-01 12:10")
    assert driver.read(LineSettled).is_empty()
    driver.advance(to="2026-02-01 13:00")
    # 6 kW for a quarter-hour at 12 USD/MW/h are 18,000 micros; offered 3 : 1 : 2 makes 9,000, 3,000 and 6,000 of it,
    # the homes' shares are 70 % and 50 %, and home-03 has no contract
    assert_rows(
        driver.read(LineSettled).sort("account_id", "counterparty_id"),
        LineSettled,
        """
        account_id   | counterparty_id | kind     | contract_id | capacity_w | basis_micros | share_ppm | amount_micros
        account-01   | aggregator      | SHARE    | contract-01 | 3000       | 9000         | 700000    | 6300
        account-02   | aggregator      | SHARE    | contract-02 | 1000       | 3000         | 500000    | 1500
        aggregator   | account-01      | SHARE    | contract-01 | 3000       | 9000         | 700000    | -6300
        aggregator   | account-02      | SHARE    | contract-02 | 1000       | 3000         | 500000    | -1500
        aggregator   | local-market    | CAPACITY |             | 6000       |              |           | 18000
        local-market | aggregator      | CAPACITY |             | 6000       |              |           | -18000
        """,
    )
    ids = driver.read(LineSettled)["line_id"].to_list()
    assert "aggregator/CAPACITY/gate%2Ffontana%2F1/20260201T120000Z" in ids
    assert "account-01/SHARE/CAPACITY/local-up%2FUP/home-01/20260201T120000Z" in ids


def test_capacity_goes_by_what_was_offered_when_it_was_cleared_not_by_later_offers(driver: TopologyDriver) -> None:
    at = "2026-02-01 14:00"
    driver.pipe(FlexibilityOffered, [offer(1, at, 3000), offer(2, at, 1000)])
    driver.pipe(BidCleared, [cleared("b", at, 4000)])
    driver.advance(to="2026-02-01 11:00")
    driver.pipe(FlexibilityOffered, [offer(1, at, 0, revision=1, status="WITHDRAWN")])
    driver.advance(to="2026-02-01 15:00")
    lines = driver.read(LineSettled)
    assert lines.filter(LineSettled.account_id == "account-01")["basis_micros"].to_list() == [9000]


def test_energy_is_paid_up_to_the_call_and_what_is_short_costs_a_penalty(driver: TopologyDriver) -> None:
    at = "2026-02-01 12:00"
    driver.pipe(ActivationRequested, [called("a", at, 1, 8000, 180_000_000)])
    driver.pipe(DeliveryMeasured, [measured("a", 1, at, 1250, 1300), measured("a", 2, at, 750, 450)])
    driver.advance(to="2026-02-01 13:00")
    # called 2,000 Wh, delivered 1,750: paid 1,750 x 180 = 315,000, short 250 x 270 = 67,500.
    # Credited 1,250 and 450: 315,000 x 1250/1700 = 231,617.6, x 450/1700 = 83,382.4; shares 80 % and 50 %.
    # Only home-02 fell short of what was asked of it.
    assert_rows(
        driver.read(LineSettled).filter(LineSettled.amount_micros != 0, LineSettled.counterparty_id != "aggregator"),
        LineSettled,
        """
        account_id | counterparty_id | kind    | reason_code | energy_wh | basis_micros | share_ppm | amount_micros
        aggregator | local-market    | ENERGY  |             | 1750      |              |           | 315000
        aggregator | local-market    | PENALTY |             | 250       |              |           | -67500
        aggregator | account-01      | SHARE   | ENERGY      | 1250      | 231618       | 800000    | -185294
        aggregator | account-02      | SHARE   | ENERGY      | 450       | 83382        | 500000    | -41691
        aggregator | account-02      | SHARE   | PENALTY     | 300       | -67500       | 500000    | 33750
        """,
    )
    assert driver.read(LineSettled)["amount_micros"].sum() == 0


def test_a_penalty_for_what_nobody_was_asked_for_stays_with_the_aggregator(driver: TopologyDriver) -> None:
    at = "2026-02-01 12:00"
    driver.pipe(ActivationRequested, [called("a", at, 1, 8000, 100_000_000)])
    driver.pipe(DeliveryMeasured, [measured("a", 1, at, 500, 300)])
    driver.advance(to="2026-02-01 13:00")
    lines = driver.read(LineSettled)
    # short 1,700 Wh x 150 = 255,000: 200 of it home-01's, 1,500 nobody's; home-01 bears half of its 30,000
    penalty = lines.filter(LineSettled.reason_code == "PENALTY", LineSettled.account_id == "account-01")
    assert penalty.select("basis_micros", "amount_micros").rows() == [(-30_000, -15_000)]
    assert balance(lines, "aggregator", "local-market") == 30_000 - 255_000


def test_a_call_that_nobody_answered_costs_the_whole_penalty(driver: TopologyDriver) -> None:
    driver.pipe(ActivationRequested, [called("a", "2026-02-01 12:00", 2, 4000, 100_000_000)])
    driver.advance(to="2026-02-01 13:00")
    assert balance(driver.read(LineSettled), "aggregator") == -2 * 1000 * 150


# Shapeshifter (UFTP) 3.x, settle phase: baseline 10 MW, 2 MW sold for an hour at 7 EUR/MW, penalty 11 EUR/MW
@pytest.mark.parametrize(("allocation", "eur"), [(7, 14), (8, 14), (9, -4), (10, -22), (11, -33)])
def test_the_figures_of_the_uftp_specification(allocation: int, eur: int) -> None:
    driver = TopologyDriver(SPEC, at="2026-02-01 10:00")
    try:
        start(driver, [rule("penalty_price", 11_000_000)])
        driver.pipe(ActivationRequested, [called("a", "2026-02-01 12:00", 4, 2_000_000, 7_000_000)])
        quarters = [utc("2026-02-01 12:00") + timedelta(minutes=15 * number) for number in range(4)]
        made = 250_000 * (10 - allocation)
        driver.pipe(DeliveryMeasured, [measured("a", 1, at, 500_000, made) for at in quarters])
        driver.advance(to="2026-02-01 14:00")
        assert balance(driver.read(LineSettled), "aggregator", "local-market") == eur * 1_000_000
    finally:
        driver.close()


def test_nothing_is_settled_before_all_deliveries_are_in(driver: TopologyDriver) -> None:
    at = "2026-02-01 12:00"
    driver.pipe(ActivationRequested, [called("a", at, 2, 8000, 100_000_000)])
    driver.complete(DeliveryMeasured, to="2026-02-01 12:29")
    driver.advance(to="2026-02-01 15:00")
    assert driver.read(LineSettled).is_empty()
    driver.complete(DeliveryMeasured, to="2026-02-01 12:30")
    driver.advance(to="2026-02-01 16:00")
    assert len(driver.read(LineSettled)) == 8


def test_a_revised_delivery_gives_lines_with_the_difference_and_a_reference(driver: TopologyDriver) -> None:
    at = "2026-02-01 12:00"
    driver.pipe(ActivationRequested, [called("a", at, 1, 4000, 100_000_000)])
    driver.pipe(DeliveryMeasured, [measured("a", 1, at, 1000, 1000)])
    driver.advance(to="2026-02-01 13:00")
    before = driver.read(LineSettled)
    driver.pipe(DeliveryMeasured, [measured("a", 1, at, 1000, 900, revision=1)])
    driver.advance(to="2026-02-01 14:00")
    after = driver.read(LineSettled)
    assert after.head(len(before)).equals(before)
    # 100 Wh less: 10,000 less paid, 8,000 of it the home's; and for the first time a penalty, 15,000, half the home's
    line = "aggregator/ENERGY/a/20260201T120000Z"
    share = "aggregator/SHARE/ENERGY/a/home-01/20260201T120000Z"
    news = after.tail(-len(before))
    assert_rows(
        news.filter(LineSettled.account_id == "aggregator").sort("line_id"),
        LineSettled,
        f"""
        line_id                                             | amount_micros | energy_wh | corrects_line_id
        {line}/1                                            | -10000        | -100      | {line}
        aggregator/PENALTY/a/20260201T120000Z               | -15000        | 100       |
        {share}/1                                           | 8000          | -100      | {share}
        aggregator/SHARE/PENALTY/a/home-01/20260201T120000Z | 7500          | 100       |
        """,
    )
    assert set(before["run_kind"]) == {"FIXING"}
    assert set(news["run_kind"]) == {"CORRECTION"}
    driver.pipe(DeliveryMeasured, [measured("a", 1, at, 1000, 1000, revision=2)])
    driver.advance(to="2026-02-01 15:00")
    lines = driver.read(LineSettled)
    assert balance(lines, "aggregator") == balance(before, "aggregator")
    assert lines.filter(LineSettled.line_id == f"{line}/2")["amount_micros"].to_list() == [10_000]
    assert lines["line_id"].is_unique().all()


def test_what_is_said_twice_changes_nothing(driver: TopologyDriver) -> None:
    at = "2026-02-01 12:00"
    driver.pipe(FlexibilityOffered, [offer(1, at, 3000)])
    for _ in range(2):
        driver.pipe(BidCleared, [cleared("b", at, 6000)])
        driver.pipe(ActivationRequested, [called("a", at, 1, 4000, 100_000_000)])
        driver.pipe(DeliveryMeasured, [measured("a", 1, at, 1000, 800)])
        driver.advance(by=timedelta(hours=4))
    assert len(driver.read(LineSettled)) == 4 + 8


def test_a_cancelled_call_and_a_withdrawn_clearing_are_taken_back_in_full(driver: TopologyDriver) -> None:
    at = "2026-02-01 12:00"
    driver.pipe(FlexibilityOffered, [offer(1, at, 3000)])
    driver.pipe(BidCleared, [cleared("b", at, 6000)])
    driver.pipe(ActivationRequested, [called("a", at, 1, 4000, 100_000_000)])
    driver.pipe(DeliveryMeasured, [measured("a", 1, at, 1000, 800)])
    driver.advance(to="2026-02-01 13:00")
    driver.pipe(BidCleared, [cleared("b", at, 0, revision=1)])
    driver.pipe(ActivationRequested, [called("a", at, 1, 4000, 100_000_000, revision=1, status="CANCELLED")])
    driver.advance(to="2026-02-01 14:00")
    lines = driver.read(LineSettled).with_columns(first=pl.coalesce("corrects_line_id", "line_id"))
    sums = lines.group_by("first").agg(pl.col("amount_micros", "energy_wh", "capacity_w", "basis_micros").sum())
    assert len(sums) == 12
    assert sums.drop("first").sum_horizontal().to_list() == [0] * 12


def test_a_call_that_is_moved_after_it_was_settled_leaves_nothing_where_it_was(driver: TopologyDriver) -> None:
    driver.pipe(ActivationRequested, [called("a", "2026-02-01 12:00", 1, 4000, 100_000_000)])
    driver.pipe(DeliveryMeasured, [measured("a", 1, "2026-02-01 12:00", 1000, 1000)])
    driver.advance(to="2026-02-01 13:00")
    driver.pipe(ActivationRequested, [called("a", "2026-02-01 12:15", 1, 4000, 100_000_000, revision=1)])
    driver.pipe(DeliveryMeasured, [measured("a", 1, "2026-02-01 12:15", 1000, 1000)])
    driver.advance(to="2026-02-01 14:00")
    sums = driver.read(LineSettled).filter(LineSettled.account_id == "local-market").group_by("period_start")
    paid = dict(sums.agg(pl.col("amount_micros").sum()).iter_rows())
    assert paid == {utc("2026-02-01 12:00"): 0, utc("2026-02-01 12:15"): -100_000}


def test_a_contract_that_is_changed_for_the_past_is_settled_again(driver: TopologyDriver) -> None:
    driver.pipe(ActivationRequested, [called("a", "2026-02-01 12:00", 2, 4000, 100_000_000)])
    deliveries = [measured("a", 1, at, 1000, 1000) for at in ("2026-02-01 12:00", "2026-02-01 12:15")]
    driver.pipe(DeliveryMeasured, deliveries)
    driver.advance(to="2026-02-01 13:00")
    driver.pipe(
        ContractChanged, [contract(1, utc("2026-02-01 12:15"), energy_share_ppm=900_000, account_id="other")], **ORIGIN
    )
    driver.advance(to="2026-02-01 14:00")
    lines = driver.read(LineSettled)
    assert (balance(lines, "account-01"), balance(lines, "other")) == (80_000, 90_000)
    assert lines["amount_micros"].sum() == 0


def test_changes_after_the_correction_window_are_not_settled(driver: TopologyDriver) -> None:
    at = "2026-02-01 12:00"
    driver.pipe(ActivationRequested, [called("a", at, 1, 4000, 100_000_000)])
    driver.pipe(DeliveryMeasured, [measured("a", 1, at, 1000, 1000)])
    driver.advance(to="2026-02-01 13:00")
    settled = len(driver.read(LineSettled))
    for step in range(1, 10):
        driver.host.pass_time(utc("2026-02-01 13:00") + timedelta(days=10 * step + 1))
        driver.tick()
    driver.pipe(DeliveryMeasured, [measured("a", 1, at, 1000, 0, revision=1)])
    driver.advance(by=timedelta(hours=2))
    assert len(driver.read(LineSettled)) == settled


def test_without_a_contract_there_is_nobody_to_pay_and_the_watermark_waits() -> None:
    driver = TopologyDriver(SPEC, at="2026-02-01 10:00")
    try:
        driver.pipe(ActivationRequested, [called("a", "2026-02-01 12:00", 1, 4000, 100_000_000)])
        driver.pipe(RulePublished, [rule(name, value) for name, value in RULES.items()], **ORIGIN)
        driver.advance(to="2026-02-01 14:00")
        assert driver.read(LineSettled).is_empty()
        start(driver)
        driver.advance(to="2026-02-01 15:00")
        assert balance(driver.read(LineSettled), "aggregator", "local-market") == -1000 * 150
    finally:
        driver.close()


@pytest.mark.parametrize(("day", "quarters"), [("2026-03-08", 92), ("2026-11-01", 100)])
def test_a_day_of_92_or_100_quarter_hours_is_paid_for_each_of_them(day: str, quarters: int) -> None:
    starts = quarters_of_day(utc(day).date(), "America/Los_Angeles")
    driver = TopologyDriver(SPEC, at=starts[0] - timedelta(hours=12), tick=timedelta(hours=6))
    try:
        start(driver)
        driver.pipe(FlexibilityOffered, [offer(1, at, 1000) for at in starts])
        driver.pipe(BidCleared, [cleared(f"b/{number}", at, 6000) for number, at in enumerate(starts)])
        driver.advance(to=starts[-1] + timedelta(hours=6))
        lines = driver.read(LineSettled)
        # a quarter-hour of 6 kW at 12 USD/MW/h is 18,000 micros
        assert balance(lines, "local-market") == -18_000 * quarters
        assert balance(lines, "account-01") == 12_600 * quarters
        assert lines["line_id"].n_unique() == 4 * quarters
    finally:
        driver.close()


# What happens, in any order, any number of times: (when it becomes known, in hours; what).
AT = [utc("2026-02-01 00:00") + timedelta(minutes=15 * number) for number in range(3)]
Event = tuple[int, Any, dict[str, Any]]


@st.composite
def worlds(draw: st.DrawFn) -> list[Event]:
    hour = st.integers(0, 9)
    events: list[Event] = []
    for revision in range(draw(st.integers(1, 3))):
        for number, at in enumerate(AT):
            watt = draw(st.sampled_from([0, 5000, 7777]))
            price = draw(st.integers(-(10**8), 10**9))
            events.append((draw(hour), BidCleared, cleared(f"b{number}", at, watt, price, revision)))
        status = draw(st.sampled_from(["ORDERED", "ORDERED", "CANCELLED"]))
        watt = draw(st.integers(1, 20_000))
        price = draw(st.integers(-(10**9), 10**10))
        begin, quarters = draw(st.sampled_from([("00:00", 2), ("00:00", 1), ("00:15", 2), ("00:07", 1)]))
        order = called("a", f"2026-02-01 {begin}", quarters, watt, price, revision=revision, status=status)
        events.append((draw(hour), ActivationRequested, order))
        for home in (1, 2, 3):
            for at in AT[:2]:
                asked, made = draw(st.integers(0, 3000)), draw(st.integers(-3000, 5000))
                row = measured("a", home, at, asked, made, revision=revision)
                events.append((draw(hour), DeliveryMeasured, row))
    doubles = draw(st.lists(st.sampled_from(events), max_size=5))
    return events + [(draw(hour), record, row) for _, record, row in doubles]


def settle(events: Sequence[Event]) -> pl.DataFrame:
    driver = TopologyDriver(SPEC, at="2026-01-31 23:00", tick=timedelta(hours=1), twice=False)
    try:
        start(driver)
        driver.pipe(FlexibilityOffered, [offer(home, at, 1000 * home) for home in (1, 2, 3) for at in AT])
        for hour in range(11):
            for known, record, row in events:
                if known == hour:
                    driver.pipe(record, [row])
            driver.advance(by=timedelta(hours=1))
        return driver.read(LineSettled)
    finally:
        driver.close()


@given(worlds())
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])  # shrinking takes minutes
def test_the_lines_sum_to_what_settling_the_final_world_at_once_gives(events: list[Event]) -> None:
    lines = settle(events)
    assert lines["amount_micros"].sum() == 0
    assert lines["line_id"].is_unique().all()
    first = pl.coalesce("corrects_line_id", "line_id").alias("first")
    what = ("amount_micros", "energy_wh", "capacity_w", "basis_micros")
    sums = lines.group_by(first).agg(pl.col(what).sum()).filter(pl.any_horizontal(pl.col(what) != 0)).sort("first")
    newest: dict[Any, Event] = {}
    for _, record, row in sorted(events, key=lambda event: int(event[2]["revision"])):
        at = None if record is ActivationRequested else row["period_start"]
        key = (record, row.get("bid_id"), row.get("activation_id"), row.get("resource_id"), at)
        newest[key] = (9, record, row)
    once = settle(list(newest.values()))
    expected = once.select("line_id", *what).rename({"line_id": "first"}).with_columns(pl.col(what).fill_null(0))
    assert once["correction_no"].sum() == 0
    assert sums.equals(expected.filter(pl.any_horizontal(pl.col(what) != 0)).sort("first"))


def test_cuts_partitions_and_crashes_change_nothing() -> None:
    def scenario(driver: TopologyDriver) -> None:
        start(driver)
        at = "2026-02-01 12:00"
        driver.pipe(FlexibilityOffered, [offer(home, at, 500 * home) for home in (1, 2, 3)])
        driver.pipe(BidCleared, [cleared("b", at, 6000), cleared("c", at, 1000, 7_000_000)])
        driver.advance(to="2026-02-01 11:00")
        driver.pipe(ActivationRequested, [called("a", at, 2, 4000, 100_000_000)])
        driver.pipe(DeliveryMeasured, [measured("a", home, at, 300, 250 + home) for home in (1, 2, 3)])
        driver.advance(to="2026-02-01 13:00")
        driver.pipe(DeliveryMeasured, [measured("a", 2, at, 300, 100, revision=1)])
        driver.pipe(DeliveryMeasured, [measured("a", 2, at, 300, 310, revision=2)])
        driver.pipe(BidCleared, [cleared("c", at, 500, 7_000_000, revision=1)])
        driver.advance(to="2026-02-01 15:00")
        assert driver.read(LineSettled)["correction_no"].sum() > 0

    assert_replayable(SPEC, scenario=scenario, at="2026-02-01 10:00", tick=timedelta(hours=1), runs=3)
