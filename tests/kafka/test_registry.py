"""Schemas in a real registry: one id for one schema, FULL_TRANSITIVE, and an outage is waited out."""

import contextlib
import json
import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from streams.contracts import Contracts
from streams.contracts.codec import Codec, RegistryAway, UnknownSchema
from streams.contracts.examples import read_examples
from streams.kafka.local.cluster import LocalCluster
from streams.kafka.registry import RegistryError, RestRegistry, Waiting
from streams.kafka.settings import RegistrySettings

CONTRACTS = Contracts.installed()
BID = CONTRACTS.topic("market.bid.v1")
INTERVAL = CONTRACTS.topic("telemetry.interval.v1")


@pytest.fixture
def registry(cluster: LocalCluster) -> Iterator[RestRegistry]:
    made = RestRegistry(RegistrySettings(url=cluster.registry_url), prefix=f"{uuid.uuid4().hex}.", patience_s=20)
    yield made
    made.close()


def fresh(registry: RestRegistry) -> RestRegistry:
    """A client that has learnt nothing yet."""
    return RestRegistry(registry.settings, prefix=registry.prefix, patience_s=20)


def changed(text: str, **fields: Any) -> str:
    """A schema with another type for one field, or a new nullable one."""
    schema = json.loads(text)
    known = {part["name"]: part for part in schema["fields"]}
    for name, kind in fields.items():
        if name in known:
            known[name]["type"] = kind
        else:
            schema["fields"].append({"name": name, "type": ["null", kind], "default": None, "doc": "New."})
    return json.dumps(schema)


def test_a_schema_has_one_id_whoever_registers_it_and_reads_back_as_ours(registry: RestRegistry) -> None:
    first = registry.register(BID.subject, BID.text)
    other = fresh(registry)
    assert registry.register(BID.subject, BID.text) == first
    assert other.register(BID.subject, BID.text) == first
    assert fresh(registry).schema(first) == BID.text
    assert registry.level(BID.subject) == "FULL_TRANSITIVE"
    assert len(registry.versions(BID.subject)) == 1


def test_other_documentation_and_layout_is_no_other_schema(registry: RestRegistry) -> None:
    schema = json.loads(BID.text)
    schema["doc"] = "Said in other words."
    other = json.dumps(dict(reversed(schema.items())), indent=2)
    first = registry.add(BID.subject, other)
    assert registry.register(BID.subject, BID.text) == first
    reader = fresh(registry)
    reader.know([BID.text])
    assert reader.schema(first) == BID.text
    assert len(registry.versions(BID.subject)) == 1


def test_an_incompatible_schema_is_refused_by_the_registry_itself(registry: RestRegistry) -> None:
    registry.register(BID.subject, BID.text)
    with pytest.raises(RegistryError, match="refuses this schema as incompatible"):
        registry.register(BID.subject, changed(BID.text, quantity_w="double"))


def test_values_written_by_another_process_decode_and_a_newer_version_too(registry: RestRegistry) -> None:
    topic = INTERVAL
    writer, reader = Codec(registry), Codec(fresh(registry))
    frame = writer.prepare(topic, read_examples(topic))
    encoded = writer.encode(topic, frame)
    assert reader.decode(topic, encoded.keys, encoded.values).frame.equals(frame)
    newer = registry.register(topic.subject, changed(topic.text, note="string"))
    # What a newer writer sends: its header, our body, and one more byte for the field that is null.
    values = [b"\0" + newer.to_bytes(4, "big") + value[5:] + b"\0" for value in encoded.values]
    decoded = reader.decode(topic, encoded.keys, values)
    assert decoded.rejected == []
    assert decoded.frame.equals(frame)
    assert set(decoded.schema_ids.tolist()) == {newer}


def test_only_the_registrys_own_word_rejects_a_record(registry: RestRegistry) -> None:
    codec = Codec(registry)
    encoded = codec.encode(INTERVAL, codec.prepare(INTERVAL, read_examples(INTERVAL)))
    for schema_id in (2**31 - 1, 0, 2**31 + 5):
        value = b"\0" + schema_id.to_bytes(4, "big") + encoded.values[0][5:]
        decoded = codec.decode(INTERVAL, encoded.keys[:1], [value])
        assert [fault.code for fault in decoded.rejected] == ["UNKNOWN_SCHEMA"]


