"""What is played: days, simulators, wiring."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from demo.scenario import Plan, simulators
from streams.testing import utc


def of(name: str, plan: Plan) -> Any:
    """The configuration of one simulator."""
    (found,) = [edge.config for edge in simulators(plan, Path("data")) if edge.name == name]
    return found


def test_a_month_is_learned_and_a_week_traded() -> None:
    plan = Plan()
    assert plan.start == utc("2023-04-10 07:00")  # a Monday, 00:00 in Los Angeles
    assert plan.traded.since == utc("2023-05-08 07:00")
    assert plan.traded.until == utc("2023-05-15 07:00")
    assert of("market", plan).trade_from == date(2023, 5, 8)
    assert of("market", plan).trade_until == date(2023, 5, 14)


def test_days_are_local_over_a_change_of_the_clock() -> None:
    plan = Plan(learn=200, days=8)  # from 27 October; daylight saving ends on 5 November
    assert plan.traded.since == utc("2023-10-27 07:00")
    assert plan.traded.until == utc("2023-11-04 07:00")
    longer = Plan(learn=200, days=10)
    assert longer.traded.until == utc("2023-11-06 08:00")


def test_all_simulators_begin_together_on_the_same_data_and_seed() -> None:
    plan = Plan(seed=5, homes=34)
    for edge in simulators(plan, Path("data")):
        assert edge.config is not None
        held = edge.config.model_dump()
        assert held.get("seed", 5) == 5
        assert held.get("data", "data") == "data"
        assert held.get("start", held.get("valid_from")) == plan.start


def test_the_market_grows_with_the_homes() -> None:
    assert of("market", Plan(homes=17)).demand_w == 60_000
    assert of("market", Plan(homes=34)).demand_w == 120_000


@pytest.mark.parametrize("days", [1, 2, 7])
def test_activations_go_badly_within_the_traded_days(days: int) -> None:
    plan = Plan(days=days)
    faults = of("homes", plan).faults
    for begin in (faults.trouble_from, faults.dark_from):
        assert plan.traded.since <= begin < plan.traded.until - timedelta(hours=4)
    assert faults.dark_s >= 24 * 3600  # longer than it takes to state the day


def test_too_few_days_to_learn_from_are_refused() -> None:
    with pytest.raises(ValidationError):
        Plan(learn=6)
