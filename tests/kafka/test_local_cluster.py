"""A local cluster starts, is found again, ends, and comes back after kills; nothing of it is left behind."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from streams.cli import main
from streams.hosts.cores import everywhere
from streams.kafka.local import LocalClusterError, PartsError, home, parts, process, state
from streams.kafka.local.cluster import LocalCluster


def _ask(url: str, method: str, path: str, body: Any = None) -> Any:
    parts_ = urlsplit(url)
    asked = HTTPConnection(str(parts_.hostname), parts_.port, timeout=10)
    try:
        asked.request(
            method,
            parts_.path + path,
            json.dumps(body) if body is not None else None,
            {"Content-Type": "application/vnd.schemaregistry.v1+json"},
        )
        answer = asked.getresponse()
        assert answer.status == 200, answer.read()
        return json.loads(answer.read())
    finally:
        asked.close()


def _admin(cluster: LocalCluster) -> AdminClient:
    return AdminClient({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0})


def _topic(cluster: LocalCluster, partitions: int = 1, copies: int = 1, **config: str) -> str:
    name = f"test.{uuid.uuid4().hex}"
    admin = _admin(cluster)
    admin.create_topics([NewTopic(name, partitions, copies, config=config)])[name].result(30)
    return name


def _transact(cluster: LocalCluster, topic: str, values: list[str], *, commit: bool) -> None:
    producer = Producer(
        {"bootstrap.servers": cluster.bootstrap_servers, "transactional.id": uuid.uuid4().hex, "log_level": 0}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value.encode())
    producer.flush(30)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


def _read(cluster: LocalCluster, topic: str, count: int, group: str) -> list[str]:
    consumer = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap_servers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "log_level": 0,
        }
    )
    consumer.subscribe([topic])
    found: list[str] = []
    deadline = time.monotonic() + 30
    try:
        while len(found) < count and time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is not None and not message.error():
                value = message.value()
                assert isinstance(value, bytes)
                found.append(value.decode())
    finally:
        consumer.close()
    return found


def _processes(folder: Path) -> list[str]:
    """The process list's commands that name a folder."""
    shown = subprocess.run(["ps", "-ww", "-eo", "command="], capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if f"-Dflexlog.process={folder}/" in line]


# --- one broker and a registry --------------------------------------------------------------------------------------


def test_what_is_committed_is_read_and_what_is_aborted_is_not(cluster: LocalCluster) -> None:
    topic = _topic(cluster)
    _transact(cluster, topic, ["lost"], commit=False)
    _transact(cluster, topic, ["a", "b"], commit=True)
    assert _read(cluster, topic, 2, topic) == ["a", "b"]


def test_a_topic_nobody_made_is_not_made_by_a_client_that_names_it(cluster: LocalCluster) -> None:
    name = f"misspelt.{uuid.uuid4().hex}"
    failed: list[Any] = []
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "message.timeout.ms": 1500, "log_level": 0})
    producer.produce(name, b"x", on_delivery=lambda error, _: failed.append(error))
    producer.flush(10)
    assert failed[0] is not None
    admin = _admin(cluster)
    assert name not in admin.list_topics(timeout=10).topics


