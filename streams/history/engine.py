"""The one ClickHouse engine (chDB) that a process can host, shared by all its histories.

An engine lives at one folder, and the process that runs it holds that folder alone. Several histories of the same
folder share it. A history without a folder is a database of its own in whatever engine runs, or in one at a
temporary folder, which gives way to a folder's engine as soon as no history uses it.
"""

import atexit
import fcntl
import logging
import os
import re
import shutil
import tempfile
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.errors import HistoryError

DATABASE = "flexlog"
_TEMPORARY = "temporary_"
_lock = threading.RLock()
_running: "_Engine | None" = None

# An engine inside our process must not take memory for caches that fit a server.
_ENGINE_OPTIONS = {
    "mark_cache_size": 16 << 20,
    "primary_index_cache_size": 16 << 20,
    "index_mark_cache_size": 1 << 20,
    "query_condition_cache_size": 1 << 20,
    "compiled_expression_cache_size": 1 << 20,
    "background_pool_size": 1,
    "background_schedule_pool_size": 1,
}
#: Settings of a session inside our process.
_SETTINGS: dict[str, Any] = {
    "max_threads": min(2, os.cpu_count() or 1),
    "compile_expressions": 0,  # compiling costs more than the small queries of a simulation
    "compile_aggregate_expressions": 0,
    "compile_sort_description": 0,
    "query_profiler_real_time_period_ns": 0,  # the profilers interrupt Python's system calls by signals
    "query_profiler_cpu_time_period_ns": 0,
    "log_queries": 0,
    "log_processors_profiles": 0,
}


@dataclass
class _Engine:
    path: Path
    temporary: bool
    keeper: Any  # a client that keeps the engine up
    users: int = 0

    def stop(self) -> None:
        self.keeper.close()
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)


@dataclass(frozen=True)
class Lease:
    """A history's share of the engine: connect as often as needed, release once."""

    path: Path
    database: str
    temporary: bool

    def connect(self, **settings: Any) -> Any:
        """A client of this lease's database."""
        client = _client(self.path, _SETTINGS | settings)
        client.database = self.database
        return client

    def release(self) -> None:
        """Give the share back; a folder's engine ends with its last user, what is temporary is dropped."""
        global _running  # noqa: PLW0603  # there is one engine a process, and this module stands for it
        with _lock:
            engine = _running
            if engine is None or engine.path != self.path:
                return
            if self.temporary:
                engine.keeper.command(f"DROP DATABASE IF EXISTS {self.database} SYNC")
            engine.users -= 1
            if engine.users == 0 and not engine.temporary:
                engine.stop()
                _running = None


def acquire(folder: Path | None) -> Lease:
    """A share of the process's engine.

    Args:
        folder: where the history lies; made where it is not there. None for a temporary one.

    Raises:
        HistoryError: another process holds the folder, or this one runs an engine elsewhere.
    """
    global _running  # noqa: PLW0603  # as above
    wanted = None if folder is None else Path(os.path.realpath(folder))
    with _lock:
        if _running is not None and wanted not in (None, _running.path):
            if _running.users:
                where = "a temporary folder" if _running.temporary else str(_running.path)
                raise HistoryError(
                    f"history {folder}: this process already has a history open in {where}, and a process can hold "
                    "only one folder; close that one first, or use another process"
                )
            _running.stop()
            _running = None
        if _running is None:
            _running = _start(wanted)
        database = DATABASE if wanted else f"{_TEMPORARY}{uuid.uuid4().hex}"
        _running.keeper.command(f"CREATE DATABASE IF NOT EXISTS {database}")
        _running.users += 1
        return Lease(_running.path, database, temporary=wanted is None)


def _start(wanted: Path | None) -> _Engine:
    path = wanted or Path(os.path.realpath(tempfile.mkdtemp(prefix="flexlog-history-")))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HistoryError(f"history {path}: {error.strerror}; choose a folder that can be written") from None
    _refuse_held(path)
    keeper = _client(path, {})
    # What a killed process left behind: nobody but us can hold this folder now.
    for name in keeper.query("SHOW DATABASES").result_columns[0]:
        if name.startswith(_TEMPORARY):
            keeper.command(f"DROP DATABASE {name} SYNC")
    return _Engine(path, wanted is None, keeper)


@atexit.register
def _stop() -> None:
    global _running  # noqa: PLW0603  # as above
    with _lock:
        if _running is not None:
            _running.stop()
            _running = None


def _client(path: Path, settings: dict[str, Any]) -> Any:
    import clickhouse_connect  # noqa: PLC0415  # heavy: only where a history is declared
    from clickhouse_connect.driver.exceptions import ClickHouseError  # noqa: PLC0415

    logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)
    try:
        return clickhouse_connect.get_client(
            interface="chdb", path=str(path), chdb_options=_ENGINE_OPTIONS, settings=settings
        )
    except ClickHouseError as error:
        _refuse_held(path)  # taken since we looked
        reason = str(error).rpartition("Code: ")[2]
        raise HistoryError(f"history {path}: ClickHouse does not start: {' '.join(reason.split())[:300]}") from None


def _refuse_held(path: Path) -> None:
    """Say who holds a folder. ClickHouse would find out itself, but tells nobody except on standard output."""
    status = path / "status"
    if not status.exists():
        return
    with status.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            found = re.search(rb"PID: (\d+)", held.read())
            holder = f"another process (pid {found.group(1).decode()})" if found else "another process"
            raise HistoryError(
                f"history {path}: {holder} holds this folder open; wait until it ends or end it, then try again"
            ) from None
