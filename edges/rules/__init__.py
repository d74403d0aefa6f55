"""Publishes the rules of `energy/rules/*.yaml` and the product of the local market, each once.

Every rule is sent with its dates and source as it stands in the files. Once a day the files are looked at again: what
is new or has changed is sent, what was sent before is not, so a restart changes nothing.
"""

from edges.rules.conversation import Config, Publisher, on_wake
from streams import Edge, records
from streams.contracts import Record
from topics import ProductDefined, RulePublished


def spec(config: Config) -> Edge[Publisher, Config, Record, RulePublished | ProductDefined]:
    """The publisher of a configuration."""
    return Edge(
        name="rules",
        version=1,
        session=Publisher,
        writes=records(RulePublished, ProductDefined),
        keys=("rules",),
        config=config,
        on_wake=on_wake,
    )


SPEC = spec(Config())

__all__ = ["SPEC", "Config", "spec"]
