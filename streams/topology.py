"""Who writes and reads what: processors, edges and topics found, and checked against each other."""

import importlib
import inspect
import pkgutil
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from streams.contracts import Contracts
from streams.contracts.topic import Lane, Topic
from streams.edge import Edge
from streams.errors import StreamsError, WiringError
from streams.processor import Processor

AnyProcessor = Processor[Any, Any, Any]
AnyEdge = Edge[Any, Any, Any, Any]

CLOCK, PROGRESS, COMMIT, RUNTIME = "clock.tick.v1", "stream.progress.v1", "audit.commit.v1", "audit.runtime.v1"
ONE_PARTITION: Mapping[Lane, int] = {"site": 1, "portfolio": 1, "account": 1, "reference": 1}


def where(spec: AnyProcessor | AnyEdge) -> str:
    """The file that declares a processor or edge, as far as it can be known."""
    handlers = (spec.on_batch, spec.on_tick) if isinstance(spec, Processor) else (spec.on_event, spec.on_wake)
    for handler in handlers:
        if handler is not None:
            return f"{Path(inspect.getsourcefile(handler) or '?').parent.name}/__init__.py"
    return f"{spec.name}/__init__.py"


@dataclass(frozen=True, eq=False)
class Topology:
    """Processors and edges on their topics, checked.

    Args:
        contracts: the topics.
        processors: in any order.
        edges: in any order.
        partitions: how many partitions a lane's topics have.
        absent: topics may lack a writer (a test drives them by hand).

    Raises:
        WiringError: something does not fit; it names the file and the fix.
    """

    contracts: Contracts
    processors: tuple[AnyProcessor, ...]
    edges: tuple[AnyEdge, ...] = ()
    partitions: Mapping[Lane, int] = field(default_factory=lambda: ONE_PARTITION)
    absent: bool = False

    def __post_init__(self) -> None:
        """Check the wiring."""
        names: dict[str, str] = {}
        for spec in self.specs:
            kind = "processor" if isinstance(spec, Processor) else "edge"
            if spec.name in names:
                raise WiringError(f"{where(spec)}: a second {kind} is called {spec.name!r}; give it another name")
            names[spec.name] = kind
        for processor in self.processors:
            _check_processor(processor, self.contracts)
        for edge in self.edges:
            _check_edge(edge, self.contracts)
        _check_writers(self)
        _check_cycles(self)

    @property
    def specs(self) -> "tuple[AnyProcessor | AnyEdge, ...]":
        """All that runs."""
        return (*self.processors, *self.edges)

    def topic(self, record: type[Any] | str) -> Topic:
        """A topic by its record or name."""
        return self.contracts.topic(record)

    def count(self, topic: Topic) -> int:
        """A topic's partition count."""
        return self.partitions[topic.lane]

    def lane(self, processor: AnyProcessor) -> Lane:
        """The lane whose partitions are the processor's tasks."""
        types = processor.reads.types or processor.writes.types
        return self.topic(types[0]).lane

    def tasks(self, processor: AnyProcessor) -> int:
        """How many tasks a processor has."""
        return 1 if processor.single else self.partitions[self.lane(processor)]

    @cached_property
    def by_topic(self) -> dict[str, AnyProcessor]:
        """The processor that writes a topic."""
        return {rec.__topic__.name: spec for spec in self.processors for rec in spec.writes.types}

    @cached_property
    def ordered(self) -> tuple[AnyProcessor, ...]:
        """The processors, writers before readers; else by name."""
        placed: list[AnyProcessor] = []
        rest = sorted(self.processors, key=lambda spec: spec.name)
        while rest:
            ready = next(s for s in rest if not any(u is not s and u in rest for u in self.upstream(s)))
            placed.append(ready)
            rest.remove(ready)
        return tuple(placed)

    def upstream(self, spec: AnyProcessor) -> Iterator[AnyProcessor]:
        """The processors that this one waits for at each tick."""
        for records in (spec.reads, spec.tables, spec.history):
            for rec in records.types:
                if writer := self.by_topic.get(rec.__topic__.name):
                    yield writer

    def writers(self, topic: str) -> list[str]:
        """Names of those that write a topic."""
        return [spec.name for spec in self.specs if any(rec.__topic__.name == topic for rec in spec.writes.types)]

    def readers(self, topic: str) -> list[str]:
        """Names of those that read a topic, as batch, table or history."""
        found = []
        for spec in self.specs:
            records = [spec.reads]
            types: list[Any] = []
            if isinstance(spec, Processor):
                records += [spec.tables, spec.history]
                types += spec.delayed
            types += [rec for group in records for rec in group.types]
            if any(rec.__topic__.name == topic for rec in types):
                found.append(spec.name)
        return found


