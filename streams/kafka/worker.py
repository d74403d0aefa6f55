"""Runner processes and who looks after them: one process a runner, started again where it dies.

A runner that crashes (killed, an unknown error, a cluster that is away) is started again after a pause. One that says
that it cannot go on (a processor that rejects too much, a cluster that is not ready, a wrong wiring) is not: it would
say the same again. The others go on.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, Literal, Self

from streams import logs
from streams.errors import StreamsError
from streams.logs import Event

STOPPED = 3
"""Exit code of a runner that cannot go on; everything but this and 0 is a crash."""

Verdict = Literal["ended", "stopped", "crashed"]
Key = tuple[str, int]
_POLL_S = 0.05
_AFTER_GRACE_S = 5.0
_FIRST_S, _MOST_S, _GOOD_S = 1.0, 30.0, 60.0


def verdict(code: int, *, asked: bool) -> Verdict:
    """What an exit code says: whether a runner is to be started again.

    Args:
        code: as `subprocess.Popen.returncode` has it, negative for a signal.
        asked: whether the runner was asked to end. One that ends otherwise with 0 was ended by somebody else.
    """
    if code == STOPPED:
        return "stopped"
    return "ended" if asked else "crashed"


@dataclass
class Backoff:
    """Pauses before a start: doubling, and short again after good work.

    Attributes:
        first_s: the first pause.
        most_s: the longest.
        good_s: whoever worked so long begins with the first again.
    """

    first_s: float = _FIRST_S
    most_s: float = _MOST_S
    good_s: float = _GOOD_S
    _next: float = field(default=0.0, init=False)

    def after(self, worked_s: float) -> float:
        """The pause after a crash that came so many seconds after the start."""
        if worked_s >= self.good_s or not self._next:
            self._next = self.first_s
        pause = min(self._next, self.most_s)
        self._next = pause * 2
        return pause


def described(code: int) -> str:
    """How a process ended, for people."""
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended with code {code}"


@dataclass(frozen=True)
class Status:
    """One runner now.

    Attributes:
        state: ``runs``, ``pauses`` (before it is started again), ``ended`` (as asked) or ``stopped`` (cannot go on).
        starts: how often it was started.
        port: of its pages of health; 0 none.
        reason: of one that stopped, what it said.
    """

    name: str
    slot: int
    state: str
    pid: int | None
    starts: int
    port: int
    reason: str


class _Child:
    """A runner's process, and the one after it."""

    def __init__(self, key: Key, port: int, backoff: Backoff) -> None:
        self.key = key
        self.port = port
        self.backoff = backoff
        self.process: subprocess.Popen[bytes] | None = None
        self.pump: threading.Thread | None = None
        self.began = 0.0
        self.due: float | None = 0.0  # when it is to be started; None where it is not
        self.starts = 0
        self.stopped = False
        self.reason = ""

    @property
    def over(self) -> bool:
        return self.process is None and self.due is None

    @property
    def status(self) -> Status:
        runs = self.process is not None
        state = "runs" if runs else "stopped" if self.stopped else "ended" if self.due is None else "pauses"
        pid = self.process.pid if self.process is not None else None
        return Status(*self.key, state, pid, self.starts, self.port, self.reason)


