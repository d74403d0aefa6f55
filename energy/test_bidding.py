import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.bidding import (
    Bid,
    Period,
    Problem,
    Product,
    Supply,
    expected_profit,
    price_levels,
    price_scenarios,
    solve,
)
from energy.time import QUARTER, UTC_MICROS, quarters_of_day

EUR = 1_000_000
LOCAL = Product(step_w=1000, min_quantity_w=5000, pricing="PAY_AS_BID")
HOUR = 3600


def period(prices: tuple[int, ...], *supply: tuple[int, int], ratio: float = 0.0, paid: int = 0) -> Period:
    """An hour; prices and costs in whole units of currency."""
    steps = tuple(Supply(quantity, cost * EUR) for quantity, cost in supply)
    return Period(HOUR, steps, tuple(price * EUR for price in prices), ratio, paid * EUR)


def test_pay_as_bid_weighs_the_price_against_the_chance_to_win() -> None:
    # 10 is won always, 14 in two of four, 30 in one: 10 > 30 / 4 > 14 / 2
    solution = solve(Problem(LOCAL, (period((10, 10, 14, 30), (20_000, 0)),)))
    assert solution.bids == ((Bid(10 * EUR, 20_000),),)
    assert solution.expected_profit_micros == 20 * 10 * EUR // 1000
    # 12 x 3 / 4 is less than 10, 41 / 4 is more
    dearer = solve(Problem(LOCAL, (period((10, 12, 12, 41), (20_000, 0)),)))
    assert dearer.bids == ((Bid(41 * EUR, 20_000),),)


def test_the_marginal_price_is_paid_whatever_was_bid() -> None:
    marginal = replace(LOCAL, pricing="MARGINAL")
    solution = solve(Problem(marginal, (period((10, 10, 14, 30), (20_000, 0)),)))
    assert solution.bids == ((Bid(10 * EUR, 20_000),),)
    assert solution.expected_profit_micros == 20 * 16 * EUR // 1000  # the mean of the four


def test_costs_of_calls_keep_dear_steps_out_of_low_prices() -> None:
    # Called half the time and paid 50: the first step earns 15 with that, the second loses 30, which only 40 covers.
    stated = Problem(LOCAL, (period((30, 40), (8000, 20), (8000, 110), ratio=0.5, paid=50),))
    solution = solve(stated)
    assert solution.bids == ((Bid(30 * EUR, 8000), Bid(40 * EUR, 8000)),)
    # 8 kW x (30 + 15), and in half the cases 8 kW x (40 - 30)
    assert solution.expected_profit_micros == 360_000 + 40_000
    assert expected_profit(stated, solution.bids) == 400_000


def test_an_energy_product_is_called_always_and_paid_its_price() -> None:
    # at cost 25, the chance of 60 in two is worth 35 / 2 = 17.5; 30 always is worth 5
    solution = solve(Problem(LOCAL, (period((30, 60), (9500, 25), ratio=1.0),)))
    assert solution.bids == ((Bid(60 * EUR, 9000),),)
    assert solution.expected_profit_micros == 157_500


def test_nothing_is_bid_below_the_minimum_nor_at_a_loss() -> None:
    assert solve(Problem(LOCAL, (period((10,), (4999, 0)),))).bids == ((),)
    assert solve(Problem(LOCAL, (period((10,), (9999, 0)),))).bids == ((Bid(10 * EUR, 9000),),)
    assert solve(Problem(LOCAL, (period((10, 20), (9000, 90), ratio=1.0, paid=50),))).bids == ((),)
    assert solve(Problem(LOCAL, (period(()), period((), (9000, 0))))).bids == ((), ())
    # 6 kW cannot be two bids of at least 5 kW
    split = solve(Problem(LOCAL, (period((10, 40), (3000, 0), (3000, 79), ratio=1.0),)))
    assert len(split.bids[0]) == 1


