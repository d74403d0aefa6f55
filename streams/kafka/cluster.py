"""The topics of a cluster: what is there, and the few things that are done to them."""

import json
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from streams.errors import StreamsError
from streams.kafka.patience import DENIED, Admin, ClusterRefusedError, denied, known, stranger
from streams.kafka.settings import ConfigurationError, KafkaSettings

NOTES = "flexlog.topics"  # the deployment's own topic: which key each topic was made for
_QUIET = {"log_level": 0}  # what is wrong is said once, by the error
_LOOK_S = 2.0


class ClusterError(StreamsError):
    """The cluster cannot be reached, or cannot do it now: a later try may succeed."""


@dataclass(frozen=True)
class Seen:
    """A topic as the cluster has it.

    Attributes:
        name: with the deployment's prefix.
        uuid: another one after the topic was made anew.
        partitions: how many.
        copies: of the partition that has the fewest.
        config: what holds for it, the broker's defaults included; empty where it was not asked for.
    """

    name: str
    uuid: str
    partitions: int
    copies: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """What the deployment remembers of a topic: nothing in Kafka itself says which field is a topic's key."""

    topic: str  # without prefix
    uuid: str
    key: str


class Cluster:
    """One deployment's topics on a cluster.

    Args:
        settings: where it is, and the deployment's prefix.

    Raises:
        ConfigurationError: an option is unknown to librdkafka.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self._timeout = settings.request_timeout_ms / 1000
        try:
            self._admin = Admin(settings.common())
        except KafkaException as error:
            raise ConfigurationError(f"FLEXLOG_KAFKA__OPTIONS: {_text(error)}") from None

    # --- what is there -----------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The topics under the deployment's prefix that we may see, Kafka's own left out.

        Raises:
            ClusterError: the cluster cannot be reached.
            ClusterRefusedError: it does not let us in.
        """
        return sorted(n for n in self._all() if n.startswith(self.settings.prefix) and not n.startswith("__"))

    def _all(self) -> Mapping[str, Any]:
        """All topics' metadata; in several tries, for whoever is not let in need not wait for the last."""
        end = time.monotonic() + self._timeout
        while True:
            left = end - time.monotonic()
            try:
                return self._admin.list_topics(timeout=max(min(left, _LOOK_S), 0.1)).topics
            except KafkaException as error:
                trouble = self._trouble(error)
                if isinstance(trouble, ClusterRefusedError) or time.monotonic() >= end:
                    raise trouble from None

    def topics(self, names: Iterable[str]) -> dict[str, Seen]:
        """Those of these topics that are there, with their configuration.

        Raises:
            ClusterError: the cluster cannot be reached.
            ClusterRefusedError: we may not see one of them, whether it is there or not.
        """
        wanted = [name for name in names if name]
        if not wanted:
            return {}
        described = self._admin.describe_topics(TopicCollection(wanted), request_timeout=self._timeout)
        there: dict[str, Any] = {}
        for name, future in described.items():
            try:
                there[name] = future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise self._trouble(error, f"topic {name}", "Describe") from None
        configs = self._configs(list(there))
        return {
            name: Seen(
                name,
                str(found.topic_id),
                len(found.partitions),
                min((len(part.replicas) for part in found.partitions), default=0),
                configs[name],
            )
            for name, found in there.items()
        }

    def uuids(self, names: Iterable[str]) -> dict[str, str]:
        """The identity of topics that are there; those made just now are waited for: not every broker knows them yet.

        Raises:
            ClusterError: one is not there, in time.
        """
        wanted, end = list(names), time.monotonic() + self._timeout
        while True:
            try:
                found = self.topics(wanted)
                if len(found) == len(wanted):
                    return {name: seen.uuid for name, seen in found.items()}
                trouble = ClusterError(f"topic {min(set(wanted) - set(found))} is not known to all brokers")
            except ClusterError as error:
                trouble = error
            if time.monotonic() > end:
                raise trouble
            time.sleep(0.05)

    def _configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        asked = self._admin.describe_configs(resources, request_timeout=self._timeout)
        return {
            resource.name: {
                entry.name: str(entry.value)
                for entry in self._done(future, f"topic {resource.name}", "DescribeConfigs").values()
            }
            for resource, future in asked.items()
        }

    # --- what is done ------------------------------------------------------------------------------------------

    def create(self, topics: Mapping[str, tuple[int, Mapping[str, str]]]) -> None:
        """Create topics, by name: partition count and configuration; returns when all of them can be written.

        One that somebody else has just created is left as it is.
        """
        if not topics:
            return
        new = [
            NewTopic(name, num_partitions=count, replication_factor=self._copies, config=dict(config))
            for name, (count, config) in topics.items()
        ]
        asked = self._admin.create_topics(new, operation_timeout=self._timeout, request_timeout=self._timeout)
        for name, future in asked.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                    continue
                if error.args[0].code() in DENIED:
                    raise denied(error.args[0], f"topic {name}", "Create") from None
                raise ClusterError(f"topic {name} cannot be created: {_text(error)}") from None
        self._wait_for(topics)

    @property
    def _copies(self) -> int:
        return self.settings.replication_factor

    def _wait_for(self, topics: Iterable[str]) -> None:
        """Until every partition has a leader: a topic is known to the controller before brokers take records."""
        rest = set(topics)
        end = time.monotonic() + self._timeout
        while rest:
            found = self._all()
            rest = {
                name
                for name in rest
                if name not in found
                or found[name].error is not None
                or not found[name].partitions
                or any(part.leader < 0 for part in found[name].partitions.values())
            }
            if rest and time.monotonic() > end:
                raise ClusterError(f"topic {min(rest)} was created and has no leader after {self._timeout:.0f} s")
            if rest:
                time.sleep(0.05)

    def configure(self, name: str, values: Mapping[str, str]) -> None:
        """Set some of a topic's configuration; the rest stays."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in values.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        for future in self._admin.incremental_alter_configs([resource], request_timeout=self._timeout).values():
            self._done(future, f"topic {name}", "AlterConfigs")

    def delete(self, name: str) -> None:
        """Delete a topic; returns when it is gone."""
        for future in self._admin.delete_topics([name], operation_timeout=self._timeout).values():
            self._done(future, f"topic {name}", "Delete")
        end = time.monotonic() + self._timeout
        while name in self.names() and time.monotonic() < end:
            time.sleep(0.05)

    # --- what is remembered ------------------------------------------------------------------------------------

    def notes(self) -> dict[str, Note]:
        """What was remembered last of each topic, by its name without prefix."""
        name = self.settings.topic(NOTES)
        if name not in self.names():
            return {}
        reader = Consumer(_QUIET | self.settings.common() | {"group.id": f"{name}.reader", "enable.auto.commit": False})
        try:
            return self._read_notes(reader, TopicPartition(name, 0, 0))
        except KafkaException as error:
            raise self._trouble(error, f"topic {name}", "Read") from None
        finally:
            reader.close()

    def _read_notes(self, reader: Consumer, place: TopicPartition) -> dict[str, Note]:
        found: dict[str, Note] = {}
        place.offset, end = reader.get_watermark_offsets(place, timeout=self._timeout)
        reader.assign([place])
        late = time.monotonic() + self._timeout
        while reader.position([place])[0].offset < end and place.offset < end:
            for message in reader.consume(500, timeout=0.2):
                if (error := message.error()) is not None:
                    raise KafkaException(error)
                held = json.loads(message.value() or b"{}")
                if {"topic", "uuid", "key"} <= held.keys():
                    found[held["topic"]] = Note(held["topic"], held["uuid"], held["key"])
            if time.monotonic() > late:
                raise ClusterError(f"topic {place.topic} cannot be read to its end at offset {end}")
        return found

    def remember(self, notes: Iterable[Note]) -> None:
        """Write notes, durably."""
        name = self.settings.topic(NOTES)
        trouble: list[KafkaError] = []

        def told(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                trouble.append(error)

        writer = Producer(_QUIET | self.settings.common() | {"acks": "all", "enable.idempotence": True})
        for note in notes:
            value = {"topic": note.topic, "uuid": note.uuid, "key": note.key}
            writer.produce(name, json.dumps(value).encode(), note.topic.encode(), 0, on_delivery=told)
        left = writer.flush(self._timeout)
        if trouble and trouble[0].code() in DENIED:
            raise denied(trouble[0], f"topic {name}", "Write")
        if left or trouble:
            raise ClusterError(f"topic {name} cannot be written: {trouble[0] if trouble else 'no answer in time'}")

    def _done(self, future: "Future[Any]", name: str, right: str) -> Any:
        try:
            return future.result()
        except KafkaException as error:
            raise self._trouble(error, name, right) from None

    def _trouble(self, error: KafkaException, name: str = "", right: str = "") -> StreamsError:
        """What an error means: refused for good, or away."""
        if known(error).code() in DENIED:
            return denied(known(error), name or f"Kafka at {self.settings.bootstrap_servers}", right)
        if (why := self._admin.refusal()) is not None:
            return stranger(why)
        return ClusterError(
            f"Kafka at {self.settings.bootstrap_servers}: {_text(error)}; see whether it runs, "
            "or set FLEXLOG_KAFKA__BOOTSTRAP_SERVERS (and FLEXLOG_KAFKA__OPTIONS for credentials)"
        )


def _text(error: KafkaException) -> str:
    """What librdkafka says, without its codes."""
    first = error.args[0]
    return (first.str() if isinstance(first, KafkaError) else str(first)).removeprefix("KafkaError").strip()
