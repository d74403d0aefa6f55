from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edges.conftest import Drive
from edges.market import Config, spec
from edges.market.clearing import Step, call, clear
from edges.market.supply import day_of
from streams.testing import TopologyDriver, assert_rows, utc
from topics import ActivationRequested, BidCleared, BidSubmitted, GateScheduled, PricePublished

START = utc("2023-05-08 07:00")  # a Monday, midnight in Los Angeles
OPEN = utc("2023-05-08 16:00")
RESULTS = utc("2023-05-08 18:00")
GATE = "local-up/20230509"
EVENING = utc("2023-05-10 00:00")  # 17:00 of the day of delivery
QUARTER = timedelta(minutes=15)
ALONE: dict[str, Any] = {"suppliers": 0}  # nobody but us


def bid(number: int, start: Any = EVENING, **other: Any) -> dict[str, Any]:
    return {
        "portfolio_id": "fontana", "bid_id": f"{start:%H%M}/{number}", "revision": 0, "set_id": "s0", "set_no": 1,
        "set_size": 1, "status": "SUBMITTED", "gate_id": GATE, "product_id": "local-up", "zone": "10Y-LOCAL-DEMO",
        "direction": "UP", "period_start": start, "period_end": start + QUARTER, "step": number, "quantity_w": 10_000,
        "min_quantity_w": 1_000, "conditions": [], "direct": False, "price_micros_per_mw_h": 5_000_000,
        "price_micros_per_mwh": 250_000_000, "currency": "USD", "known_until": OPEN, "coverage": 1.0,
        "decided_by": "WATERMARK",
    } | other  # fmt: skip


def submit(driver: TopologyDriver, *bids: dict[str, Any], set_id: str = "s0", size: int | None = None) -> None:
    rows = [
        one | {"set_id": set_id, "set_no": number, "set_size": size or len(bids)} for number, one in enumerate(bids, 1)
    ]
    driver.pipe(BidSubmitted, rows)


def opened(drive: Drive, **options: Any) -> TopologyDriver:
    """A market whose gate for 9 May has opened."""
    driver = drive(spec(Config(start=START, **options)), at=START)
    driver.host.run(OPEN)
    return driver


def cleared(driver: TopologyDriver) -> list[tuple[Any, ...]]:
    driver.host.run(RESULTS)
    return driver.read(BidCleared).select("bid_id", "status", "quantity_w", "reason_code").sort("bid_id").rows()


# Merit orders.


def step(owner: str, quantity_w: int, capacity: int, energy: int, minimum_w: int = 0) -> Step:
    return Step(owner, quantity_w, minimum_w, capacity, energy)


def test_the_cheapest_capacity_is_bought_until_the_need_is_met() -> None:
    offers = [step("c", 8000, 30, 1), step("a", 5000, 10, 9), step("b", 4000, 20, 5)]
    assert clear(offers, 12_000, 1000) == [3000, 5000, 4000]
    assert clear(offers, 9_000, 1000) == [0, 5000, 4000]
    assert clear(offers, 100_000, 1000) == [8000, 5000, 4000]
    assert clear(offers, 11_999, 1000) == [2000, 5000, 4000]


def test_what_cannot_be_divided_is_bought_whole_or_not_and_the_next_one_serves() -> None:
    offers = [step("a", 6000, 10, 0), step("b", 8000, 20, 0, minimum_w=8000), step("c", 5000, 30, 0, minimum_w=3000)]
    assert clear(offers, 10_000, 1000) == [6000, 0, 4000]
    assert clear(offers, 8_000, 1000) == [6000, 0, 0]
    assert clear(offers, 14_000, 1000) == [6000, 8000, 0]


def test_equal_prices_are_bought_by_energy_price_and_then_by_name() -> None:
    offers = [step("b", 5000, 10, 7), step("a", 5000, 10, 7), step("c", 5000, 10, 6)]
    assert clear(offers, 7_000, 1000) == [0, 2000, 5000]