def _topics(spec: AnyProcessor | AnyEdge, role: str, types: Iterable[type[Any]], contracts: Contracts) -> list[Topic]:
    found = []
    for rec in types:
        topic = getattr(rec, "__topic__", None)
        if topic is None:
            raise WiringError(f"{where(spec)}: {role} names {rec!r}, which is no record; import it from topics")
        if contracts.topic(topic.name) is not topic:
            raise WiringError(f"{where(spec)}: {role} names {rec.__name__} of other contracts than the host's")
        found.append(topic)
    return found


def _check_processor(spec: AnyProcessor, contracts: Contracts) -> None:
    at = where(spec)
    reads = _topics(spec, "reads", spec.reads.types, contracts)
    writes = _topics(spec, "writes", spec.writes.types, contracts)
    seen: dict[str, str] = {}
    groups = {"reads": spec.reads.types, "tables": spec.tables.types, "delayed": tuple(spec.delayed)}
    for role, types in groups.items():
        for topic in _topics(spec, role, types, contracts):
            if topic.name in seen:
                raise WiringError(f"{at}: {topic.name} stands in {seen[topic.name]} and in {role}; name it once")
            seen[topic.name] = role
    _topics(spec, "history", spec.history.types, contracts)
    if not writes:
        raise WiringError(f"{at}: processor {spec.name} writes nothing; name a record in writes")
    if bool(reads) != (spec.on_batch is not None):
        raise WiringError(f"{at}: reads and on_batch go together; processor {spec.name} has only one of them")
    for topic in reads[1:]:
        if topic.lane != reads[0].lane:
            raise WiringError(
                f"{at}: reads {reads[0].name} (lane {reads[0].lane}) and {topic.name} (lane {topic.lane}): their "
                "partition counts differ; take one of them as a table"
            )
        if topic.key != reads[0].key:
            raise WiringError(
                f"{at}: reads {reads[0].name} (key {reads[0].key}) and {topic.name} (key {topic.key}): rows of one "
                "subject would be in different tasks; take one of them as a table"
            )
    for rec, by in spec.delayed.items():
        if by <= timedelta(0):
            raise WiringError(f"{at}: delayed gives {rec.__name__} no delay; give it one, or take it as a table")
    for rec in spec.keep:
        if rec not in spec.tables.types:
            raise WiringError(f"{at}: keep names {rec.__name__}, which is not in tables; add it there")
    if spec.every <= timedelta(0):
        raise WiringError(f"{at}: every must be longer than zero")
    if len({cls.__name__ for cls in spec.state}) != len(spec.state):
        raise WiringError(f"{at}: two classes of state have one name; rename one")


def _check_edge(spec: AnyEdge, contracts: Contracts) -> None:
    at = where(spec)
    _topics(spec, "writes", spec.writes.types, contracts)
    for topic in _topics(spec, "reads", spec.reads.types, contracts):
        key = spec.key if isinstance(spec.key, str) else spec.key.get(topic.record, "")
        if not key:
            raise WiringError(f"{at}: no key for {topic.record_name}; say which conversation its events belong to")
        if not key.startswith("=") and key not in topic.columns:
            fields = ", ".join(topic.columns)
            raise WiringError(f"{at}: key {key!r} is no field of {topic.record_name}; it has {fields}")
    if spec.reads.types and spec.on_event is None:
        raise WiringError(f"{at}: edge {spec.name} reads events and has no on_event")


