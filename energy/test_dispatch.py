import itertools
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy import dispatch as ed
from energy.dispatch import EnergyLimit, PowerLimit, Problem, Resource, Solution, solve, solve_greedy, solve_highs

QUARTER_S = 900


def resource(name: str, price: int, *power_w: int, first: int = 0, min_w: int = 0) -> Resource:
    """A resource whose price is in whole units of currency per MWh."""
    return Resource(name, price * 1_000_000, power_w, first, min_w)


def problem(
    requested: tuple[int, ...],
    *resources: Resource,
    energy: tuple[EnergyLimit, ...] = (),
    power: tuple[PowerLimit, ...] = (),
    duration_s: int = QUARTER_S,
) -> Problem:
    return Problem((duration_s,) * len(requested), requested, resources, 3_000_000_000, energy, power)


def cost_of(stated: Problem, allotted: dict[str, tuple[int, ...]], shortfall: tuple[int, ...]) -> Fraction:
    """Exact cost in micros, by the definition."""
    total = Fraction(0)
    for one in stated.resources:
        for index, power in enumerate(allotted[one.resource_id]):
            total += power * stated.durations_s[one.first + index] * one.price_micros_per_mwh
    for missing, seconds in zip(shortfall, stated.durations_s, strict=True):
        total += missing * seconds * stated.shortfall_micros_per_mwh
    return total / (3600 * 10**6)


def assert_holds(stated: Problem, found: Solution) -> None:
    """A solution keeps every limit, adds up to the request, and costs what it says."""
    for period, requested in enumerate(stated.requested_w):
        given_w = {
            one.resource_id: found.allotted_w[one.resource_id][period - one.first]
            for one in stated.resources
            if one.first <= period < one.first + len(one.power_w)
        }
        assert sum(given_w.values()) + found.shortfall_w[period] == requested
        assert found.shortfall_w[period] >= 0
        for one in stated.resources:
            power = given_w.get(one.resource_id, 0)
            assert 0 <= power <= one.available(period)
            assert power == 0 or power >= one.min_w
        for cap in stated.power_limits:
            assert sum(given_w.get(name, 0) for name in cap.resources) <= cap.limit_w[period]
    for limit in stated.energy_limits:
        used = sum(
            power * stated.durations_s[one.first + index]
            for one in stated.resources
            if one.resource_id in limit.resources
            for index, power in enumerate(found.allotted_w[one.resource_id])
        )
        assert used <= limit.limit_wh * 3600
    assert abs(cost_of(stated, found.allotted_w, found.shortfall_w) - found.cost_micros) <= Fraction(1, 2)


def test_the_cheapest_go_first() -> None:
    stated = problem((7000,), resource("a", 90, 5000), resource("b", 60, 5000), resource("c", 60, 1000))
    found = solve(stated)
    assert found.solver == "GREEDY"
    assert found.allotted_w == {"a": (1000,), "b": (5000,), "c": (1000,)}
    # a quarter-hour: 0.25 MWh/MW x (1 kW x 90 + 6 kW x 60) = 0.1125
    assert found.cost_micros == 112_500
    assert_holds(stated, found)


def test_what_cannot_be_delivered_is_a_shortfall_at_its_price() -> None:
    stated = problem((7000, 500), resource("a", 100, 5000, 5000), resource("dear", 3001, 5000, 5000))
    for found in (solve_greedy(stated), solve_highs(stated)):
        assert found.allotted_w == {"a": (5000, 500), "dear": (0, 0)}
        assert found.shortfall_w == (2000, 0)
        assert found.cost_micros == 137_500 + 1_500_000


def test_energy_is_spent_where_it_saves_most() -> None:
    # "a" has energy for one of two quarter-hours only; in the second there is nobody else
    stated = problem(
        (4000, 4000), resource("a", 50, 4000, 4000), resource("b", 80, 4000), energy=(EnergyLimit(("a",), 1000),)
    )
    assert not ed.is_nested(stated)
    found = solve(stated)
    assert found.solver == "HIGHS"
    assert found.allotted_w == {"a": (0, 4000), "b": (4000,)}
    assert found.shortfall_w == (0, 0)
    assert_holds(stated, found)


def test_limits_of_site_and_node_hold_at_once() -> None:
    homes = [resource(name, price, 5000) for name, price in (("a1", 10), ("a2", 20), ("b1", 30), ("c1", 40))]
    limits = (
        PowerLimit(("a1", "a2"), (6000,)), PowerLimit(("a1", "a2", "b1"), (8000,)), PowerLimit(("c1",), (500,)),
    )  # fmt: skip
    stated = problem((20_000,), *homes, power=limits)
    assert ed.is_nested(stated)
    for found in (solve_greedy(stated), solve_highs(stated)):
        assert found.allotted_w == {"a1": (5000,), "a2": (1000,), "b1": (2000,), "c1": (500,)}
        assert_holds(stated, found)