def test_the_cheapest_energy_is_called_and_a_minimum_counts() -> None:
    offers = [step("a", 8000, 1, 300), step("b", 5000, 9, 200), step("c", 6000, 5, 400, minimum_w=6000)]
    assert call(offers, 6_500, 1000) == [2000, 5000, 0]
    assert call(offers, 13_001, 1000) == [8000, 5000, 6000]
    assert call(offers, 0, 1000) == [0, 0, 0]


steps = st.lists(
    st.builds(Step, st.text("abc", max_size=3), st.integers(1, 20).map(lambda n: n * 1000),
              st.integers(0, 20).map(lambda n: n * 1000), st.integers(0, 5), st.integers(0, 5)),
    max_size=12,
)  # fmt: skip


@given(steps, st.integers(0, 150_000))
def test_a_clearing_never_buys_too_much_or_leaves_out_a_cheaper_one_that_fits(offers: list[Step], need_w: int) -> None:
    bought = clear(offers, need_w, 1000)
    left_w = need_w - sum(bought)
    assert left_w >= 0
    for one, watts in zip(offers, bought, strict=True):
        assert 0 <= watts <= one.quantity_w
        assert watts % 1000 == 0
        assert not 0 < watts < min(one.minimum_w, one.quantity_w)
        if not watts:
            # What was left after the cheaper ones was too little for it, and so it still is.
            cheaper = sum(w for o, w in zip(offers, bought, strict=True)
                          if (o.capacity_price, o.energy_price) < (one.capacity_price, one.energy_price))  # fmt: skip
            assert left_w // 1000 * 1000 < max(min(one.minimum_w, one.quantity_w), 1000) or cheaper > need_w


# The gate.


def test_a_gate_opens_closes_and_is_answered_on_the_day_before(drive: Drive) -> None:
    driver = drive(spec(Config(start=START)), at=START)
    driver.host.run(START + timedelta(days=1) - QUARTER)
    assert_rows(
        driver.read(GateScheduled),
        GateScheduled,
        """
        gate_id           | revision | status    | period_start     | period_end       | opens_at         | inputs_until     | closes_at        | results_at
        local-up/20230509 | 0        | SCHEDULED | 2023-05-09 07:00 | 2023-05-10 07:00 | 2023-05-08 15:00 | 2023-05-08 17:00 | 2023-05-08 17:30 | 2023-05-08 18:00
        local-up/20230509 | 1        | OPEN      | 2023-05-09 07:00 | 2023-05-10 07:00 | 2023-05-08 15:00 | 2023-05-08 17:00 | 2023-05-08 17:30 | 2023-05-08 18:00
        local-up/20230509 | 2        | CLOSED    | 2023-05-09 07:00 | 2023-05-10 07:00 | 2023-05-08 15:00 | 2023-05-08 17:00 | 2023-05-08 17:30 | 2023-05-08 18:00
        local-up/20230509 | 3        | CLEARED   | 2023-05-09 07:00 | 2023-05-10 07:00 | 2023-05-08 15:00 | 2023-05-08 17:00 | 2023-05-08 17:30 | 2023-05-08 18:00
    """,  # noqa: E501 -- a table
    )


@pytest.mark.parametrize(("start", "quarters"), [("2022-11-05 07:00", 100), ("2023-03-11 08:00", 92)])
def test_a_day_of_92_or_100_quarter_hours_has_as_many_prices(drive: Drive, start: str, quarters: int) -> None:
    driver = drive(spec(Config(start=utc(start))), at=start)
    driver.host.run(utc(start) + timedelta(hours=12))
    prices = driver.read(PricePublished)
    assert prices.height == quarters == prices["period_start"].n_unique()
    assert prices.select((pl.col("period_end") - pl.col("period_start")).unique()).item() == QUARTER


