"""One core for a process that runs handlers.

Handlers make many small polars calls, and each is handed to a thread and back. Between two cores that wakes one from
its sleep each time, which takes longer than the work; on one core it is a switch.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_THREADS = Path("/proc/self/task")  # Linux


def keep_to_one(number: int | None = None) -> None:
    """Let this process, and what it starts from now on, run on one of the cores that it may use.

    Args:
        number: which; processes with neighbouring numbers get different ones. None for the process's own number.
    """
    if allowed := _allowed():
        _bind({allowed[(os.getpid() if number is None else number) % len(allowed)]})


@contextmanager
def apart() -> Iterator[None]:
    """Keep this process to one core; what is started inside runs on the others."""
    if allowed := _allowed():
        _bind(set(allowed[1:]) or set(allowed))
    try:
        yield
    finally:
        if allowed:
            _bind({allowed[0]})


@contextmanager
def everywhere() -> Iterator[None]:
    """What this thread starts inside runs on all cores that this process was given when it began."""
    kept = _allowed()
    if kept:
        os.sched_setaffinity(0, _GIVEN)
    try:
        yield
    finally:
        if kept:
            os.sched_setaffinity(0, kept)


def _allowed() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if _THREADS.exists() else []


def _bind(cores: set[int]) -> None:
    for thread in _THREADS.iterdir():
        try:
            os.sched_setaffinity(int(thread.name), cores)
        except ProcessLookupError:  # it has ended meanwhile
            continue


_GIVEN = _allowed()
