"""Splitting an activation over resources at least cost, over several periods and under shared limits.

    minimise   sum  price_r x power_r,t x duration_t  +  shortfall_price x shortfall_t x duration_t
    such that  sum over r of power_r,t + shortfall_t = requested_t       in every period t
               0 <= power_r,t <= available_r,t     (or: 0, or at least min_w)
               sum over r in g, t of power_r,t x duration_t <= energy_g  for every energy limit
               sum over r in g of power_r,t <= limit_g,t                 for every power limit

`Problem` states it, free of any solver. `solve` takes the greedy by cost where that is exact: where no energy limit
ties periods together and the limits of each period are nested (resource in site in grid node in portfolio), for then
the feasible sets form a polymatroid (Edmonds 1970). Else PuLP hands it to HiGHS as a linear or, with minimum powers,
mixed-integer problem, on one thread, bounded by gap and nodes and never by time, so that a result repeats.

Powers are magnitudes in the activation's direction, whole W; prices micros per MWh. A resource that costs more than
a shortfall is not used.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import floor
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from energy.settlement import divide

WS_PER_WH = 3600
W_S_PER_MWH = 3_600_000_000
GAP = 1e-6
NODES = 10_000
UNLIMITED_W = 2**62
TOLERANCE_W = 1e-5
"""What solvers leave open: a power this close below a whole W is that."""


@dataclass(frozen=True)
class Resource:
    """What one resource could do.

    Attributes:
        resource_id: Unique in the problem.
        price_micros_per_mwh: Its cost.
        power_w: Most it can do in each period, from period `first` on; elsewhere it can do nothing.
        first: Index of the period that `power_w` begins with.
        min_w: Where it does anything in a period, at least this.
    """

    resource_id: str
    price_micros_per_mwh: int
    power_w: tuple[int, ...]
    first: int = 0
    min_w: int = 0

    def available(self, period: int) -> int:
        """Return the most it can do in a period."""
        inside = self.first <= period < self.first + len(self.power_w)
        return self.power_w[period - self.first] if inside else 0


@dataclass(frozen=True)
class EnergyLimit:
    """Energy that some resources share over all periods, Wh."""

    resources: tuple[str, ...]
    limit_wh: int


@dataclass(frozen=True)
class PowerLimit:
    """Power that some resources share: a connection, a grid node, a cap; W in each period."""

    resources: tuple[str, ...]
    limit_w: tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """An activation to be split.

    Attributes:
        durations_s: Length of each period, s.
        requested_w: What is asked for in each period.
        resources: Who can do it.
        energy_limits: Limits over all periods.
        power_limits: Limits in each period.
        shortfall_micros_per_mwh: What it costs to deliver less.

    Raises:
        ValueError: The parts do not fit together, or a magnitude is negative.
    """

    durations_s: tuple[int, ...]
    requested_w: tuple[int, ...]
    resources: tuple[Resource, ...]
    shortfall_micros_per_mwh: int
    energy_limits: tuple[EnergyLimit, ...] = ()
    power_limits: tuple[PowerLimit, ...] = ()
    by_id: dict[str, Resource] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", {resource.resource_id: resource for resource in self.resources})
        periods = len(self.durations_s)
        if len(self.requested_w) != periods or any(len(limit.limit_w) != periods for limit in self.power_limits):
            raise ValueError(f"requested and limited power must be given for each of the {periods} periods")
        if len(self.by_id) != len(self.resources):
            raise ValueError("a resource stands twice in a dispatch problem")
        for resource in self.resources:
            if resource.first < 0 or resource.first + len(resource.power_w) > periods:
                raise ValueError(f"resource {resource.resource_id} has power outside the {periods} periods")
        limits: list[EnergyLimit | PowerLimit] = [*self.energy_limits, *self.power_limits]
        for limit in limits:
            unknown = [name for name in limit.resources if name not in self.by_id]
            if unknown or len(set(limit.resources)) != len(limit.resources):
                raise ValueError(f"a limit names unknown resources or one twice: {unknown or limit.resources}")
        magnitudes = [
            *self.durations_s,
            *self.requested_w,
            *(power for resource in self.resources for power in (*resource.power_w, resource.min_w)),
            *(limit.limit_wh for limit in self.energy_limits),
            *(power for limit in self.power_limits for power in limit.limit_w),
        ]
        if min(magnitudes, default=0) < 0 or 0 in self.durations_s:
            raise ValueError("powers, limits and durations are magnitudes, and no period is empty")


@dataclass(frozen=True)
class Solution:
    """Who does what.

    Attributes:
        allotted_w: By resource, for the periods of its `power_w`.
        shortfall_w: What is missing in each period.
        cost_micros: Of the resources and the shortfall.
        solver: GREEDY or HIGHS.
    """

    allotted_w: dict[str, tuple[int, ...]]
    shortfall_w: tuple[int, ...]
    cost_micros: int
    solver: str


def solve(problem: Problem) -> Solution:
    """Split at least cost: greedily where that is exact, else with HiGHS."""
    return solve_greedy(problem) if is_nested(problem) else solve_highs(problem)


def is_nested(problem: Problem) -> bool:
    """Tell whether the greedy is exact: no minimum powers, no limit over several periods, limits nested in each."""
    if any(resource.min_w for resource in problem.resources):
        return False
    if any(len(_periods_of(problem, limit)) > 1 for limit in _binding(problem)):
        return False
    # The same limits hold in every period, so their groups are nested in all or in none.
    limits: list[EnergyLimit | PowerLimit] = [*problem.power_limits, *_binding(problem)]
    return _laminar([limit.resources for limit in limits])


def solve_greedy(problem: Problem) -> Solution:
    """Give each period's request to the cheapest resources in turn, as far as their limits go."""
    room = _Room(problem)
    for resource in _by_cost(problem):
        if resource.price_micros_per_mwh <= problem.shortfall_micros_per_mwh:
            for period in range(resource.first, resource.first + len(resource.power_w)):
                room.take(resource, period, room.most(resource, period))
    return room.solution("GREEDY")


