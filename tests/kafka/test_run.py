"""Runners as processes on a real cluster: started, killed, ended, and what an operator sees of them."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from socket import socket
from typing import Any

import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from streams.contracts.partition import partition_of
from streams.hosts.local import LocalHost
from streams.kafka import topics
from streams.kafka.local.cluster import LocalCluster
from streams.kafka.log import KafkaLog
from streams.kafka.registry import RestRegistry
from streams.kafka.settings import KafkaSettings, Partitions, RegistrySettings, Settings
from streams.kafka.worker import Backoff, Supervisor
from streams.observe import METRICS
from tests.hosts.world import START, bytes_of, host
from tests.kafka.plant import plant

TOPICS = ("plant.counter.v1", "plant.hour.v1", "plant.day.v1", "plant.factor.v1")
HOUR = timedelta(hours=1)
PLANT, SLOW = "tests.kafka.plant:plant", "tests.kafka.plant:slow"
ROOT = Path(__file__).parents[2]


class Deployment:
    """Topics of its own, the edges in this process, and how the runners are told of it."""

    def __init__(self, running: LocalCluster) -> None:
        prefix = f"r{uuid.uuid4().hex[:8]}."
        self.settings = Settings(
            kafka=KafkaSettings(
                bootstrap_servers=running.bootstrap_servers,
                prefix=prefix,
                replication_factor=1,
                partitions=Partitions(site=2, portfolio=1, account=1),
            ),
            registry=RegistrySettings(url=running.registry_url),
        )
        self.registry = RestRegistry(self.settings.registry, prefix=prefix)
        self.topology = plant(self.settings.kafka.partitions.by_lane())
        self.environment = {
            "FLEXLOG_KAFKA__BOOTSTRAP_SERVERS": running.bootstrap_servers,
            "FLEXLOG_REGISTRY__URL": running.registry_url,
            "FLEXLOG_KAFKA__PREFIX": prefix,
            "FLEXLOG_KAFKA__REPLICATION_FACTOR": "1",
            "FLEXLOG_KAFKA__PARTITIONS__SITE": "2",
            "FLEXLOG_KAFKA__PARTITIONS__PORTFOLIO": "1",
            "FLEXLOG_KAFKA__PARTITIONS__ACCOUNT": "1",
            "FLEXLOG_KAFKA__HEALTH_PORT": "0",
            "PYTHONPATH": str(ROOT),
        }

    def apply(self) -> None:
        topics.apply(self.settings, self.topology, self.registry, lambda _: None)

    def edges(self) -> LocalHost:
        """The edges, here; the processors elsewhere."""
        log = KafkaLog(self.settings.kafka, prompt=True, slot="edges")
        return LocalHost(self.topology, start=START, cluster=(log, self.registry), elsewhere=True)

    @contextmanager
    def flexlog(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """The command line as a process."""
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "run", *arguments],
            env={**os.environ, **self.environment},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def deployment(cluster: LocalCluster) -> Iterator[Deployment]:
    made = Deployment(cluster)
    yield made
    made.registry.close()


def free_ports(count: int) -> int:
    """The first of a row of free ports."""
    while True:
        with socket() as first:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
        with suppress(OSError, OverflowError):
            for following in range(port, port + count):
                with socket() as one:
                    one.bind(("127.0.0.1", following))
            return port


def page(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except (OSError, HTTPException) as error:  # a free port may have been connected with itself
        return 0, str(error)


def until(true: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait for something; it is given back."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.05)
    pytest.fail(f"not so within {seconds} s: {true()}")


def undisturbed(until_hour: int) -> dict[tuple[str, int], list[tuple[bytes | None, bytes]]]:
    """What the topics hold after a run in memory."""
    with host() as memory:
        memory.run(START + until_hour * HOUR)
        return bodies(memory.log)


def bodies(log: Any) -> dict[tuple[str, int], list[tuple[bytes | None, bytes]]]:
    """Keys and Avro bodies: the registry's ids are its own business."""
    return {place: [(key, (value or b"")[5:]) for key, value in rows] for place, rows in bytes_of(log, *TOPICS).items()}