def test_limits_that_overlap_are_not_left_to_the_greedy() -> None:
    # the greedy would take the cheap "both", which blocks the two others
    homes = [resource("both", 10, 1000), resource("left", 11, 1000), resource("right", 11, 1000)]
    caps = (PowerLimit(("both", "left"), (1000,)), PowerLimit(("both", "right"), (1000,)))
    stated = problem((2000,), *homes, power=caps)
    assert not ed.is_nested(stated)
    assert solve_greedy(stated).shortfall_w == (1000,)
    found = solve(stated)
    assert found.allotted_w == {"both": (0,), "left": (1000,), "right": (1000,)}


def test_a_minimum_power_is_all_or_nothing() -> None:
    stated = problem((3000,), resource("big", 10, 5000, min_w=4000), resource("small", 50, 5000, min_w=500))
    found = solve(stated)
    assert found.allotted_w == {"big": (0,), "small": (3000,)}
    stated = problem((4200,), resource("big", 10, 5000, min_w=4000), resource("small", 50, 5000, min_w=500))
    assert solve(stated).allotted_w == {"big": (4200,), "small": (0,)}
    stated = problem((300,), resource("small", 50, 5000, min_w=500))
    assert solve(stated).shortfall_w == (300,)


def test_a_search_that_ends_at_its_limit_of_nodes_keeps_what_it_has() -> None:
    homes = [resource(f"h{n}", 10 + n % 7, 900 + 37 * n % 300, min_w=700 + 13 * n % 200) for n in range(30)]
    pairs = tuple(PowerLimit((f"h{n}", f"h{n + 1}"), (1500,)) for n in range(29))
    stated = problem((9999,), *homes, power=pairs)
    assert_holds(stated, solve_highs(stated, nodes=0, gap=0.0))


def test_windows_of_resources_need_not_cover_all_periods() -> None:
    stated = problem((100, 100, 100), resource("late", 10, 60, 70, first=1), resource("early", 20, 50))
    for found in (solve_greedy(stated), solve_highs(stated)):
        assert found.allotted_w == {"late": (60, 70), "early": (50,)}
        assert found.shortfall_w == (50, 40, 30)


def test_rounding_keeps_the_sum() -> None:
    # three equal shares of 1000 W: 500 Wh over the two periods for each third would be fractional
    thirds = tuple(resource(name, 10, 1000, 1000) for name in "abc")
    energy = tuple(EnergyLimit((name,), 167) for name in "abc")
    stated = problem((1000, 1000), *thirds, energy=energy, duration_s=1000)
    found = solve_highs(stated)
    assert_holds(stated, found)
    # 3 x 167 Wh in 1000 s are 3 x 601.2 W: less than 2000 W by 196.4 W, so 1803 W in whole numbers
    assert 2000 - sum(found.shortfall_w) == 1803


def test_what_rounding_leaves_wakes_nobody_below_its_minimum() -> None:
    thirds = tuple(resource(name, 10, 1000) for name in "abc")
    energy = tuple(EnergyLimit((name,), 167) for name in "abc")
    stated = problem((2000,), *thirds, resource("big", 5, 5000, min_w=4000), energy=energy, duration_s=1000)
    found = solve(stated)  # 3 x 601.2 W, and one W more would have to come from "big"
    assert found.allotted_w == {"a": (601,), "b": (601,), "c": (601,), "big": (0,)}


def test_energy_that_cannot_run_out_ties_no_periods_together() -> None:
    homes = resource("a", 50, 4000, 4000), resource("b", 60, 4000, 4000)
    assert ed.is_nested(problem((4000, 4000), *homes, energy=(EnergyLimit(("a",), 2000),)))
    assert ed.is_nested(problem((3000, 5000), *homes, energy=(EnergyLimit(("a",), 1750),)))  # asked for 3 and 4 kW
    assert not ed.is_nested(problem((4000, 4000), *homes, energy=(EnergyLimit(("a",), 1999),)))
    assert ed.is_nested(problem((4000, 0), *homes, energy=(EnergyLimit(("a",), 999),)))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: problem((1,), resource("a", 1, 1), resource("a", 1, 1)), "twice"),
        (lambda: problem((1,), resource("a", 1, 1), energy=(EnergyLimit(("b",), 1),)), "unknown"),
        (lambda: problem((1,), resource("a", 1, 1), energy=(EnergyLimit(("a", "a"), 1),)), "one twice"),
        (lambda: problem((1,), resource("a", 1, 1, 1)), "outside the 1 periods"),
        (lambda: problem((1, 1), resource("a", 1, 1), power=(PowerLimit(("a",), (1,)),)), "each of the 2 periods"),
        (lambda: problem((-1,), resource("a", 1, 1)), "magnitudes"),
        (lambda: problem((1,), resource("a", 1, 1), duration_s=0), "no period is empty"),
    ],
)
def test_a_problem_that_does_not_fit_together_is_refused(wrong: object, says: str) -> None:
    assert callable(wrong)
    with pytest.raises(ValueError, match=says):
        wrong()