def solve_highs(problem: Problem, *, gap: float = GAP, nodes: int = NODES) -> Solution:
    """Solve with HiGHS through PuLP, in this process and on one thread.

    Args:
        problem: What to split.
        gap: Relative gap at which a mixed-integer search stops.
        nodes: Branches after which it stops with the best it has.

    Raises:
        RuntimeError: HiGHS found nothing; the problem always has a solution, so this is a fault.
    """
    powers = _solve_model(*_model(problem), gap, nodes)
    room = _Room(problem)
    order = _by_cost(problem)
    rests: list[list[tuple[float, int, Resource]]] = [[] for _ in problem.durations_s]
    sums = [0.0] * len(problem.durations_s)
    for number, resource in enumerate(order):
        for period in range(resource.first, resource.first + len(resource.power_w)):
            power = powers.get((resource.resource_id, period), 0.0)
            sums[period] += power
            whole = room.take(resource, period, min(floor(power + TOLERANCE_W), room.most(resource, period)))
            if whole or not resource.min_w:
                rests[period].append((whole - power, number, resource))
    for period, candidates in enumerate(rests):
        room.hand_out(period, round(sums[period]), [resource for _, _, resource in sorted(candidates)])
    return room.solution("HIGHS")


def _by_cost(problem: Problem) -> list[Resource]:
    return sorted(problem.resources, key=lambda resource: (resource.price_micros_per_mwh, resource.resource_id))


