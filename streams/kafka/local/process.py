"""Processes that outlive the one that started them: start, find again, stop; and the ports they listen on."""

import fcntl
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from streams.hosts.cores import everywhere

HOST = "127.0.0.1"
_POLL_S = 0.02
_KILL_S = 10.0
# Below those that the system gives to outgoing connections (Linux: 32768, macOS: 49152): a broker that is down for a
# moment finds its port free again.
_PORTS = range(20_000, 32_000)
_MB = 1 << 20

# Those that this process has started: it has to collect them when they end.
_children: dict[int, subprocess.Popen[bytes]] = {}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file; another process that wants it waits."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            # The one before may have deleted the folder with the lock in it: then this is a lock that nobody sees.
            try:
                seen = os.path.samestat(path.stat(), os.fstat(held.fileno()))
            except FileNotFoundError:
                seen = False
            if not seen:
                continue
            yield
            return


def start(command: Sequence[str], log: Path, folder: Path) -> int:
    """Start a process in a session of its own, its output appended to a file; returns its id."""
    with log.open("ab") as out, everywhere():  # it may serve many, whatever core this process keeps to
        child = subprocess.Popen(  # noqa: S603  # commands of parts.py
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    _children[child.pid] = child
    return child.pid


def alive(pid: int | None, mark: str) -> bool:
    """Whether the process with this id runs and is the one that was started with ``mark`` in its command."""
    if pid is None:
        return False
    child = _children.get(pid)
    if child is not None:
        # Its id cannot have gone to another while it is not collected; right after exec it has no command to read yet.
        if child.poll() is None:
            return True
        del _children[pid]
        return False
    return mark in _ps(pid, "command")


def _ps(pid: int, column: str) -> str:
    """A column of the process list: from /proc where there is one, for small images have no ps."""
    if Path("/proc/self/cmdline").exists():
        try:
            if column == "command":
                return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found = re.search(r"VmRSS:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
        except OSError:
            return ""
        return found[1] if found else ""
    said = subprocess.run(  # noqa: S603
        ["ps", "-ww", "-o", f"{column}=", "-p", str(pid)],  # noqa: S607  # wherever the system has it
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip()


def resident_mb(pid: int) -> float:
    """Resident memory in MB; 0 where the process has ended."""
    text = _ps(pid, "rss")
    return int(text) * 1024 / _MB if text else 0.0


def stop(processes: Iterable[tuple[int | None, str]], grace_s: float) -> bool:
    """End processes: SIGTERM, and SIGKILL for those that still run after the grace; 0 kills at once.

    Returns:
        Whether all ended by themselves.
    """
    running = [(pid, mark) for pid, mark in processes if pid is not None and alive(pid, mark)]
    if grace_s > 0:
        _signal(running, signal.SIGTERM)
        running = _wait_gone(running, grace_s)
    _signal(running, signal.SIGKILL)
    _wait_gone(running, _KILL_S)
    return not running


def _signal(processes: Iterable[tuple[int, str]], number: int) -> None:
    for pid, _ in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait_gone(processes: list[tuple[int, str]], timeout_s: float) -> list[tuple[int, str]]:
    deadline = time.monotonic() + timeout_s
    while processes := [(pid, mark) for pid, mark in processes if alive(pid, mark)]:
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    return processes


def complaint(log: Path, since: int) -> str:
    """The line of a log that says best why its process ended: the innermost cause, else the last error, else the last.

    Args:
        log: the file.
        since: the size it had when the process was started.
    """
    try:
        with log.open("rb") as text:
            text.seek(since)
            return reason(text.read().decode(errors="replace"))
    except OSError:
        return ""


def reason(text: str) -> str:
    """The line of a Java program's output that says best what was wrong; see `complaint`."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("at ", "... "))]
    for sign in (r"^(Caused by: )?[\w.$]+(Exception|Error): .", r"\b(ERROR|FATAL|Error)\b", ""):
        if found := [line for line in lines if re.search(sign, line)]:
            return found[-1].removeprefix("Caused by: ")
    return ""


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine's own address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(taken: Collection[int]) -> int:
    """A port on which nobody listens, other than those ``taken``."""
    while True:
        port = secrets.choice(_PORTS)
        if port not in taken and is_free(port):
            return port