def test_energy_shared_by_all_periods_goes_where_it_earns_most() -> None:
    periods = tuple(period((price,), (10_000, 0), ratio=0.2) for price in (10, 30, 20))
    # 10 kW called for 0.2 h are 2 kWh
    stated = Problem(LOCAL, periods, energy_limit_wh=3000)
    solution = solve(stated)
    assert [sum(bid.quantity_w for bid in bids) for bids in solution.bids] == [0, 10_000, 5000]
    # 1 Wh less: 9 kW at 30 and 5 kW at 20 earn more than 10 kW at 30 alone
    less = solve(replace(stated, energy_limit_wh=2999))
    assert [sum(bid.quantity_w for bid in bids) for bids in less.bids] == [0, 9000, 5000]
    assert [len(bids) for bids in solve(replace(stated, energy_limit_wh=None)).bids] == [1, 1, 1]


def test_no_more_periods_are_bid_than_allowed() -> None:
    periods = tuple(period((price,), (10_000, 0)) for price in (10, 30, 20))
    solution = solve(Problem(LOCAL, periods, periods_max=2))
    assert [len(bids) for bids in solution.bids] == [0, 1, 1]
    assert solve(Problem(replace(LOCAL, min_quantity_w=0), periods, periods_max=1)).bids[1] != ()


def test_equal_periods_get_equal_bids_and_the_profit_counts_each() -> None:
    one, other = period((10, 20), (7000, 5)), period((50,), (7000, 5))
    solution = solve(Problem(LOCAL, (one, other, one)))
    assert solution.bids[0] == solution.bids[2] != solution.bids[1]
    alone = solve(Problem(LOCAL, (one,))).expected_profit_micros
    assert solution.expected_profit_micros == 2 * alone + solve(Problem(LOCAL, (other,))).expected_profit_micros


