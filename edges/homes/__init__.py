"""Homes, simulated on measured ones: readings, batteries, answers to instructions, and what goes wrong.

Load and PV are measured (17 homes of Fontana, California; see `edges.dataset`); what is inside an hour, the batteries,
the owners and the faults are simulated, so every site says ``simulated``. Each quarter-hour it sends the three 5-minute
means of ``meter``, ``load``, ``pv`` and ``battery`` of each home, and the state of each battery. The twelve means of an
hour average to the measured value.

A battery carries out accepted POWER instructions within its power, its stored energy, its owner's reserve and the
home's connection limits; several that hold at once add up. Left alone it holds, and at night charges up to its target.
"""

from edges.homes.config import Config, Faults
from edges.homes.conversation import Homes, on_event, on_wake
from streams import Edge, records
from topics import (
    ContractChanged,
    InstructionIssued,
    InstructionReported,
    PreferenceSet,
    ReadingTaken,
    ResourceRegistered,
    SiteRegistered,
    StateReported,
)

Writes = (
    SiteRegistered | ResourceRegistered | ContractChanged | PreferenceSet | ReadingTaken | StateReported
    | InstructionReported
)  # fmt: skip


def spec(config: Config) -> Edge[Homes, Config, InstructionIssued, Writes]:
    """The homes of a configuration."""
    return Edge(
        name="homes",
        version=1,
        session=Homes,
        reads=records(InstructionIssued),
        writes=records(
            SiteRegistered,
            ResourceRegistered,
            ContractChanged,
            PreferenceSet,
            ReadingTaken,
            StateReported,
            InstructionReported,
        ),
        key="=homes",
        keys=("homes",),
        config=config,
        on_event=on_event,
        on_wake=on_wake,
    )


SPEC = spec(Config())

__all__ = ["SPEC", "Config", "Faults", "spec"]
