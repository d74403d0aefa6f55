"""The platform's clock, simulated: a tick every quarter-hour, and every minute while something is activated.

In times in which nothing is traded (a simulation's days to learn from) it can be told to tick once an hour.

An activation counts from the moment the market asks for it until it ends. Ticks lie on whole steps since 1970, so two
clocks agree; no tick comes twice, none goes back. Where time jumps, the newest tick due is sent and the others are
counted as ``missed``.
"""

from edges.clock.conversation import Clock, Config, on_event, on_wake
from streams import Edge, records
from topics import ActivationRequested, Ticked


def spec(config: Config) -> Edge[Clock, Config, ActivationRequested, Ticked]:
    """The clock of a configuration."""
    return Edge(
        name="clock",
        version=1,
        session=Clock,
        reads=records(ActivationRequested),
        writes=records(Ticked),
        key="=clock",
        keys=("clock",),
        config=config,
        on_event=on_event,
        on_wake=on_wake,
    )


SPEC = spec(Config())

__all__ = ["SPEC", "Config", "spec"]