class _Room:
    """What has been allotted, and what the limits leave, in whole W and W s."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.allotted = {resource.resource_id: [0] * len(resource.power_w) for resource in problem.resources}
        self.wanted = list(problem.requested_w)
        self.power = [list(limit.limit_w) for limit in problem.power_limits]
        self.energy_ws = [limit.limit_wh * WS_PER_WH for limit in problem.energy_limits]
        self.power_of: dict[str, list[int]] = {}
        self.energy_of: dict[str, list[int]] = {}
        for number, limit in enumerate(problem.power_limits):
            for name in limit.resources:
                self.power_of.setdefault(name, []).append(number)
        for number, shared in enumerate(problem.energy_limits):
            for name in shared.resources:
                self.energy_of.setdefault(name, []).append(number)

    def most(self, resource: Resource, period: int) -> int:
        """Return what a resource can still take on in a period."""
        name, duration = resource.resource_id, self.problem.durations_s[period]
        return min([
            self.wanted[period],
            resource.available(period) - self.allotted[name][period - resource.first],
            *(self.power[number][period] for number in self.power_of.get(name, ())),
            *(self.energy_ws[number] // duration for number in self.energy_of.get(name, ())),
        ])  # fmt: skip

    def take(self, resource: Resource, period: int, power: int) -> int:
        """Allot power and return it."""
        if power:
            name = resource.resource_id
            self.allotted[name][period - resource.first] += power
            self.wanted[period] -= power
            for number in self.power_of.get(name, ()):
                self.power[number][period] -= power
            for number in self.energy_of.get(name, ()):
                self.energy_ws[number] -= power * self.problem.durations_s[period]
        return power

    def hand_out(self, period: int, target: int, candidates: Sequence[Resource]) -> None:
        """Raise a period's sum to `target`, one W each in the order given, as far as limits go."""
        left = target - (self.problem.requested_w[period] - self.wanted[period])
        progress = True
        while left > 0 and progress:
            progress = False
            for resource in candidates:
                if left > 0 and self.most(resource, period) > 0:
                    left -= self.take(resource, period, 1)
                    progress = True

    def solution(self, solver: str) -> Solution:
        """Return what was allotted, with its cost."""
        problem = self.problem
        cost = sum(
            power * problem.durations_s[resource.first + index] * resource.price_micros_per_mwh
            for resource in problem.resources
            for index, power in enumerate(self.allotted[resource.resource_id])
        )
        missing = zip(self.wanted, problem.durations_s, strict=True)
        cost += sum(power * seconds * problem.shortfall_micros_per_mwh for power, seconds in missing)
        allotted = {name: tuple(powers) for name, powers in self.allotted.items()}
        return Solution(allotted, tuple(self.wanted), divide(cost, W_S_PER_MWH), solver)


def _binding(problem: Problem) -> list[EnergyLimit]:
    """Return the energy limits that could be reached."""
    return [
        limit
        for limit in problem.energy_limits
        if sum(
            min(power, problem.requested_w[resource.first + index]) * problem.durations_s[resource.first + index]
            for resource in (problem.by_id[name] for name in limit.resources)
            for index, power in enumerate(resource.power_w)
        )
        > limit.limit_wh * WS_PER_WH
    ]


def _periods_of(problem: Problem, limit: EnergyLimit) -> set[int]:
    """Return the periods in which an energy limit's resources can do anything that is asked for."""
    return {
        resource.first + index
        for resource in (problem.by_id[name] for name in limit.resources)
        for index, power in enumerate(resource.power_w)
        if power and problem.requested_w[resource.first + index]
    }


def _laminar(groups: Sequence[Sequence[str]]) -> bool:
    """Tell whether any two groups are nested or have nothing in common.

    They are where, smallest first, the next group after one is the same for all its members.
    """
    chains: dict[str, list[int]] = {}
    for number in sorted(range(len(groups)), key=lambda index: len(groups[index])):
        for name in groups[number]:
            chains.setdefault(name, []).append(number)
    following: dict[int, set[int | None]] = {}
    for chain in chains.values():
        for number, after in zip(chain, [*chain[1:], None], strict=True):
            following.setdefault(number, set()).add(after)
    return all(len(after) == 1 for after in following.values())


def _model(problem: Problem) -> tuple[Any, dict[tuple[str, int], Any]]:
    """State the problem to PuLP: the model and its powers by resource and period."""
    import pulp  # noqa: PLC0415  # slow to import

    weights = [seconds / 3600 / 1e6 for seconds in problem.durations_s]
    model = pulp.LpProblem("dispatch", pulp.LpMinimize)
    powers: dict[tuple[str, int], Any] = {}
    by_period: list[list[Any]] = [[] for _ in problem.durations_s]
    terms, rows = [], []
    for number, resource in enumerate(_by_cost(problem)):
        for index, most in enumerate(resource.power_w):
            period = resource.first + index
            if not most or not problem.requested_w[period] or most < resource.min_w:
                continue
            power = model.add_variable(f"p{number:07d}_{period:07d}", 0, most)
            powers[resource.resource_id, period] = power
            by_period[period].append(power)
            terms.append((power, resource.price_micros_per_mwh * weights[period]))
            if resource.min_w:
                on = model.add_variable(f"u{number:07d}_{period:07d}", cat=pulp.LpBinary)
                rows += [power - most * on <= 0, power - resource.min_w * on >= 0]
    for period, requested in enumerate(problem.requested_w):
        shortfall = model.add_variable(f"s{period:07d}", 0, requested)
        terms.append((shortfall, problem.shortfall_micros_per_mwh * weights[period]))
        rows.append(pulp.lpSum([*by_period[period], shortfall]) == requested)
    model += pulp.LpAffineExpression(terms)
    for row in (*rows, *_limit_rows(problem, powers)):
        model += row
    return model, powers


