"""A runner in a process of its own that says, as one line of JSON, how long it took and what memory it needed.

``python -m bench.kafka.worker PROCESSOR RUN SLOT ROWS SECONDS``: it ends once this process consumed ROWS (0: as soon as
it has the state of all tasks again), or SECONDS after it consumed last. With ``BENCH_PROFILE`` set, a
profile of the runner's loop goes there.
"""

import cProfile
import json
import logging
import os
import pstats
import signal
import sys
import threading
import time
from pathlib import Path

from bench.kafka.job import topology
from streams.hosts.task import Task
from streams.kafka.runner import Runner
from streams.kafka.settings import Settings

_LOOK_S = 0.005


class Watch(threading.Thread):
    """Looks at a runner from beside."""

    def __init__(self, runner: Runner, rows: int, patience_s: float) -> None:
        super().__init__(daemon=True)
        self._runner, self._rows, self._patience_s = runner, rows, patience_s
        self.born = time.time()
        self.ready = self.first = self.last = 0.0
        self.consumed = self.first_rows = 0
        self._seen: dict[int, Task] = {}  # those that have gone to another runner count too
        self.cpu_before = 0.0

    def run(self) -> None:
        """Note when tasks are there, when the first and the newest commit were, and stop the runner at the end."""
        while True:
            now = time.time()
            tasks = dict(self._runner.tasks)
            if tasks and not self.ready:
                self.ready = now
                self.cpu_before = time.process_time()
            self._seen |= {id(task): task for task in tasks.values()}
            consumed = sum(task.consumed for task in self._seen.values())
            if consumed > self.consumed:
                self.consumed, self.last = consumed, now
                if not self.first:
                    self.first, self.first_rows = now, consumed
            whole = len(tasks) == self._runner.settings.kafka.partitions.site
            idle = max(self.last, self.ready)
            if (
                self.consumed >= self._rows > 0
                or (idle and now - idle > self._patience_s)
                or (whole and not self._rows)
            ):
                self._runner.stop()
                return
            time.sleep(_LOOK_S)


class Restores(logging.Handler):
    """How long the tasks took to be restored, from what the runner says of it."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note one."""
        if record.msg.startswith("goes on after commit") and isinstance(record.args, tuple):
            self.seconds.append(float(str(record.args[1])))


def peak_mb() -> float:
    """The most memory this process ever had resident, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def main() -> None:
    """Run."""
    name, run, slot, rows, patience_s = sys.argv[1:]
    settings = Settings.load()
    runner = Runner(settings, topology(name, int(run), settings.kafka.partitions.site), f"{name}-{run}", slot)
    restores = Restores()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("streams.kafka.runner").setLevel(logging.INFO)
    logging.getLogger("streams.kafka.runner").addHandler(restores)
    logging.getLogger("streams.kafka.runner").propagate = bool(os.environ.get("BENCH_TALK"))
    signal.signal(signal.SIGTERM, lambda *_: runner.stop())
    watch = Watch(runner, int(rows), float(patience_s))
    watch.start()
    profile = cProfile.Profile() if "BENCH_PROFILE" in os.environ else None
    if profile is not None:
        profile.runcall(runner.run)
        pstats.Stats(profile).dump_stats(os.environ["BENCH_PROFILE"])
    else:
        runner.run()
    seconds = sorted(runner.batches)
    told = {
        "born": watch.born,
        "ready": watch.ready,
        "first": watch.first,
        "first_rows": watch.first_rows,
        "last": watch.last,
        "consumed": watch.consumed,
        "commits": len(seconds),
        "commit_p50_s": seconds[len(seconds) // 2] if seconds else None,
        "cpu_s": time.process_time() - watch.cpu_before,
        "restore_s": sum(restores.seconds),
        "restored": sum(len(task.engine.store) for task in runner.tasks.values()),
        "aborted": runner.aborted,
        "peak_mb": peak_mb(),
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
