"""ClickHouse is away, dies in an insert, comes back: the history is whole, and who needs it waits and goes on."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import polars as pl
import pytest

from streams.contracts.codec import Codec
from streams.errors import HistoryAwayError
from streams.history import History
from streams.hosts.local import LocalHost
from streams.kafka.local.cluster import LocalCluster
from streams.kafka.log import KafkaLog
from tests.conformance.plant import CONTRACTS
from tests.history.wire import Front, Wire
from tests.hosts.world import START, host, topology
from tests.kafka.plant import looking
from tests.kafka.test_run import HOUR, ROOT, Deployment, bodies, free_ports, page, until

PLANT, LOOKING = "tests.kafka.plant:plant", "tests.kafka.plant:looking"
AWAY = "ClickHouse does not answer (Connection refused); see whether it runs"
PLACE = ["_partition", "_offset"]


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    """ClickHouse runs, and nobody gets through to it."""
    (tmp_path / "server").mkdir()
    front = Front(tmp_path / "server")
    front.start()
    with Wire(front) as made:
        yield made


@pytest.fixture
def deployment(cluster: LocalCluster, wire: Wire) -> Iterator[Deployment]:
    made = Deployment(cluster)
    made.environment |= {
        "FLEXLOG_CLICKHOUSE__PORT": str(wire.port),
        "FLEXLOG_CLICKHOUSE__DATABASE": "plant",
    }
    yield made
    made.registry.close()


@contextmanager
def sink(deployment: Deployment, out: IO[str], port: int) -> Iterator["subprocess.Popen[str]"]:
    """A sink's process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "sink", "--topology", PLANT, "--log-format", "json"],
        env={**os.environ, **deployment.environment, "FLEXLOG_CLICKHOUSE__HEALTH_PORT": str(port)},
        cwd=ROOT,
        stdout=out,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def whole(port: int) -> bool:
    """Whether a sink has brought all there is."""
    status, text = page(port, "/readyz")
    return status == 200 and ", 0 offsets to go" in text


def is_away(port: int) -> bool:
    """Whether a process says that it waits for ClickHouse."""
    return AWAY in page(port, "/readyz")[1]


def assert_each_once(deployment: Deployment, wire: Wire) -> int:
    """What people see of every topic is what the cluster has; how many rows."""
    log, codec = KafkaLog(deployment.settings.kafka, prompt=True), Codec(deployment.registry)
    total = 0
    with History.server(CONTRACTS, database="plant", host="127.0.0.1", port=wire.port, compress=False) as history:
        for topic in CONTRACTS.topics.values():
            parts = []
            for partition in range(log.partitions(topic.name)):
                slab = log.read(topic.name, partition, 0, limit=1_000_000)
                decoded = codec.decode(topic, slab.keys, slab.values)
                offset = pl.Series("_offset", slab.offsets[decoded.rows], pl.UInt64)
                parts.append(decoded.frame.with_columns(pl.lit(partition, pl.UInt32).alias("_partition"), offset))
            truth = pl.concat(parts).sort(PLACE)
            table = topic.name.replace(".", "_")
            assert history.query(f"SELECT _partition, _offset FROM {table} ORDER BY ALL").equals(truth.select(PLACE))
            newest = truth.unique(list(topic.identity), keep="last", maintain_order=True)
            latest = history.query(f"SELECT _partition, _offset FROM latest_{table} ORDER BY ALL")
            assert latest.equals(newest.select(PLACE).sort(PLACE))
            total += truth.height
        energy = history.query("SELECT sum(energy_wh) FROM latest_plant_counter_v1").item()
        slabs = [log.read("plant.counter.v1", place, 0, limit=1_000_000) for place in range(2)]
        events = [e for slab in slabs for e in codec.decode_events(CONTRACTS.topic("plant.counter.v1"), slab.events)]
        assert energy == sum(event["energy_wh"] for event in events)
    log.close()
    return total


def await_each_once(deployment: Deployment, wire: Wire) -> int:
    """The same, once the sinks have looked: they do so every second."""
    end = time.monotonic() + 20
    while True:
        try:
            return assert_each_once(deployment, wire)
        except (AssertionError, HistoryAwayError):
            if time.monotonic() > end:
                raise
        time.sleep(0.3)


