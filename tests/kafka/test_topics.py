"""Topics and schemas as code, on a real broker and a real registry."""

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from streams.cli import main
from streams.contracts.library import load
from streams.contracts.partition import partition_of, partitions_of
from streams.kafka.cluster import Cluster as Desk
from streams.kafka.cluster import ClusterError
from streams.kafka.local import home, parts
from streams.kafka.local.cluster import LocalCluster
from streams.kafka.plan import Plan, Step
from streams.kafka.registry import RestRegistry
from streams.kafka.settings import KafkaSettings, Partitions, RegistrySettings, Settings
from streams.kafka.topics import NotReadyError, apply, delete, missing, plan, require, wanted
from streams.topology import Topology, discover

ROOT = Path(__file__).parents[2]
FEW = ("clock.tick.v1", "telemetry.reading.v1", "stream.progress.v1", "audit.commit.v1", "audit.runtime.v1")
READING = "telemetry.reading.v1"


class Deployment:
    """A deployment of its own on the shared cluster: a prefix, and copies of some contracts that can be changed."""

    def __init__(self, cluster: LocalCluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.prefix = f"t{uuid.uuid4().hex[:10]}."
        shutil.copytree(ROOT / "avro", folder / "avro")
        (folder / "topics").mkdir()
        for name in FEW:
            shutil.copy(ROOT / "topics" / f"{name}.yaml", folder / "topics")
        self.admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})

    def settings(self, **partitions: int) -> Settings:
        counts = Partitions.demo().model_copy(update=partitions)
        kafka = KafkaSettings(
            bootstrap_servers=self.cluster.bootstrap_servers,
            prefix=self.prefix,
            replication_factor=1,
            partitions=counts,
        )
        return Settings(kafka=kafka, registry=RegistrySettings(url=self.cluster.registry_url))

    def topology(self, **partitions: int) -> Topology:
        counts = self.settings(**partitions).kafka.partitions.by_lane()
        return Topology(load(self.folder / "avro", self.folder / "topics"), (), (), counts, absent=True)

    def registry(self) -> RestRegistry:
        return RestRegistry(RegistrySettings(url=self.cluster.registry_url), prefix=self.prefix, patience_s=20)

    def plan(self, **partitions: int) -> Plan:
        return plan(self.settings(**partitions), self.topology(**partitions), self.registry())

    def apply(self) -> list[Step]:
        done: list[Step] = []
        apply(self.settings(), self.topology(), self.registry(), done.append)
        return done

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def configure(self, topic: str, **values: str) -> None:
        entries = [
            ConfigEntry(key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for key, value in values.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, self.prefix + topic, incremental_configs=entries)
        for future in self.admin.incremental_alter_configs([resource]).values():
            future.result()

    def config(self, topic: str) -> dict[str, str]:
        (future,) = self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, self.prefix + topic)]).values()
        return {entry.name: entry.value for entry in future.result().values()}

    def make(self, topic: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        new = NewTopic(self.prefix + topic, partitions, 1, config=dict(config or {}))
        for future in self.admin.create_topics([new]).values():
            future.result()
        self.until(lambda: self.prefix + topic in self.admin.list_topics(timeout=10).topics)

    @staticmethod
    def until(true: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not true():
            assert time.monotonic() < end, "the broker did not follow within 10 s"
            time.sleep(0.05)

    def clean(self) -> None:
        ours = [name for name in self.admin.list_topics(timeout=10).topics if name.startswith(self.prefix)]
        for future in self.admin.delete_topics(ours).values() if ours else ():
            future.result()


@pytest.fixture
def deployment(cluster: LocalCluster, tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(cluster, tmp_path)
    yield made
    made.clean()


def told(steps: list[Step], verb: str) -> list[str]:
    return [str(step) for step in steps if step.verb == verb]


def test_apply_makes_what_is_planned_and_a_second_run_has_nothing_to_do(deployment: Deployment) -> None:
    first = deployment.plan()
    assert first.exit_code == 2
    assert {step.verb for step in first.steps} == {"create"}
    # five topics, a rejected one each, and what the deployment remembers; a subject for each that has a contract
    assert (first.topics, first.subjects) == (11, 10)
    assert len(deployment.apply()) == 21
    assert deployment.plan().steps == ()
    assert deployment.apply() == []
    held = deployment.admin.list_topics(timeout=10).topics
    assert len(held[f"{deployment.prefix}{READING}"].partitions) == 4
    assert len(held[f"{deployment.prefix}{READING}.rejected"].partitions) == 4
    config = deployment.config(READING)
    assert config["message.timestamp.type"] == "LogAppendTime"
    assert config["cleanup.policy"] == "delete"
    assert config["retention.ms"] == "34560000000", "400 days"
    assert deployment.config("clock.tick.v1")["retention.ms"] == "-1", "for ever"
    assert deployment.registry().level(f"{READING}-value") == "FULL_TRANSITIVE"


def test_configuration_that_has_drifted_is_repaired(deployment: Deployment) -> None:
    deployment.apply()
    deployment.configure(READING, retention_ms="604800000")
    deployment.configure("clock.tick.v1", compression_type="gzip", retention_bytes="1000000")
    deployment.until(lambda: len(deployment.plan().of("change")) == 3)
    found = deployment.plan()
    assert found.exit_code == 2
    assert {(step.name.removeprefix(deployment.prefix), step.needed) for step in found.steps} == {
        (READING, True),
        ("clock.tick.v1", True),
        ("clock.tick.v1", False),
    }
    assert f"{READING}: retention.ms is 7 days, wanted is 400 days" in str(found)
    assert len(deployment.apply()) == 3
    deployment.until(lambda: deployment.plan().steps == ())


@pytest.mark.parametrize("site", [3, 8])
def test_another_partition_count_is_forbidden_in_both_directions(deployment: Deployment, site: int) -> None:
    deployment.apply()
    found = deployment.plan(site=site)
    assert found.exit_code == 1
    assert {step.name.removeprefix(deployment.prefix) for step in found.of("forbidden")} == {
        READING,
        f"{READING}.rejected",
    }
    assert f"has 4 partitions, lane site has {site} here" in str(found)
    with pytest.raises(NotReadyError, match="see to what is forbidden"):
        require(deployment.settings(site=site), deployment.topology(site=site))
    apply(deployment.settings(site=site), deployment.topology(site=site), deployment.registry(), lambda _step: None)
    assert len(deployment.admin.list_topics(timeout=10).topics[deployment.prefix + READING].partitions) == 4


def test_compaction_and_producers_times_are_forbidden_and_left_alone(deployment: Deployment) -> None:
    deployment.make(READING, 4, {"cleanup.policy": "compact,delete", "message.timestamp.type": "LogAppendTime"})
    deployment.make("clock.tick.v1", 1, {"message.timestamp.type": "CreateTime"})
    found = deployment.plan()
    assert found.exit_code == 1
    forbidden = told(list(found.steps), "forbidden")
    assert len(forbidden) == 2
    assert any("cleanup.policy is compact,delete" in text for text in forbidden)
    assert any("message.timestamp.type is CreateTime" in text for text in forbidden)
    done = deployment.apply()
    touched = {step.topic.removeprefix(deployment.prefix) for step in done}
    assert READING not in touched, "not even its schema is registered"
    assert "clock.tick.v1" not in touched
    assert "stream.progress.v1" in touched, "the rest is done"
    assert deployment.config(READING)["cleanup.policy"] == "compact,delete"


def test_a_changed_key_is_forbidden_until_the_topic_is_another_one(deployment: Deployment) -> None:
    deployment.apply()
    file = f"topics/{READING}.yaml"
    deployment.edit(file, "key: site_id", "key: resource_id")
    found = deployment.plan()
    assert found.exit_code == 1
    (step,) = found.of("forbidden")
    assert f"its key is site_id and {READING}.yaml says resource_id" in step.text
    for future in deployment.admin.delete_topics([deployment.prefix + READING]).values():
        future.result()
    deployment.until(lambda: deployment.prefix + READING not in deployment.admin.list_topics(timeout=10).topics)
    made = {wish.name: wish for wish in wanted(deployment.topology(), deployment.settings())}[READING]
    deployment.make(READING, made.partitions, made.config)  # by other tools than ours
    assert [(step.verb, step.kind) for step in deployment.plan().steps] == [("change", "key")]
    deployment.apply()
    assert deployment.plan().steps == ()
    deployment.edit(file, "key: resource_id", "key: site_id")
    assert deployment.plan().exit_code == 1, "the new topic's key is remembered, not the old one's"


def test_a_topic_that_was_there_before_is_taken_over_with_its_key(deployment: Deployment) -> None:
    config = wanted(deployment.topology(), deployment.settings())[0].config
    deployment.make("clock.tick.v1", 1, config)
    keys = [step for step in deployment.plan().steps if step.kind == "key"]
    assert [str(step) for step in keys] == [
        f"topic {deployment.prefix}clock.tick.v1: its key is not remembered; clock_id will be"
    ]
    deployment.apply()
    assert deployment.plan().steps == ()
    notes = Desk(deployment.settings().kafka).notes()
    assert notes["clock.tick.v1"].key == "clock_id"


def test_an_incompatible_schema_is_forbidden_with_its_field(deployment: Deployment) -> None:
    deployment.apply()
    deployment.edit(
        "avro/clock/Ticked.avsc", '"name": "sequence", "type": "long"', '"name": "sequence", "type": "double"'
    )
    found = deployment.plan()
    assert found.exit_code == 1
    (step,) = found.of("forbidden")
    assert step.name == f"{deployment.prefix}clock.tick.v1-value"
    assert step.text.startswith("avro/clock/Ticked.avsc: sequence: is long in version 1 of the registry and double")
    assert deployment.apply() == []
    assert len(deployment.registry().versions("clock.tick.v1-value")) == 1


def test_a_new_version_is_registered_and_an_older_worker_still_starts(deployment: Deployment) -> None:
    deployment.apply()
    before = deployment.topology()
    path = deployment.folder / "avro/clock/Ticked.avsc"
    schema = json.loads(path.read_text(encoding="utf-8"))
    schema["fields"].append({"name": "source", "type": ["null", "string"], "default": None, "doc": "Its source."})
    path.write_text(json.dumps(schema), encoding="utf-8")
    (step,) = deployment.plan().steps
    assert (step.verb, step.text) == ("change", "a new version of Ticked, number 2")
    with pytest.raises(NotReadyError, match="number 2"):
        require(deployment.settings(), deployment.topology())
    assert deployment.apply() == [step]
    assert deployment.plan().steps == ()
    assert require(deployment.settings(), before).steps == ()
    schema["doc"] = "Said in other words."
    path.write_text(json.dumps(schema), encoding="utf-8")
    found = require(deployment.settings(), deployment.topology())
    assert [step.text for step in found.steps] == ["a new version: the documentation has changed"], "and nobody waits"


def test_what_is_unknown_is_listed_and_deleted_by_name_alone(deployment: Deployment) -> None:
    deployment.apply()
    deployment.make("stray", 1)
    deployment.make("intervals.v1.changelog", 1)
    found = deployment.plan()
    assert found.exit_code == 0, "what others have there is no change"
    names = [step.name.removeprefix(deployment.prefix) for step in found.of("unknown")]
    assert names == ["intervals.v1.changelog", "stray"]
    assert deployment.apply() == []
    assert deployment.plan().steps == found.steps, "apply deletes nothing"
    settings, topology = deployment.settings(), deployment.topology()
    for name, why in ((deployment.prefix + READING, "is wanted"), ("__consumer_offsets", "not of this deployment")):
        with pytest.raises(NotReadyError, match=why):
            delete(settings, topology, [deployment.prefix + "stray", name])
    assert len(deployment.plan().of("unknown")) == 2, "one that is refused keeps all"
    stray = deployment.prefix + "stray"
    assert delete(settings, topology, [stray]) == {stray: True}
    assert delete(settings, topology, [stray]) == {stray: False}
    assert len(deployment.plan().of("unknown")) == 1


def test_a_worker_refuses_with_the_plan_and_asks_only_for_what_it_needs(deployment: Deployment) -> None:
    settings = deployment.settings()
    topology = discover(partitions=settings.kafka.partitions.by_lane())
    found = missing(settings, topology, only=["intervals"])
    names = {step.name.removeprefix(deployment.prefix) for step in found.of("create") if step.kind == "topic"}
    assert {"intervals.v1.changelog", READING, "telemetry.interval.v1", f"{READING}.rejected"} <= names
    assert {"stream.progress.v1", "audit.commit.v1", "clock.tick.v1"} <= names
    assert "settlement.line.v1" not in names
    with pytest.raises(NotReadyError, match=r"is not ready: run `flexlog topics apply`\n") as raised:
        require(settings, topology, only=["intervals"])
    assert f"{deployment.prefix}intervals.v1.changelog: 4 partitions, 1 copy, kept for ever" in str(raised.value)


def test_every_task_has_a_partition_of_its_changelog(deployment: Deployment) -> None:
    settings = deployment.settings(site=4)
    topology = discover(partitions=settings.kafka.partitions.by_lane())
    counts = {wish.name: wish.partitions for wish in wanted(topology, settings)}
    for spec in topology.processors:
        assert counts[f"{spec.name}.v{spec.version}.changelog"] == topology.tasks(spec)
    assert counts["intervals.v1.changelog"] == 4
    assert {counts[f"{edge.name}.v{edge.version}.changelog"] for edge in topology.edges} == {1}


def test_the_command_says_what_it_does_and_its_exit_code_too(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEXLOG_KAFKA__BOOTSTRAP_SERVERS", deployment.cluster.bootstrap_servers)
    monkeypatch.setenv("FLEXLOG_KAFKA__PREFIX", deployment.prefix)
    monkeypatch.setenv("FLEXLOG_KAFKA__REPLICATION_FACTOR", "1")
    monkeypatch.setenv("FLEXLOG_REGISTRY__URL", deployment.cluster.registry_url)
    for lane, count in (("SITE", "2"), ("PORTFOLIO", "1"), ("ACCOUNT", "1")):
        monkeypatch.setenv(f"FLEXLOG_KAFKA__PARTITIONS__{lane}", count)

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["topics", *words])
        return result.exit_code, result.output

    code, text = run("plan")
    assert code == 2
    assert "settlement.line.v1" in text
    deployment.make("stray", 1)
    assert run("apply")[0] == 0
    code, text = run("plan", "--json")
    held = json.loads(text)
    assert (code, held["exit_code"]) == (0, 0)
    assert [step["name"] for step in held["steps"]] == [f"{deployment.prefix}stray"]
    assert "nothing to do" in run("apply")[1]
    code, text = run("apply", "--delete", f"{deployment.prefix}{READING}")
    assert code == 1
    assert text.startswith(f"Error: topic {deployment.prefix}{READING} is wanted and is not deleted; take it out")
    assert f"deleted topic {deployment.prefix}stray" in run("apply", "--delete", f"{deployment.prefix}stray")[1]
    monkeypatch.setenv("FLEXLOG_KAFKA__PARTITIONS__SITE", "3")
    code, text = run("plan")
    assert code == 1
    assert "forbidden" in text
    assert run("apply")[0] == 1
    monkeypatch.setenv("FLEXLOG_REGISTRY__URL", "http://127.0.0.1:9")
    code, text = run("plan", "--wait", "0.2")
    assert code == 1
    assert "is away" in text


def test_a_cluster_that_is_away_is_one_line() -> None:
    desk = Desk(KafkaSettings(bootstrap_servers="127.0.0.1:9", request_timeout_ms=1_000))
    with pytest.raises(
        ClusterError, match=r"Kafka at 127\.0\.0\.1:9: .*set FLEXLOG_KAFKA__BOOTSTRAP_SERVERS"
    ) as raised:
        desk.names()
    assert "\n" not in str(raised.value)


# --- what the broker and other clients do ---------------------------------------------------------------------------


def read(bootstrap: str, topic: str, partitions: int, count: int) -> list[Any]:
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "enable.auto.commit": False})
    reader.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    found: list[Any] = []
    end = time.monotonic() + 20
    while len(found) < count and time.monotonic() < end:
        found += [message for message in reader.consume(count, timeout=0.5) if message.error() is None]
    reader.close()
    assert len(found) == count
    return found


def test_append_time_is_the_brokers_whatever_a_producer_says(deployment: Deployment) -> None:
    deployment.apply()
    topic = deployment.prefix + READING
    before = time.time() * 1000
    producer = Producer({"bootstrap.servers": deployment.cluster.bootstrap_servers})
    producer.produce(topic, b"value", b"key", timestamp=1_000_000_000_000)  # 2001
    assert producer.flush(20) == 0
    (message,) = read(deployment.cluster.bootstrap_servers, topic, 4, 1)
    kind, at = message.timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert before - 1_000 <= at <= time.time() * 1000 + 1_000


KEYS = [f"site-{number}" for number in range(4_000)] + [
    f"NO/{number:05d}/å{'æ' * (number % 9)}" for number in range(1_000)
]

JAVA = """
import java.nio.file.*; import java.util.*;
import org.apache.kafka.clients.producer.*; import org.apache.kafka.common.serialization.StringSerializer;
public class Send {
  public static void main(String[] a) throws Exception {
    Properties p = new Properties();
    p.put("bootstrap.servers", a[0]);
    try (var out = new KafkaProducer<String, String>(p, new StringSerializer(), new StringSerializer())) {
      for (String key : Files.readAllLines(Path.of(a[2]))) out.send(new ProducerRecord<>(a[1], key, "x"));
    }
  }
}
"""


def test_a_site_lies_in_the_same_partition_whoever_sends_it(deployment: Deployment, tmp_path: Path) -> None:
    """A Java producer with its default partitioner, librdkafka with murmur2, and ours."""
    (tmp_path / "Send.java").write_text(JAVA, encoding="utf-8")
    (tmp_path / "keys").write_text("\n".join(KEYS), encoding="utf-8")
    bootstrap, topic = deployment.cluster.bootstrap_servers, f"{deployment.prefix}keys"
    deployment.make("keys", 64)
    jars = parts.folder(parts.KAFKA, home())
    command = [parts.java(), "-Xmx128m", "-cp", f"{jars}/*", "Send.java", bootstrap, topic, "keys"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    by_java = {m.key().decode(): m.partition() for m in read(bootstrap, topic, 64, len(KEYS))}
    ours = dict(zip(KEYS, partitions_of([key.encode() for key in KEYS], 64).tolist(), strict=True))
    assert by_java == ours
    assert {key: partition_of(key.encode(), 64) for key in KEYS} == ours
    by_librdkafka: dict[str, int | None] = {}

    def sent(_error: object, message: Message) -> None:
        by_librdkafka[(message.key() or b"").decode()] = message.partition()

    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    for key in KEYS:
        producer.produce(topic, b"x", key.encode(), on_delivery=sent)
    assert producer.flush(30) == 0
    assert by_librdkafka == ours
