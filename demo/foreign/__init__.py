"""The settlement as a client reads it that shares no code with flexlog: Java, and a registry's own deserializer."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from demo.comparing import Source
from streams.contracts.topic import Topic
from streams.errors import StreamsError
from streams.kafka.local import home, parts, process

FILES: Final = Path(__file__).parent
CLIENT: Final = parts.Part(
    "client", "Kafka's Java client and an Avro deserializer", "28 MB", "dependency:copy-dependencies", FILES / "pom.xml"
)
_PROGRAM: Final = "SettlementTotal"
_COMPILER: Final = "org.eclipse.jdt.internal.compiler.batch.Main"
_QUICK: Final = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_UTF8: Final = ("-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8")  # Java 17 goes by the one, later ones by the other
_PATIENCE_S: Final = 120.0
_MICROS: Final = 6
_CONFLUENT_API, _OWN_API = "/apis/ccompat/v7", "/apis/registry/v2"

Account = tuple[str, str]
"""A currency, and an account that has lines in it."""


class ForeignClientError(StreamsError):
    """The other client could not be run."""


@dataclass(frozen=True)
class Sum:
    """An account's lines in a currency: how many, and what they come to, in units of the currency."""

    lines: int
    amount: Decimal


@dataclass(frozen=True)
class Told:
    """What the other client read beside what there is.

    Attributes:
        read: By the other client.
        held: By the embedded run.
    """

    read: Mapping[Account, Sum]
    held: Mapping[Account, Sum]

    @property
    def lines(self) -> int:
        """How many lines the other client read."""
        return sum(one.lines for one in self.read.values())

    @property
    def accounts(self) -> int:
        """How many accounts they belong to."""
        return len({account for _, account in self.read})

    @property
    def received(self) -> dict[str, Decimal]:
        """By currency, what those accounts get that get more than they pay: all together are zero."""
        found: dict[str, Decimal] = {}
        for (currency, _), one in sorted(self.read.items()):
            found[currency] = found.get(currency, Decimal(0)) + max(one.amount, Decimal(0))
        return found

    @property
    def problem(self) -> str:
        """The first account that differs, in words; empty where none does."""
        for currency, account in sorted({*self.read, *self.held}):
            read, held = (each.get((currency, account), Sum(0, Decimal(0))) for each in (self.read, self.held))
            if read != held:
                return (
                    f"a Java client reads {currency} {read.amount} on {read.lines:,} lines of {account}, "
                    f"the embedded run has {held.amount} on {held.lines:,}"
                )
        return "" if self.read else "a Java client reads no settlement line"

    def __str__(self) -> str:
        money = ", ".join(f"{currency} {amount:,.2f}" for currency, amount in self.received.items())
        verdict = "not the same" if self.problem else "the same, to the last digit"
        return (
            f"A Java client with the registry reads {self.lines:,} lines of {self.accounts:,} accounts, of which the "
            f"receivers get {money}: {verdict}."
        )


def sums(topic: Topic, source: Source) -> dict[Account, Sum]:
    """Sum a log's settlement lines for each currency and account, exactly.

    Args:
        topic: Of settlement lines.
        source: The log, and what decodes it.
    """
    found: dict[Account, tuple[int, int]] = {}
    for partition in range(source.log.partitions(topic.name)):
        at = source.log.start(topic.name, partition)
        while len(slab := source.log.read(topic.name, partition, at)):
            frame = source.codec.decode(topic, slab.keys, slab.values).frame
            for currency, account, micros in frame.select("currency", "account_id", "amount_micros").iter_rows():
                lines, total = found.get((currency, account), (0, 0))
                found[currency, account] = (lines + 1, total + micros)
            at = slab.next_offset
    return {who: Sum(lines, Decimal(micros).scaleb(-_MICROS)) for who, (lines, micros) in found.items()}


def properties(bootstrap_servers: str, registry_url: str, isolation: str = "read_committed") -> dict[str, str]:
    """Return what the consumer is made with, beside a registry from `flexlog kafka up`.

    Args:
        bootstrap_servers: Of the cluster.
        registry_url: The registry's Confluent API.
        isolation: ``read_committed``; anything else counts lines that never were.
    """
    return {
        "bootstrap.servers": bootstrap_servers,
        "isolation.level": isolation,
        "enable.auto.commit": "false",
        "key.deserializer": "org.apache.kafka.common.serialization.StringDeserializer",
        "value.deserializer": "io.apicurio.registry.serde.avro.AvroKafkaDeserializer",
        "apicurio.registry.url": registry_url.replace(_CONFLUENT_API, _OWN_API),
        # The frame of Confluent's serializers, which is ours: the number of the schema's content in four bytes.
        "apicurio.registry.id-handler": "io.apicurio.registry.serde.Legacy4ByteIdHandler",
        "apicurio.registry.use-id": "contentId",
    }


class JavaClient:
    """``SettlementTotal.java``, compiled.

    Args:
        java: Its path.
        jars: What Maven brought.
        classes: The compiled program.
    """

    def __init__(self, java: str, jars: Path, classes: Path) -> None:
        self._java = java
        self._path = f"{classes}:{jars}/*"

    @classmethod
    @contextmanager
    def ready(cls, report: Callable[[str], None] = lambda _: None) -> "Iterator[JavaClient]":
        """Bring and compile it; gone at the end.

        Raises:
            PartsError: Java or Maven is missing, or Maven cannot fetch what it needs.
            ForeignClientError: It cannot be compiled.
        """
        java, jars = parts.ensure([CLIENT], home(), report)
        folder = jars[CLIENT.name]
        with tempfile.TemporaryDirectory(prefix="flexlog-client-") as classes:
            needed = ":".join(map(str, sorted(folder.glob("*.jar"))))
            arguments = ["-17", "-proc:none", "-cp", needed, "-d", classes, str(FILES / f"{_PROGRAM}.java")]
            _done([java, *_QUICK, "-cp", f"{folder}/*", _COMPILER, *arguments], "compile")
            yield cls(java, folder, Path(classes))

    def sums(self, topic: str, settings: Mapping[str, str]) -> dict[Account, Sum]:
        """Let it read a topic from its beginning to what is its end now.

        Args:
            topic: As the cluster names it.
            settings: As of `properties`.

        Raises:
            ForeignClientError: It failed.
        """
        with tempfile.NamedTemporaryFile("w", suffix=".properties", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings.items())
            file.flush()
            said = _done([self._java, *_QUICK, *_UTF8, "-cp", self._path, _PROGRAM, file.name, topic], "run")
        found: dict[Account, Sum] = {}
        for line in said.splitlines():
            currency, account, lines, amount = line.split("\t")
            found[currency, account] = Sum(int(lines), Decimal(amount))
        return found


def _done(command: list[str], what: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  # our own program
            command, capture_output=True, encoding="utf-8", check=False, timeout=_PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        raise ForeignClientError(f"{_PROGRAM}.java was not done after {_PATIENCE_S:g} s: {what}") from None
    if done.returncode:
        why = process.reason(done.stderr or done.stdout)
        raise ForeignClientError(f"{_PROGRAM}.java did not {what}: {why or f'code {done.returncode}'}")
    return done.stdout
