"""Each test worker keeps to a core of its own, as the processes of flexlog do."""

import os

from streams.hosts.cores import keep_to_one

if worker := os.environ.get("PYTEST_XDIST_WORKER", ""):
    keep_to_one(int(worker.removeprefix("gw")))