@st.composite
def nested_problems(draw: st.DrawFn) -> Problem:
    periods = draw(st.integers(1, 3))
    watts = st.integers(0, 5000)
    homes, sites, nodes = [], [], []
    for node in range(draw(st.integers(1, 3))):
        in_node: list[str] = []
        for site in range(draw(st.integers(1, 3))):
            names = tuple(f"n{node}s{site}r{number}" for number in range(draw(st.integers(1, 3))))
            homes += [
                resource(name, draw(st.integers(-5, 9)), *(draw(watts) for _ in range(periods))) for name in names
            ]
            sites.append(PowerLimit(names, tuple(draw(watts) for _ in range(periods))))
            in_node += names
        nodes.append(PowerLimit(tuple(in_node), tuple(draw(st.integers(0, 12_000)) for _ in range(periods))))
    requested = tuple(draw(st.integers(0, 30_000)) for _ in range(periods))
    energy = (EnergyLimit(sites[0].resources, draw(st.integers(0, 3000))),) if periods == 1 else ()
    return problem(requested, *homes, power=(*sites, *nodes), energy=energy)


@settings(max_examples=60, deadline=None)
@given(stated=nested_problems())
def test_the_greedy_is_as_good_as_highs_where_limits_are_nested(stated: Problem) -> None:
    assert ed.is_nested(stated)
    greedy, highs = solve_greedy(stated), solve_highs(stated)
    assert_holds(stated, greedy)
    assert_holds(stated, highs)
    assert greedy.cost_micros == highs.cost_micros
    assert greedy.shortfall_w == highs.shortfall_w


@st.composite
def small_problems(draw: st.DrawFn) -> Problem:
    few = st.integers(0, 3)
    homes = [resource(name, draw(st.integers(1, 9)), draw(few), draw(few)) for name in "ab"]
    energy = tuple(EnergyLimit((name,), draw(st.integers(0, 5))) for name in "ab")
    shared = (PowerLimit(("a", "b"), (draw(few), draw(few))),)
    return problem((draw(few), draw(few)), *homes, energy=energy, power=shared, duration_s=3600)


@settings(max_examples=60, deadline=None)
@given(stated=small_problems())
def test_no_other_split_in_whole_watts_costs_less(stated: Problem) -> None:
    found = solve(stated)
    assert_holds(stated, found)
    best = min(
        cost_of(stated, {"a": (a0, a1), "b": (b0, b1)}, (short0, short1))
        for a0, a1, b0, b1 in itertools.product(range(4), repeat=4)
        for short0, short1 in [(stated.requested_w[0] - a0 - b0, stated.requested_w[1] - a1 - b1)]
        if short0 >= 0 and short1 >= 0
        and all(power <= most for power, most in zip((a0, a1), stated.resources[0].power_w, strict=True))
        and all(power <= most for power, most in zip((b0, b1), stated.resources[1].power_w, strict=True))
        and a0 + a1 <= stated.energy_limits[0].limit_wh and b0 + b1 <= stated.energy_limits[1].limit_wh
        and a0 + b0 <= stated.power_limits[0].limit_w[0] and a1 + b1 <= stated.power_limits[0].limit_w[1]
    )  # fmt: skip
    assert cost_of(stated, found.allotted_w, found.shortfall_w) == best


@settings(max_examples=40, deadline=None)
@given(stated=nested_problems(), requested=st.integers(0, 30_000))
def test_columns_split_as_the_greedy_does(stated: Problem, requested: int) -> None:
    first = [Resource(one.resource_id, one.price_micros_per_mwh, one.power_w[:1]) for one in stated.resources]
    limits = tuple(PowerLimit(limit.resources, limit.limit_w[:1]) for limit in stated.power_limits)
    greedy = solve_greedy(Problem((900,), (requested,), tuple(first), 3_000_000_000, (), limits))
    count = len({one.resource_id[:2] for one in first})  # sites come first, then a limit for each node
    sites = {name: cap for cap in limits[:-count] for name in cap.resources}
    nodes = {name: cap for cap in limits[-count:] for name in cap.resources}
    frame = pl.DataFrame([
        {
            "resource_id": one.resource_id, "price_micros_per_mwh": one.price_micros_per_mwh, "power_w": one.power_w[0],
            "site": one.resource_id[:4], "site_w": sites[one.resource_id].limit_w[0],
            "node": one.resource_id[:2], "node_w": nodes[one.resource_id].limit_w[0],
        }
        for one in first
    ])  # fmt: skip
    rows = ed.allot_by_cost(frame, requested, [("site", "site_w"), ("node", "node_w")])
    allotted = dict(zip(rows["resource_id"], rows["allotted_w"], strict=True))
    assert allotted == {name: powers[0] for name, powers in greedy.allotted_w.items()}
