"""Topics and schemas as code: what the contracts want of a cluster and its registry, compared, and brought about.

Which field is a topic's key stands nowhere in Kafka. It is remembered in a small topic beside the others,
``<prefix>flexlog.topics``, with the UUID of the topic it was made for: it lives and dies with the data it describes,
needs nothing of the registry (some drop schema properties, one in memory forgets all), and a topic that was deleted
and made anew begins with a clean slate.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streams.contracts.evolution import incompatible
from streams.contracts.topic import Topic
from streams.contracts.violation import FaultError
from streams.errors import StreamsError
from streams.kafka.cluster import NOTES, Cluster, Note, Seen
from streams.kafka.plan import Plan, Step
from streams.kafka.registry import FULL_TRANSITIVE, RestRegistry, Waiting, meaning
from streams.kafka.settings import Settings
from streams.processor import Processor
from streams.topology import CLOCK, COMMIT, PROGRESS, RUNTIME, AnyEdge, AnyProcessor, Topology

_DAY_MS = 86_400_000
_FOREVER = "-1"


class NotReadyError(StreamsError):
    """The cluster or the registry lacks what a worker needs; the message is the plan."""


@dataclass(frozen=True)
class Wanted:
    """A topic as it should be.

    Attributes:
        name: without the deployment's prefix.
        partitions: how many.
        config: what must hold; nothing else is looked at.
        why: where the partition count comes from, for a person.
        topic: its contract; None for what the hosts keep for themselves.
    """

    name: str
    partitions: int
    config: Mapping[str, str]
    why: str
    topic: Topic | None = None
    remedy: str = field(default="", compare=False)


def wanted(topology: Topology, settings: Settings, only: Iterable[str] | None = None) -> list[Wanted]:
    """Every topic that a topology needs on a cluster.

    Args:
        topology: with the deployment's partition counts.
        settings: copies, and how many of them must have a record.
        only: names of processors and edges; what others need alone is left out.
    """
    specs = [spec for spec in topology.specs if only is None or spec.name in set(only)]
    used = None if only is None else _used(specs)
    insync = settings.kafka.insync
    found = [Wanted(NOTES, 1, _config(_FOREVER, insync), "it always has one")]
    for topic in topology.contracts.topics.values():
        count = topology.count(topic)
        why = f"lane {topic.lane} has {count} here"
        remedy = f"set FLEXLOG_KAFKA__PARTITIONS__{topic.lane.upper()} to what there is"
        for part in (topic, topology.contracts.rejected(topic)):
            if used is None or part.name in used:
                config = _config(_retention_ms(part.retention), insync)
                found.append(Wanted(part.name, count, config, why, part, remedy))
    for spec in specs:
        tasks = topology.tasks(spec) if isinstance(spec, Processor) else 1
        name = f"{spec.name}.v{spec.version}.changelog"
        why = f"{spec.name} has {tasks} task{'s' if tasks > 1 else ''}"
        remedy = f"go back to the partition counts it was made with, or give {spec.name} a new version"
        found.append(Wanted(name, tasks, _config(_FOREVER, insync), why, None, remedy))
    return found


def _used(specs: Iterable[AnyProcessor | AnyEdge]) -> set[str]:
    """Names of the topics that some processors and edges need."""
    names = {CLOCK, PROGRESS, COMMIT, RUNTIME}
    for spec in specs:
        types: list[Any] = [*spec.reads.types, *spec.writes.types]
        if isinstance(spec, Processor):
            types += [*spec.tables.types, *spec.history.types, *spec.delayed]
        topics = {rec.__topic__.name for rec in types}
        names |= topics | {f"{name}.rejected" for name in topics}
    return names


def _config(retention_ms: str, insync: int) -> dict[str, str]:
    return {
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": "delete",
        "retention.ms": retention_ms,
        "retention.bytes": "-1",
        "min.insync.replicas": str(insync),
        "compression.type": "producer",
    }


def _retention_ms(retention: str) -> str:
    """A contract's retention (``forever``, ``400d``) as Kafka has it."""
    return _FOREVER if retention == "forever" else str(int(retention.removesuffix("d")) * _DAY_MS)


