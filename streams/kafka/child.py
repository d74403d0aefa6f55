"""One runner as a process: ``python -m streams.kafka.child``. `streams.kafka.worker` starts it and looks after it."""

import argparse
import importlib
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from streams import logs
from streams.errors import AbortedError, FencedError, HistoryAwayError, StreamsError, WiringError
from streams.kafka.worker import STOPPED

if TYPE_CHECKING:
    from streams.contracts.topic import Lane
    from streams.kafka.runner import Runner
    from streams.topology import Topology

CRASHED, PASSING = 70, 75
_LEAVE_S = 2.0
_log = logging.getLogger("streams.kafka.child")


def load_topology(where: str | None, partitions: "Mapping[Lane, int]") -> "Topology":
    """The processors and edges of a deployment.

    Args:
        where: ``module:function``; it is called with the keyword ``partitions`` and gives a `Topology`. None for all
            that is installed. Modules of the current folder are found.
        partitions: of each lane.

    Raises:
        WiringError: it cannot be had; the message says why.
    """
    from streams.topology import Topology, discover  # noqa: PLC0415 -- signals must be heard before this is loaded

    if where is None:
        return discover(partitions=partitions)
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    module, _, name = where.partition(":")
    try:
        made: Any = getattr(importlib.import_module(module), name)(partitions=partitions)
    except StreamsError:
        raise
    except Exception as error:
        raise WiringError(
            f"topology {where!r} cannot be loaded ({type(error).__name__}: {error}); give module:function, a function "
            "that takes partitions=… and gives a Topology"
        ) from error
    if not isinstance(made, Topology):
        raise WiringError(f"topology {where!r} gave a {type(made).__name__}; it must give a Topology")
    return made


class Ending:
    """Ends the runner when it is asked to: by SIGTERM, SIGINT, or the end of the process that watches it.

    A thread hears of it even where the main thread is inside a solver. What is short is finished; a handler that goes
    on for longer than the grace is dropped: nothing of its batch is committed, and the group is left at once.
    """

    def __init__(self, grace_s: float, watched: int | None) -> None:
        self.runner: Runner | None = None
        self.asked = False
        self._grace_s = grace_s
        self._watched = watched
        self._heard, heard = os.pipe()
        os.set_blocking(heard, False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # only so that it is heard below
        signal.set_wakeup_fd(heard, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="ending", daemon=True).start()

    def _listen(self) -> None:
        watched = [self._heard] + ([self._watched] if self._watched is not None else [])
        while True:
            ready = select.select(watched, [], [])[0]
            if self._heard in ready:
                numbers = os.read(self._heard, 64)
                if not {signal.SIGTERM, signal.SIGINT} & set(numbers):
                    continue
                break
            if not os.read(ready[0], 64):
                _log.warning("the supervisor is gone; this runner ends")
                break
        self.asked = True
        runner = self.runner
        if runner is None:  # nothing has begun
            leave(0)
        runner.stop()
        threading.Event().wait(self._grace_s)
        _log.warning("still at work after %g s: dropped, nothing of the batch is committed", self._grace_s)
        leaving = threading.Thread(target=runner.leave, daemon=True)
        leaving.start()
        leaving.join(_LEAVE_S)
        leave(0)


def leave(code: int) -> NoReturn:
    """End this process at once, with all that is said written."""
    logging.shutdown()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def work(make: Callable[[], "Runner"], ending: Ending, serve: Callable[["Runner"], ExitStack]) -> int:
    """Run a runner to its end; the exit code says whether another start may help.

    Args:
        make: makes the runner.
        ending: told of it.
        serve: opens its pages of health.
    """
    try:
        runner = make()
        ending.runner = runner
        with serve(runner):
            runner.run()
    except (FencedError, AbortedError, HistoryAwayError) as error:
        _log.warning("%s", error)
        return PASSING
    except StreamsError as error:
        if _is_away(error):
            _log.warning("%s", error)
            return PASSING
        _log.error("%s", error)
        return STOPPED
    except Exception:  # noqa: BLE001 -- whatever it is, it is said, and the runner is started again
        if ending.asked:  # what the end itself broke off
            return 0
        _log.exception("an unknown error, nothing of this batch is committed")
        return CRASHED
    return 0


def _is_away(error: StreamsError) -> bool:
    """Whether the cluster or the registry is away, so that a later start may find it."""
    from streams.contracts.registry import RegistryAway  # noqa: PLC0415
    from streams.kafka.cluster import ClusterError  # noqa: PLC0415

    return isinstance(error, ClusterError | RegistryAway)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one runner until it is asked to end."""
    parser = argparse.ArgumentParser(prog="python -m streams.kafka.child", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--slot", type=int, default=0)
    parser.add_argument("--topology")
    parser.add_argument("--start", default="resume", choices=["resume", "beginning", "shadow", "take-over"])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--grace", type=float, default=5.0)
    parser.add_argument("--stuck", type=float, default=300.0)
    parser.add_argument("--watched", action="store_true", help="end when the standard input ends; say all as JSON")
    given = parser.parse_args(arguments)
    ending = Ending(given.grace, _take_input() if given.watched else None)

    def known() -> Mapping[str, Any]:
        task = ending.runner.at_work if ending.runner is not None else None
        return {"processor": given.name, "slot": given.slot, "task": task}

    logs.configure("json" if given.watched else "text", known)

    def make() -> "Runner":
        from streams.kafka.runner import Runner  # noqa: PLC0415 -- signals must be heard before this is loaded
        from streams.kafka.settings import Settings  # noqa: PLC0415

        settings = Settings.load()
        topology = load_topology(given.topology, settings.kafka.partitions.by_lane())
        return Runner(settings, topology, given.name, str(given.slot), start=given.start)

    def serve(runner: "Runner") -> ExitStack:
        stack = ExitStack()
        if given.port:
            from streams.kafka.watching import RunnerView  # noqa: PLC0415
            from streams.observe import Pages  # noqa: PLC0415 -- only where it is asked for

            view = stack.enter_context(RunnerView(runner, stuck_s=given.stuck))
            stack.enter_context(Pages(view, host=runner.settings.kafka.health_host, port=given.port))
        return stack

    return work(make, ending, serve)


def _take_input() -> int:
    """The standard input as a pipe of our own: no child of this process reads from it or holds it."""
    taken = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return taken


if __name__ == "__main__":
    leave(main())
