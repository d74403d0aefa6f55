"""The retail tariff of the homes, as their supplier publishes it: hourly prices of a local day, the day before.

The prices are those of the data set (see `edges.dataset`): a time-of-use tariff of Southern California with its peak
from 16:00 to 21:00.
"""

from edges.price.conversation import Config, Tariff, on_wake
from streams import Edge, records
from streams.contracts import Record
from topics import PricePublished


def spec(config: Config) -> Edge[Tariff, Config, Record, PricePublished]:
    """The tariff of a configuration."""
    return Edge(
        name="price",
        version=1,
        session=Tariff,
        writes=records(PricePublished),
        keys=("tariff",),
        config=config,
        on_wake=on_wake,
    )


SPEC = spec(Config())

__all__ = ["SPEC", "Config", "spec"]