# --- compared ------------------------------------------------------------------------------------------------------


def plan(
    settings: Settings,
    topology: Topology,
    registry: RestRegistry,
    *,
    only: Iterable[str] | None = None,
    strangers: bool = True,
) -> Plan:
    """What cluster and registry have against what is wanted.

    Args:
        settings: where they are.
        topology: with the deployment's partition counts.
        registry: a client with the deployment's prefix.
        only: names of processors and edges; what others need alone is left out.
        strangers: list what is under our prefix and unknown to us.

    Raises:
        ClusterError, RegistryError, RegistryAway: they cannot be asked.
    """
    cluster = Cluster(settings.kafka)
    wishes = wanted(topology, settings, only)
    names = cluster.names()
    full = {settings.kafka.topic(wish.name): wish for wish in wishes}
    seen = cluster.topics(full)  # by name: what we may not see is in no list
    notes = cluster.notes()
    steps: list[Step] = []
    for name, wish in full.items():
        steps += _topic_steps(name, wish, seen.get(name), notes.get(wish.name), settings)
    topics = [wish.topic for wish in wishes if wish.topic is not None]
    subjects = registry.subjects()
    for topic in topics:
        steps += _schema_steps(topic, registry, known=topic.subject in subjects)
    if strangers:
        steps += [_stranger(name) for name in names if name not in full]
        ours = {topic.subject for topic in topics}
        steps += [
            Step("unknown", "schema", registry.prefix + name, "no topic of ours has this subject")
            for name in subjects
            if name not in ours
        ]
    return Plan(tuple(steps), len(wishes), len(topics))


def _stranger(name: str) -> Step:
    old = " (of another version, or of a processor that is no longer here)" if name.endswith(".changelog") else ""
    return Step("unknown", "topic", name, f"not of our contracts{old}; `flexlog topics apply --delete {name}`", name)


def _topic_steps(name: str, wish: Wanted, seen: Seen | None, note: Note | None, settings: Settings) -> list[Step]:
    """What is to be done about one topic."""
    key = wish.topic.key if wish.topic else ""
    if seen is None:
        copies = settings.kafka.replication_factor
        kept = _shown("retention.ms", wish.config["retention.ms"])
        text = f"{_count(wish.partitions, 'partition')}, {_count(copies, 'copy', 'copies')}, kept {kept}"
        text += f", key {key}" if key else ""
        return [Step("create", "topic", name, text, name, needed=True, values={"key": key})]
    steps = [*_partitions(name, wish, seen), *_configs(name, wish, seen)]
    if seen.copies < settings.kafka.replication_factor:
        text = f"has {_count(seen.copies, 'copy', 'copies')}, {settings.kafka.replication_factor} are wanted"
        steps.append(Step("note", "topic", name, f"{text}: reassign its partitions with Kafka's own tools", name))
    if not key:
        return steps
    if note is None or note.uuid != seen.uuid:
        text = f"its key is not remembered; {key} will be"
        steps.append(Step("change", "key", name, text, name, values={"key": key}))
    elif note.key != key:
        text = (
            f"its key is {note.key} and {wish.topic.file.name if wish.topic else ''} says {key}: what is in it lies by "
            f"{note.key}; put the key back, or make a new major topic"
        )
        steps.append(Step("forbidden", "key", name, text, name))
    return steps


def _partitions(name: str, wish: Wanted, seen: Seen) -> list[Step]:
    if seen.partitions == wish.partitions:
        return []
    text = (
        f"has {_count(seen.partitions, 'partition')}, {wish.why}: a key's records would lie in two of them, so the "
        f"count never changes; {wish.remedy or 'make it anew'}"
    )
    if wish.topic is not None:
        text += ", or make a new topic generation and replay into it"
    return [Step("forbidden", "topic", name, text, name)]


