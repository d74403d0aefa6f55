"""What a deployment sets: variables ``FLEXLOG_KAFKA__…``, ``FLEXLOG_REGISTRY__…``, ``FLEXLOG_CLICKHOUSE__…``.

Options of librdkafka pass through, each as a variable of its own (``FLEXLOG_KAFKA__OPTIONS__SASL_PASSWORD``, so that
a secret can be mounted alone) or all as one JSON map in ``FLEXLOG_KAFKA__OPTIONS``; the former win. What exactly-once
rests on cannot be set this way.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

from streams.contracts.topic import Lane
from streams.errors import StreamsError

if TYPE_CHECKING:
    from streams.contracts import Contracts
    from streams.history import History

ENV_PREFIX = "FLEXLOG_"
DELIMITER = "__"

RESERVED: Mapping[str, str] = {
    "bootstrap.servers": "set FLEXLOG_KAFKA__BOOTSTRAP_SERVERS",
    "metadata.broker.list": "set FLEXLOG_KAFKA__BOOTSTRAP_SERVERS",
    "transaction.timeout.ms": "set FLEXLOG_KAFKA__TRANSACTION_TIMEOUT_MS",
    "session.timeout.ms": "set FLEXLOG_KAFKA__SESSION_TIMEOUT_MS",
    "group.protocol": "set FLEXLOG_KAFKA__GROUP_PROTOCOL",
} | dict.fromkeys(
    (
        "acks",
        "request.required.acks",
        "auto.offset.reset",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "group.instance.id",
        "isolation.level",
        "partition.assignment.strategy",
        "group.remote.assignor",
        "partitioner",
        "transactional.id",
    ),
    "leave it out: the host sets it, results depend on it",
)
"""Options that exactly-once, co-location or a field here decides, with what to do instead."""


class ConfigurationError(StreamsError):
    """A setting that cannot be used."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Partitions(_Section):
    """How many partitions the topics of each lane have: fixed at a deployment's birth, in both directions."""

    site: int = Field(default=64, ge=1, description="Partitions of topics keyed by site. In a demo: 4.")
    portfolio: int = Field(default=8, ge=1, description="Partitions of topics keyed by portfolio. In a demo: 1.")
    account: int = Field(default=16, ge=1, description="Partitions of topics keyed by account. In a demo: 1.")
    reference: int = Field(
        default=1,
        ge=1,
        le=1,
        description="Partitions of reference topics: always 1, they are read whole.",
    )

    def by_lane(self) -> dict[Lane, int]:
        """The counts as a topology takes them."""
        return {
            "site": self.site,
            "portfolio": self.portfolio,
            "account": self.account,
            "reference": self.reference,
        }

    @classmethod
    def demo(cls) -> Self:
        """Those of a demo on one machine."""
        return cls(site=4, portfolio=1, account=1, reference=1)