def test_brokers_and_registry_listen_on_the_loopback_address_alone(cluster: LocalCluster) -> None:
    if not Path("/proc/net/tcp").exists():
        pytest.skip("the list of listeners is read from /proc")
    ports = {each.port for each in cluster.status().processes}
    held = json.loads((cluster.folder / "cluster.json").read_text())["processes"]
    ports |= {each["controller_port"] for each in held if each["controller_port"]}
    assert len(ports) == 3
    # 127.0.0.1 as /proc writes it, for sockets of IPv4 and for those of IPv6 that take IPv4
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    found: dict[int, set[str]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, kind = line.split()[:4]
            address, _, port = local.partition(":")
            if kind == "0A" and int(port, 16) in ports:  # 0A: listens
                found.setdefault(int(port, 16), set()).add(address)
    assert set(found) == ports
    assert set.union(*found.values()) <= loopback


def test_a_killed_registry_comes_back_with_what_it_had_just_answered(cluster: LocalCluster) -> None:
    subject = f"{uuid.uuid4().hex}-value"
    schema = {"schema": '{"type":"string"}'}
    made = _ask(cluster.registry_url, "POST", f"/subjects/{subject}/versions", schema)
    cluster.kill_registry()
    with pytest.raises(ConnectionRefusedError):
        _ask(cluster.registry_url, "GET", "/subjects")
    assert cluster.status().state == "partly up"
    cluster.start_registry()
    assert _ask(cluster.registry_url, "GET", f"/schemas/ids/{made['id']}")["schema"] == schema["schema"]
    assert cluster.status().state == "up"


def test_up_on_a_running_cluster_starts_nothing_and_refuses_what_cannot_change(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    before = [each.pid for each in cluster.status().processes]
    said: list[str] = []
    again = LocalCluster(cluster.name, folder=cluster.folder, report=said.append)
    again.up(brokers=1)
    assert [each.pid for each in again.status().processes] == before
    assert said == []
    with pytest.raises(LocalClusterError, match="has 1 brokers"):
        again.up(brokers=3)
    with pytest.raises(LocalClusterError, match="its data in"):
        again.up(data=tmp_path)
    with pytest.raises(LocalClusterError, match="runs on port"):
        again.up(port=process.free_port(()))
    assert [each.pid for each in again.status().processes] == before


def test_up_starts_what_was_killed_from_outside_and_leaves_the_rest(cluster: LocalCluster) -> None:
    broker, registry = cluster.status().processes
    assert registry.pid is not None
    os.kill(registry.pid, signal.SIGKILL)
    cluster.up()
    now = cluster.status()
    assert now.state == "up"
    assert now.processes[0].pid == broker.pid
    assert now.processes[1].pid != registry.pid
    assert now.processes[1].port == registry.port


# --- the commands ---------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(kafka_parts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of its own for clusters, with the jars of the user's."""
    own = tmp_path / "cache" / "kafka"
    own.mkdir(parents=True)
    (own / "jars").symlink_to(parts.folder(parts.KAFKA, home()).parent)
    monkeypatch.setenv("FLEXLOG_CACHE", str(own.parent))
    yield own
    for name in LocalCluster.names():
        LocalCluster(name).down(delete=True)


def test_the_commands_start_show_and_end_a_cluster_whose_data_outlives_them(cache: Path) -> None:
    run = CliRunner()
    port, registry_port = process.free_port(()), process.free_port(())
    up = run.invoke(main, ["kafka", "up", "--env", "--port", str(port), "--registry-port", str(registry_port)])
    assert up.exit_code == 0, up.output
    assert up.stdout.splitlines() == [
        f"export FLEXLOG_KAFKA__BOOTSTRAP_SERVERS=127.0.0.1:{port}",
        f"export FLEXLOG_REGISTRY__URL=http://127.0.0.1:{registry_port}/apis/ccompat/v7",
    ]
    cluster = LocalCluster()
    topic = _topic(cluster)
    _transact(cluster, topic, ["kept"], commit=True)
    made = _ask(cluster.registry_url, "POST", f"/subjects/{topic}-value/versions", {"schema": '"long"'})

    shown = json.loads(run.invoke(main, ["kafka", "status", "--json"]).stdout)
    assert [(each["name"], each["state"]) for each in shown] == [("default", "up")]
    assert all(each["memory_mb"] > 50 and each["uptime_s"] > 0 for each in shown[0]["processes"])
    assert str(port) in run.invoke(main, ["kafka", "status"]).stdout

    assert run.invoke(main, ["kafka", "down"]).stdout == "cluster default is down\n"
    assert _processes(cluster.folder) == []
    assert json.loads(run.invoke(main, ["kafka", "status", "--json"]).stdout)[0]["state"] == "down"

    again = json.loads(run.invoke(main, ["kafka", "up", "--json"]).stdout)
    assert again["environment"]["FLEXLOG_KAFKA__BOOTSTRAP_SERVERS"] == f"127.0.0.1:{port}"
    assert _read(cluster, topic, 1, topic) == ["kept"]
    assert _ask(cluster.registry_url, "GET", f"/schemas/ids/{made['id']}")["schema"] == '"long"'

    assert "deleted" in run.invoke(main, ["kafka", "down", "--delete"]).stdout
    assert not cluster.folder.exists()
    assert "no cluster" in run.invoke(main, ["kafka", "down"]).stdout


def test_a_port_that_is_taken_is_said_in_one_line_and_nothing_is_left(cache: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for option in ("--port", "--registry-port"):
            done = CliRunner().invoke(main, ["kafka", "up", option, str(port)])
            assert done.exit_code == 1
            assert done.stderr.splitlines() == [
                (
                    f"Error: port {port} of 127.0.0.1 is taken by another process; give another port, "
                    "or none for a free one"
                )
            ]
    assert LocalCluster.names() == []
    assert _processes(cache) == []


def test_a_broker_that_cannot_start_is_named_with_its_log_and_its_last_words(cache: Path) -> None:
    broken = LocalCluster("broken")
    # Kafka's own rule: min.insync.replicas is at least 1
    with pytest.raises(LocalClusterError, match=r"min\.insync\.replicas") as failed:
        broken.up(settings={"min.insync.replicas": "0"})
    assert "\n" not in str(failed.value)
    with pytest.raises(LocalClusterError, match=r"broker 1 of broken ended at its start; see .*broker-1\.log: .*sense"):
        broken.up(registry=False, settings={"authorizer.class.name": "no.sense"})
    assert "no.sense" in (broken.folder / "logs" / "broker-1.log").read_text()
    assert _processes(cache) == []
    assert LocalCluster.names() == []
    assert not (broken.folder / "data" / "broker-1").exists()


def test_a_pid_of_another_process_is_neither_shown_nor_killed(cache: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        held = state.State.new("stale", cache / "stale" / "data", {}, {"kafka": "-", "registry": "-"})
        held.processes = [state.Member("broker", 1, 20_000, 20_001, "-Dflexlog.process=gone", "gone.log", other.pid)]
        held.save(cache / "stale" / "cluster.json")
        cluster = LocalCluster("stale")
        assert cluster.status().state == "down"
        assert cluster.status().processes[0].pid is None
        assert cluster.down()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


# --- several, and their owners --------------------------------------------------------------------------------------


def test_three_brokers_beside_another_cluster_lose_one_and_get_it_back(cluster: LocalCluster) -> None:
    quick = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
    with LocalCluster.temporary(brokers=3, registry=False, settings=quick) as three:
        assert not set(three.bootstrap_servers.split(",")) & set(cluster.bootstrap_servers.split(","))
        admin = _admin(three)
        seen = admin.list_topics(timeout=10)
        assert set(seen.brokers) == {1, 2, 3}
        topic = _topic(three, 3, 3)
        assert topic not in _admin(cluster).list_topics(timeout=10).topics

        three.kill_broker(2)
        assert [each.pid is None for each in three.status().processes] == [False, True, False]
        _transact(three, topic, ["without 2"], commit=True)  # two of three are enough
        three.start_broker(2)
        three.wait_in_sync(30)
        three.kill_broker(1)
        _transact(three, topic, ["without 1"], commit=True)
        assert sorted(_read(three, topic, 2, topic)) == ["without 1", "without 2"]

        topics = admin.list_topics(timeout=10).topics
        for name in ("__consumer_offsets", "__transaction_state"):
            assert {len(each.replicas) for each in topics[name].partitions.values()} == {3}
            resource = ConfigResource(ResourceType.TOPIC, name)
            config = admin.describe_configs([resource])[resource].result(30)
            assert config["min.insync.replicas"].value == "2"
        folder = three.folder
    assert not folder.exists()
    assert _processes(folder) == []


def test_a_temporary_cluster_ends_with_an_owner_that_is_killed(kafka_parts: None) -> None:
    owner = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            (
                "import time\n"
                "from streams.kafka.local.cluster import LocalCluster\n"
                "with LocalCluster.temporary(registry=False) as cluster:\n"
                "    print(cluster.folder, flush=True)\n"
                "    time.sleep(600)\n"
            ),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    with owner:
        folder = Path(owner.stdout.readline().strip())
        assert len(_processes(folder)) == 1
        owner.kill()
    deadline = time.monotonic() + 10
    while (folder.exists() or _processes(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _processes(folder) == []
    assert not folder.exists()


# --- parts ----------------------------------------------------------------------------------------------------------


def _program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("java", "maven", "missing"),
    [
        (None, None, "needs Java 17 and Maven; install"),
        ('openjdk version "11.0.2" 2019-01-15', "exit 0", "needs Java 17 ("),
        ('java version "1.8.0_292"', "exit 0", "is Java 8); install"),
        ('openjdk version "21.0.1" 2023-10-17', None, "needs Maven; install"),
        ("The operation couldn't be completed.", "exit 0", "is none that works); install"),
    ],
)
def test_what_is_not_installed_is_said_in_one_line_before_anything_is_done(
    java: str | None, maven: str | None, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    if java is not None:
        _program(programs, "java", f"echo {shlex.quote(java)} >&2")
    if maven is not None:
        _program(programs, "mvn", maven)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("FLEXLOG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    done = CliRunner().invoke(main, ["kafka", "up"])
    assert done.exit_code == 1
    assert missing in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert LocalCluster.names() == []


def test_parts_are_fetched_once_by_whoever_comes_first_and_never_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, calls = tmp_path / "programs", tmp_path / "calls"
    _program(programs, "java", "echo 'openjdk version \"17.0.1\"' >&2")
    # Leaves half of it behind and fails the first time.
    _program(
        programs,
        "mvn",
        f'echo call >> {calls}\nfor last; do :; done\nout="${{last#*=}}"\nmkdir -p "$out"\n'
        f'if [ "$(wc -l < {calls})" -lt 2 ]; then echo x > "$out/half.jar"\n'
        'echo "[ERROR] no network"; exit 1; fi\nsleep 0.3\necho x > "$out/whole.jar"',
    )
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(PartsError, match=r"could not fetch Apache Kafka 4\.1\.0: no network"):
        parts.ensure([parts.KAFKA], tmp_path, lambda _: None)
    assert not parts.folder(parts.KAFKA, tmp_path).exists()
    with ThreadPoolExecutor(3) as several:
        found = list(several.map(lambda _: parts.ensure([parts.KAFKA], tmp_path, lambda _: None), range(3)))
    assert calls.read_text().count("call") == 2
    folder = found[0][1]["kafka"]
    assert [path.name for path in folder.iterdir()] == ["whole.jar"]
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, "kafka.lock"]


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (
            (
                "[1] INFO starting\n[2] ERROR Exiting Kafka due to fatal exception (kafka.Kafka$)\n"
                "org.apache.kafka.common.KafkaException: Socket server failed to bind\n\tat kafka.network.Acceptor\n"
                "Caused by: java.net.BindException: Address already in use\n\tat sun.nio.ch\n\t... 8 more\n[3] INFO\n"
            ),
            "java.net.BindException: Address already in use",
        ),
        ("[1] INFO fine\n[2] ERROR broken\n[3] INFO bye\n", "[2] ERROR broken"),
        ("one\ntwo\n\n", "two"),
        ("", ""),
    ],
)
def test_the_line_of_a_log_that_says_most(log: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "broker.log"
    earlier = "java.lang.Exception: of an earlier start\n"
    path.write_text(earlier + log)
    assert process.complaint(path, len(earlier)) == line


@pytest.mark.parametrize("name", ["", "../up", "a/b", "jars", ".hidden", "x" * 65])
def test_a_name_that_cannot_be_a_folder_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(LocalClusterError, match="cannot name a cluster"):
        LocalCluster(name)


def test_settings_are_written_as_java_reads_them() -> None:
    # java.util.Properties: backslash doubled, what is not ASCII as \uXXXX
    assert state.as_properties({"log.dirs": "/tmp/\u00e9\\x"}) == "log.dirs=/tmp/\\u00e9\\\\x\n"


def test_a_lock_is_not_held_twice_though_its_folder_was_deleted(tmp_path: Path) -> None:
    path = tmp_path / "cluster" / ".lock"
    said: list[str] = []
    inside = threading.Event()

    def second() -> None:
        with process.locked(path):
            inside.set()
            time.sleep(0.3)
            said.append("second")

    waiter = threading.Thread(target=second)
    with process.locked(path):
        waiter.start()
        time.sleep(0.3)  # it waits for the lock that is deleted now
        shutil.rmtree(path.parent)
    assert inside.wait(10)
    with process.locked(path):
        said.append("third")
    waiter.join()
    assert said == ["second", "third"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process keep to a core")
def test_a_process_has_all_cores_though_the_one_that_starts_it_keeps_to_one(tmp_path: Path) -> None:
    log = tmp_path / "cores.log"
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "given = os.sched_getaffinity(0)\n"
        "from streams.hosts.cores import keep_to_one\n"
        "from streams.kafka.local import process\n"
        "keep_to_one(0)\n"
        "tell = 'import os; print(sorted(os.sched_getaffinity(0)))'\n"
        f"pid = process.start([sys.executable, '-c', tell], Path({str(log)!r}), Path({str(tmp_path)!r}))\n"
        "os.waitpid(pid, 0)\n"
        "print(sorted(given), sorted(os.sched_getaffinity(0)))\n"
    )
    with everywhere():
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    given, kept = ran.stdout.strip().replace("] [", "]|[").split("|")
    assert json.loads(log.read_text()) == json.loads(given)
    assert len(json.loads(kept)) == 1