def metrics(port: int) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """Samples by name, as a Prometheus server would read them."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    status, text = page(port, "/metrics")
    for family in text_string_to_metric_families(text) if status else ():
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def tasks_of(port: int) -> set[str]:
    return {labels["task"] for labels, _ in metrics(port).get("flexlog_commits_total", [])}


def test_runners_share_tasks_survive_kills_and_show_what_they_do(deployment: Deployment) -> None:
    deployment.apply()
    ports = free_ports(3)
    lines: list[Any] = []
    with Supervisor(
        topology=PLANT,
        environment=deployment.environment,
        runners=2,
        health_port=ports,
        backoff=lambda: Backoff(first_s=7.0),  # the other has the task by then: a session lasts 6 s
        tell=lines.append,
    ) as supervisor:
        supervisor.start(["hours"])
        until(lambda: {page(port, "/readyz")[0] for port in (ports, ports + 1)} == {200})
        both = {"hours.v1.0", "hours.v1.1"}
        until(lambda: tasks_of(ports) | tasks_of(ports + 1) == both and tasks_of(ports) and tasks_of(ports + 1))
        with Supervisor(
            topology=PLANT, environment=deployment.environment, health_port=ports + 2, tell=lines.append
        ) as others:
            others.start(["days"])
            edges = deployment.edges()
            try:
                edges.run(START + HOUR)
                _pages_answer(ports)

                first = supervisor.kill("hours", 0)
                edges.run(START + 2 * HOUR)
                assert tasks_of(ports + 1) == both  # taken over by the other one
                until(lambda: tasks_of(ports) and page(ports, "/readyz")[0] == 200)
                assert supervisor.status()[0].starts == 2
                assert supervisor.pid("hours", 0) != first
                assert tasks_of(ports + 1) == both - tasks_of(ports)
                edges.run(START + 3 * HOUR)
                assert bodies(edges.log) == undisturbed(3)
            finally:
                edges.close()
        assert others.exit_code == 0
        begun = time.monotonic()
        assert supervisor.stop() == 0
        assert time.monotonic() - begun < 4
    told = [line for line in lines if "starts again" in line["message"]]
    assert [(line["processor"], line["slot"], line["level"]) for line in told] == [("hours", 0, "WARNING")]
    assert f"process {first} was ended by SIGKILL; starts again in 7 s" in told[0]["message"]


def _pages_answer(port: int) -> None:
    """All pages, the figures those of an hour: 13 rounds of a reading of each of 2 sites, 5 ticks."""
    assert page(port, "/healthz")[0] == 200
    assert page(port, "/readyz")[0] == 200
    assert page(port, "/")[0] == 404
    found = metrics(port)
    mine = tasks_of(port)
    consumed = {labels["task"]: value for labels, value in found["flexlog_records_consumed_total"]}
    assert consumed == dict.fromkeys(mine, 26)
    assert {value for _, value in found["flexlog_tick_last_seconds"]} == {(START + HOUR).timestamp()}
    assert {value for _, value in found["flexlog_tick_behind_seconds"]} == {0.0}
    assert {labels["topic"] for labels, _ in found["flexlog_input_lag"]} == {"plant.counter.v1"}
    commits = sum(value for _, value in found["flexlog_commits_total"])
    assert [value for _, value in found["flexlog_batch_duration_seconds_count"]] == [commits]
    assert 50e6 < found["process_memory_usage_bytes"][0][1] < 1e9
    plain = {metric.prometheus for metric in METRICS if metric.kind != "histogram"}
    assert plain - found.keys() == {"flexlog_restore_progress_ratio"}  # nothing is being restored


def test_flexlog_run_ends_within_seconds_of_sigterm_and_says_json(deployment: Deployment) -> None:
    deployment.apply()
    arguments = ("--all", "--topology", PLANT, "--log-format", "json")
    with deployment.flexlog(*arguments) as process:
        seen = []
        assert process.stdout is not None
        for line in process.stdout:
            seen.append(json.loads(line))
            if len({e["task"] for e in seen if "goes on" in e["message"]}) == 3:
                break
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)
        assert time.monotonic() - begun < 4
        assert process.returncode == 0
    seen += map(json.loads, rest.splitlines())
    assert {(e["processor"], e["slot"]) for e in seen if "stops" in e["message"]} == {("hours", 0), ("days", 0)}


def test_a_long_handler_is_dropped_and_the_group_left_at_once(deployment: Deployment) -> None:
    deployment.apply()
    arguments = ("hours", "--topology", SLOW, "--grace", "0.5")
    with deployment.flexlog(*arguments) as process:
        edges = deployment.edges()
        try:
            edges.edges[-1].wake(edges.edges[-1].next_wake() or 0)  # the clock's first tick
        finally:
            edges.close()
        assert process.stdout is not None
        next(line for line in process.stdout if "begins to work for a minute" in line)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
        assert time.monotonic() - begun < 4
        assert process.returncode == 0
        assert "still at work after 0.5 s: dropped, nothing of the batch is committed" in said


def test_nothing_is_left_behind_when_the_supervisor_is_killed(deployment: Deployment) -> None:
    deployment.apply()
    with deployment.flexlog("days", "--topology", PLANT) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "goes on" in line)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert children
        process.kill()
        until(lambda: not any(_runs(int(pid)) for pid in children), 8)


def _runs(pid: int) -> bool:
    with suppress(OSError):
        return "streams.kafka.child" in Path(f"/proc/{pid}/cmdline").read_text()
    return False


def test_a_cluster_that_is_not_ready_is_refused_with_the_plan(deployment: Deployment) -> None:
    with deployment.flexlog("days", "--topology", PLANT) as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "run `flexlog topics apply`" in said
    prefix = deployment.settings.kafka.prefix
    assert f"{prefix}plant.day.v1: 1 partition, 1 copy, kept for ever, key portfolio_id" in said
    assert f"{prefix}days.v1.changelog" in said


def test_a_processor_that_rejects_too_much_stops_with_one_line_and_is_not_started_again(deployment: Deployment) -> None:
    deployment.apply()
    kafka = deployment.settings.kafka
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    key = b"s1"
    for _ in range(150):  # more than a tenth of the thousand that are looked at
        producer.produce(kafka.topic("plant.counter.v1"), b"no event", key, partition_of(key, 2))
    assert producer.flush(10) == 0
    with deployment.flexlog("hours", "--topology", PLANT) as process:
        edges = deployment.edges()
        try:
            edges.edges[-1].wake(edges.edges[-1].next_wake() or 0)
        finally:
            edges.close()
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    faults = [line for line in said.splitlines() if "error: " in line]
    assert len(faults) == 1
    task = f"hours.v1.{partition_of(key, 2)}"
    assert f"task {task} stopped: 150 of the last 150 rows were rejected" in faults[0]
    assert "They are in plant.counter.v1.rejected and nothing is lost" in faults[0]
    assert "starts again" not in said
