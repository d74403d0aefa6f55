"""An edge in the embedded host: its conversations, what they remember, and the clock they live by."""

import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Self

import polars as pl

from streams.contracts.codec import Codec
from streams.contracts.partition import partitions_of
from streams.contracts.topic import Topic
from streams.edge import Message, Send, Session
from streams.errors import EmitError, StreamsError, WiringError
from streams.hosts.board import micros, moment
from streams.hosts.log import Log, TopicPartition, Transaction
from streams.processor import Emit
from streams.topology import AnyEdge, Topology

_NAMESPACE = uuid.UUID("0d6a3c5e-0b9c-5f0e-8a39-7f3bd2c6a7d4")
_MAX_WAKES = 10_000
_SESSION, _HEARD, _POSITIONS = "session/", "heard/", "positions"


class Talk:
    """One conversation at one moment: `streams.Conversation`."""

    def __init__(self, edge: AnyEdge, key: str, session: Session, now: int, cause: str) -> None:
        self.key = key
        self.session = session
        self.now = moment(now)
        self.config = edge.config
        self.rejected: list[tuple[Message, str]] = []
        self._cause = f"{edge.name}/{key}/{cause}"

    def id(self, label: str, /) -> str:
        """A UUIDv5 of what caused this call and ``label``."""
        return str(uuid.uuid5(_NAMESPACE, f"{self._cause}/{label}"))

    def reject(self, message: Message, why: str, /) -> None:
        """Put a message aside with its reason."""
        self.rejected.append((message, why))


class EdgeTask:
    """One edge: all its conversations. Sessions and positions are in its changelog, with what it emits."""

    def __init__(self, edge: AnyEdge, topology: Topology, log: Log, codec: Codec) -> None:
        self.edge = edge
        self.sent: list[tuple[str, Send]] = []
        self.rejected: list[tuple[str, Message, str]] = []
        self._topology = topology
        self.log = log
        self.codec = codec
        self._changelog = f"{edge.name}.v{edge.version}.changelog"
        self._reads = [topology.topic(rec) for rec in edge.reads.types]
        self.writes = {rec: topology.topic(rec) for rec in edge.writes.types}
        self.restore()

    def session(self, key: str) -> Session:
        """What a conversation remembers; a new one begins with nothing."""
        if key not in self._sessions:
            self._sessions[key] = self.edge.session()
        return self._sessions[key]

    def next_wake(self) -> int | None:
        """The earliest time at which a conversation wants to be woken."""
        if self.edge.on_wake is None:
            return None
        wakes = [at for session in self._sessions.values() if (at := session.wake_at()) is not None]
        return micros(min(wakes)) if wakes else None

    def wake(self, now: int) -> bool:
        """Wake all conversations that are due; whether any was."""
        on_wake = self.edge.on_wake
        if on_wake is None:
            return False
        woken = False
        for _ in range(_MAX_WAKES):
            due = sorted(k for k, s in self._sessions.items() if (at := s.wake_at()) is not None and micros(at) <= now)
            if not due:
                return woken
            woken = True
            with self._writing() as out:
                for key in due:
                    at = self._sessions[key].wake_at()
                    assert at is not None
                    talk = self._talk(key, now, f"wake/{micros(at)}")
                    out.take(on_wake(talk), None)
                    self._close(talk)
        raise StreamsError(f"edge {self.edge.name}: {due[0]!r} wants to be woken again and again at {moment(now)}")

    def deliver(self, now: int) -> bool:
        """Hand over the events that are new; whether there were any."""
        found = False
        for topic in self._reads:
            for partition in range(self.log.partitions(topic.name)):
                while self._deliver(topic, partition, now):
                    found = True
        return found

    def _deliver(self, topic: Topic, partition: int, now: int) -> bool:
        on_event = self.edge.on_event
        place = (topic.name, partition)
        at = self._positions.get(place, 0)
        if on_event is None:
            return False
        slab = self.log.read(*place, at)
        if slab.next_offset <= at:
            return False
        decoded = self.codec.decode(topic, slab.keys, slab.values)
        offsets = slab.offsets[decoded.rows].tolist()
        key_of = self.edge.key if isinstance(self.edge.key, str) else self.edge.key[topic.record]
        with self._writing() as out:
            for offset, row in zip(offsets, decoded.frame.iter_rows(named=True), strict=True):
                key = key_of[1:] if key_of.startswith("=") else str(row[key_of])
                talk = self._talk(key, now, f"{topic.name}/{partition}/{offset}")
                out.take(on_event(talk, topic.record.from_dict(row)), (topic.name, partition, offset))
                self._close(talk)
            self._positions[place] = slab.next_offset
        return True

    def hear(self, key: str, message: Message, now: int) -> None:
        """A message from outside; one that was heard before is dropped by its id."""
        on_message = self.edge.on_message
        if on_message is None:
            raise WiringError(f"edge {self.edge.name} has no on_message")
        known = f"{key}/{message.origin}/{message.id}"
        if known in self._heard:
            return
        with self._writing() as out:
            talk = self._talk(key, now, f"message/{message.origin}/{message.id}")
            out.take(on_message(talk, message), None)
            self._close(talk)
            self._heard[known] = False

    def _talk(self, key: str, now: int, cause: str) -> Talk:
        self._touched[key] = None
        return Talk(self.edge, key, self.session(key), now, cause)

    def _close(self, talk: Talk) -> None:
        self.rejected.extend((talk.key, message, why) for message, why in talk.rejected)

    def _writing(self) -> "_Writing":
        return _Writing(self)

    # What outlives a restart.

    def save(self, transaction: Transaction) -> None:
        """Put what has changed into the changelog. Where that is not committed, `restore` must follow."""
        keys, values = [], []
        for key in self._touched:
            text = self._sessions[key].model_dump_json()
            if self._saved.get(key) != text:
                self._saved[key] = text
                keys.append(f"{_SESSION}{key}")
                values.append(text)
        for known in [known for known, saved in self._heard.items() if not saved]:
            self._heard[known] = True
            keys.append(f"{_HEARD}{known}")
            values.append("")
        keys.append(_POSITIONS)
        values.append(json.dumps([[t, p, o] for (t, p), o in self._positions.items()]))
        transaction.append(self._changelog, 0, [key.encode() for key in keys], [value.encode() for value in values])
        self._touched.clear()

    def restore(self) -> None:
        """Sessions, positions and what was heard, as the last commit left them."""
        self._saved: dict[str, str] = {}
        self._touched: dict[str, None] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._heard: dict[str, bool] = {}  # and whether the changelog has it
        at, end = self.log.start(self._changelog, 0), self.log.end(self._changelog, 0, committed=False)
        while at < end:
            slab = self.log.read(self._changelog, 0, at, stop=end)
            for place, value in zip(slab.keys, slab.values, strict=True):
                name, text = (place or b"").decode(), value or b""
                if name == _POSITIONS:
                    self._positions = {(t, p): o for t, p, o in json.loads(text)}
                elif name.startswith(_HEARD):
                    self._heard[name.removeprefix(_HEARD)] = True
                else:
                    self._saved[name.removeprefix(_SESSION)] = text.decode()
            at = slab.next_offset
        self._sessions: dict[str, Session] = {
            key: self.edge.session.model_validate_json(saved) for key, saved in self._saved.items()
        }
        for key in self.edge.keys:
            self._sessions.setdefault(key, self.edge.session())


