"""ClickHouse as its clients meet it on a bad day: away, killed, or gone in the middle of an insert.

A `Wire` stands between the clients and the server of `tests.history.http_front`, at an address that stays.
"""

import http.client
import socket
import struct
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

ROOT = Path(__file__).parents[2]
Fault = Literal["half", "unanswered"]
"""An insert of which half arrives; one that is carried out and whose answer is lost. The connection is reset."""


class Front:
    """The server's process, over a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self) -> None:
        """Start it; returns when it answers."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.history.http_front", str(self._folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it complains of clients that have gone
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """As a power cut would end it, but for the disk's cache."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class Wire:
    """A way to the server that can be cut.

    Attributes:
        port: where clients find the server, also while nobody listens there.
        inserts: how many inserts came.
        faults: what befalls the next inserts, in turn.
        held: an insert that was carried out waits here before it is answered, where somebody clears it.
        holding: how many have come to wait there.
    """

    def __init__(self, front: Front) -> None:
        self.inserts = 0
        self.faults: list[Fault] = []
        self.held = threading.Event()
        self.held.set()
        self.holding = 0
        self._front = front
        self._server: ThreadingHTTPServer | None = None
        self._lock = threading.Lock()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def mend(self) -> None:
        """Let clients through."""
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                wire._pass(self, b"")

            def do_POST(self) -> None:
                wire._pass(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *args: object) -> None:
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def cut(self) -> None:
        """Let nobody through: connections are refused."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def kill_server(self) -> None:
        """Kill the server; the way to it stays."""
        self._front.kill()

    def start_server(self) -> None:
        """Start it again, on what it had."""
        self._front.start()

    def _pass(self, asked: BaseHTTPRequestHandler, body: bytes) -> None:
        if self._server is None:  # a connection of before
            _reset(asked)
            return
        fault = None
        insert = b"INSERT INTO" in body[:1_000]
        if insert:
            with self._lock:
                self.inserts += 1
                fault = self.faults.pop(0) if self.faults else None
        try:
            status, headers, answer = self._ask(asked, body, half=fault == "half")
        except OSError:
            _reset(asked)
            return
        if insert and not self.held.is_set():
            with self._lock:
                self.holding += 1
            self.held.wait(60)
        if fault is not None or self._server is None:
            _reset(asked)
            return
        asked.send_response(status)
        for name, value in headers:
            if name.startswith("X-") or name == "Content-Length":
                asked.send_header(name, value)
        asked.end_headers()
        asked.wfile.write(answer)

    def _ask(self, asked: BaseHTTPRequestHandler, body: bytes, *, half: bool) -> tuple[int, list[Any], bytes]:
        there = http.client.HTTPConnection("127.0.0.1", self._front.port, timeout=60)
        try:
            there.putrequest(asked.command, asked.path)
            there.putheader("Content-Length", str(len(body)))
            there.endheaders()
            if half:
                there.send(body[: len(body) // 2])
                raise ConnectionResetError
            there.send(body)
            found = there.getresponse()
            return found.status, found.getheaders(), found.read()
        except http.client.HTTPException as error:
            raise ConnectionResetError from error
        finally:
            there.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.held.set()
        self.cut()
        self._front.kill()


def _reset(asked: BaseHTTPRequestHandler) -> None:
    """End a connection as a machine does that knows nothing of it."""
    asked.close_connection = True
    asked.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    asked.connection.close()