def test_before_trade_begins_there_are_prices_and_no_gates(drive: Drive) -> None:
    driver = drive(spec(Config(start=START, trade_from=date(2023, 5, 10))), at=START)
    driver.host.run(START + timedelta(hours=23))
    assert driver.read(GateScheduled).height == 0
    assert driver.read(PricePublished).height == 96
    submit(driver, bid(0, gate_id="local-up/20230509"))
    driver.host.run(START + timedelta(hours=36))
    assert driver.read(GateScheduled)["gate_id"].unique().to_list() == ["local-up/20230510"]
    assert driver.read(BidCleared)["reason_code"].to_list() == ["GATE_CLOSED"]


def test_after_trade_has_ended_there_are_prices_and_no_gates(drive: Drive) -> None:
    driver = drive(spec(Config(start=START, trade_until=date(2023, 5, 9))), at=START)
    driver.host.run(START + timedelta(days=3))
    assert driver.read(GateScheduled)["gate_id"].unique().to_list() == ["local-up/20230509"]
    assert driver.read(PricePublished).height == 3 * 96


def test_a_market_that_begins_after_a_gate_has_opened_takes_the_next(drive: Drive) -> None:
    driver = drive(spec(Config(start=utc("2023-05-08 15:01"))), at="2023-05-08 15:01")
    driver.host.run(utc("2023-05-09 08:00"))
    assert driver.read(GateScheduled)["gate_id"].to_list() == ["local-up/20230510"]


def test_bids_are_paid_as_bid_in_the_order_of_their_price(drive: Drive) -> None:
    driver = opened(drive, **ALONE)
    need_w = int(day_of(Config(start=START, **ALONE), date(2023, 5, 9)).need_w[17 * 4])
    big = need_w // 1000 * 1000 - 4_000
    submit(
        driver,
        bid(0, quantity_w=big),
        bid(1, quantity_w=9_000, price_micros_per_mw_h=6_000_000),
        bid(2, quantity_w=5_000, price_micros_per_mw_h=7_000_000),
    )
    assert cleared(driver) == [
        ("0000/0", "ACCEPTED", big, None),
        ("0000/1", "PARTIAL", 4_000, "PRICE_TOO_HIGH"),
        ("0000/2", "REJECTED", 0, "PRICE_TOO_HIGH"),
    ]
    prices = driver.read(BidCleared).sort("bid_id")["price_micros_per_mw_h"].to_list()
    assert prices == [5_000_000, 6_000_000, None]
    published = driver.read(PricePublished).filter(PricePublished.period_start == EVENING)
    assert published["price_micros_per_mw_h"].to_list() == [6_000_000]


def test_an_indivisible_bid_that_does_not_fit_is_refused(drive: Drive) -> None:
    driver = opened(drive, **ALONE)
    submit(driver, bid(0, quantity_w=500_000, min_quantity_w=500_000), bid(1, price_micros_per_mw_h=6_000_000))
    assert cleared(driver) == [("0000/0", "REJECTED", 0, "PRICE_TOO_HIGH"), ("0000/1", "ACCEPTED", 10_000, None)]


def test_what_breaks_a_rule_of_the_product_is_refused_with_the_reason(drive: Drive) -> None:
    driver = opened(drive, **ALONE)
    submit(
        driver,
        bid(0, quantity_w=5_500),
        bid(1, start=EVENING + QUARTER, quantity_w=4_000),
        bid(2, start=EVENING + 2 * QUARTER, price_micros_per_mw_h=200_000_000),
        bid(3, start=EVENING + 3 * QUARTER, quantity_w=3_000),
        bid(4, start=EVENING + 3 * QUARTER, quantity_w=2_000),
        bid(5, zone="elsewhere"),
        bid(6, start=utc("2023-05-08 20:00")),
    )
    assert cleared(driver) == [
        ("0000/0", "REJECTED", 0, "QUANTITY_INVALID"),
        ("0000/5", "REJECTED", 0, "PRODUCT_MISMATCH"),
        ("0015/1", "REJECTED", 0, "QUANTITY_INVALID"),
        ("0030/2", "REJECTED", 0, "PRICE_TOO_HIGH"),
        ("0045/3", "ACCEPTED", 3_000, None),
        ("0045/4", "ACCEPTED", 2_000, None),
        ("2000/6", "REJECTED", 0, "PERIOD_INVALID"),
    ]


