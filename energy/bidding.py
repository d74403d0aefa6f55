"""What to bid at which price: a stochastic mixed-integer programme over price scenarios (Pyomo, HiGHS).

In each period t a portfolio has a merit-order curve of firm quantity: steps j of w_j watts that cost c_j per MWh when
called. The market's clearing price is uncertain: scenarios s, all as likely. A bid of n steps at price p_k is won where
the clearing price is at least p_k (the portfolio is a price taker); won capacity is called for a share a_t of the time
and its energy paid e_t. With A_s the quantity won in scenario s and h_t the hours of the period,

    maximise   mean over s of  h_t x ( sum over k won in s of pay_k,s x n_k x step
                                       + a_t x sum over j of (e_t - c_j) x y_s,j )
    such that  sum over j of y_s,j = A_s,  0 <= y_s,j <= w_j        calls are served by the cheapest
               sum over k of n_k x step <= sum over j of w_j        no more than is firm
               n_k = 0  or  n_k x step >= the product's minimum     each price is a bid of its own
               sum over t, k of a_t x h_t x n_k x step <= energy    where calls of all periods share energy
               at most so many periods with bids                    where the product says so

pay_k,s is p_k where the product pays as bid, and the clearing price where it pays the marginal price. An energy
product is the case a = 1, e = 0. To bid between the prices of two scenarios is never better than at the higher one, so
the prices to choose from are scenario prices. Scenarios that win the same bids are one case with their number as
weight, and without a limit over several periods equal periods are solved once: both leave the optimum as it is.

Source: the two-stage form in Conejo, Carrion, Morales, "Decision Making Under Uncertainty in Electricity Markets"
(2010), risk-neutral.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import polars as pl

from energy.time import UTC_MICROS, with_local

GAP = 1e-9
NODES = 10_000
HOUR_S = 3600


@dataclass(frozen=True)
class Product:
    """What the market takes (market.product): whole W."""

    step_w: int
    min_quantity_w: int
    pricing: Literal["PAY_AS_BID", "MARGINAL"]


@dataclass(frozen=True)
class Supply:
    """A step of the portfolio's curve: firm quantity and its cost when called."""

    quantity_w: int
    cost_micros_per_mwh: int


@dataclass(frozen=True)
class Period:
    """One period of delivery.

    Attributes:
        duration_s: Its length.
        supply: The curve, in any order.
        clearing_prices: A price per scenario, micros per MW and hour (an energy product: per MWh).
        activation_ratio: Share of won capacity that is called, 0 to 1.
        energy_micros_per_mwh: What called energy is paid.
    """

    duration_s: int
    supply: tuple[Supply, ...]
    clearing_prices: tuple[int, ...]
    activation_ratio: float = 0.0
    energy_micros_per_mwh: int = 0


@dataclass(frozen=True)
class Problem:
    """What is to be decided at a gate.

    Attributes:
        product: Rules of the market.
        periods: The periods of the gate.
        levels: Prices to choose from in each period, at most.
        energy_limit_wh: Expected called energy of all periods together.
        periods_max: Periods in which something may be bid.
    """

    product: Product
    periods: tuple[Period, ...]
    levels: int = 6
    energy_limit_wh: int | None = None
    periods_max: int | None = None

    def __post_init__(self) -> None:
        if self.product.step_w <= 0 or self.levels <= 0:
            raise ValueError("a product's step and the number of price levels are positive")
        if any(step.quantity_w < 0 for period in self.periods for step in period.supply):
            raise ValueError("quantities are magnitudes and not negative")
        if any(not 0 <= period.activation_ratio <= 1 for period in self.periods):
            raise ValueError("an activation ratio lies between 0 and 1")


@dataclass(frozen=True)
class Bid:
    """A quantity at a price, micros per MW and hour (an energy product: per MWh)."""

    price_micros: int
    quantity_w: int


@dataclass(frozen=True)
class Solution:
    """The bids of each period by rising price, and the profit to be expected of them."""

    bids: tuple[tuple[Bid, ...], ...]
    expected_profit_micros: int


def solve(problem: Problem, *, gap: float = GAP, nodes: int = NODES) -> Solution:
    """Choose the bids with the greatest expected profit.

    Args:
        problem: What is to be decided. A period without scenarios or supply gets no bids.
        gap: Relative gap at which the search stops.
        nodes: Branches after which it stops with the best it has.

    Raises:
        RuntimeError: HiGHS found nothing; to bid nothing is a solution, so this is a fault.
    """
    coupled = problem.energy_limit_wh is not None or problem.periods_max is not None
    cases = list(range(len(problem.periods)))
    if not coupled:
        first = {period: number for number, period in reversed(list(enumerate(problem.periods)))}
        cases = [first[period] for period in problem.periods]
    chosen = _run(problem, sorted(set(cases)), gap, nodes)
    bids = tuple(chosen[case] for case in cases)
    return Solution(bids, round(expected_profit(problem, bids)))