def _configs(name: str, wish: Wanted, seen: Seen) -> list[Step]:
    """Configuration that differs: repaired, but for what the records that are there have suffered already."""
    steps = []
    anew = "make it anew with Kafka's own tools if nothing in it is needed, or make a new topic generation"
    insync = min(int(wish.config["min.insync.replicas"]), seen.copies)  # more than there are: nothing can be written
    for key, value in {**wish.config, "min.insync.replicas": str(insync)}.items():
        have = seen.config.get(key, "")
        if have == value:
            continue
        if key == "cleanup.policy" and "compact" in have:
            text = f"cleanup.policy is {have}: what compaction has taken away can never be replayed; {anew}"
            steps.append(Step("forbidden", "config", name, text, name))
        elif key == "message.timestamp.type":
            text = f"message.timestamp.type is {have}: its records carry times of their producers; {anew}"
            steps.append(Step("forbidden", "config", name, text, name))
        else:
            erases = key.startswith("retention.") and have != _FOREVER and (value == _FOREVER or int(have) < int(value))
            text = f"{key} is {_shown(key, have)}, wanted is {_shown(key, value)}"
            text += ": what is needed would be erased" if erases else ""
            steps.append(Step("change", "config", name, text, name, needed=erases, values={key: value}))
    return steps


