"""The figures of a run, against the small world of `conftest.py`, worked out by hand."""

from datetime import timedelta

import pytest

from demo import facts
from demo.conftest import TRADED, World, reached
from demo.facts import Query, Traded
from demo.summary import Account, finished, party_totals, problems, summarise
from streams.hosts.replay import Mismatch, Outcome
from streams.testing import utc
from topics import IntervalMeasured, LineSettled, LoadPredicted, ResourceRegistered


def test_events_are_counted_and_restated_ones_count_once(told: Query) -> None:
    summary = summarise(told, TRADED)
    assert (summary.homes, summary.readings) == (2, 3)  # a double is a record too
    assert (summary.intervals, summary.interval_revisions) == (10, 1)
    assert (summary.bids, summary.bids_won, summary.activations) == (3, 1, 1)  # the cancelled activation is none
    assert (summary.instructions, summary.revocations) == (3, 1)
    assert (summary.settlement_lines, summary.correction_lines) == (14, 2)
    assert (summary.statements, summary.correcting_statements) == (8, 2)


def test_the_forecast_is_compared_with_the_newest_truth_and_the_week_before(told: Query) -> None:
    summary = summarise(told, TRADED)
    load, pv, net = summary.forecasts["load"], summary.forecasts["pv"], summary.forecasts["net"]
    # 300 Wh in a quarter-hour are 1,200 W against 1,000 forecast, 250 Wh are 1,000 W against 900. The estimated
    # quarter-hour does not count, nor does the forecast that came afterwards, nor the one that was replaced.
    assert (load.quarter_hours, load.forecast_mae_w) == (2, 150)
    assert load.naive_mae_w == (200 + 300) / 2  # 1,000 and 1,300 W the week before
    assert load.within == 0.5  # 1,200 lies in 800..1,300; 1,000 does not in 500..930
    assert (pv.quarter_hours, pv.forecast_mae_w, pv.naive_mae_w) == (1, 300, 400)  # -2,000 against -1,700 and -1,600
    assert summary.forecast_mae_w == pytest.approx((200 + 100 + 300) / 3, abs=0.001)
    assert summary.naive_mae_w == pytest.approx((200 + 300 + 400) / 3, abs=0.001)
    assert (net.quarter_hours, net.forecast_mae_w, net.naive_mae_w) == (1, 100, 200)  # -800 against -700 and -600
    assert net.within is None
    assert summary.better == pytest.approx(1 - 200 / 300, abs=1e-4)


def test_a_week_before_is_the_same_quarter_hour_of_the_clock(bare: World) -> None:
    # Daylight saving began on 2023-03-12: noon in Los Angeles is 20:00 UTC before it and 19:00 UTC after it.
    traded = Traded(utc("2023-03-15 07:00"), utc("2023-03-16 07:00"), "America/Los_Angeles")
    rest = {"commodity": "ELECTRICITY", "site_id": "h", "resource_id": "h/load"}
    bare.put(
        "2023-03-01 00:00",
        ResourceRegistered,
        "kind | role | valid_from\nload | CONSUMER | 2023-03-01",
        status="ACTIVE", control_type="NONE", power_min_w=0.0, power_max_w=1.0, origin="t", origin_id="1", **rest,
    )  # fmt: skip
    bare.put(
        "2023-03-15 20:00",
        IntervalMeasured,
        """
        period_start     | period_end       | energy_wh
        2023-03-08 19:00 | 2023-03-08 19:15 | 10
        2023-03-08 20:00 | 2023-03-08 20:15 | 100
        2023-03-15 19:00 | 2023-03-15 19:15 | 250
        """,
        revision=0, quality="MEASURED", coverage=1.0, samples=3, method="test", **rest,
    )  # fmt: skip
    quantiles = {f"q{name}_w": 900.0 for name in ("05", "10", "25", "50", "75", "90", "95")}
    bare.put(
        "2023-03-15 20:00",
        LoadPredicted,
        "issued_at | period_start | period_end\n2023-03-14 16:00 | 2023-03-15 19:00 | 2023-03-15 19:15",
        model_id="m", model_fingerprint="f", **quantiles, **rest,
    )  # fmt: skip
    errors = facts.forecast_errors(bare.query(), traded).filter(kind="load")
    assert errors["naive_mae_w"].to_list() == [600]  # 1,000 W against 400 W at noon
    assert errors["forecast_mae_w"].to_list() == [100]


