import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors import statement
from processors.statement.logic import digest
from streams.testing import TopologyDriver, assert_replayable, assert_rows, utc
from topics import LineSettled, RulePublished, StatementIssued

SPEC = replace(statement.SPEC, every=timedelta(hours=1))  # what it says does not depend on it

ZONE = "America/Los_Angeles"
ORIGIN = {"origin": "test", "origin_id": "1"}
LINE = {
    "kind": "ENERGY", "portfolio_id": "fontana", "product_id": "local-up", "run_id": "run", "energy_wh": 0,
    "run_kind": "FIXING", "correction_no": 0,
}  # fmt: skip


def start(driver: TopologyDriver, zone: str = ZONE) -> None:
    driver.pipe(
        RulePublished,
        [{"rule_id": "market.time_zone", "scope": "", "valid_from": utc("2020-01-01"), "status": "ACTIVE",
          "value_text": zone, "unit": "text", "source": "test"}],
        **ORIGIN,
    )  # fmt: skip


def line(line_id: str, at: str, amount: int, account: str = "account-01", other: str = "aggregator") -> dict[str, Any]:
    begin = utc(at)
    return LINE | {
        "line_id": line_id, "account_id": account, "counterparty_id": other, "currency": "USD",
        "period_start": begin, "period_end": begin + timedelta(minutes=15), "amount_micros": amount,
    }  # fmt: skip


@pytest.fixture
def driver() -> Iterator[TopologyDriver]:
    made = TopologyDriver(SPEC, at="2026-03-08 00:00")
    start(made)
    yield made
    made.close()


# The local day 2026-03-08 lasts from 08:00 UTC to 07:00 UTC (clocks go forward), 2026-03-09 from 07:00 to 07:00.


def test_a_day_is_stated_when_the_watermark_has_passed_its_end(driver: TopologyDriver) -> None:
    driver.pipe(LineSettled, [line("a/1", "2026-03-08 08:00", 5), line("a/2", "2026-03-09 06:45", -2)])
    driver.pipe(LineSettled, [line("a/3", "2026-03-09 07:00", 100)])
    driver.complete(LineSettled, to="2026-03-09 06:59")
    driver.advance(to="2026-03-09 08:00")
    assert driver.read(StatementIssued).is_empty()
    driver.complete(LineSettled, to="2026-03-09 07:00")
    driver.advance(to="2026-03-09 09:00")
    assert_rows(
        driver.read(StatementIssued),
        StatementIssued,
        """
        account_id | counterparty_id | currency | period_start     | period_end       | lines | amount_micros
        account-01 | aggregator      | USD      | 2026-03-08 08:00 | 2026-03-09 07:00 | 2     | 3
        """,
    )


def test_the_digest_is_that_of_the_sorted_ids_as_any_tool_makes_it(driver: TopologyDriver) -> None:
    driver.pipe(LineSettled, [line("b", "2026-03-08 10:00", 1), line("a", "2026-03-08 11:00", 1)])
    driver.advance(to="2026-03-09 08:00")
    assert driver.read(StatementIssued)["lines_digest"].to_list() == [hashlib.sha256(b"a\nb\n").hexdigest()]


def test_the_digests_in_the_contracts_examples_are_made_this_way() -> None:
    folder = Path(__file__).parents[2] / "avro" / "settlement"
    lines, statements = (
        json.loads((folder / f"{name}.examples.json").read_text()) for name in ("LineSettled", "StatementIssued")
    )
    for stated in statements:
        sides = stated["account_id"], stated["counterparty_id"], "corrects_statement_id" in stated
        own = [
            row["line_id"]
            for row in lines
            if (row["account_id"], row["counterparty_id"], row["correction_no"] > 0) == sides
        ]
        assert stated["lines"] == len(own)
        assert stated["lines_digest"] == digest(pl.Series(own))


def test_lines_of_a_day_that_has_been_stated_are_stated_with_the_next_day(driver: TopologyDriver) -> None:
    driver.pipe(LineSettled, [line("a", "2026-03-08 10:00", 10)])
    driver.advance(to="2026-03-09 08:00")
    driver.pipe(LineSettled, [line("a/1", "2026-03-08 10:00", -3)])
    driver.advance(to="2026-03-10 06:00")
    assert len(driver.read(StatementIssued)) == 1
    driver.advance(to="2026-03-10 08:00")
    driver.pipe(LineSettled, [line("a/2", "2026-03-08 10:00", -1)])
    driver.advance(to="2026-03-11 08:00")
    first = "account-01/aggregator/USD/20260308T080000Z/20260309T070000Z/"
    assert_rows(
        driver.read(StatementIssued),
        StatementIssued,
        f"""
        statement_id | lines | amount_micros | corrects_statement_id
        {first}0     | 1     | 10            |
        {first}1     | 1     | -3            | {first}0
        {first}2     | 1     | -1            | {first}0
        """,
    )


