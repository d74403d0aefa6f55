"""What a local cluster is made of, kept in a file of its folder so that a later command finds it again."""

import base64
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from streams.kafka.local import LocalClusterError, process

BROKER = "broker"
REGISTRY = "registry"


@dataclass
class Member:
    """A process of a cluster, running or not."""

    role: str
    number: int  # of a broker, from 1; 0 for the registry
    port: int
    controller_port: int | None
    mark: str  # stands in its command: tells it from another process that was given its id
    log: str
    pid: int | None = None
    since: int = 0  # the log's size when it was started
    started: float = 0.0  # seconds since 1970

    @property
    def title(self) -> str:
        """As messages call it."""
        return f"{self.role} {self.number}" if self.role == BROKER else self.role

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return process.alive(self.pid, self.mark)

    def launch(self, command: list[str], folder: Path) -> None:
        """Start its process."""
        log = Path(self.log)
        log.parent.mkdir(parents=True, exist_ok=True)
        self.since = log.stat().st_size if log.exists() else 0
        self.started = time.time()
        self.pid = process.start(command, log, folder)


@dataclass
class State:
    """A cluster: settings that stay, and its processes."""

    name: str
    cluster_id: str
    data: str
    settings: dict[str, str]  # of all brokers, beside those of broker.properties
    versions: dict[str, str]
    processes: list[Member]

    @classmethod
    def new(cls, name: str, data: Path, settings: Mapping[str, str], versions: Mapping[str, str]) -> Self:
        """A cluster that has never run."""
        # As Kafka makes them: 22 characters of URL-safe base64, of which a leading dash would look like an option.
        identity = "-"
        while identity.startswith("-"):
            identity = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        return cls(name, identity, str(data), dict(settings), dict(versions), [])

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """The cluster of a file; None where there is none.

        Raises:
            LocalClusterError: the file is none of ours.
        """
        if not path.exists():
            return None
        try:
            held: dict[str, Any] = json.loads(path.read_text())
            return cls(**{**held, "processes": [Member(**member) for member in held["processes"]]})
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise LocalClusterError(f"{path} is no cluster's state ({error}); delete its folder") from None

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(asdict(self), indent=1) + "\n")
        beside.replace(path)

    @property
    def brokers(self) -> list[Member]:
        """The brokers by number."""
        return sorted((m for m in self.processes if m.role == BROKER), key=lambda m: m.number)

    @property
    def registry(self) -> Member | None:
        """The registry, where it has one."""
        return next((m for m in self.processes if m.role == REGISTRY), None)

    def broker(self, number: int) -> Member:
        """A broker by its number.

        Raises:
            LocalClusterError: there is none.
        """
        for member in self.brokers:
            if member.number == number:
                return member
        raise LocalClusterError(f"cluster {self.name} has no broker {number}; they are 1 to {len(self.brokers)}")

    @property
    def broker_options(self) -> list[str]:
        """Java's options for each broker: one has the machine for itself; three shall start soon rather than peak."""
        return ["-Xmx512m"] if len(self.brokers) == 1 else ["-Xmx384m", "-XX:TieredStopAtLevel=1"]


def broker_settings(state: State, member: Member) -> dict[str, str]:
    """What a broker's settings have beside those that all local clusters share."""
    count = len(state.brokers)
    copies, in_sync = str(min(count, 3)), str(2 if count >= 3 else 1)
    address = f"{process.HOST}:{member.port}"
    made = {
        "node.id": str(member.number),
        "listeners": f"PLAINTEXT://{address},CONTROLLER://{process.HOST}:{member.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{address}",
        # Named voters rather than those written at format: so the ports may be others at the next start.
        "controller.quorum.voters": ",".join(f"{m.number}@{process.HOST}:{m.controller_port}" for m in state.brokers),
        "log.dirs": str(broker_data(state, member)),
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
    }
    return made | state.settings


def broker_data(state: State, member: Member) -> Path:
    """The folder of a broker's log."""
    return Path(state.data) / f"broker-{member.number}"


def as_properties(settings: Mapping[str, str]) -> str:
    """Settings as Java reads them: Latin-1 with escapes; those of JSON strings do."""
    return "".join(f"{name}={json.dumps(value)[1:-1]}\n" for name, value in settings.items())
