"""ClickHouse's HTTP interface, as far as clickhouse-connect uses it, over chDB: a server for the tests.

``python -m tests.history.http_front [FOLDER [PORT]]``; what lies in a folder is there again at the next start. It says
its port, serves 127.0.0.1 only, and ends when its standard input does, at the latest after some minutes.
What a real server does and this does not: users, compression, sessions, queries in parallel.
"""

import http.server
import json
import os
import re
import sys
import tempfile
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb

AT_MOST_SECONDS = 300
#: Parameters of the interface; all others are settings.
_OWN = {"query", "database", "default_format", "query_id", "session_id", "wait_end_of_query", "compress", "decompress"}
_OWN |= {"send_progress_in_http_headers", "http_headers_progress_interval_ms", "client_protocol_version"}


class Engine:
    """One request at a time, each on a connection of its own: settings do not outlive it."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / "clickhouse")
        self._scratch = folder / "body"
        self._keeper = chdb.connect(self._path)
        self._lock = threading.Lock()

    def run(self, params: dict[str, str], body: bytes) -> bytes:
        with self._lock:
            connection = chdb.connect(self._path)
            try:
                connection.query(f"USE {quoted(params.get('database', 'default'), '`')}")
                settings = {name: value for name, value in params.items() if name not in _OWN}
                for name in sorted(settings, key=lambda name: name == "readonly"):
                    connection.query(f"SET {name} = {quoted(settings[name])}")
                return self._answer(connection, params, body)
            finally:
                connection.close()

    def _answer(self, connection: Any, params: dict[str, str], body: bytes) -> bytes:
        given = b"\n".join(part for part in (params.get("query", "").encode(), body) if part)
        insert = re.match(rb"(INSERT INTO [^\n]*)\s(FORMAT \w+)\n(.*)", given, re.DOTALL)
        if insert:
            self._scratch.write_bytes(insert.group(3))
            given = b"%s FROM INFILE '%s' %s" % (insert.group(1), str(self._scratch).encode(), insert.group(2))
        sql = given.decode()
        answer: bytes = connection.query(sql, params.get("default_format", "TabSeparated")).bytes() or b""
        return answer


def quoted(text: str, by: str = "'") -> str:
    return by + text.replace("\\", "\\\\").replace(by, "\\" + by) + by


def handler(engine: Engine) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve(b"")

        def do_POST(self) -> None:
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                self._serve(b"".join(parts))
            else:
                self._serve(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def _serve(self, body: bytes) -> None:
            params = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
            headers = {"X-ClickHouse-Timezone": "UTC", "X-ClickHouse-Summary": json.dumps({"written_rows": "0"})}
            try:
                answer, status = engine.run(params, body), HTTPStatus.OK
                if answer:
                    headers["X-ClickHouse-Format"] = "TabSeparated"
            except RuntimeError as error:
                text = str(error)
                code = re.search(r"Code: (\d+)", text)
                headers["X-ClickHouse-Exception-Code"] = code.group(1) if code else "1"
                answer, status = text.encode(), HTTPStatus.INTERNAL_SERVER_ERROR
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    return Handler


def main(folder: str = "", port: str = "0") -> None:
    with tempfile.TemporaryDirectory() as temporary:
        engine = Engine(Path(folder or temporary))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), handler(engine))
        server.daemon_threads = True
        threading.Timer(AT_MOST_SECONDS, server.shutdown).start()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        sys.stdin.read()
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # the timer's thread need not be waited for
