"""Clients that share no code with flexlog read the settlement: Java, and Python with Confluent's deserializer.

What is right is worked out here with Decimal from the rows that are given, not by any reader of ours.
"""

import io
import json
import os
import random
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import fastavro
import pytest

from demo.foreign import ForeignClientError, JavaClient, Sum, properties
from streams.contracts.codec import Codec
from streams.contracts.examples import read_examples
from streams.contracts.partition import partitions_of
from streams.kafka.cluster import Cluster
from streams.kafka.local import PartsError, home, process
from streams.kafka.local.cluster import LocalCluster
from streams.kafka.log import KafkaLog
from streams.kafka.registry import RestRegistry
from streams.kafka.settings import KafkaSettings, RegistrySettings
from streams.testing import utc
from topics import LineSettled

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "how-to" / "read-settlement-from-any-client.md"
LINE: Final = LineSettled.__topic__
PARTITIONS: Final = 3
CONFIG: Final = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete", "retention.ms": "-1"}
MOST: Final = 2**63 - 1

Row = dict[str, Any]
Sums = dict[tuple[str, str], Sum]


def generated(count: int, seed: int) -> list[Row]:
    """Lines of every kind: amounts from one micro to all that 64 bits hold, of both signs, nullable fields left out."""
    draw = random.Random(seed)
    accounts = ["account-01", "account-02", "konto-ä/ß", "口座 7", "local-market", "x" * 200]
    found: list[Row] = []
    for number in range(count):
        account, other = draw.sample(accounts, 2)
        start = utc("2026-07-01 00:00") + timedelta(minutes=15 * draw.randrange(96))
        size = draw.choice((9, 999_999, 10**9, 10**15, MOST))
        row: Row = {
            "account_id": account,
            "line_id": f"{account}/{number}",
            "counterparty_id": other,
            "kind": draw.choice(("IMBALANCE", "FEE", "PENALTY")),
            "portfolio_id": draw.choice(("", "fontana")),
            "product_id": "",
            "period_start": start,
            "period_end": start + timedelta(minutes=15),
            "amount_micros": draw.choice((0, 1, -1, size, -size, draw.randint(-size, size))),
            "run_id": "settlement/1",
            "run_kind": "FIXING",
            "correction_no": 0,
            "currency": draw.choice(("USD", "EUR", "JPY")),
        }
        optional = {
            "site_id": "home-01",
            "energy_wh": draw.randint(-(10**6), 10**6),
            "price_micros": draw.randint(-(10**9), 10**9),
            "reason_text": "späte Ablesung, 遅い",
            "correction_no": 1,
        }
        row |= {name: value for name, value in optional.items() if draw.random() < 0.5}
        if row["correction_no"]:
            row["corrects_line_id"] = f"{account}/first"
        found.append(row)
    return found


def by_hand(rows: Sequence[Row]) -> Sums:
    """The sums, from the rows alone."""
    found: dict[tuple[str, str], list[Decimal]] = {}
    for row in rows:
        found.setdefault((row["currency"], row["account_id"]), []).append(Decimal(row["amount_micros"]) / 1_000_000)
    return {who: Sum(len(amounts), sum(amounts, Decimal(0))) for who, amounts in found.items()}