def test_what_was_bid_won_asked_and_delivered_adds_up(told: Query) -> None:
    summary = summarise(told, TRADED)
    assert (summary.offered_wh, summary.won_wh) == (3000, 1500)  # 8 + 4 kW and 6 kW, for a quarter of an hour
    assert summary.quarter_hours_bid == 1
    assert summary.asked_wh == 5000  # 10 kW for half an hour
    assert summary.delivered_wh == 1500 + 1200 - 100 + 500
    assert summary.credited_wh == 2500 + 400  # the first quarter-hour is cut to what was asked
    assert summary.load_wh == 300 + 250 + 500
    assert summary.pv_wh == -500


def test_money_adds_up_by_account_and_by_party(told: Query) -> None:
    summary = summarise(told, TRADED)
    assert summary.currency == "USD"
    lines = {name: account.lines_micros for name, account in summary.accounts.items()}
    assert lines == {"account-01": 413000, "account-02": -10000, "aggregator": 74500, "market": -477500}
    assert {name: account.statements_micros for name, account in summary.accounts.items()} == lines
    assert summary.lines_sum_micros == 0
    assert summary.problems == ()
    parties = party_totals(summary)
    assert (parties.market, parties.aggregator, parties.homes) == (-477500, 74500, 403000)
    assert (parties.home_least, parties.home_most) == (-10000, 413000)


def test_a_line_without_statement_and_a_sum_that_is_not_zero_are_said(world: World) -> None:
    world.put(
        "2023-05-10 01:00",
        LineSettled,
        "account_id | counterparty_id | line_id | kind | amount_micros\naccount-02 | aggregator | odd | FEE | 7",
        portfolio_id="p", product_id="local-up", period_start=TRADED.since, period_end=TRADED.until, run_id="r",
        run_kind="FIXING", correction_no=0, currency="USD",
    )  # fmt: skip
    assert summarise(world.query(), TRADED).problems == (
        "all lines together are 7 millionths, not 0",
        "account account-02: its lines sum to -9993 millionths, its statements to -10000",
    )


def test_settlement_that_stopped_too_early_is_said(bare: World) -> None:
    reached(bare, TRADED.until - timedelta(hours=3))
    (problem,) = summarise(bare.query(), TRADED).problems
    assert "2023-05-09 04:00 UTC" in problem


def test_several_currencies_are_a_problem() -> None:
    assert problems({"a": Account(lines_micros=0, statements_micros=0)}, ["EUR", "USD"]) == [
        "lines in several currencies (EUR, USD) cannot be summed"
    ]


def test_a_replay_that_differs_or_is_incomplete_is_a_problem(told: Query) -> None:
    summary = summarise(told, TRADED)
    rest = {"phases": {"learn": 1.234}, "seconds": 1.5, "memory_mb": 100.0}
    good = finished(summary, commits=7, outcome=Outcome(commits=7), **rest)  # type: ignore[arg-type]
    assert (good.commits, good.replay_commits, good.replay_mismatches, good.problems) == (7, 7, 0, ())
    assert good.readings_per_s == 2
    odd = Mismatch("settlement", 0, 3, "settlement.line.v1: amount_micros", "1", "2")
    bad = finished(summary, commits=7, outcome=Outcome(commits=6, mismatches=[odd]), **rest)  # type: ignore[arg-type]
    assert bad.replay_mismatches == 1
    assert [str(odd), "6 of 7 commits were replayed"] == list(bad.problems)
    none = finished(summary, commits=7, outcome=None, **rest)  # type: ignore[arg-type]
    assert (none.replay_commits, none.replay_mismatches, none.problems) == (None, None, ())