class Supervisor:
    """Runs processors, each runner in a process of its own, and starts again those that die.

    The processes end with this one, however it ends: each holds a pipe to it.

    Args:
        topology: ``module:function`` that makes the topology (see `streams.kafka.child.load_topology`); None for what
            is installed.
        environment: variables for the runners, beside those of this process.
        slot: the first slot of each processor here. Slots tell the runners of a processor from each other everywhere
            and stay the same over restarts: two at once under one slot would fence each other.
        runners: how many runners each processor has here; their slots count on.
        health_port: port of the first runner's pages of health, the next ones count on; 0 none.
        grace_s: so long a handler may go on after the runner was asked to end.
        stuck_s: a runner whose loop has not turned for so long is not well (``/healthz``).
        stop_all: end all when one cannot go on.
        options: further options of the runner's command line.
        backoff: makes the pauses of one runner.
        tell: gets every line of the runners and of this; by default they go to standard error.
    """

    def __init__(
        self,
        *,
        topology: str | None = None,
        environment: Mapping[str, str] | None = None,
        slot: int = 0,
        runners: int = 1,
        health_port: int = 0,
        grace_s: float = 5.0,
        stuck_s: float = 300.0,
        stop_all: bool = False,
        options: Iterable[str] = (),
        backoff: Callable[[], Backoff] = Backoff,
        tell: Callable[[Event], None] | None = None,
    ) -> None:
        self._topology = topology
        self._environment = dict(environment or {})
        self._slot, self._runners = slot, runners
        self._health_port = health_port
        self._grace_s, self._stuck_s = grace_s, stuck_s
        self._stop_all = stop_all
        self._options = list(options)
        self._backoff = backoff
        self._tell_line = tell or logs.Printer()
        self._children: dict[Key, _Child] = {}
        self._lock = threading.RLock()
        self._asked = threading.Event()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._patient_until = 0.0

    # Life.

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, names: Iterable[str]) -> None:
        """Start the runners of some processors; may be called again for more.

        Raises:
            StreamsError: a processor runs here already, or all was stopped.
        """
        with self._lock:
            if self._asked.is_set():
                raise StreamsError("this supervisor was stopped; make another one")
            for name in names:
                for slot in range(self._slot * self._runners, (self._slot + 1) * self._runners):
                    if (name, slot) in self._children:
                        raise StreamsError(f"processor {name}: slot {slot} runs here already; name it once")
                    port = self._health_port + len(self._children) if self._health_port else 0
                    child = self._children[name, slot] = _Child((name, slot), port, self._backoff())
                    self._spawn(child)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
                self._thread.start()

    def kill(self, name: str, slot: int = 0, signum: int = signal.SIGKILL) -> int | None:
        """Send a runner a signal, for trials of faults; the process it went to, None where none runs.

        A runner that dies of it is started again as after any crash. ``SIGSTOP`` and ``SIGCONT`` make a zombie.
        """
        with self._lock:
            process = self._children[name, slot].process
            if process is None or process.poll() is not None:
                return None
            process.send_signal(signum)
            return process.pid

    def status(self) -> list[Status]:
        """All runners now."""
        with self._lock:
            return [child.status for child in self._children.values()]

    def pid(self, name: str, slot: int = 0) -> int | None:
        """A runner's process."""
        with self._lock:
            return self._children[name, slot].status.pid

    def ask(self) -> None:
        """Ask all runners to end, and wait for nothing."""
        with self._lock:
            if self._asked.is_set():
                return
            self._asked.set()
            self._patient_until = time.monotonic() + self._grace_s + _AFTER_GRACE_S
            for child in self._children.values():
                child.due = None
                if child.process is not None and child.process.poll() is None:
                    child.process.send_signal(signal.SIGTERM)

    @property
    def patient(self) -> bool:
        """Whether those that were asked to end still have time for it."""
        return time.monotonic() < self._patient_until

    def stop(self, *, at_once: bool = False) -> int:
        """Ask all runners to end and wait for it; those that do not are killed.

        Args:
            at_once: wait for nothing.

        Returns:
            The exit code: 0, or 1 where one could not go on.
        """
        self.ask()
        patience = 0.0 if at_once else max(self._patient_until - time.monotonic(), 0.0)
        if self._thread is not None and not self._over.wait(patience):
            with self._lock:
                for child in self._children.values():
                    if child.process is not None and child.process.poll() is None:
                        self._tell("WARNING", child, f"process {child.process.pid} did not end in time: killed")
                        child.process.kill()
        if self._thread is not None:
            self._thread.join()
        return self.exit_code

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until no runner is left, or the time is over; whether none is left."""
        return self._over.wait(timeout_s)

    @property
    def exit_code(self) -> int:
        """0, or 1 where a runner could not go on."""
        with self._lock:
            return int(any(child.stopped for child in self._children.values()))

    # Looking after them.

    def command(self, name: str, slot: int, port: int) -> list[str]:
        """A runner's command line."""
        made = [sys.executable, "-m", "streams.kafka.child", name, "--slot", str(slot), "--watched"]
        made += ["--grace", str(self._grace_s), "--stuck", str(self._stuck_s), "--port", str(port), *self._options]
        return [*made, "--topology", self._topology] if self._topology else made

    def _spawn(self, child: _Child) -> None:
        child.due, child.began = None, time.monotonic()
        child.starts += 1
        child.process = subprocess.Popen(  # noqa: S603 -- our own module
            self.command(*child.key, child.port),
            env={**os.environ, **self._environment},
            stdin=subprocess.PIPE,  # never written to: that it ends says that we are gone
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        child.pump = threading.Thread(target=self._pump, args=(child, child.process.stdout), daemon=True)
        child.pump.start()

    def _pump(self, child: _Child, lines: IO[bytes]) -> None:
        """Pass on what a process says; what it printed without our doing as well."""
        name, slot = child.key
        with lines:
            for line in lines:
                text = line.decode(errors="replace").rstrip()
                if text:
                    event = logs.parsed(text, processor=name, slot=slot)
                    if event["level"] == "ERROR":
                        child.reason = str(event["message"])
                    self._tell_line(event)

    def _watch(self) -> None:
        while True:
            with self._lock:
                for child in self._children.values():
                    self._look(child)
                if all(child.over for child in self._children.values()):
                    break
            time.sleep(_POLL_S)
        self._over.set()

    def _look(self, child: _Child) -> None:
        process = child.process
        if process is None:
            if child.due is not None and time.monotonic() >= child.due:
                self._spawn(child)
            return
        code = process.poll()
        if code is None:
            return
        child.process = None
        if child.pump is not None:
            child.pump.join(1.0)  # its last words, before ours on it; a child of its own may hold the pipe
        if process.stdin is not None:
            process.stdin.close()
        found = verdict(code, asked=self._asked.is_set())
        if found == "crashed":
            pause = child.backoff.after(time.monotonic() - child.began)
            child.due = time.monotonic() + pause
            self._tell("WARNING", child, f"process {process.pid} {described(code)}; starts again in {pause:.0f} s")
        elif found == "stopped":
            child.stopped = True
            if self._stop_all:
                self.ask()

    def _tell(self, level: str, child: _Child, message: str) -> None:
        name, slot = child.key
        line: dict[str, Any] = {"time": logs.now(), "level": level, "processor": name, "slot": slot}
        self._tell_line({**line, "logger": __name__, "message": message})
