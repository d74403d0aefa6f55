"""What the demo plays: homes, days to learn from, days traded, and the simulators that fill them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from demo.facts import Traded
from edges import clock, dataset, homes, market, price, rules, weather
from energy.time import local_day
from processors import model_training
from processors.model_training.logic import Config
from streams.contracts.topic import Lane
from streams.topology import AnyEdge, Topology, discover

PARTITIONS: dict[Lane, int] = {"site": 1, "portfolio": 1, "account": 1, "reference": 1}
"""One each: partitions buy parallel tasks, and one process has none to run beside each other."""
FIRST_DAY = date(2023, 4, 10)
"""A Monday in spring; the measured year (2016/17) is placed on 2022/23, which has its weekdays and dates."""
LEAST_LEARNED = 7
"""Days: a naive forecast needs a week."""
_QUIET_STEP_S = 4 * 3600
"""While nothing is traded, readings are taken in and intervals stated every four hours."""
_SETTLED_SOON = timedelta(hours=6)
"""After this only corrections are left."""
_LEAD = 2
"""Days from a training to the day that is forecast with it: the gate is the day before, and the model must be there."""
_DARK_S = 86_400
"""A day: what such a home delivered is stated as missing first, and corrected when its readings come."""
_SUPPLY = 0.6
"""Of the others, relative to the operator's need: in the dear hours it cannot do without the homes."""
_DEMAND_PER_HOME_W = 60_000 / dataset.HOMES


class Plan(BaseModel):
    """A run of the demo.

    Attributes:
        homes: How many; more than 17 are resampled from the real ones.
        learn: Local days to learn from, before the first that is traded.
        days: Local days of delivery that are traded.
        seed: Of all that is drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    homes: int = Field(default=dataset.HOMES, ge=1)
    learn: int = Field(default=28, ge=LEAST_LEARNED)
    days: int = Field(default=7, ge=1)
    seed: int = Field(default=1, ge=0)

    @property
    def start(self) -> datetime:
        """When the simulation begins, UTC."""
        return local_day(FIRST_DAY, dataset.TIMEZONE)[0]

    @property
    def first_traded(self) -> date:
        """The first local day of delivery."""
        return FIRST_DAY + timedelta(days=self.learn)

    @property
    def first_gate(self) -> datetime:
        """The beginning of the local day on which the first gate opens."""
        return local_day(self.first_traded - timedelta(days=1), dataset.TIMEZONE)[0]

    @property
    def traded(self) -> Traded:
        """The traded days."""
        last = self.first_traded + timedelta(days=self.days - 1)
        return Traded(
            local_day(self.first_traded, dataset.TIMEZONE)[0], local_day(last, dataset.TIMEZONE)[1], dataset.TIMEZONE
        )

    @property
    def troubled(self) -> datetime:
        """From when on the first activation is one in which homes refuse and fall silent."""
        return self._evening(2)

    @property
    def darkened(self) -> datetime:
        """From when on homes lose their connection for a day as they deliver."""
        return self._evening(1)

    def _evening(self, number: int) -> datetime:
        """The evening of a traded day, counted from 0, or of the last one; of a single day its begin."""
        day = self.first_traded + timedelta(days=min(number, self.days - 1))
        return local_day(day, dataset.TIMEZONE)[0] + timedelta(hours=17 if self.days > 1 else 0)


def simulators(plan: Plan, data: Path) -> tuple[AnyEdge, ...]:
    """Return the world around the platform, all of it simulated on measured data.

    Args:
        plan: The run.
        data: Folder with the measured year.
    """
    year, start, seed = str(data), plan.start, plan.seed
    faults = homes.Faults(trouble_from=plan.troubled, dark_from=plan.darkened, dark_homes=3, dark_s=_DARK_S)
    return (
        clock.spec(
            clock.Config(
                start=start,
                quiet_until=plan.first_gate,
                quiet_from=plan.traded.until + _SETTLED_SOON,
                quiet_step_s=_QUIET_STEP_S,
            )
        ),
        rules.spec(rules.Config(valid_from=start)),
        homes.spec(
            homes.Config(
                data=year,
                homes=plan.homes,
                start=start,
                seed=seed,
                faults=faults,
                quiet_until=plan.first_gate,
                quiet_s=_QUIET_STEP_S,
                grid_node_ids=_nodes(plan.homes),
            )
        ),
        weather.spec(weather.Config(data=year, start=start, seed=seed)),
        price.spec(price.Config(data=year, start=start)),
        market.spec(
            market.Config(
                start=start,
                seed=seed,
                trade_from=plan.first_traded,
                trade_until=plan.first_traded + timedelta(days=plan.days - 1),
                demand_w=round(_DEMAND_PER_HOME_W * plan.homes),
                supply_ratio=_SUPPLY,
            )
        ),
    )


def _nodes(count: int) -> tuple[str, ...]:
    """Grid nodes for so many homes: about nine a node, as 17 have two."""
    more = (f"node-{number:03d}" for number in range(3, count * 2 // dataset.HOMES + 1))
    return ("node-a", "node-b", *more)


def topology(plan: Plan, data: Path, partitions: Mapping[Lane, int] = PARTITIONS) -> Topology:
    """Return the installed processors and the simulators, wired.

    The first models are trained in time for the first traded day, whose gate is on the day before it.

    Args:
        plan: The run.
        data: Folder with the measured year.
        partitions: How many partitions the topics of each lane have.
    """
    found = discover(partitions=partitions, edges=simulators(plan, data))
    trained = model_training.spec(Config(learn_days=plan.learn - _LEAD))
    processors = tuple(trained if spec.name == trained.name else spec for spec in found.processors)
    return replace(found, processors=processors)
