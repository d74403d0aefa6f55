"""All topics and records that a deployment knows."""

from __future__ import annotations

import difflib
from dataclasses import replace
from functools import cached_property
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING

from streams.contracts.files import read_source
from streams.contracts.record import Record
from streams.contracts.schema import UNKNOWN
from streams.errors import ContractError, WiringError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from streams.contracts.topic import Topic

GROUP = "flexlog.contracts"


class Contracts:
    """Topics by name, records by class name; made by `load`, `merge` or `installed`."""

    def __init__(self, topics: Iterable[Topic] = (), rejected: Topic | None = None) -> None:
        self.topics: Mapping[str, Topic] = MappingProxyType({topic.name: topic for topic in topics})
        self._rejected = rejected
        self._derived: dict[str, Topic] = {}

    @cached_property
    def records(self) -> Mapping[str, type[Record]]:
        """The record classes by name, `RecordRejected` of the derived topics included."""
        found = {topic.record_name: topic.record for topic in self.topics.values()}
        if self._rejected is not None:
            found[self._rejected.record_name] = self._rejected.record
        return MappingProxyType(dict(sorted(found.items())))

    @cached_property
    def enums(self) -> Mapping[str, tuple[str, ...]]:
        """The symbols of every enum by its short name, without ``UNKNOWN``, which no event has."""
        found = {}
        for record in self.records.values():
            for field in record.__topic__.fields:
                for part in (field, *field.items):
                    if part.kind == "enum":
                        found[part.enum.rpartition(".")[2]] = tuple(s for s in part.symbols if s != UNKNOWN)
        return MappingProxyType(dict(sorted(found.items())))

    def topic(self, wanted: str | type[Record]) -> Topic:
        """The topic of this name or record class.

        Raises:
            WiringError: there is none; the text has the nearest names.
        """
        name = wanted if isinstance(wanted, str) else wanted.__topic__.name
        found = self.topics.get(name)
        if found is not None and (isinstance(wanted, str) or found.record is wanted):
            return found
        if found is None and name.endswith(".rejected") and name.removesuffix(".rejected") in self.topics:
            return self.rejected(name.removesuffix(".rejected"))
        if self._rejected is not None and name == self._rejected.name:
            raise WiringError(f"{self._rejected.record_name} has a topic for every topic: name it, as <topic>.rejected")
        if not isinstance(wanted, str):
            known = "other contracts" if found else "no contract"
            raise WiringError(f"record {wanted.__name__} ({name}) is of {known} here; take it from the package topics")
        near = difflib.get_close_matches(name, self.topics, n=3)
        by_record = [r.__topic__.name for key, r in self.records.items() if name.rpartition(".")[2] == key]
        hint = f"; nearest: {', '.join(by_record or near)}" if by_record or near else ""
        raise WiringError(f"there is no topic {name!r}{hint}")

    def rejected(self, topic: Topic | str | type[Record]) -> Topic:
        """The derived ``<topic>.rejected``: what could not be used of a topic, in the same lane, keyed by processor."""
        base = self.topic(topic) if isinstance(topic, (str, type)) else topic
        name = f"{base.name}.rejected"
        if name not in self._derived:
            if self._rejected is None:
                raise ContractError("avro/stream/RecordRejected.avsc: is missing; every <topic>.rejected is made of it")
            self._derived[name] = replace(
                self._rejected,
                name=name,
                description=f"What could not be used of {base.name}, as it was, with the reason and its place.",
                owner=base.owner,
                lane=base.lane,
                retention=base.retention,
                personal_data=base.personal_data,
                file=base.file,
            )
        return self._derived[name]

    def merge(self, *others: Contracts) -> Contracts:
        """These contracts and others as one.

        Raises:
            ContractError: two of them have a topic or a record of one name.
        """
        topics: dict[str, Topic] = {}
        records: dict[str, Topic] = {}
        for topic in (topic for contracts in (self, *others) for topic in contracts.topics.values()):
            for kind, name, seen in (("topic", topic.name, topics), ("record", topic.record_name, records)):
                if name in seen and seen[name] is not topic:
                    raise ContractError(f"{kind} {name} stands twice: in {seen[name].file} and in {topic.file}")
            topics[topic.name] = records[topic.record_name] = topic
        rejected = next((c._rejected for c in (self, *others) if c._rejected), None)  # noqa: SLF001  # of this class
        return Contracts(topics.values(), rejected)

    @classmethod
    def installed(cls) -> Contracts:
        """All contracts that installed packages offer in the entry-point group ``flexlog.contracts``.

        Raises:
            WiringError: an entry point is no `Contracts` object.
            ContractError: two packages have a topic or a record of one name.
        """
        found = []
        for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
            contracts = point.load()
            if not isinstance(contracts, Contracts):
                raise WiringError(f"entry point {point.name} = {point.value} of {GROUP} is no Contracts object")
            found.append(contracts)
        return cls().merge(*found)


def load(avro_dir: Path, topics_dir: Path) -> Contracts:
    """The contracts of one project.

    Args:
        avro_dir: the folder of the schemas, ``<context>/<Record>.avsc``.
        topics_dir: the folder of the topics, ``<topic>.yaml``.

    Raises:
        ContractError: a file cannot be used; the text has the file, the field and how many more there are.
    """
    source = read_source(avro_dir, topics_dir)
    if source.violations:
        more = len(source.violations) - 1
        rest = f" (and {more} more: run `flexlog contracts check`)" if more else ""
        raise ContractError(f"{source.violations[0]}{rest}")
    return Contracts(source.topics.values(), source.rejected)