class Deployment:
    """A settlement topic of its own, written as the processors write it."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.kafka = KafkaSettings(
            bootstrap_servers=cluster.bootstrap_servers, prefix=f"f{uuid.uuid4().hex[:10]}.", replication_factor=1
        )
        self.url = cluster.registry_url
        self.topic = self.kafka.topic(LINE.name)
        Cluster(self.kafka).create({self.topic: (PARTITIONS, CONFIG)})
        self.registry = RestRegistry(RegistrySettings(url=self.url), prefix=self.kafka.prefix, patience_s=20)
        self.codec = Codec(self.registry)
        self.log = KafkaLog(self.kafka, slot="writer")

    def write(self, rows: Sequence[Row], how: str = "commit") -> None:
        """One transaction."""
        encoded = self.codec.encode(LINE, self.codec.prepare(LINE, rows))
        self.put(list(encoded.keys), list(encoded.values), how)

    def put(self, keys: Sequence[bytes | None], values: Sequence[bytes | None], how: str = "commit") -> None:
        transaction = self.log.transaction("writer")
        places = partitions_of([key or b"" for key in keys], PARTITIONS).tolist()
        for place in range(PARTITIONS):
            here = [row for row, at in enumerate(places) if at == place]
            transaction.append(LINE.name, place, [keys[row] for row in here], [values[row] for row in here], origin="1")
        transaction.flush()  # what never left the client would not be on the topic
        if how == "commit":
            transaction.commit({})
        elif how == "abort":
            transaction.abort()

    def close(self) -> None:
        self.log.close()
        self.registry.close()


@pytest.fixture
def deployment(cluster: LocalCluster) -> Iterator[Deployment]:
    made = Deployment(cluster)
    yield made
    made.close()


@pytest.fixture(scope="session")
def java_client(kafka_parts: None) -> Iterator[JavaClient]:
    try:
        with JavaClient.ready() as client:
            yield client
    except PartsError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def other_python() -> Path:
    """A Python with what the page says to install, and without flexlog."""
    (packages,) = re.findall(r"^pip install (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    folder = home().parent / "foreign-client"
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "venv" / "bin" / "python"
    with process.locked(folder / "lock"):
        done = folder / "ready"
        if not done.exists() or done.read_text() != packages:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / "venv")], check=True)
            wanted = [word.strip("'\"") for word in packages.split()]
            pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted]
            made = subprocess.run(pip, capture_output=True, text=True, check=False)
            if made.returncode and os.environ.get("CI") != "true":
                pytest.skip(f"pip cannot install {packages}: {made.stderr.strip().splitlines()[-1]}")
            assert made.returncode == 0, made.stderr
            done.write_text(packages)
    return python


def settled(deployment: Deployment, seed: int) -> Sums:
    """Lines of several transactions, of which some are aborted and one stays open; what is right, by hand."""
    examples, lines = read_examples(LINE), generated(600, seed)
    lost = [*generated(50, seed + 1), lines[0] | {"account_id": "never", "line_id": "never/1", "currency": "USD"}]
    deployment.write(examples)
    deployment.write(lost, "abort")
    for number in range(0, len(lines), 200):
        deployment.write(lines[number : number + 200])
    deployment.write(lost, "abort")
    deployment.write(lost, "leave open")
    return by_hand([*examples, *lines])


def test_a_java_client_sums_what_is_committed_to_the_last_digit(
    deployment: Deployment, java_client: JavaClient
) -> None:
    right = settled(deployment, seed=4)
    assert max(abs(one.amount) for one in right.values()) > Decimal(2**63) / 10**6  # beyond a long of micros
    assert right["USD", "account-01"].lines > 10
    servers = deployment.kafka.bootstrap_servers
    assert java_client.sums(deployment.topic, properties(servers, deployment.url)) == right
    # The aborted lines are on the topic: whoever reads uncommitted counts three times 51 that never were.
    every = java_client.sums(deployment.topic, properties(servers, deployment.url, "read_uncommitted"))
    assert sum(one.lines for one in every.values()) == sum(one.lines for one in right.values()) + 3 * 51
    assert (
        every["USD" if ("USD", "never") in every else "EUR" if ("EUR", "never") in every else "JPY", "never"].lines == 3
    )


def test_the_python_of_the_page_sums_the_same(deployment: Deployment, other_python: Path, tmp_path: Path) -> None:
    right = settled(deployment, seed=5)
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "total.py").write_text(program, encoding="utf-8")
    arguments = [deployment.kafka.bootstrap_servers, deployment.url, deployment.topic]
    environment = {"PATH": os.environ["PATH"], "PYTHONIOENCODING": "utf-8"}  # and no path to flexlog
    done = subprocess.run(
        [str(other_python), "-I", "-X", "utf8", "total.py", *arguments],
        cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert told(done.stdout) == right


def told(text: str) -> Sums:
    rows = [line.split("\t") for line in text.splitlines()]
    return {(currency, account): Sum(int(lines), Decimal(amount)) for currency, account, lines, amount in rows}


def test_a_java_client_goes_on_when_lines_get_a_new_field(deployment: Deployment, java_client: JavaClient) -> None:
    first, second = generated(2, seed=6)
    deployment.write([first])
    schema = json.loads(LINE.text)
    schema["fields"].append({"name": "note", "type": ["null", "string"], "default": None, "doc": "New."})
    number = deployment.registry.register(LINE.subject, json.dumps(schema))
    assert number != deployment.codec.schema_id(LINE)
    body = io.BytesIO()
    whole = {field["name"]: None for field in schema["fields"]} | second | {"note": "new"}
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), whole)
    deployment.put([second["account_id"].encode()], [b"\0" + number.to_bytes(4, "big") + body.getvalue()])
    read = java_client.sums(deployment.topic, properties(deployment.kafka.bootstrap_servers, deployment.url))
    assert read == by_hand([first, second])


def test_a_client_that_cannot_read_says_why(deployment: Deployment, java_client: JavaClient) -> None:
    deployment.put([b"a"], [b"\0\x7f\xff\xff\xff\0"])  # a schema that nobody has registered
    with pytest.raises(ForeignClientError, match=r"^SettlementTotal\.java did not run: .*Exception"):
        java_client.sums(deployment.topic, properties(deployment.kafka.bootstrap_servers, deployment.url))


def test_the_properties_of_the_page_are_those_that_are_used() -> None:
    (block,) = re.findall(r"^```properties\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    shown = dict(line.split("=", 1) for line in block.splitlines() if line and not line.startswith("#"))
    used = properties("broker:9092", "http://registry:8080/apis/ccompat/v7")
    assert shown == used
