"""Recorded cuts run again: the same bytes, or the first difference is shown."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from streams.audit import commits
from streams.contracts.codec import Codec
from streams.contracts.topic import Topic
from streams.errors import ReplayError
from streams.hosts.board import micros
from streams.hosts.engine import Bounds, Cut, Engine, Output, Result, Shared
from streams.hosts.log import Log, TopicPartition
from streams.topology import COMMIT, RUNTIME, AnyProcessor, Topology

if TYPE_CHECKING:
    from streams.history import History


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A commit whose replay gave something else.

    Attributes:
        what: a topic and field, or what else differs.
    """

    processor: str
    partition: int
    commit_no: int
    what: str
    recorded: str
    replayed: str

    def __str__(self) -> str:
        return (
            f"{self.processor} partition {self.partition} commit {self.commit_no}: {self.what}: "
            f"recorded {self.recorded}, replayed {self.replayed}"
        )


@dataclass(slots=True)
class Outcome:
    """What a replay found."""

    commits: int = 0
    records: int = 0
    skipped: dict[str, int] = field(default_factory=dict)  # commits of processors that are not here, by task
    mismatches: list[Mismatch | str] = field(default_factory=list)


class ReplayHost:
    """Runs the recorded cuts of a log again.

    Args:
        topology: the processors to run; commits of others are counted as skipped.
        log: the log that holds the past.
        codec: with the registry of that log.
        history: what history reads are answered from.
        sink: brings the history up to the offsets of a read.
    """

    def __init__(
        self,
        topology: Topology,
        log: Log,
        codec: Codec,
        history: "Callable[[], History]",
        sink: Callable[[Topic, Mapping[int, int]], int],
    ) -> None:
        self._log = log
        self._codec = codec
        self._topology = topology
        self._specs = {spec.name: spec for spec in topology.processors}
        self._shared = Shared(topology, log, codec, history, sink)
        self._engines: dict[str, Engine] = {}
        self._positions: dict[str, dict[TopicPartition, int]] = {}
        self._numbers: dict[str, int] = {}
        self._configurations: dict[tuple[str, str], AnyProcessor] = {}

    def run(
        self,
        *,
        only: Sequence[str] | None = None,
        stop_at_first: bool = False,
        on_progress: Callable[[int], None] | None = None,
        more: Callable[[], bool] | None = None,
    ) -> Outcome:
        """Run all commits (of the named processors) in the order in which they were made.

        Args:
            only: the names; all where none is given.
            stop_at_first: end with the first difference.
            on_progress: told the number of commits after each.
            more: asked when all commits that are there have been run: it waits, and says whether there may be others.

        Raises:
            ReplayError: the commits have a hole, their cuts do not tile the input, or a name is unknown.
        """
        if unknown := sorted({*(only or ())} - {*self._specs}):
            known = ", ".join(sorted(self._specs))
            raise ReplayError(f"there is no processor {unknown[0]!r}; there are {known}")
        outcome = Outcome()
        broken: set[str] = set()
        for event in self._commits(more):
            name, task = event["processor"], event["task"]
            spec = self._specs.get(name)
            if only is not None and name not in only:
                continue
            if spec is None or spec.version != event["version"]:
                outcome.skipped[task] = outcome.skipped.get(task, 0) + 1
                continue
            outcome.commits += 1
            if task not in broken:
                mismatch = self._again(self._configured(spec, event), event, outcome)
                if mismatch is not None:
                    outcome.mismatches.append(mismatch)
                    broken.add(task)  # what follows on a wrong state says nothing
                    if stop_at_first:
                        break
            if on_progress:
                on_progress(outcome.commits)
        return outcome

    def _commits(self, more: Callable[[], bool] | None) -> Iterator[dict[str, Any]]:
        topic, at = self._topology.topic(COMMIT), 0
        while True:
            slab = self._log.read(COMMIT, 0, at, limit=5_000)
            if len(slab):
                at = slab.next_offset
                yield from self._codec.decode_events(topic, slab.events)
            elif more is None or not more():
                return

    def _configured(self, spec: AnyProcessor, event: Mapping[str, Any]) -> AnyProcessor:
        """The processor with the configuration that a commit was made with, which may not be the installed one."""
        place = (spec.name, event["config_fingerprint"])
        if place not in self._configurations:
            self._configurations[place] = self._recorded(spec, place[1])
        return self._configurations[place]

    def _recorded(self, spec: AnyProcessor, mark: str) -> AnyProcessor:
        if commits.fingerprint(commits.config(spec)) == mark:
            return spec
        topic, at = self._topology.topic(RUNTIME), 0
        while len(slab := self._log.read(RUNTIME, 0, at)):
            at = slab.next_offset
            for event in self._codec.decode_events(topic, slab.events):
                if event["fingerprint"] == mark:
                    return _with_config(spec, json.loads(event["values_json"]), mark)
        raise ReplayError(
            f"processor {spec.name}: {RUNTIME} does not say what the configuration {mark[:12]}… of a commit was"
        )

    def _again(self, spec: AnyProcessor, event: Mapping[str, Any], outcome: Outcome) -> Mismatch | None:
        task: str = event["task"]
        partition = int(task.rpartition(".")[2])
        if task not in self._engines:
            self._engines[task] = Engine(spec, partition, self._shared)
        engine = self._engines[task]
        engine.spec = spec  # the configuration may have changed from one commit to the next
        self._check_tiling(task, event)
        cut = self._cut(engine, event)
        try:
            result = engine.execute(cut)
        except Exception as error:  # noqa: BLE001 -- whatever other code does now where it committed is the difference
            told = f"{type(error).__name__}: {error}".partition("\n")[0]
            return Mismatch(spec.name, partition, event["commit_no"], "it stops", "a commit", told)
        engine.store.commit()
        outcome.records += sum(len(output.values) for output in result.outputs)
        return self._compare(spec, partition, event, result)

    def _check_tiling(self, task: str, event: Mapping[str, Any]) -> None:
        number = self._numbers.get(task, 0) + 1
        if event["commit_no"] != number:
            raise ReplayError(
                f"task {task}: commit {event['commit_no']} follows commit {number - 1}; the log lacks commits, so its "
                "past cannot be run again from the beginning"
            )
        self._numbers[task] = number
        positions = self._positions.setdefault(task, {})
        for item in event["inputs"]:
            place = (item["topic"], item["partition"])
            if item["from_offset"] != positions.get(place, 0):
                raise ReplayError(
                    f"task {task} commit {number}: {item['topic']}[{item['partition']}] goes on at "
                    f"{item['from_offset']}, but the commit before ended at {positions.get(place, 0)}"
                )
            positions[place] = item["to_offset"]

    def _cut(self, engine: Engine, event: Mapping[str, Any]) -> Cut:
        now = micros(event["now"])
        ticked = now > (engine.tick if engine.tick is not None else 0)
        inputs: dict[TopicPartition, tuple[int, int]] = {}
        moves: dict[str, dict[int, int]] = {}
        for item in event["inputs"]:
            if item["topic"] in engine.views:
                moves.setdefault(item["topic"], {})[item["partition"]] = item["to_offset"]
            else:
                inputs[item["topic"], item["partition"]] = (item["from_offset"], item["to_offset"])
        tables: dict[str, Bounds] = {}
        for name in engine.views:
            held = engine.table_bounds(name)
            tables[name] = tuple(moves.get(name, {}).get(p, end) for p, end in enumerate(held))
        history: dict[str, dict[int, int]] = {}
        for item in event["history"]:
            history.setdefault(item["topic"], {})[item["partition"]] = item["to_offset"]
        watermarks = {item["topic"]: micros(item["at"]) for item in event["watermarks"]}
        return Cut(inputs, tables if ticked else {}, history, now if ticked else None, watermarks)

    # What differs.

    def _compare(self, spec: AnyProcessor, partition: int, event: Mapping[str, Any], result: Result) -> Mismatch | None:
        number = event["commit_no"]
        recorded = {(o["topic"], o["partition"]): (o["records"], o["digest"]) for o in event["outputs"]}
        replayed = {(o.topic.name, o.partition): o for o in result.outputs}
        for place in sorted({*recorded, *replayed}):
            made = replayed.get(place)
            if made is not None and place in recorded and recorded[place] == (len(made.values), made.digest()):
                continue
            origin = f"{event['task']}/{number}"
            what, was, now = self._first_difference(place, origin, made)
            return Mismatch(spec.name, partition, number, f"{place[0]}[{place[1]}] {what}", was, now)
        if event["rejected"] != len(result.rejected):
            return Mismatch(spec.name, partition, number, "rejected", str(event["rejected"]), str(len(result.rejected)))
        return None

    def _first_difference(self, place: TopicPartition, origin: str, made: Output | None) -> tuple[str, str, str]:
        topic = self._topology.topic(place[0])
        keys, values = self._written(place, origin)
        again_keys = list(made.keys) if made else []
        again = list(made.values) if made else []
        for row in range(min(len(values), len(again))):
            if keys[row] != again_keys[row]:
                return f"row {row} key", str(keys[row]), str(again_keys[row])
            if values[row][5:] == again[row][5:]:
                continue
            (was,), (now,) = (self._codec.decode_events(topic, [item]) for item in (values[row], again[row]))
            for name in topic.columns:
                if was.get(name) != now.get(name):
                    return f"row {row} field {name}", repr(was.get(name)), repr(now.get(name))
            return f"row {row} schema", "another", "this"
        if len(values) == len(again):
            return "digest", "of another schema", "of this one"
        return "number of records", str(len(values)), str(len(again))

    def _written(self, place: TopicPartition, origin: str) -> tuple[list[bytes], list[bytes]]:
        keys: list[bytes] = []
        values: list[bytes] = []
        at = self._log.start(*place)
        while True:
            slab = self._log.read(*place, at)
            if not len(slab):
                return keys, values
            at, row = slab.next_offset, 0
            for count, written_by in slab.origins:
                if written_by == origin:
                    keys += [key or b"" for key in slab.keys[row : row + count]]
                    values += [value or b"" for value in slab.values[row : row + count]]
                row += count


def _with_config(spec: AnyProcessor, values: Mapping[str, Any], mark: str) -> AnyProcessor:
    """A processor as it was configured once."""
    try:
        config = None if spec.config is None else type(spec.config).model_validate(values["values"])
    except ValueError as error:
        raise ReplayError(
            f"processor {spec.name}: the configuration of a commit does not fit the installed version: "
            f"{error!s}; install the version that ran".replace("\n", " ")
        ) from None
    found = replace(spec, config=config, every=timedelta(seconds=values["every_s"]))
    if commits.fingerprint(commits.config(found)) != mark:
        raise ReplayError(
            f"processor {spec.name}: the installed version has other settings than the one that committed with "
            f"configuration {mark[:12]}…; install that one"
        )
    return found