def test_prices_to_choose_from_keep_the_lowest_and_the_highest() -> None:
    assert price_levels((5, 1, 5, 3), 6) == [1, 3, 5]
    assert price_levels(range(101), 3) == [0, 50, 100]
    assert price_levels(range(10), 4) == [0, 3, 6, 9]
    assert price_levels((1, 2, 3), 1) == [2]
    assert price_levels((), 3) == []


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Problem(replace(LOCAL, step_w=0), ()),
        lambda: Problem(LOCAL, (), levels=0),
        lambda: Problem(LOCAL, (period((1,), (-1, 0)),)),
        lambda: Problem(LOCAL, (period((1,), (1, 0), ratio=1.01),)),
    ],
)
def test_a_problem_that_makes_no_sense_is_refused(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(ValueError, match=r"positive|negative|between 0 and 1"):
        wrong()


@st.composite
def small_problems(draw: st.DrawFn) -> Problem:
    price = st.integers(-5, 40)
    periods = []
    for _ in range(draw(st.integers(1, 2))):
        supply = [(draw(st.integers(0, 3)) * 1000 + 500, draw(st.integers(0, 80))) for _ in range(2)]
        prices = tuple(draw(st.lists(price, min_size=1, max_size=4)))
        ratio = draw(st.sampled_from([0.0, 0.25, 1.0]))
        periods.append(period(prices, *supply, ratio=ratio, paid=draw(st.integers(0, 60))))
    product = Product(
        1000, draw(st.sampled_from([0, 1000, 2000, 2500])), draw(st.sampled_from(["PAY_AS_BID", "MARGINAL"]))
    )
    limit = draw(st.none() | st.integers(0, 4000))
    return Problem(product, tuple(periods), 3, limit, draw(st.none() | st.integers(0, 2)))


def every_bid(stated: Problem, one: Period) -> list[tuple[Bid, ...]]:
    """All that may be bid in a period."""
    most = sum(step.quantity_w for step in one.supply)
    sizes = [0, *(size for size in range(1000, most + 1, 1000) if size >= stated.product.min_quantity_w)]
    prices = price_levels(one.clearing_prices, stated.levels)
    found = []
    for quantities in itertools.product(sizes, repeat=len(prices)):
        if sum(quantities) <= most:
            pairs = zip(prices, quantities, strict=True)
            found.append(tuple(Bid(price, quantity) for price, quantity in pairs if quantity))
    return found


def allowed(stated: Problem, bids: tuple[tuple[Bid, ...], ...]) -> bool:
    called = sum(
        Fraction(one.activation_ratio) * bid.quantity_w
        for one, offered in zip(stated.periods, bids, strict=True)
        for bid in offered
    )
    few = stated.periods_max is None or sum(bool(offered) for offered in bids) <= stated.periods_max
    return few and (stated.energy_limit_wh is None or called <= stated.energy_limit_wh)


@settings(max_examples=80, deadline=None)
@given(stated=small_problems())
def test_no_other_bids_earn_more(stated: Problem) -> None:
    solution = solve(stated)
    choices = [every_bid(stated, one) for one in stated.periods]
    assert all(mine in choice for mine, choice in zip(solution.bids, choices, strict=True))
    assert allowed(stated, solution.bids)
    best = max(expected_profit(stated, bids) for bids in itertools.product(*choices) if allowed(stated, bids))
    assert expected_profit(stated, solution.bids) == pytest.approx(best, abs=1e-3)
    assert solution.expected_profit_micros == pytest.approx(best, abs=1)


def past(first: datetime, days: int) -> pl.DataFrame:
    """Prices that say when they were: day x 1000 + quarter-hour of the clock (UTC)."""
    starts = [first + QUARTER * number for number in range(96 * days)]
    prices = [number // 96 * 1000 + number % 96 for number in range(96 * days)]
    return pl.DataFrame({"period_start": starts, "price_micros": prices}).cast({"period_start": UTC_MICROS})


def test_scenarios_are_whole_days_drawn_without_repetition() -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    periods = [datetime(2026, 2, 1, tzinfo=UTC) + QUARTER * number for number in range(96)]
    scenarios = price_scenarios(past(first, 10), periods, timezone="UTC", count=4, seed=1)
    days = [price // 1000 for price in scenarios[0]]
    assert len(set(days)) == 4
    assert scenarios == [tuple(day * 1000 + quarter for day in days) for quarter in range(96)]
    assert scenarios == price_scenarios(past(first, 10), periods, timezone="UTC", count=4, seed=1)
    drawn = {price_scenarios(past(first, 10), periods, timezone="UTC", count=4, seed=s)[0] for s in range(20)}
    assert len(drawn) > 10
    assert [
        price // 1000 for price in price_scenarios(past(first, 3), periods, timezone="UTC", count=9, seed=1)[0]
    ] == [0, 1, 2]


def test_scenarios_go_by_the_local_clock() -> None:
    zone = "Europe/Brussels"
    before = quarters_of_day(datetime(2026, 10, 24, tzinfo=UTC).date(), zone)
    known = pl.DataFrame({"period_start": before, "price_micros": range(96)}).cast({"period_start": UTC_MICROS})
    autumn = quarters_of_day(datetime(2026, 10, 25, tzinfo=UTC).date(), zone)
    scenarios = price_scenarios(known, autumn, timezone=zone, count=5, seed=0)
    clock = [*range(12), *range(8, 96)]  # 02:00 to 03:00 comes twice
    assert scenarios == [(quarter,) for quarter in clock]


def test_without_past_prices_there_are_no_scenarios() -> None:
    none = past(datetime(2026, 1, 1, tzinfo=UTC), 0)
    assert price_scenarios(none, [datetime(2026, 2, 1, tzinfo=UTC)], timezone="UTC", count=5, seed=0) == [()]
    holes = past(datetime(2026, 1, 1, tzinfo=UTC), 2).filter(pl.col("price_micros") != 1000)
    at = [datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC) + timedelta(minutes=15)]
    assert price_scenarios(holes, at, timezone="UTC", count=5, seed=0) == [(0,), (1, 1001)]
