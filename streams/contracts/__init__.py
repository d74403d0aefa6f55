"""Contracts: topics and event types as data, loaded, checked, encoded and decoded."""

from streams.contracts.library import Contracts, load
from streams.contracts.record import Record
from streams.contracts.topic import Field, Topic

__all__ = ["Contracts", "Field", "Record", "Topic", "load"]
