"""A cluster that asks who we are and what we may: the documented rights are enough, and what is lacking is one line.

One broker with a listener for SCRAM users, one for TLS, and the authorizer; the plain listener is the administrator's.
The rights that are granted are those of the table in docs/how-to/run-on-kafka.md.
"""

import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from streams.kafka.local.cluster import LocalCluster
from streams.kafka.local.state import Member, State, broker_settings
from tests.hosts.world import START
from tests.kafka.test_run import HOUR, Deployment, bodies, undisturbed

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "run-on-kafka.md"
PLANT = ("--topology", "tests.kafka.plant:plant")
PASSWORD = "correct horse"
KINDS = (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID)
Rights = dict[ResourceType, list[str]]
_SCRAM = "listener.name.sasl.scram-sha-256.sasl.jaas.config"
_SCRAM_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


def rights(command: str) -> Rights:
    """The rights that the page lists for a command."""
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and f"`{command}`" in cells[0]:
            return {kind: re.findall(r"[A-Z]\w+", cell) for kind, cell in zip(KINDS, cells[1:4], strict=True)}
    pytest.fail(f"{PAGE.name} lists no rights for {command}")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def certificate(folder: Path) -> tuple[str, str]:
    """A key and a certificate for 127.0.0.1 that nobody has signed."""
    key, made = folder / "key.pem", folder / "certificate.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout {key} -out {made}"
    subprocess.run([*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return key.read_text(), made.read_text()


@dataclass
class Secured:
    """The cluster, and its users."""

    running: LocalCluster
    sasl: str
    tls: str
    authority: Path

    def __post_init__(self) -> None:
        self.admin = AdminClient({"bootstrap.servers": self.running.bootstrap_servers, "log_level": 0})

    def user(self, prefix: str, granted: Rights) -> dict[str, str]:
        """A new user with these rights on all that begins with a prefix: the variables to come as it."""
        name = f"user-{uuid.uuid4().hex[:8]}"
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        made: list[UserScramCredentialAlteration] = [UserScramCredentialUpsertion(name, credential, PASSWORD.encode())]
        for future in self.admin.alter_user_scram_credentials(made).values():
            future.result(20)
        acls = [
            AclBinding(
                kind,
                prefix,
                ResourcePatternType.PREFIXED,
                f"User:{name}",
                "*",
                AclOperation[re.sub(r"(?<!^)(?=[A-Z])", "_", right).upper()],
                AclPermissionType.ALLOW,
            )
            for kind, several in granted.items()
            for right in several
        ]
        for future in self.admin.create_acls(acls).values() if acls else ():
            future.result(20)
        return self.environment(name)

    def environment(self, name: str, **others: str) -> dict[str, str]:
        """The variables to come as a user."""
        options = {
            "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "SASL_MECHANISM": "SCRAM-SHA-256",
            "SASL_USERNAME": name,
            "SASL_PASSWORD": PASSWORD,
            **others,
        }
        return {
            "FLEXLOG_KAFKA__BOOTSTRAP_SERVERS": self.sasl,
            **{f"FLEXLOG_KAFKA__OPTIONS__{option}": value for option, value in options.items()},
        }


@pytest.fixture(scope="module")
def secured(kafka_parts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    del kafka_parts
    folder = tmp_path_factory.mktemp("tls")
    key, made = certificate(folder)
    more = {"SASL": free_port(), "TLS": free_port()}

    def with_more(state: State, member: Member) -> dict[str, str]:
        found = broker_settings(state, member)
        for name in ("listeners", "advertised.listeners"):
            found[name] += "".join(f",{listener}://127.0.0.1:{port}" for listener, port in more.items())
        return found

    settings = {
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-256",
        _SCRAM: _SCRAM_MODULE,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "listener.name.tls.ssl.keystore.type": "PEM",
        "listener.name.tls.ssl.keystore.key": key,
        "listener.name.tls.ssl.keystore.certificate.chain": made,
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("streams.kafka.local.cluster.broker_settings", with_more)
        with LocalCluster.temporary(settings=settings) as running:
            sasl, tls = (f"127.0.0.1:{port}" for port in more.values())
            yield Secured(running, sasl, tls, folder / "certificate.pem")


@pytest.fixture
def deployment(secured: Secured) -> Iterator[Deployment]:
    made = Deployment(secured.running)
    yield made
    made.registry.close()


def flexlog(environment: Mapping[str, str], *words: str, seconds: float = 60) -> tuple[int, str, float]:
    """A command to its end: its exit code, what it said, and how long it took."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", *words],
        env={**os.environ, **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    return done.returncode, done.stdout, time.monotonic() - begun


def only_line(said: str, about: str) -> str:
    """The one line that says what is wrong."""
    lines = [line for line in said.splitlines() if re.search(r"^Error: |  error: ", line)]
    assert len(lines) == 1, said
    assert about in lines[0]
    assert "Traceback" not in said
    assert "starts again" not in said
    return lines[0]


def test_the_documented_rights_let_topics_be_made_and_planned(secured: Secured, deployment: Deployment) -> None:
    prefix = deployment.settings.kafka.prefix
    maker = secured.user(prefix, rights("flexlog topics apply"))
    code, said, _ = flexlog({**deployment.environment, **maker}, "topics", "apply")
    assert code == 0, said
    assert f"created topic {prefix}telemetry.reading.v1" in said
    planner = secured.user(prefix, rights("flexlog topics plan"))
    code, said, _ = flexlog({**deployment.environment, **planner}, "topics", "plan")
    assert code == 0, said
    elsewhere = secured.user("another.", rights("flexlog topics apply"))
    code, said, _ = flexlog({**deployment.environment, **elsewhere}, "topics", "plan")
    assert code == 1
    told = only_line(said, "Kafka denies our user Describe on this topic")
    assert f"topic {prefix}" in told
    assert "add the ACL" in told


def test_the_documented_rights_let_a_worker_run_and_its_results_are_the_same(
    secured: Secured, deployment: Deployment
) -> None:
    deployment.apply()
    deployment.environment |= secured.user(deployment.settings.kafka.prefix, rights("flexlog run"))
    with deployment.flexlog("--all", *PLANT) as process:
        edges = deployment.edges()
        try:
            edges.run(START + 3 * HOUR)
            assert bodies(edges.log) == undisturbed(3)
        finally:
            edges.close()
        process.terminate()
        said, _ = process.communicate(timeout=30)
        assert process.returncode == 0, said
        assert "rror: " not in said
        assert "denies" not in said


@pytest.mark.parametrize(
    ("command", "options", "told"),
    [
        (("topics", "plan"), {"SASL_PASSWORD": "wrong"}, "Authentication failed"),
        (("run", "days", *PLANT), {"SASL_PASSWORD": "wrong"}, "Authentication failed"),
        (("sink",), {"SASL_PASSWORD": "wrong"}, "Authentication failed"),
        (("topics", "plan"), {"SASL_USERNAME": "nobody"}, "Authentication failed"),
        (("run", "days", *PLANT), {"SASL_MECHANISM": "PLAIN"}, "supported mechanisms: SCRAM-SHA-256"),
        (("sink",), {"SASL_MECHANISM": "NONE-SUCH"}, "FLEXLOG_KAFKA__OPTIONS: "),
    ],
    ids=["plan-password", "run-password", "sink-password", "plan-user", "run-mechanism", "sink-no-mechanism"],
)
def test_whoever_is_not_let_in_is_told_once_and_stops(
    secured: Secured, deployment: Deployment, command: tuple[str, ...], options: dict[str, str], told: str
) -> None:
    known = secured.user(deployment.settings.kafka.prefix, {})
    name = known["FLEXLOG_KAFKA__OPTIONS__SASL_USERNAME"]
    environment = {**deployment.environment, **secured.environment(name, **options), **clickhouse()}
    code, said, took = flexlog(environment, *command)
    assert code == 1, said
    line = only_line(said, told)
    assert "FLEXLOG_KAFKA__OPTIONS" in line
    assert "wrong" not in line, "the password"
    assert took < 30


def clickhouse() -> dict[str, str]:
    """A history that is never come to."""
    return {"FLEXLOG_CLICKHOUSE__HEALTH_PORT": "0", "FLEXLOG_CLICKHOUSE__PORT": "9"}


def test_a_certificate_that_nobody_vouches_for_is_told_and_one_that_is_known_will_do(
    secured: Secured, deployment: Deployment
) -> None:
    deployment.apply()
    environment = {
        **deployment.environment,
        "FLEXLOG_KAFKA__BOOTSTRAP_SERVERS": secured.tls,
        "FLEXLOG_KAFKA__OPTIONS__SECURITY_PROTOCOL": "SSL",
    }
    code, said, _ = flexlog(environment, "topics", "plan")
    assert code == 1
    assert "SSL_CA_LOCATION" in only_line(said, "certificate")
    trusted = {**environment, "FLEXLOG_KAFKA__OPTIONS__SSL_CA_LOCATION": str(secured.authority)}
    code, said, _ = flexlog(trusted, "topics", "plan")
    assert code == 2, said  # the installed topics are not there: it was let in


@pytest.mark.parametrize(
    ("kind", "gone", "told"),
    [
        (ResourceType.TRANSACTIONAL_ID, "Write", "days.v1.0: Kafka denies our user Write on this transactional id"),
        (ResourceType.GROUP, "Read", "days.v1: Kafka denies our user Read on this group"),
        (ResourceType.TOPIC, "Describe", ": Kafka denies our user Describe on this topic"),
        (ResourceType.TOPIC, "Read", ": Kafka denies our user Read on this topic"),
        (ResourceType.TOPIC, "Write", ": Kafka denies our user Write on this topic"),
        (ResourceType.TOPIC, "DescribeConfigs", ": Kafka denies our user DescribeConfigs on this topic"),
    ],
    ids=lambda value: value.name if isinstance(value, ResourceType) else value if len(str(value)) < 20 else "",
)
def test_a_worker_that_lacks_a_right_stops_and_names_it(
    secured: Secured, deployment: Deployment, kind: ResourceType, gone: str, told: str
) -> None:
    deployment.apply()
    granted = rights("flexlog run")
    assert gone in granted[kind]
    granted[kind] = [right for right in granted[kind] if right != gone]
    if gone == "Describe":  # which the others imply
        granted[kind] = ["DescribeConfigs"]
    deployment.environment |= secured.user(deployment.settings.kafka.prefix, granted)
    with deployment.flexlog("days", *PLANT) as process:
        said, _ = process.communicate(timeout=45)
    assert process.returncode == 1
    line = only_line(said, told)
    assert deployment.settings.kafka.prefix in line
    assert "authorization failed" in line
    assert "add the ACL" in line


def test_a_cluster_that_is_away_is_waited_for(deployment: Deployment) -> None:
    deployment.environment["FLEXLOG_KAFKA__BOOTSTRAP_SERVERS"] = f"127.0.0.1:{free_port()}"
    deployment.environment["FLEXLOG_KAFKA__REQUEST_TIMEOUT_MS"] = "1000"
    with deployment.flexlog("days", *PLANT) as process:
        assert process.stdout is not None
        said = [next(process.stdout) for _ in range(4)]
        assert process.poll() is None
    assert sum("starts again" in line for line in said) >= 1, said
    assert any("see whether it runs" in line for line in said), said


def test_the_documented_rights_are_enough_to_bring_the_history(
    secured: Secured, deployment: Deployment, tmp_path: Path
) -> None:
    maker = secured.user(deployment.settings.kafka.prefix, rights("flexlog topics apply"))
    assert flexlog({**deployment.environment, **maker}, "topics", "apply")[0] == 0
    reader: dict[str, Any] = secured.user(deployment.settings.kafka.prefix, rights("flexlog sink"))
    history = {"FLEXLOG_CLICKHOUSE__INTERFACE": "chdb", "FLEXLOG_CLICKHOUSE__PATH": str(tmp_path)}
    code, said, _ = flexlog({**deployment.environment, **reader, **history}, "sink", "--once", seconds=120)
    assert code == 0, said
    assert "rows of 0 topics brought" in said