def test_only_the_newest_revision_of_a_complete_submission_counts(drive: Drive) -> None:
    driver = opened(drive, **ALONE)
    submit(driver, bid(0), bid(1), bid(2, start=EVENING + QUARTER))
    submit(driver, bid(0, quantity_w=7_000, revision=1), bid(1, status="WITHDRAWN", revision=1), set_id="s1")
    submit(driver, bid(0, quantity_w=8_000, revision=2), set_id="s2", size=2)
    submit(driver, bid(3), set_id="s3", size=2)
    assert cleared(driver) == [
        ("0000/0", "ACCEPTED", 7_000, None),
        ("0000/3", "REJECTED", 0, "SET_INCOMPLETE"),
        ("0015/2", "ACCEPTED", 10_000, None),
    ]
    assert driver.read(BidCleared).sort("bid_id")["revision"].to_list() == [1, 0, 0]


def test_a_bid_that_comes_when_the_gate_is_closed_is_refused_at_once(drive: Drive) -> None:
    driver = opened(drive, **ALONE)
    driver.host.run(utc("2023-05-08 17:29"))
    submit(driver, bid(0))
    driver.host.settle()
    driver.host.pass_time(utc("2023-05-08 17:30"))  # the market has not been woken yet
    submit(driver, bid(1), set_id="s1")
    driver.host.run(utc("2023-05-08 17:31"))
    assert driver.read(BidCleared).select("bid_id", "status", "reason_code").rows() == [
        ("0000/1", "REJECTED", "GATE_CLOSED")
    ]
    assert cleared(driver)[0] == ("0000/0", "ACCEPTED", 10_000, None)


def test_our_share_depends_on_our_price(drive: Drive) -> None:
    won = []
    for price in (0, 10_000_000, 30_000_000, 99_000_000):
        driver = opened(drive)
        quarters = [utc("2023-05-09 07:00") + QUARTER * number for number in range(96)]
        submit(driver, *(bid(0, start, price_micros_per_mw_h=price) for start in quarters))
        won.append(sum(quantity for _, _, quantity, _ in cleared(driver)))
    assert won[0] == 96 * 10_000
    assert won[0] > won[1] > won[2] > won[3]


# Calls.


def full_day(driver: TopologyDriver, steps: int = 3) -> None:
    quarters = [utc("2023-05-09 07:00") + QUARTER * number for number in range(96)]
    submit(
        driver,
        *(
            bid(number, start, bid_id=f"{start:%Y%m%dT%H%M}/{number}", quantity_w=5_000 * (number + 1),
                price_micros_per_mwh=200_000_000 + number * 100_000_000)
            for start in quarters for number in range(steps)
        ),
    )  # fmt: skip


def test_energy_is_called_from_what_was_bought_with_a_quarter_hours_notice(drive: Drive) -> None:
    driver = opened(drive)
    full_day(driver)
    driver.host.run(utc("2023-05-10 07:00"))
    calls = driver.read(ActivationRequested)
    bought = driver.read(BidCleared)
    assert calls.height > 0
    log = driver.host.log.read(ActivationRequested.__topic__.name, 0, 0)
    notice = [start - timedelta(minutes=15) for start in calls["period_start"]]
    assert [utc("1970-01-01") + timedelta(microseconds=int(at)) for at in log.appended_at] == notice
    assert calls["reply_by"].to_list() == [at + timedelta(minutes=2) for at in notice]
    assert calls["activation_id"].n_unique() == calls.height
    for one in calls.iter_rows(named=True):
        length = one["period_end"] - one["period_start"]
        assert timedelta(minutes=30) <= length <= timedelta(minutes=60)
        number = int(one["activation_id"].rpartition("/")[2])
        assert one["activation_id"] == f"local-up%2F20230509/{one['period_start']:%Y%m%dT%H%M%SZ}/{number}"
        assert one["price_micros_per_mwh"] == 200_000_000 + number * 100_000_000
        held = bought.filter(
            BidCleared.bid_id.str.ends_with(f"/{number}")
            & (BidCleared.period_start >= one["period_start"])
            & (BidCleared.period_start < one["period_end"])
        )
        assert held.height == length / QUARTER
        assert 0 < one["quantity_w"] <= held["quantity_w"].min()