class Tap:
    """A way to the registry that can be shut and opened again, on a port that stays the same."""

    def __init__(self, url: str) -> None:
        found = re.fullmatch(r"http://([^:/]+):(\d+)(/.*)?", url)
        assert found is not None
        self.target = (found[1], int(found[2]))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}{found[3] or ''}"
        self._server: socket.socket | None = None
        self._open: list[socket.socket] = []

    def start(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        self._serving = threading.Thread(target=self._serve, args=(self._server,), daemon=True)
        self._serving.start()

    def _serve(self, server: socket.socket) -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            far = socket.create_connection(self.target)
            self._open += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._serving.join(10)
        for held in self._open:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
            held.close()
        self._open.clear()


def test_a_registry_that_is_away_is_waited_for(registry: RestRegistry, caplog: pytest.LogCaptureFixture) -> None:
    tap = Tap(registry.settings.url)
    waits: list[Waiting] = []

    def on_wait(waiting: Waiting) -> None:
        waits.append(waiting)
        if len(waits) == 4:
            tap.start()

    schema_id = registry.register(BID.subject, BID.text)
    tap.start()
    client = RestRegistry(RegistrySettings(url=tap.url), prefix=registry.prefix, on_wait=on_wait)
    assert client.register(BID.subject, BID.text) == schema_id
    tap.stop()
    waits.clear()
    other = registry.register(INTERVAL.subject, INTERVAL.text)
    with caplog.at_level("INFO", logger="streams.kafka.registry"):
        assert client.schema(other) == INTERVAL.text, "asked while it was away, answered when it was back"
    tap.stop()
    assert len(waits) == 4
    assert [round(wait.pause_s, 1) for wait in waits] == [0.1, 0.2, 0.4, 0.8], "the pauses grow"
    assert "ConnectionRefused" in waits[-1].reason
    said = [record.message for record in caplog.records]
    assert len(said) == 2, said
    assert "waiting for it" in said[0]
    assert "is back" in said[1]


def test_a_registry_that_was_killed_is_registered_with_once_it_runs_again(cluster: LocalCluster) -> None:
    waits: list[Waiting] = []

    def on_wait(waiting: Waiting) -> None:
        waits.append(waiting)
        if len(waits) == 1:
            cluster.start_registry()

    client = RestRegistry(RegistrySettings(url=cluster.registry_url), prefix=f"{uuid.uuid4().hex}.", on_wait=on_wait)
    assert client.level(BID.subject) == ""
    cluster.kill_registry()
    schema_id = client.register(BID.subject, BID.text)
    assert waits
    assert client.level(BID.subject) == "FULL_TRANSITIVE"
    assert fresh(client).schema(schema_id) == BID.text
    client.close()


def test_what_is_known_needs_no_registry(registry: RestRegistry) -> None:
    tap = Tap(registry.settings.url)
    tap.start()
    client = RestRegistry(RegistrySettings(url=tap.url), prefix=registry.prefix, patience_s=0)
    schema_id = client.register(BID.subject, BID.text)
    tap.stop()
    assert client.register(BID.subject, BID.text) == schema_id
    assert client.schema(schema_id) == BID.text
    with pytest.raises(RegistryAway, match="is away: ConnectionRefusedError"):
        client.schema(schema_id + 1)


def test_a_host_that_stops_ends_the_wait() -> None:
    class StoppingError(Exception):
        pass

    def stop(_waiting: Waiting) -> None:
        raise StoppingError

    client = RestRegistry(RegistrySettings(url="http://127.0.0.1:9"), on_wait=stop)
    with pytest.raises(StoppingError):
        client.schema(1)


Answer = tuple[int, str, bytes]


@contextlib.contextmanager
def scripted(*answers: Answer) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """An HTTP server that answers so, the last one for ever; what it was asked, with its authorization."""
    asked: list[tuple[str, str | None]] = []
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((f"{self.command} {self.path}", self.headers.get("Authorization")))
            status, kind, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815  # names in the base class

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name in the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


JSON = "application/json"
GOOD: Answer = (200, JSON, json.dumps({"schema": '"string"'}).encode())
GONE: Answer = (404, JSON, b'{"error_code": 40403, "message": "Schema not found"}')


def no_pause(_seconds: float) -> None:
    pass


@pytest.mark.parametrize(
    "trouble",
    [
        (429, JSON, b'{"error_code": 42901, "message": "slow down"}'),
        (500, JSON, b'{"error_code": 50001, "message": "store"}'),
        (503, "text/plain", b"no upstream"),
        (404, "text/html", b"default backend - 404"),
        (404, JSON, b'{"message": "no such route"}'),
        (200, "text/html", b"<html>please log in</html>"),
    ],
    ids=["429", "500", "503", "404 of a proxy", "404 without a code", "200 of a portal"],
)
def test_what_passes_is_waited_out_and_rejects_nothing(trouble: Answer) -> None:
    with scripted(trouble, trouble, GOOD) as (url, asked):
        client = RestRegistry(RegistrySettings(url=url), pause=no_pause)
        assert client.schema(7) == '"string"'
        client.close()
    assert len(asked) == 3


def test_a_definite_not_found_is_final_and_asked_once() -> None:
    with scripted(GONE) as (url, asked):
        client = RestRegistry(RegistrySettings(url=url), pause=no_pause)
        with pytest.raises(UnknownSchema, match="no schema has the id 7"):
            client.schema(7)
        client.close()
    assert [call for call, _ in asked] == ["GET /schemas/ids/7"]


def test_credentials_are_sent_and_their_refusal_is_said_at_once() -> None:
    refusal = (401, JSON, b'{"error_code": 40101, "message": "Unauthorized"}')
    with scripted(GOOD, refusal) as (url, asked):
        client = RestRegistry(RegistrySettings.model_validate({"url": url, "user": "Aladdin", "secret": "open sesame"}))
        assert client.schema(7) == '"string"'
        with pytest.raises(RegistryError, match=r"refuses user Aladdin \(401\); set FLEXLOG_REGISTRY__USER"):
            client.schema(8)
        client.close()
    assert asked[0][1] == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "the example of RFC 7617"


def test_an_id_that_stands_for_another_schema_is_never_written_with() -> None:
    found = (200, JSON, b'{"subject": "s", "version": 1, "id": 3, "schema": "x"}')
    with scripted(found, GOOD) as (url, _):
        client = RestRegistry(RegistrySettings(url=url), patience_s=1)
        with pytest.raises(RegistryError, match="has the id 3 and gives another schema for it"):
            client.register(BID.subject, BID.text)
        client.close()


def test_no_patience_says_where_and_what_to_do() -> None:
    client = RestRegistry(RegistrySettings(url="http://127.0.0.1:9"), patience_s=0)
    calls: list[Callable[[], object]] = [lambda: client.schema(1), lambda: client.register("a", '"string"')]
    for call in calls:
        with pytest.raises(RegistryAway, match=r"127\.0\.0\.1:9 is away: .* set FLEXLOG_REGISTRY__URL"):
            call()
