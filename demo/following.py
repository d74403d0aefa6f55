"""The replay of a run by another process, which follows it while it goes on: it knows only what is in the log."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from demo.screen import Step
from streams.errors import StreamsError
from streams.hosts.cores import apart
from streams.hosts.replay import Outcome


class FollowingReplay:
    """`flexlog replay --follow` on a folder that is being written, on a core of its own.

    Args:
        folder: The run's, in which the host has made its log.
    """

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "streams.cli", "replay", "--data", str(folder)]
        command += ["--follow", "--all-differences", "--json"]
        with apart():
            self._process = subprocess.Popen(  # noqa: S603 -- ours
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def finish(self, total: int, step: Step) -> Outcome:
        """Wait until all commits have been run again; the host must be closed by now.

        Raises:
            StreamsError: The replay stopped.
        """
        found: dict[str, Any] = {}
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found = json.loads(line)
            step(found["commits"] / max(total, 1), f"{found['commits']:,} of {total:,} commits")
        if "mismatches" not in found:
            _, errors = self._process.communicate()
            raise StreamsError(f"the replay beside this run stopped: {errors.strip() or self._process.returncode}")
        self._process.wait()
        return Outcome(found["commits"], found["records"], found["skipped"], found["mismatches"])