def _check_writers(topology: Topology) -> None:
    written: dict[str, AnyProcessor | AnyEdge] = {}
    for spec in topology.specs:
        for rec in spec.writes.types:
            name = rec.__topic__.name
            other = written.get(name)
            if other is not None and not (isinstance(spec, Edge) and isinstance(other, Edge)):
                raise WiringError(
                    f"{where(spec)}: {spec.name} writes {name}, which {other.name} ({where(other)}) writes too; "
                    "a topic has one writer: give it a topic of its own"
                )
            written[name] = spec
    if topology.absent:
        return
    for processor in topology.processors:
        groups = (processor.reads.types, processor.tables.types, processor.history.types, tuple(processor.delayed))
        for rec in (rec for types in groups for rec in types):
            if rec.__topic__.name not in written:
                raise WiringError(
                    f"{where(processor)}: {processor.name} reads {rec.__topic__.name}, which nobody writes; add the "
                    "processor or edge that writes it"
                )


def _check_cycles(topology: Topology) -> None:
    path: list[AnyProcessor] = []
    done: set[str] = set()

    def visit(spec: AnyProcessor) -> None:
        if spec in path:
            names = " → ".join(s.name for s in reversed([*path[path.index(spec) :], spec]))
            raise WiringError(
                f"{where(spec)}: a cycle without a delay: {names}; read one of these topics as delayed={{…}}"
            )
        if spec.name in done:
            return
        path.append(spec)
        for upstream in topology.upstream(spec):
            if upstream is spec and not {*spec.writes.types} & {*spec.reads.types, *spec.tables.types}:
                continue  # its own history, as of the tick before
            visit(upstream)
        path.pop()
        done.add(spec.name)

    for spec in topology.processors:
        visit(spec)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except StreamsError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).parent.name}/{Path(frame.filename).name}:{frame.lineno}"
        raise WiringError(f"{place}: cannot load {name}: {type(error).__name__}: {error}") from error


def _specs(group: str, kind: type[Any]) -> Iterator[Any]:
    seen: set[str] = set()
    for entry in sorted(entry_points(group=group), key=lambda e: (e.name, e.value)):
        if entry.value in seen:
            continue
        seen.add(entry.value)
        package = _import(entry.value)
        for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
            if not info.ispkg:
                continue
            module = _import(f"{entry.value}.{info.name}")
            spec = getattr(module, "SPEC", None)
            at = f"{entry.value}/{info.name}/__init__.py"
            if not isinstance(spec, kind):
                raise WiringError(f"{at}: SPEC is missing or no {kind.__name__}")
            if spec.name != info.name:
                raise WiringError(f"{at}: the name is {spec.name!r}; it must be the folder's, {info.name!r}")
            yield spec


def discover(
    *,
    partitions: Mapping[Lane, int] | None = None,
    edges: Sequence[AnyEdge] | None = None,
    only: Sequence[str] | None = None,
) -> Topology:
    """All processors and edges that are installed.

    Args:
        partitions: of each lane; one each by default.
        edges: in place of the installed ones (a simulation configures its own).
        only: names of the processors to take.

    Raises:
        WiringError: a folder cannot be loaded, or the parts do not fit together.
    """
    processors = tuple(_specs("flexlog.processors", Processor))
    if only is not None:
        unknown = sorted(set(only) - {spec.name for spec in processors})
        if unknown:
            known = ", ".join(spec.name for spec in processors)
            raise WiringError(f"there is no processor {unknown[0]!r}; there are {known}")
        processors = tuple(spec for spec in processors if spec.name in only)
    found = tuple(edges) if edges is not None else tuple(_specs("flexlog.edges", Edge))
    return Topology(
        Contracts.installed(),
        processors,
        found,
        partitions or ONE_PARTITION,
        absent=only is not None,
    )