def _limit_rows(problem: Problem, powers: dict[tuple[str, int], Any]) -> Iterator[Any]:
    """State the shared limits that could be reached."""
    import pulp  # noqa: PLC0415  # slow to import

    for limit in problem.power_limits:
        for period, most in enumerate(limit.limit_w):
            sharing = [powers[name, period] for name in limit.resources if (name, period) in powers]
            if sum(power.upBound for power in sharing) > most:
                yield pulp.lpSum(sharing) <= most
    for shared in _binding(problem):
        used = [
            (powers[name, period], problem.durations_s[period])
            for name in shared.resources
            for period in range(problem.by_id[name].first, len(problem.durations_s))
            if (name, period) in powers
        ]
        yield pulp.LpAffineExpression(used) <= shared.limit_wh * WS_PER_WH


def _solve_model(
    model: Any, powers: dict[tuple[str, int], Any], gap: float, nodes: int
) -> dict[tuple[str, int], float]:
    """Run HiGHS and return the powers it found."""
    import pulp  # noqa: PLC0415  # slow to import
    from highspy import HighsModelStatus  # noqa: PLC0415

    solver = pulp.HiGHS(msg=False, threads=1, gapRel=gap, random_seed=0, mip_max_nodes=nodes)
    try:
        model.solve(solver)
    except KeyError as error:
        # PuLP does not know the status of a search that ended at its limit of nodes; the values are read by then.
        if error.args != (HighsModelStatus.kSolutionLimit,):
            raise
    values = {key: power.varValue for key, power in powers.items()}
    status = model.solverModel.getModelStatus()
    if status not in (HighsModelStatus.kOptimal, HighsModelStatus.kSolutionLimit) or None in values.values():
        raise RuntimeError(f"HiGHS did not solve the dispatch problem: {status.name}")
    return values


def allot_by_cost(offers: pl.DataFrame, requested_w: int, levels: Sequence[tuple[str, str]] = ()) -> pl.DataFrame:
    """Split one period's request over very many resources by cost, under nested limits.

    It is the greedy of `solve_greedy` in columns. Innermost limits first: what a group takes on is what its members
    take on in the order of cost, cut off at its limit; a group that is cut off by an outer one has no more to give, so
    cutting from the inside out gives the same as looking at all limits at once.

    Args:
        offers: ``resource_id, price_micros_per_mwh, power_w`` and the columns of the levels.
        requested_w: What is asked for.
        levels: From the inside out, the names of a column that groups (resource's site, grid node) and of one that has
            the group's limit in W (null: none). Each level's groups lie within one group of the next.

    Returns:
        The offers by cost, with ``allotted_w`` (Int64).
    """
    rows = offers.sort("price_micros_per_mwh", "resource_id")
    taken = rows["power_w"].to_numpy()
    for group, limit in levels:
        reached = _running(taken, rows[group])
        most = rows[limit].fill_null(UNLIMITED_W).to_numpy()
        taken = np.minimum(reached, most) - np.minimum(reached - taken, most)
    reached = np.cumsum(taken)
    taken = np.minimum(reached, requested_w) - np.minimum(reached - taken, requested_w)
    return rows.with_columns(allotted_w=pl.Series(taken))


def _running(power: NDArray[np.int64], group: pl.Series) -> NDArray[np.int64]:
    """Return the running sum of power within each group, in the order of the rows."""
    code = (group.cast(pl.Categorical) if group.dtype == pl.String else group).to_physical().to_numpy()
    order = np.argsort(code, kind="stable")
    sums = np.cumsum(power[order])
    start = np.flatnonzero(np.append(True, code[order][1:] != code[order][:-1]))
    before = sums[start] - power[order][start]
    reached = np.empty_like(sums)
    reached[order] = sums - np.repeat(before, np.diff(np.append(start, len(sums))))
    return reached