class _Writing:
    """What one step of an edge writes, in one transaction. An error leaves nothing behind."""

    def __init__(self, task: EdgeTask) -> None:
        self._task = task
        self._events: dict[str, list[pl.DataFrame]] = {}
        self._sends: list[tuple[str, Send]] = []

    def __enter__(self) -> Self:
        return self

    def take(self, made: Iterable[Emit[Any] | Send] | None, cause: tuple[str, int, int] | None) -> None:
        """Collect what a handler made."""
        edge, codec = self._task.edge, self._task.codec
        for item in made or ():
            if isinstance(item, Send):
                self._sends.append((edge.name, item))
                continue
            topic = self._task.writes.get(item.record)
            if topic is None:
                raise WiringError(f"edge {edge.name} does not write {item.record.__name__}; add it to writes")
            if not len(item.rows):
                continue
            try:
                frame = codec.prepare(topic, item.rows)
            except EmitError as error:
                raise EmitError(f"edge {edge.name}: {error}") from error
            if cause is not None and "cause_topic" in topic.columns:
                frame = frame.with_columns(**_cause(cause, topic))
            self._events.setdefault(topic.name, []).append(frame)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task = self._task
        try:
            if kind is None:
                self._commit(task.log, task.codec)
                task.sent.extend(self._sends)
                return
        except BaseException:
            task.restore()
            raise
        task.restore()

    def _commit(self, log: Log, codec: Codec) -> None:
        transaction = log.transaction(f"edge.{self._task.edge.name}")
        try:
            for topic in self._task.writes.values():
                frames = self._events.get(topic.name)
                if not frames:
                    continue
                encoded = codec.encode(topic, frames[0] if len(frames) == 1 else pl.concat(frames))
                count = log.partitions(topic.name)
                if count == 1:
                    transaction.append(topic.name, 0, encoded.keys, encoded.values)
                    continue
                places = partitions_of(encoded.keys, count)
                for partition in range(count):
                    rows = (places == partition).nonzero()[0].tolist()
                    if rows:
                        keys, values = [encoded.keys[i] for i in rows], [encoded.values[i] for i in rows]
                        transaction.append(topic.name, partition, keys, values)
            self._task.save(transaction)
            transaction.commit({})
        except BaseException:
            transaction.abort()
            raise


def _cause(cause: tuple[str, int, int], topic: Topic) -> Mapping[str, pl.Expr]:
    names = ("cause_topic", "cause_partition", "cause_offset")
    return {name: pl.lit(value, topic.columns[name]) for name, value in zip(names, cause, strict=True)}