def test_sinks_bring_each_row_once_whatever_becomes_of_clickhouse_and_of_them(
    deployment: Deployment, wire: Wire, tmp_path: Path
) -> None:
    deployment.apply()
    ports = free_ports(2)
    log = KafkaLog(deployment.settings.kafka, prompt=True)
    said = [tmp_path / "one.log", tmp_path / "other.log"]
    with LocalHost(topology(), start=START, cluster=(log, deployment.registry)) as world, said[0].open("a") as first:
        world.run(START + HOUR)
        with said[1].open("a") as out, sink(deployment, out, ports + 1):
            with sink(deployment, first, ports) as killed:
                for port in (ports, ports + 1):  # away at the start
                    until(partial(is_away, port))
                    assert page(port, "/readyz")[0] == 503
                    assert page(port, "/healthz")[0] == 200
                wire.mend()
                until(lambda: whole(ports) and whole(ports + 1))
                assert await_each_once(deployment, wire) > 50

                wire.faults.extend(["half", "half", "half", "half", "unanswered", "unanswered", "unanswered"])
                world.run(START + 1.5 * HOUR)
                until(lambda: not wire.faults)
                until(lambda: whole(ports) and whole(ports + 1))
                await_each_once(deployment, wire)

                wire.held.clear()  # inserted, and whoever did it dies before it hears of it
                world.run(START + 2 * HOUR)
                until(lambda: wire.holding >= 2)  # each of them inserts one thing at a time
                killed.send_signal(signal.SIGKILL)
                killed.wait()
                wire.held.set()
                until(lambda: whole(ports + 1))
                await_each_once(deployment, wire)

            wire.kill_server()
            world.run(START + 2.5 * HOUR)
            with sink(deployment, first, ports):
                until(lambda: page(ports + 1, "/readyz")[0] == 503)
                wire.start_server()
                until(lambda: whole(ports) and whole(ports + 1))
            await_each_once(deployment, wire)
    for path in said:
        events = [json.loads(line) for line in path.read_text().splitlines()]
        assert {event["processor"] for event in events} == {"sink"}
        away = [event["message"] for event in events if event["level"] != "INFO"]
        assert all(line.startswith("waits for ClickHouse, nothing is lost: history at 127.0.0.1:") for line in away)
        assert all("FLEXLOG_CLICKHOUSE__HOST" in line for line in away)
        assert len([line for line in away if "Connection refused" in line]) in (1, 2)  # two outages, each said once
        assert any("ClickHouse is back after" in event["message"] for event in events)


def test_a_processor_that_needs_history_waits_for_clickhouse_and_goes_on(deployment: Deployment, wire: Wire) -> None:
    deployment.topology = looking(deployment.settings.kafka.partitions.by_lane())
    deployment.apply()
    with host(made=looking(deployment.topology.partitions)) as memory:
        memory.run(START + 3 * HOUR)
        expected = bodies(memory.log)
    assert len(expected["plant.hour.v1", 0]) > 10
    port = free_ports(2)
    deployment.environment["FLEXLOG_KAFKA__HEALTH_PORT"] = str(port)
    failed: list[BaseException] = []

    def run(edges: LocalHost) -> None:
        try:
            edges.run(START + 3 * HOUR)
        except BaseException as error:
            failed.append(error)
            raise

    with deployment.flexlog("--all", "--topology", LOOKING) as process:
        edges = deployment.edges()
        going = threading.Thread(target=run, args=(edges,), daemon=True)
        try:
            going.start()
            pages = {until(lambda: next(filter(is_away, (port, port + 1)), 0))}
            (waiting,) = pages
            assert page(waiting, "/readyz")[0] == 503
            assert page(waiting, "/healthz")[0] == 200
            assert 'reason="history"' in page(waiting, "/metrics")[1]
            wire.faults += ["half", "half", "unanswered", "unanswered"]
            wire.mend()
            until(lambda: not wire.faults)
            wire.kill_server()
            until(lambda: page(waiting, "/readyz")[0] == 503)
            wire.start_server()
            going.join(60)
            assert not going.is_alive()
            assert not failed
            assert bodies(edges.log) == expected
        finally:
            edges.close()
        process.terminate()
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert re.search(
        rf"warning: hours\.v1\.[01] waits: .*history at 127\.0\.0\.1:{wire.port}: {re.escape(AWAY)}", said
    ), said
    assert "starts again" not in said


def test_credentials_that_clickhouse_refuses_end_the_sink_with_one_line(
    deployment: Deployment, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ClickHouse answers whom it does not know: 516, AUTHENTICATION_FAILED."""

    def refuse(asked: Any, body: bytes) -> None:
        del body
        text = (
            b"Code: 516. DB::Exception: nobody: Authentication failed: password is incorrect. (AUTHENTICATION_FAILED)"
        )
        asked.send_response(403)
        asked.send_header("X-ClickHouse-Exception-Code", "516")
        asked.send_header("Content-Length", str(len(text)))
        asked.end_headers()
        asked.wfile.write(text)

    deployment.apply()
    monkeypatch.setattr(wire, "_pass", refuse)
    wire.mend()
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "sink", "--topology", PLANT],
        env={**os.environ, **deployment.environment, "FLEXLOG_CLICKHOUSE__HEALTH_PORT": "0"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "rror: " in line]
    assert line.startswith(f"Error: history at 127.0.0.1:{wire.port}: nobody: Authentication failed")
    assert "FLEXLOG_CLICKHOUSE__USER" in line
