"""Settings come of the environment; what cannot be used is one line that names the variable and the way out."""

import os
from pathlib import Path

import pytest

from streams.kafka.settings import ConfigurationError, Partitions, Settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("FLEXLOG_") and "__" in name:
            monkeypatch.delenv(name)


def test_production_is_the_default_and_a_variable_changes_one_field_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load().kafka.partitions.by_lane() == {"site": 64, "portfolio": 8, "account": 16, "reference": 1}
    monkeypatch.setenv("FLEXLOG_KAFKA__PARTITIONS__SITE", "128")
    monkeypatch.setenv("FLEXLOG_KAFKA__BATCH_MS", "7")
    loaded = Settings.load().kafka
    assert loaded.partitions == Partitions(site=128, portfolio=8, account=16)
    assert (loaded.batch_ms, loaded.transaction_timeout_ms, loaded.group_protocol) == (7, 10_000, "classic")


def test_options_pass_through_alone_or_as_a_map_and_the_variable_of_its_own_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = '{"sasl.mechanism": "PLAIN", "sasl.password": "map", "socket.keepalive.enable": true}'
    monkeypatch.setenv("FLEXLOG_KAFKA__OPTIONS", options)
    monkeypatch.setenv("FLEXLOG_KAFKA__OPTIONS__SASL_PASSWORD", "alone")
    monkeypatch.setenv("FLEXLOG_KAFKA__OPTIONS__LOG_LEVEL", "3")
    loaded = Settings.load().kafka
    assert loaded.common() == {
        "bootstrap.servers": "127.0.0.1:9092",
        "client.id": "flexlog",
        "log.connection.close": False,
        "sasl.mechanism": "PLAIN",
        "sasl.password": "alone",
        "socket.keepalive.enable": "true",
        "log_level": "3",
    }
    assert "alone" not in repr(loaded), "a password would stand in a log"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("KAFKA__PARTITIONS__SITE", "0", 'FLEXLOG_KAFKA__PARTITIONS__SITE is "0": input should be greater than'),
        ("KAFKA__PARTITIONS__REFERENCE", "2", "always 1"),
        ("KAFKA__BOOTSTRAP_SERVERS", "broker", r"FLEXLOG_KAFKA__BOOTSTRAP_SERVERS is .*host:port"),
        ("KAFKA__BOOTSTRAP_SERVER", "a:1", "no such setting; there are FLEXLOG_KAFKA__BOOTSTRAP_SERVERS, "),
        ("KAFAK__PREFIX", "a.", "no such section; there are FLEXLOG_KAFKA__"),
        ("KAFKA__PREFIX", "prod", "ends with"),
        ("KAFKA__GROUP_PROTOCOL", "new", "'classic' or 'consumer'"),
        ("KAFKA__OPTIONS", "{bad", "FLEXLOG_KAFKA__OPTIONS: no JSON"),
        ("KAFKA__OPTIONS__ISOLATION_LEVEL", "read_uncommitted", "isolation.level cannot be set here; leave it out"),
        ("KAFKA__OPTIONS__SESSION_TIMEOUT_MS", "9", "set FLEXLOG_KAFKA__SESSION_TIMEOUT_MS"),
        ("KAFKA__MIN_INSYNC_REPLICAS", "4", "nothing could ever be written"),
        ("REGISTRY__USER", "me", "FLEXLOG_REGISTRY: user is set and secret is not"),
        ("REGISTRY__URL", "localhost:8081", "FLEXLOG_REGISTRY__URL is"),
        ("CLICKHOUSE__INTERFACE", "chdb", "FLEXLOG_CLICKHOUSE: path goes with interface chdb"),
        ("CLICKHOUSE__PORT", "70000", "FLEXLOG_CLICKHOUSE__PORT"),
    ],
)
def test_what_cannot_be_used_is_one_line_with_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"FLEXLOG_{name}", value)
    with pytest.raises(ConfigurationError, match=told) as raised:
        Settings.load()
    assert "\n" not in str(raised.value)


def test_a_secret_is_told_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEXLOG_KAFKA__OPTIONS__SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("FLEXLOG_KAFKA__OPTIONS__ACKS", "0")
    with pytest.raises(ConfigurationError) as raised:
        Settings.load()
    assert "hunter2" not in str(raised.value)


def test_the_history_is_a_server_or_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLEXLOG_CLICKHOUSE__INTERFACE", "https")
    monkeypatch.setenv("FLEXLOG_CLICKHOUSE__PASSWORD", "p")
    client = Settings.load().clickhouse.client()
    assert client == {"host": "127.0.0.1", "port": 8443, "username": "default", "password": "p", "secure": True}
    monkeypatch.setenv("FLEXLOG_CLICKHOUSE__INTERFACE", "chdb")
    monkeypatch.setenv("FLEXLOG_CLICKHOUSE__PATH", str(tmp_path))
    assert Settings.load().clickhouse.path == tmp_path


def test_more_than_half_of_the_copies_must_have_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    for copies, insync in (("1", 1), ("2", 2), ("3", 2), ("5", 3)):
        monkeypatch.setenv("FLEXLOG_KAFKA__REPLICATION_FACTOR", copies)
        assert Settings.load().kafka.insync == insync


def test_every_setting_says_what_it_is() -> None:
    def fields(model: object) -> list[str]:
        found = []
        for name, field in getattr(model, "model_fields", {}).items():
            if not field.description:
                found.append(name)
            found += fields(field.annotation)
        return found

    assert fields(Settings) == []
