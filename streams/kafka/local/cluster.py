"""A Kafka cluster and a schema registry on this machine, by name.

Apache Kafka in KRaft mode, each broker a controller too, and Apicurio Registry with its Confluent API, all bound to
127.0.0.1. A cluster's folder holds its state (``cluster.json``), its data and a log of each process; several clusters
run side by side. Nothing here knows topics or processors.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from re import fullmatch
from typing import Self

from streams.kafka.local import LocalClusterError, home, parts, probe, process
from streams.kafka.local.state import (
    BROKER,
    REGISTRY,
    Member,
    State,
    as_properties,
    broker_data,
    broker_settings,
)

DEFAULT = "default"
_SIZES = (1, 3)
_READY_S = 120.0
_STOP_S = 20.0
_POLL_S = 0.1
_LAST_PORT = 65_535


@dataclass(frozen=True)
class ProcessStatus:
    """A process of a cluster as it is now; ``pid`` is None where it does not run."""

    title: str
    port: int
    pid: int | None
    answers: bool
    memory_mb: float
    uptime_s: float
    log: str


@dataclass(frozen=True)
class ClusterStatus:
    """A cluster as it is now."""

    name: str
    folder: str
    versions: Mapping[str, str]
    processes: tuple[ProcessStatus, ...]

    @property
    def state(self) -> str:
        """``up``, ``down``, or ``partly up`` where some of it does not run or does not answer."""
        if not any(each.pid for each in self.processes):
            return "down"
        return "up" if all(each.answers for each in self.processes) else "partly up"


def _silent(line: str) -> None:
    del line


class LocalCluster:
    """A named local cluster; another process that uses the same name means the same cluster.

    Args:
        name: letters, digits, dots, dashes and underscores.
        folder: where it lives; by default a folder of its name in the user's cache, where ``jars`` lie beside it.
        report: gets a line before each thing that takes long.

    Raises:
        LocalClusterError: the name cannot be a folder's.
    """

    def __init__(
        self, name: str = DEFAULT, *, folder: Path | None = None, report: Callable[[str], None] = _silent
    ) -> None:
        if not fullmatch(r"\w[\w.-]{0,63}", name) or (name == "jars" and folder is None):
            raise LocalClusterError(f"{name!r} cannot name a cluster; use letters, digits, dots, dashes, underscores")
        self.name = name
        self.folder = (folder or home() / name).resolve()
        self._report = report
        self._file = self.folder / "cluster.json"

    @classmethod
    def names(cls) -> list[str]:
        """The clusters in the user's cache, running or not."""
        return sorted(path.parent.name for path in home().glob("*/cluster.json"))

    @classmethod
    @contextmanager
    def temporary(
        cls,
        *,
        brokers: int = 1,
        registry: bool = True,
        settings: Mapping[str, str] | None = None,
        report: Callable[[str], None] = _silent,
    ) -> Iterator[Self]:
        """A running cluster in a temporary folder, gone at the end: also where this process is killed.

        The folder stays, with its logs, where the cluster could not be started.
        """
        folder = Path(tempfile.mkdtemp(prefix="flexlog-kafka-"))
        cluster = cls(folder.name, folder=folder, report=report)
        reaper = subprocess.Popen(  # noqa: S603  # our own script
            [sys.executable, "-I", str(parts.FILES / "reaper.py"), str(cluster.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            cluster.up(brokers=brokers, registry=registry, settings=settings)
            try:
                yield cluster
            finally:
                cluster._end(grace_s=0)
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            reaper.communicate(b"done")

    # --- up and down -----------------------------------------------------------------------------------------------

    def up(
        self,
        *,
        brokers: int | None = None,
        registry: bool = True,
        port: int | None = None,
        registry_port: int | None = None,
        data: Path | None = None,
        settings: Mapping[str, str] | None = None,
        timeout_s: float = _READY_S,
    ) -> None:
        """Start what of the cluster does not run, and return when all of it answers.

        Args:
            brokers: 1 or 3; by default as many as it has, 1 for a new one. Cannot change.
            registry: whether it has a schema registry; one that it has already stays.
            port: of the first broker, the others take those after it; by default the ports it had, or free ones.
            registry_port: of the registry.
            data: folder for the data of a new cluster; by default within its own.
            settings: broker settings of a new cluster, beside those that all local clusters share.
            timeout_s: how long it may take until all answers; what it takes to fetch jars is not counted.

        Raises:
            PartsError: Java or Maven is missing, or the jars cannot be fetched.
            LocalClusterError: it cannot be had as asked, a port is taken, or a process did not start; then those
                that this call started are ended again.
        """
        with self._locked():
            state = self._wanted(brokers, data, settings, registry=registry)
            wanted = [parts.KAFKA] + ([parts.REGISTRY] if state.registry else [])
            idle = [member for member in state.processes if not member.running]
            self._give_ports(state, idle, port, registry_port)
            if not idle:
                try:
                    self._wait(state, state.processes, timeout_s)
                except LocalClusterError:
                    idle = [member for member in state.processes if not member.running]  # one ended just now
                    if not idle:
                        raise
                else:
                    return
            tools = parts.ensure(wanted, home(), self._report)
            self._report(f"starting {', '.join(member.title for member in idle)}")
            self._run(state, idle, tools, timeout_s)

    def down(self, *, delete: bool = False) -> bool:
        """End all processes: first asked, then, after some seconds, killed.

        Args:
            delete: delete the cluster's data and folder as well.

        Returns:
            Whether all ended by themselves.
        """
        with self._locked():
            clean = self._end(grace_s=_STOP_S)
            state = State.load(self._file)
            if delete and state is not None:
                self._forget(state)
                shutil.rmtree(self.folder, ignore_errors=True)
            return clean

    def _end(self, grace_s: float) -> bool:
        state = State.load(self._file)
        if state is None:
            return True
        # The registry and the brokers at once: a controller that waits for the others to go would wait for long.
        clean = process.stop([(member.pid, member.mark) for member in state.processes], grace_s)
        for member in state.processes:
            member.pid = None
        state.save(self._file)
        return clean

    def _forget(self, state: State) -> None:
        """Delete the data: what a cluster has put into a folder, which may be one with other things in it."""
        for member in state.brokers:
            shutil.rmtree(broker_data(state, member), ignore_errors=True)
        for path in Path(state.data).glob(f"{REGISTRY}.*.db"):
            path.unlink(missing_ok=True)
        self._file.unlink(missing_ok=True)

    # --- faults for tests ------------------------------------------------------------------------------------------

    def kill_broker(self, number: int) -> None:
        """Kill a broker as a power cut would (SIGKILL); brokers count from 1."""
        with self._locked():
            state = self._state()
            self._kill(state, state.broker(number))

    def start_broker(self, number: int, *, timeout_s: float = _READY_S) -> None:
        """Start a broker again, on its port and data; returns when it answers and knows all that run."""
        with self._locked():
            state = self._state()
            self._start_again(state, state.broker(number), timeout_s)

    def kill_registry(self) -> None:
        """Kill the registry (SIGKILL); what was registered is kept."""
        with self._locked():
            state = self._state()
            self._kill(state, self._registry(state))

    def start_registry(self, *, timeout_s: float = _READY_S) -> None:
        """Start the registry again, on its port; returns when it answers."""
        with self._locked():
            state = self._state()
            self._start_again(state, self._registry(state), timeout_s)

    def wait_in_sync(self, timeout_s: float = _READY_S) -> None:
        """Wait until all replicas of all partitions are in sync again, so that another broker may be killed.

        Raises:
            LocalClusterError: they are not, in time.
        """
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415  # not needed to stop or show a cluster

        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        deadline = time.monotonic() + timeout_s
        while True:
            topics = admin.list_topics(timeout=timeout_s).topics
            behind = [
                f"{name}-{number}"
                for name, topic in topics.items()
                for number, partition in topic.partitions.items()
                if set(partition.isrs) != set(partition.replicas)
            ]
            if not behind:
                return
            if time.monotonic() > deadline:
                shown = ", ".join(sorted(behind)[:5])
                raise LocalClusterError(f"replicas of {shown} are not in sync after {timeout_s:g} s")
            time.sleep(_POLL_S)

    def _kill(self, state: State, member: Member) -> None:
        process.stop([(member.pid, member.mark)], grace_s=0)
        member.pid = None
        state.save(self._file)

    def _start_again(self, state: State, member: Member, timeout_s: float) -> None:
        if not member.running:
            part = parts.KAFKA if member.role == BROKER else parts.REGISTRY
            _need_free(member.port)
            self._run(state, [member], parts.ensure([part], home(), self._report), timeout_s)

    # --- what it is like now ---------------------------------------------------------------------------------------

    @property
    def bootstrap_servers(self) -> str:
        """The brokers' addresses, as clients take them."""
        return ",".join(f"{process.HOST}:{member.port}" for member in self._state().brokers)

    @property
    def registry_url(self) -> str:
        """The registry's Confluent API."""
        return f"http://{process.HOST}:{self._registry(self._state()).port}{probe.REGISTRY_PATH}"

    def environment(self) -> dict[str, str]:
        """The environment variables by which flexlog uses this cluster."""
        made = {"FLEXLOG_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap_servers}
        if self._state().registry is not None:
            made["FLEXLOG_REGISTRY__URL"] = self.registry_url
        return made

    def status(self) -> ClusterStatus:
        """What runs, where, since when, and how much memory it takes.

        Raises:
            LocalClusterError: there is no such cluster.
        """
        state = self._state()
        now = time.time()
        found = []
        for member in state.processes:
            pid = member.pid if member.running else None
            found.append(
                ProcessStatus(
                    title=member.title,
                    port=member.port,
                    pid=pid,
                    answers=pid is not None and probe.answers(member, set()),
                    memory_mb=round(process.resident_mb(pid), 1) if pid else 0.0,
                    uptime_s=round(now - member.started, 1) if pid else 0.0,
                    log=member.log,
                )
            )
        return ClusterStatus(self.name, str(self.folder), state.versions, tuple(found))

    def _state(self) -> State:
        state = State.load(self._file)
        if state is None:
            raise LocalClusterError(f"there is no cluster {self.name} in {self.folder}; `flexlog kafka up` starts one")
        return state

    def _registry(self, state: State) -> Member:
        if state.registry is None:
            raise LocalClusterError(f"cluster {self.name} has no registry")
        return state.registry

    def _locked(self) -> AbstractContextManager[None]:
        return process.locked(self.folder / ".lock")

    # --- start -----------------------------------------------------------------------------------------------------

    def _wanted(
        self, brokers: int | None, data: Path | None, settings: Mapping[str, str] | None, *, registry: bool
    ) -> State:
        """The cluster as it shall be: the one there is, or a new one."""
        if brokers is not None and brokers not in _SIZES:
            raise LocalClusterError(f"a local cluster has 1 or 3 brokers, not {brokers}")
        state = State.load(self._file)
        if state is None:
            place = (data or self.folder / "data").resolve()
            if "," in str(place):
                raise LocalClusterError(f"Kafka reads a comma in a data folder's name as two folders: {place}")
            state = State.new(self.name, place, settings or {}, {})
            state.processes = [self._member(BROKER, number) for number in range(1, (brokers or 1) + 1)]
        else:
            changed = [
                what
                for what, differs in (
                    (f"{len(state.brokers)} brokers", brokers is not None and brokers != len(state.brokers)),
                    (f"its data in {state.data}", data is not None and str(data.resolve()) != state.data),
                    ("other broker settings", settings is not None and dict(settings) != state.settings),
                )
                if differs
            ]
            if changed:
                raise LocalClusterError(
                    f"cluster {self.name} has {' and '.join(changed)}, which cannot change; use another name, "
                    f"or delete it first (`flexlog kafka down --delete`)"
                )
        if registry and state.registry is None:
            state.processes.append(self._member(REGISTRY, 0))
        state.versions = {part.name: parts.version(part) for part in (parts.KAFKA, parts.REGISTRY)}
        return state

    def _member(self, role: str, number: int) -> Member:
        name = f"{role}-{number}" if role == BROKER else role
        mark = f"-Dflexlog.process={self.folder / name}"
        return Member(role, number, 0, None, mark, str(self.folder / "logs" / f"{name}.log"))

    def _give_ports(self, state: State, idle: list[Member], port: int | None, registry_port: int | None) -> None:
        """Ports asked for, else those a process had, else free ones."""
        idle_ids = {id(member) for member in idle}
        given = {member.number: port + member.number - 1 for member in state.brokers} if port is not None else {}
        if registry_port is not None and state.registry is not None:
            given[0] = registry_port
        whole = len(idle) == len(state.processes)
        taken = {each for m in state.processes for each in (m.port, m.controller_port) if each} | set(given.values())
        for member in state.processes:
            asked = given.get(member.number)
            if id(member) not in idle_ids:
                if asked not in {None, member.port}:
                    raise LocalClusterError(
                        f"{member.title} of cluster {self.name} runs on port {member.port}; "
                        f"bring the cluster down first to move it to {asked}"
                    )
                continue
            if asked is not None:
                member.port = asked
                _need_free(asked)
            member.port = self._port(member.port, taken, keep=not whole)
            if member.role == BROKER:
                member.controller_port = self._port(member.controller_port or 0, taken, keep=not whole)

    @staticmethod
    def _port(had: int, taken: set[int], *, keep: bool) -> int:
        """The port there was; another where it is taken meanwhile, unless others of the cluster count on it."""
        if had and (keep or process.is_free(had)):
            _need_free(had)
            return had
        found = process.free_port(taken)
        taken.add(found)
        return found

    def _run(self, state: State, idle: list[Member], tools: tuple[str, dict[str, Path]], timeout_s: float) -> None:
        """Start processes and wait until they answer; end them again where that fails."""
        java, jars = tools
        fresh = not self._file.exists()
        try:
            self._format(state, [member for member in idle if member.role == BROKER], java, jars)
            for member in idle:
                member.launch(self._command(state, member, java, jars), self.folder)
                state.save(self._file)
            self._wait(state, idle, timeout_s)
        except BaseException:
            process.stop([(member.pid, member.mark) for member in idle], grace_s=0)
            for member in idle:
                member.pid = None
            if fresh:  # nothing but the logs stays of a cluster that never ran
                self._forget(state)
            else:
                state.save(self._file)
            raise

    def _properties(self, member: Member) -> Path:
        return self.folder / f"broker-{member.number}.properties"

    def _command(self, state: State, member: Member, java: str, jars: Mapping[str, Path]) -> list[str]:
        if member.role == REGISTRY:
            data = Path(state.data) / "registry"
            return parts.registry_command(java, jars[parts.REGISTRY.name], data, member.mark, member.port)
        properties = self._properties(member)
        return parts.broker_command(java, jars[parts.KAFKA.name], properties, member.mark, state.broker_options)

    def _format(self, state: State, brokers: list[Member], java: str, jars: Mapping[str, Path]) -> None:
        """Write the settings of brokers, and prepare the data folders that are new."""
        Path(state.data).mkdir(parents=True, exist_ok=True)
        shared = (parts.FILES / "broker.properties").read_text()
        running = []
        for member in brokers:
            properties = self._properties(member)
            properties.write_text(shared + "\n" + as_properties(broker_settings(state, member)))
            if not (broker_data(state, member) / "meta.properties").exists():
                command = parts.format_command(java, jars[parts.KAFKA.name], properties, state.cluster_id)
                running.append(
                    subprocess.Popen(  # noqa: S603  # the command of parts.py
                        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                    )
                )
        said = [(each.communicate()[0], each.returncode) for each in running]
        for text, code in said:
            if code:
                raise LocalClusterError(f"Kafka could not prepare the folder {state.data}: {process.reason(text)}")

    def _wait(self, state: State, members: list[Member], timeout_s: float) -> None:
        """Wait until processes answer, and brokers know all that run."""
        brokers = {member.number for member in state.brokers if member.running}
        waiting = list(members)
        deadline = time.monotonic() + timeout_s
        while True:
            for member in waiting:
                if not member.running:
                    raise LocalClusterError(f"{member.title} of {self.name} ended at its start{probe.why(member)}")
            waiting = [member for member in waiting if not probe.answers(member, brokers)]
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise LocalClusterError(
                    f"{waiting[0].title} of {self.name} does not answer after {timeout_s:g} s{probe.why(waiting[0])}"
                )
            time.sleep(_POLL_S)


def _need_free(port: int) -> None:
    if not 1 <= port <= _LAST_PORT:
        raise LocalClusterError(f"{port} is no port; ports are 1 to {_LAST_PORT}")
    if not process.is_free(port):
        raise LocalClusterError(
            f"port {port} of {process.HOST} is taken by another process; give another port, or none for a free one"
        )
