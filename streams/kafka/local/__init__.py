"""Kafka and a schema registry on this machine: what they are made of, and how their processes are held."""

import os
import sys
from pathlib import Path

from streams.errors import StreamsError


class LocalClusterError(StreamsError):
    """A local cluster cannot be started, stopped or used as asked."""


class PartsError(LocalClusterError):
    """What a local cluster needs is not on this machine: Java, Maven, or what Maven fetches."""


def home() -> Path:
    """The folder of all local clusters and of the jars they share, in the user's cache."""
    if named := os.environ.get("FLEXLOG_CACHE"):
        return Path(named).expanduser() / "kafka"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "flexlog" / "kafka"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flexlog" / "kafka"
