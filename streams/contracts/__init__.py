"""Contracts: topics and event types as data, loaded, checked, encoded and decoded."""

from typing import TYPE_CHECKING, Any

from streams.contracts.record import Record
from streams.contracts.topic import Field, Topic

if TYPE_CHECKING:
    from streams.contracts.library import Contracts, load

__all__ = ["Contracts", "Field", "Record", "Topic", "load"]


def __getattr__(name: str) -> Any:
    """Import what reads files when it is asked for: the command line lists its commands without it."""
    if name in ("Contracts", "load"):
        from streams.contracts import library  # noqa: PLC0415

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