def price_levels(clearing_prices: Sequence[int], levels: int) -> list[int]:
    """Return the prices to choose from: the scenarios', or as many of them as allowed, evenly by rank."""
    distinct = sorted(set(clearing_prices))
    if len(distinct) <= levels:
        return distinct
    if levels == 1:
        return distinct[len(distinct) // 2 :][:1]
    return [distinct[number * (len(distinct) - 1) // (levels - 1)] for number in range(levels)]


def expected_profit(problem: Problem, bids: Sequence[Sequence[Bid]]) -> Fraction:
    """Return the exact expected profit of bids in micros, scenario by scenario."""
    total = Fraction(0)
    for period, offered in zip(problem.periods, bids, strict=True):
        for price in period.clearing_prices:
            won = [bid for bid in offered if bid.price_micros <= price]
            marginal = problem.product.pricing == "MARGINAL"
            value = Fraction(sum(bid.quantity_w * (price if marginal else bid.price_micros) for bid in won))
            called = sum(bid.quantity_w for bid in won)
            ratio = Fraction(period.activation_ratio)
            for step in sorted(period.supply, key=lambda one: one.cost_micros_per_mwh):
                part = min(step.quantity_w, called)
                called -= part
                value += ratio * part * (period.energy_micros_per_mwh - step.cost_micros_per_mwh)
            total += value * period.duration_s / len(period.clearing_prices) / (HOUR_S * 1_000_000)
    return total


@dataclass
class _Case:
    """One period in the model: its prices, the probability of winning exactly the first m + 1, and its variables."""

    period: Period
    prices: list[int]
    chance: list[float]
    most: int
    number: Any = None
    on: Any = None


def _case(problem: Problem, period: Period) -> _Case:
    prices = price_levels(period.clearing_prices, problem.levels)
    won = np.searchsorted(prices, period.clearing_prices, side="right")
    counts = np.bincount(won, minlength=len(prices) + 1)[1:]
    most = sum(step.quantity_w for step in period.supply) // problem.product.step_w
    return _Case(period, prices, [count / max(1, len(period.clearing_prices)) for count in counts.tolist()], most)


def _revenue(problem: Problem, case: _Case, level: int) -> float:
    """Return the capacity payment to be expected per W bid at a level and hour, in micros."""
    price, scenarios = case.prices[level], case.period.clearing_prices
    won = [clearing for clearing in scenarios if clearing >= price]
    paid = sum(won) if problem.product.pricing == "MARGINAL" else price * len(won)
    return paid / len(scenarios) / 1e6


def _run(problem: Problem, numbers: Sequence[int], gap: float, nodes: int) -> dict[int, tuple[Bid, ...]]:
    """State the periods to Pyomo, solve, and return their bids."""
    cases = {number: _case(problem, problem.periods[number]) for number in numbers}
    live = {
        n: case for n, case in cases.items() if case.prices and case.most * problem.product.step_w >= _least(problem)
    }
    if live:
        _solve_model(_model(problem, live), gap, nodes)
    step = problem.product.step_w
    return {
        number: tuple(
            Bid(price, round(case.number[level].value) * step)
            for level, price in enumerate(case.prices)
            if round(case.number[level].value) > 0
        )
        if number in live
        else ()
        for number, case in cases.items()
    }


def _least(problem: Problem) -> int:
    """Return the smallest bid, in W: the product's minimum in whole steps."""
    step = problem.product.step_w
    return max(1, -(-problem.product.min_quantity_w // step)) * step


def _model(problem: Problem, cases: dict[int, _Case]) -> Any:
    """State the model to Pyomo; quantities in the product's steps, money in micros."""
    import pyomo.environ as pyo  # noqa: PLC0415  # slow to import
    from pyomo.core.expr.numeric_expr import LinearExpression  # noqa: PLC0415

    model = pyo.ConcreteModel()
    places = [(number, level) for number, case in cases.items() for level in range(len(case.prices))]
    model.number = pyo.Var(
        places, domain=pyo.NonNegativeIntegers, bounds=lambda _, number, _level: (0, cases[number].most)
    )
    model.rows = pyo.ConstraintList()
    goal: list[tuple[float, Any]] = []

    def row(terms: Sequence[tuple[float, Any]], most: float | None, least: float | None = None) -> None:
        coefficients, variables = [term[0] for term in terms], [term[1] for term in terms]
        model.rows.add((least, LinearExpression(linear_coefs=coefficients, linear_vars=variables), most))

    fewest = _least(problem) // problem.product.step_w
    if fewest > 1 or problem.periods_max is not None:
        model.on = pyo.Var(places, domain=pyo.Binary)
    for number, case in cases.items():
        case.number = [model.number[number, level] for level in range(len(case.prices))]
        row([(1, bid) for bid in case.number], case.most)
        scale = problem.product.step_w * case.period.duration_s / HOUR_S
        goal += [(scale * _revenue(problem, case, level), bid) for level, bid in enumerate(case.number)]
        if hasattr(model, "on"):
            case.on = [model.on[number, level] for level in range(len(case.prices))]
            for bid, on in zip(case.number, case.on, strict=True):
                row([(1, bid), (-case.most, on)], 0)
                row([(1, bid), (-fewest, on)], None, 0)
    model.called = pyo.VarList(domain=pyo.NonNegativeReals)
    for case in cases.values():
        goal += _calls(problem, case, model.called, row)
    _couple(problem, cases, pyo, model, row)
    model.profit = pyo.Objective(
        expr=LinearExpression(linear_coefs=[term[0] for term in goal], linear_vars=[term[1] for term in goal]),
        sense=pyo.maximize,
    )
    return model


def _calls(problem: Problem, case: _Case, called: Any, row: Any) -> Iterator[tuple[float, Any]]:
    """State how calls of what is won are served, and return what they are worth."""
    period, step = case.period, problem.product.step_w
    scale = step * period.duration_s / HOUR_S * period.activation_ratio / 1e6
    if not scale:
        return
    supply = sorted((one for one in period.supply if one.quantity_w), key=lambda one: one.cost_micros_per_mwh)
    margins = [period.energy_micros_per_mwh - one.cost_micros_per_mwh for one in supply]
    for level, chance in enumerate(case.chance):
        won = case.number[: level + 1]
        if not chance:
            continue
        if len(set(margins)) == 1:
            yield from ((scale * chance * margins[0], bid) for bid in won)
            continue
        served = []
        for one, margin in zip(supply, margins, strict=True):
            part = called.add()
            part.setub(one.quantity_w / step)
            served.append((1, part))
            yield scale * chance * margin, part
        row([*served, *((-1, bid) for bid in won)], 0, 0)


def _couple(problem: Problem, cases: dict[int, _Case], pyo: Any, model: Any, row: Any) -> None:
    """State the limits over several periods."""
    if problem.energy_limit_wh is not None:
        used = [
            (problem.product.step_w * case.period.duration_s / HOUR_S * case.period.activation_ratio, bid)
            for case in cases.values()
            for bid in case.number
        ]
        row(used, problem.energy_limit_wh)
    if problem.periods_max is not None:
        model.bidding = pyo.Var(list(cases), domain=pyo.Binary)
        for number, case in cases.items():
            for on in case.on:
                row([(1, on), (-1, model.bidding[number])], 0)
        row([(1, model.bidding[number]) for number in cases], problem.periods_max)


def _solve_model(model: Any, gap: float, nodes: int) -> None:
    """Run HiGHS in this process on one thread, bounded by gap and nodes so that a result repeats."""
    from pyomo.contrib.solver.common.factory import SolverFactory  # noqa: PLC0415  # slow to import

    options = {"random_seed": 0, "mip_rel_gap": gap, "mip_max_nodes": nodes}
    result = SolverFactory("highs").solve(
        model, threads=1, solver_options=options, load_solutions=False, raise_exception_on_nonoptimal_result=False
    )
    if result.incumbent_objective is None:
        raise RuntimeError(f"HiGHS did not solve the bidding problem: {result.termination_condition.name}")
    result.solution_loader.load_vars()


def price_scenarios(
    past: pl.DataFrame, periods: Sequence[datetime], *, timezone: str, count: int, seed: int
) -> list[tuple[int, ...]]:
    """Draw price scenarios from past clearing prices: whole local days, so that the hours of one go together.

    Args:
        past: ``period_start`` (UTC) and ``price_micros`` (Int64), one market's clearing prices.
        periods: Starts of the periods of delivery.
        timezone: The market's.
        count: How many scenarios; with fewer days known each of them is one.
        seed: Of the draw, without repetition.

    Returns:
        For each period a price per scenario, in the order of the days drawn; a day without a price at that time of day
        is left out there. Without past prices, empty.
    """
    at = pl.DataFrame({"period_start": pl.Series(periods, dtype=UTC_MICROS)}).with_columns(timezone=pl.lit(timezone))
    known = with_local(past.drop_nulls("price_micros").with_columns(timezone=pl.lit(timezone)).sort("period_start"))
    days: list[date] = known["local_date"].unique(maintain_order=True).to_list()
    drawn = np.random.Generator(np.random.PCG64(seed)).permutation(len(days))[:count]
    chosen = pl.DataFrame({"local_date": sorted(days[number] for number in drawn)}, schema={"local_date": pl.Date()})
    prices: dict[tuple[date, int], int] = {
        (row[0], row[1]): row[2]
        for row in known.join(chosen, on="local_date", how="semi", maintain_order="left")
        .select("local_date", "clock_quarter", "price_micros")
        .iter_rows()
    }
    return [
        tuple(prices[day, quarter] for day in chosen["local_date"] if (day, quarter) in prices)
        for quarter in with_local(at)["clock_quarter"]
    ]