class KafkaSettings(_Section):
    """The cluster, and how a runner works on it."""

    bootstrap_servers: str = Field(
        default="127.0.0.1:9092",
        pattern=r"^[^\s,]+:\d+(,[^\s,]+:\d+)*$",
        description="Brokers to begin with, `host:port`, several with commas.",
    )
    prefix: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9._-]*[._-])?$",
        max_length=64,
        description=(
            "Before the name of every topic, group, transactional id and subject of this deployment, so that several "
            "share a cluster; ends with `.`, `-` or `_`. It stands in no event."
        ),
    )
    options: dict[str, str] = Field(
        default_factory=dict,
        repr=False,
        description=(
            "Options of librdkafka for all clients, such as `security.protocol`: a variable each with `_` for `.` "
            "(`FLEXLOG_KAFKA__OPTIONS__SECURITY_PROTOCOL`), or one JSON map."
        ),
    )
    replication_factor: int = Field(default=3, ge=1, le=32767, description="Copies of each topic. On one broker: 1.")
    min_insync_replicas: int | None = Field(
        default=None,
        ge=1,
        description="Copies that must have a record before it counts. Left out: more than half (3 copies: 2).",
    )
    partitions: Partitions = Field(default_factory=Partitions, description="Partitions of each lane.")
    batch_rows: int = Field(default=50_000, ge=1, le=1_000_000, description="A batch ends with so many records.")
    batch_ms: int = Field(default=50, ge=1, le=60_000, description="A batch ends so many milliseconds after it began.")
    transaction_timeout_ms: int = Field(
        default=10_000,
        ge=1_000,
        le=900_000,
        description="After this the broker aborts a dead runner's transaction.",
    )
    session_timeout_ms: int = Field(
        default=6_000,
        ge=1_000,
        le=300_000,
        description="After this a silent runner's tasks move (classic protocol).",
    )
    group_protocol: Literal["classic", "consumer"] = Field(
        default="classic",
        description=(
            "Kafka's group protocol. `consumer` (KIP-848) has its timeouts at the broker: at its defaults a dead "
            "runner's tasks move after 45 s instead of 6."
        ),
    )
    request_timeout_ms: int = Field(
        default=30_000, ge=1_000, le=600_000, description="How long to wait for the cluster's answer to a request."
    )
    health_host: str = Field(default="127.0.0.1", description="Address of the pages of health. In a pod: 0.0.0.0.")
    health_port: int = Field(
        default=9464,
        ge=0,
        le=65_535,
        description="Port of /healthz, /readyz, /metrics of the first runner here, the next ones count on. 0: none.",
    )

    @field_validator("options", mode="before")
    @classmethod
    def _plain_options(cls, value: Any) -> Any:
        """Names as librdkafka has them: environment variables have no dots; values as text."""
        if not isinstance(value, Mapping):
            return value
        options: dict[str, Any] = {}
        for name, held in sorted(value.items(), key=lambda item: "_" in item[0]):  # a variable of its own wins
            plain = str(name).lower()
            known = plain if plain == "log_level" else plain.replace("_", ".")  # the only one that has none
            given = str(held).lower() if isinstance(held, bool) else held
            options[known] = str(given) if isinstance(given, int | float) else given
        return options

    @field_validator("options")
    @classmethod
    def _not_ours(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name in RESERVED:
                raise ValueError(f"{name} cannot be set here; {RESERVED[name]}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.min_insync_replicas is not None and self.min_insync_replicas > self.replication_factor:
            raise ValueError(
                f"min_insync_replicas is {self.min_insync_replicas} and replication_factor {self.replication_factor}: "
                "nothing could ever be written; lower the one or raise the other"
            )
        return self

    @property
    def insync(self) -> int:
        """Copies that must have a record."""
        return self.min_insync_replicas or self.replication_factor // 2 + 1

    def topic(self, name: str) -> str:
        """A topic's name on the cluster."""
        return self.prefix + name

    def common(self) -> dict[str, str | int | float | bool]:
        """What every client of confluent-kafka is made with."""
        quiet = {"log.connection.close": False}  # brokers end idle connections
        return {"bootstrap.servers": self.bootstrap_servers, "client.id": "flexlog", **quiet, **self.options}


class RegistrySettings(_Section):
    """A schema registry with Confluent's REST API."""

    url: str = Field(
        default="http://127.0.0.1:8081",
        pattern=r"^https?://[^\s/]+(/[^\s]*)?$",
        description="Where its API begins. Apicurio: with the path `/apis/ccompat/v7`.",
    )
    user: str | None = Field(default=None, min_length=1, description="User, or API key, for basic authentication.")
    secret: SecretStr | None = Field(default=None, description="Password, or API secret, for basic authentication.")
    ca_file: Path | None = Field(default=None, description="PEM file of the authority that signed its certificate.")
    connect_timeout_s: float = Field(default=3.0, gt=0, le=60, description="How long a connection may take.")
    read_timeout_s: float = Field(default=10.0, gt=0, le=300, description="How long an answer may take.")
    backoff_max_s: float = Field(
        default=5.0, gt=0, le=300, description="Longest pause between two tries while it is away; the first is 0.1 s."
    )

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.user is None) != (self.secret is None):
            have, lack = ("user", "secret") if self.secret is None else ("secret", "user")
            raise ValueError(f"{have} is set and {lack} is not; basic authentication takes both")
        return self


class ClickHouseSettings(_Section):
    """Where the history is."""

    interface: Literal["http", "https", "chdb"] = Field(
        default="http", description="A server over HTTP or HTTPS, or the engine in this process (one process a folder)."
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="The server's host.")
    port: int | None = Field(default=None, ge=1, le=65_535, description="Its port. Left out: 8123, with https 8443.")
    user: str = Field(default="default", description="User.")
    password: SecretStr = Field(default=SecretStr(""), description="Password.")
    database: str = Field(
        default="flexlog", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Database, made where missing."
    )
    path: Path | None = Field(default=None, description="Folder of the engine in this process (interface `chdb`).")
    health_port: int = Field(
        default=9463,
        ge=0,
        le=65_535,
        description="Port of /healthz, /readyz, /metrics of `flexlog sink`, at FLEXLOG_KAFKA__HEALTH_HOST. 0: none.",
    )

    @model_validator(mode="after")
    def _folder(self) -> Self:
        if (self.interface == "chdb") != (self.path is not None):
            raise ValueError("path goes with interface chdb, and chdb needs it; set both or neither")
        return self

    def client(self) -> dict[str, Any]:
        """What `History.server` passes to clickhouse-connect."""
        secure = self.interface == "https"
        return {
            "host": self.host,
            "port": self.port or (8443 if secure else 8123),
            "username": self.user,
            "password": self.password.get_secret_value(),
            "secure": secure,
        }

    def open(self, contracts: "Contracts", part: str = "") -> "History":
        """The history, opened.

        Args:
            contracts: the topics there are.
            part: a folder of its own within ``path``, for an engine in this process.

        Raises:
            HistoryError: it cannot be opened; `HistoryAwayError` where it can be later.
        """
        from streams.history import History  # noqa: PLC0415 -- heavy

        if self.path is not None:
            return History.embedded(self.path / part, contracts)
        return History.server(contracts, database=self.database, **self.client())


class Settings(BaseSettings):
    """All settings of a deployment. Use `Settings.load`, which says in one line what is wrong."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=DELIMITER,
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings, description="The cluster.")
    registry: RegistrySettings = Field(default_factory=RegistrySettings, description="The schema registry.")
    clickhouse: ClickHouseSettings = Field(default_factory=ClickHouseSettings, description="The history.")

    @classmethod
    def load(cls) -> Self:
        """The settings of the environment.

        Raises:
            ConfigurationError: one cannot be used; names the variable, what is wrong, and what it takes.
        """
        _known_sections(cls)
        try:
            return cls()
        except SourceError as error:
            raise ConfigurationError(f'{_no_json() or error}: no JSON; give a map like {{"a.b": "c"}}') from None
        except ValidationError as error:
            raise ConfigurationError(_told(error)) from None


def _known_sections(cls: type[BaseSettings]) -> None:
    """A section that is misspelt would be ignored in silence."""
    sections = [name.upper() for name in cls.model_fields]
    for name in sorted(os.environ):
        section, found, _ = name.upper().removeprefix(ENV_PREFIX).partition(DELIMITER)
        if name.upper().startswith(ENV_PREFIX) and found and section not in sections:
            known = ", ".join(f"{ENV_PREFIX}{known}{DELIMITER}…" for known in sections)
            raise ConfigurationError(f"{name}: there is no such section; there are {known}")


def _no_json() -> str:
    """The variable whose map cannot be read, which the source does not tell."""
    for name, value in sorted(os.environ.items()):
        if name.upper().startswith(ENV_PREFIX) and value.lstrip()[:1] in ("{", "["):
            try:
                json.loads(value)
            except ValueError:
                return name
    return ""


def _told(error: ValidationError) -> str:
    """The first fault in one line: the variable, what it is, what is wrong, what would be right."""
    fault, *others = error.errors(include_url=False)
    path = [str(part) for part in fault["loc"]]
    variable = ENV_PREFIX + DELIMITER.join(path).upper()
    more = f" (and {len(others)} more)" if others else ""
    if fault["type"] == "extra_forbidden":
        known = ", ".join(_fields(path[:-1]))
        return f"{variable}: there is no such setting; there are {known}{more}"
    text = fault["msg"].removeprefix("Value error, ")
    given = fault["input"]
    shown = "" if isinstance(given, Mapping | BaseModel) or _secret(variable) else f" is {json.dumps(str(given))}"
    hint = _description(path)
    return f"{variable}{shown}: {text[0].lower()}{text[1:]}{f'. It is: {hint}' if hint else ''}{more}"


def _secret(variable: str) -> bool:
    return any(word in variable for word in ("SECRET", "PASSWORD", "OPTIONS"))


def _section(path: list[str]) -> type[BaseModel] | None:
    """The model that a path of field names leads to."""
    model: type[BaseModel] = Settings
    for name in path:
        field = model.model_fields.get(name)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return None
        model = field.annotation
    return model


def _fields(path: list[str]) -> list[str]:
    model = _section(path)
    return [ENV_PREFIX + DELIMITER.join((*path, name)).upper() for name in model.model_fields] if model else []


def _description(path: list[str]) -> str:
    model = _section(path[:-1])
    field = model.model_fields.get(path[-1]) if model else None
    return (field.description or "") if field and len(path) > 1 else ""