def _shown(key: str, value: str) -> str:
    """A value as a person says it."""
    if key == "retention.ms":
        if value == _FOREVER:
            return "for ever"
        if value.isdecimal() and not int(value) % _DAY_MS:
            return _count(int(value) // _DAY_MS, "day")
    if key == "retention.bytes" and value == _FOREVER:
        return "without limit"
    return value


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _schema_steps(topic: Topic, registry: RestRegistry, *, known: bool) -> list[Step]:
    """What is to be done about one subject."""
    subject, place = registry.prefix + topic.subject, registry.prefix + topic.name
    if not known:
        text = f"{topic.record_name}, {FULL_TRANSITIVE}"
        return [Step("create", "schema", subject, text, place, needed=True)]
    steps = []
    level = registry.level(topic.subject)
    if level != FULL_TRANSITIVE:
        text = f"its compatibility is {level or 'the registry default'}, wanted is {FULL_TRANSITIVE}"
        steps.append(Step("change", "level", subject, text, place))
    if registry.exact(topic.subject, topic.text) is not None:
        return steps
    versions = registry.versions(topic.subject)
    own = meaning(topic.text)
    if any(meaning(text) == own for _, _, text in versions):
        return [*steps, Step("change", "schema", subject, "a new version: the documentation has changed", place)]
    refused = list(dict.fromkeys(fault for number, _, text in versions for fault in _faults(topic, number, text)))
    if refused:
        file = f"avro/{topic.schema_file.parent.name}/{topic.schema_file.name}"
        faults = [f"{file}: {where}: {what}; a breaking change is a new major topic" for where, what in refused]
        return [*steps, *(Step("forbidden", "schema", subject, fault, place) for fault in faults)]
    text = f"a new version of {topic.record_name}, number {len(versions) + 1}"
    return [*steps, Step("change" if versions else "create", "schema", subject, text, place, needed=True)]


def _faults(topic: Topic, number: int, text: str) -> list[tuple[str, str]]:
    """What keeps a registered version and ours from reading each other."""
    there = f"version {number} of the registry"
    try:
        return list(incompatible([(there, json.loads(text)), ("ours", topic.schema)]))
    except (ValueError, FaultError, KeyError, TypeError, AttributeError, IndexError):
        return [("", f"{there} is no event type such as ours are")]


# --- brought about -------------------------------------------------------------------------------------------------


def apply(settings: Settings, topology: Topology, registry: RestRegistry, done: Callable[[Step], None]) -> Plan:
    """Do what is allowed; what is forbidden stays, and nothing is done to the topics it concerns.

    Args:
        settings: where cluster and registry are.
        topology: with the deployment's partition counts.
        registry: a client with the deployment's prefix.
        done: told each step that was done.

    Returns:
        The plan that was found; its `allowed` steps are done.

    Raises:
        ClusterError, RegistryError, RegistryAway: something cannot be done; what was done stays, and another run
            goes on with the rest.
    """
    found = plan(settings, topology, registry)
    cluster = Cluster(settings.kafka)
    wishes = {settings.kafka.topic(wish.name): wish for wish in wanted(topology, settings)}
    allowed = found.allowed
    new = [step for step in allowed if step.kind == "topic"]
    cluster.create({step.name: (wishes[step.name].partitions, wishes[step.name].config) for step in new})
    for step in new:
        done(step)
    for step in allowed:
        if step.kind == "config":
            cluster.configure(step.name, step.values)
            done(step)
    keyed = [step for step in allowed if step.values.get("key")]
    if keyed:
        uuids = cluster.uuids(step.name for step in keyed)
        cluster.remember(Note(wishes[s.name].name, uuids[s.name], s.values["key"]) for s in keyed)
        for step in keyed:
            if step.kind == "key":
                done(step)
    topics = {registry.prefix + wish.topic.subject: wish.topic for wish in wishes.values() if wish.topic}
    for step in allowed:
        if step.kind in ("schema", "level"):
            topic = topics[step.name]
            if registry.level(topic.subject) != FULL_TRANSITIVE:
                registry.set_level(topic.subject)
            if step.kind == "schema":
                registry.add(topic.subject, topic.text)
            done(step)
    return found


def delete(settings: Settings, topology: Topology, names: Iterable[str]) -> dict[str, bool]:
    """Delete topics that are not wanted, by the names that the plan shows.

    Returns:
        By name, whether it was there.

    Raises:
        NotReadyError: one of them is wanted, or not under our prefix; nothing is deleted then.
        ClusterError: the cluster refuses.
    """
    cluster = Cluster(settings.kafka)
    ours = {settings.kafka.topic(wish.name) for wish in wanted(topology, settings)}
    names = list(dict.fromkeys(names))
    for name in names:
        if name in ours:
            raise NotReadyError(
                f"topic {name} is wanted and is not deleted; take it out of topics/ (or its processor out of the "
                "deployment) first"
            )
        if not name.startswith(settings.kafka.prefix) or name.startswith("__"):
            raise NotReadyError(f"topic {name} is not of this deployment ({settings.kafka.prefix}…) and is not deleted")
    there = set(cluster.names())
    for name in names:
        if name in there:
            cluster.delete(name)
    return {name: name in there for name in names}


# --- what a worker asks --------------------------------------------------------------------------------------------


def missing(
    settings: Settings,
    topology: Topology,
    *,
    only: Iterable[str] | None = None,
    registry: RestRegistry | None = None,
    on_wait: Callable[[Waiting], None] | None = None,
) -> Plan:
    """The plan for what some processors need; a registry that is away is waited for.

    Args:
        settings: where cluster and registry are.
        topology: with the deployment's partition counts.
        only: the processors and edges that are to start; all by default.
        registry: a client to use; one is made otherwise.
        on_wait: told of each wait for the registry, where one is made here.

    Raises:
        ClusterError, RegistryError: they cannot be asked.
    """
    client = registry or RestRegistry(settings.registry, prefix=settings.kafka.prefix, on_wait=on_wait)
    try:
        return plan(settings, topology, client, only=only, strangers=False)
    finally:
        if registry is None:
            client.close()


def require(
    settings: Settings,
    topology: Topology,
    *,
    only: Iterable[str] | None = None,
    registry: RestRegistry | None = None,
    on_wait: Callable[[Waiting], None] | None = None,
) -> Plan:
    """`missing`, and refuse where it is anything that a worker cannot do without.

    What may wait (a configuration that loses nothing, documentation) does not hold a worker up: in a rolling upgrade
    an older one must be able to start again.

    Raises:
        NotReadyError: with the plan as the message.
    """
    found = missing(settings, topology, only=only, registry=registry, on_wait=on_wait)
    if found.blocking:
        told = Plan(tuple(found.blocking), found.topics, found.subjects)
        way = "see to what is forbidden" if told.of("forbidden") else "run `flexlog topics apply`"
        raise NotReadyError(f"the cluster at {settings.kafka.bootstrap_servers} is not ready: {way}\n{told}")
    return found