def test_dearer_energy_is_called_only_when_all_cheaper_is(drive: Drive) -> None:
    driver = opened(drive)
    full_day(driver)
    driver.host.run(utc("2023-05-10 07:00"))
    bought = driver.read(BidCleared)
    for (start,), block in driver.read(ActivationRequested).group_by("period_start", maintain_order=True):
        by_step = {int(name.rpartition("/")[2]): watts for name, watts in block.select("bid_id", "quantity_w").rows()}
        assert sorted(by_step) == list(range(len(by_step)))
        for number in range(len(by_step) - 1):
            held = bought.filter(
                BidCleared.bid_id.str.ends_with(f"/{number}")
                & (BidCleared.period_start >= start)
                & (BidCleared.period_start < block["period_end"][0])
            )
            assert by_step[number] == held["quantity_w"].min()


def test_a_call_is_no_more_than_was_bought_in_all_of_its_quarter_hours(drive: Drive) -> None:
    driver = opened(drive, **ALONE, demand_w=600_000)
    quarters = [utc("2023-05-09 07:00") + QUARTER * number for number in range(96)]
    submit(
        driver,
        *(bid(0, start, bid_id=f"{start:%m%dT%H%M}", quantity_w=7_000 + start.minute * 1_000) for start in quarters),
    )
    driver.host.run(utc("2023-05-10 07:00"))
    calls = driver.read(ActivationRequested)
    assert calls.height > 0
    for start, end, quantity_w in calls.select("period_start", "period_end", "quantity_w").rows():
        assert quantity_w == min(7_000 + at.minute * 1_000 for at in quarters if start <= at < end)


def test_a_call_whose_energy_prices_differ_has_their_mean(drive: Drive) -> None:
    driver = opened(drive, **ALONE)
    quarters = [utc("2023-05-09 07:00") + QUARTER * number for number in range(96)]
    prices = {start: 100_000_000 + number * 1_000_000 for number, start in enumerate(quarters)}
    submit(
        driver, *(bid(0, start, price_micros_per_mwh=prices[start], bid_id=f"{start:%m%dT%H%M}") for start in quarters)
    )
    driver.host.run(utc("2023-05-10 07:00"))
    calls = driver.read(ActivationRequested)
    assert calls.height == len(day_of(Config(start=START, **ALONE), date(2023, 5, 9)).calls)
    for start, end, price in calls.select("period_start", "period_end", "price_micros_per_mwh").rows():
        block = [prices[at] for at in quarters if start <= at < end]
        assert price == round(sum(block) / len(block))


@pytest.mark.parametrize("day", [date(2022, 11, 6), date(2023, 3, 12), date(2023, 5, 9)])
def test_blocks_of_a_day_do_not_touch_and_repeat(day: date) -> None:
    config = Config()
    calls = day_of(config, day).calls
    day_of.cache_clear()
    assert calls == day_of(config, day).calls
    assert 3 <= len(calls) <= 4
    for (first, length, _), (second, _, _) in pairwise(calls):
        assert first + length < second
    assert day_of(Config(seed=1), day).calls != calls


def test_a_restart_anywhere_changes_nothing(drive: Drive) -> None:
    worlds = []
    for crash in (False, True):
        driver = opened(drive)
        full_day(driver)
        for hour in range(1, 40):
            driver.host.run(OPEN + timedelta(hours=hour))
            if crash:
                driver.crash_and_restore()
        kinds = (GateScheduled, BidCleared, PricePublished, ActivationRequested)
        worlds.append([driver.read(kind) for kind in kinds])
    for undisturbed, restarted in zip(*worlds, strict=True):
        assert undisturbed.height > 0
        assert undisturbed.equals(restarted)