def test_counterparties_and_currencies_are_stated_apart(driver: TopologyDriver) -> None:
    driver.pipe(
        LineSettled,
        [
            line("a", "2026-03-08 10:00", 7, "aggregator", "local-market"),
            line("b", "2026-03-08 10:00", -5, "aggregator", "account-01"),
            line("c", "2026-03-08 10:00", 5, "account-01", "aggregator"),
            line("d", "2026-03-08 10:00", 9, "account-01", "aggregator") | {"currency": "EUR"},
        ],
    )
    driver.advance(to="2026-03-09 08:00")
    stated = driver.read(StatementIssued).sort("account_id", "counterparty_id", "currency")
    assert stated.select("account_id", "counterparty_id", "currency", "amount_micros").rows() == [
        ("account-01", "aggregator", "EUR", 9),
        ("account-01", "aggregator", "USD", 5),
        ("aggregator", "account-01", "USD", -5),
        ("aggregator", "local-market", "USD", 7),
    ]


@pytest.mark.parametrize(("day", "hours"), [("2026-03-08", 23), ("2026-11-01", 25), ("2026-07-01", 24)])
def test_a_local_day_of_92_or_100_quarter_hours_is_one_statement(day: str, hours: int) -> None:
    begin = utc(day) + timedelta(hours=8 if day == "2026-03-08" else 7)  # midnight in Los Angeles
    driver = TopologyDriver(SPEC, at=begin)
    try:
        start(driver)
        quarters = [begin + timedelta(minutes=15 * number) for number in range(-1, 4 * hours + 1)]
        driver.pipe(LineSettled, [line(f"{at:%d%H%M}", at.isoformat()[:16], 1) for at in quarters])
        driver.advance(to=begin + timedelta(hours=hours + 1))
        stated = driver.read(StatementIssued).filter(StatementIssued.period_start == begin)
        assert stated.select("lines", "amount_micros").rows() == [(4 * hours, 4 * hours)]
        assert stated["period_end"].to_list() == [begin + timedelta(hours=hours)]
    finally:
        driver.close()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 200),  # when it is made, in hours
            st.integers(0, 400),  # how many quarter-hours before that it was delivered
            st.integers(-(10**12), 10**12),
            st.sampled_from(["account-01", "account-02"]),
        ),
        max_size=30,
    )
)
@settings(max_examples=10, deadline=None)
def test_the_statements_of_an_account_sum_to_its_lines(made: list[tuple[int, int, int, str]]) -> None:
    begin = utc("2026-03-05 00:00")
    driver = TopologyDriver(SPEC, at=begin, tick=timedelta(hours=6), twice=False)
    try:
        start(driver)
        for number, (hour, before, amount, account) in enumerate(sorted(made)):
            driver.advance(to=max(driver.now, begin + timedelta(hours=hour)))
            at: datetime = begin + timedelta(hours=hour) - timedelta(minutes=15 * before)
            driver.pipe(LineSettled, [line(f"{account}/{number}", at.isoformat()[:16], amount, account)])
        driver.advance(to=begin + timedelta(hours=260))
        stated = driver.read(StatementIssued).group_by("account_id").agg(pl.col("lines", "amount_micros").sum())
        lines = driver.read(LineSettled).group_by("account_id")
        assert sorted(stated.rows()) == sorted(lines.agg(pl.len().cast(pl.Int64), pl.col("amount_micros").sum()).rows())
    finally:
        driver.close()


def test_cuts_partitions_and_crashes_change_nothing() -> None:
    def scenario(driver: TopologyDriver) -> None:
        start(driver)
        for number in range(8):
            at = f"2026-03-{8 + number // 4:02d} {9 + number % 4 * 3:02d}:00"
            accounts = f"account-0{number % 3}", "aggregator"
            driver.pipe(LineSettled, [line(f"{number}+", at, number, *accounts)])
            driver.pipe(LineSettled, [line(f"{number}-", at, -number, *accounts[::-1])])
            driver.advance(by=timedelta(hours=11))
        driver.advance(to="2026-03-13 09:00")
        assert driver.read(StatementIssued)["lines"].sum() == 16

    assert_replayable(SPEC, scenario=scenario, at="2026-03-08 08:00", tick=timedelta(hours=6), runs=2)
