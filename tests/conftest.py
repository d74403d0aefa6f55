"""What many tests need: the measured homes, a real Kafka and registry, or a clear word why they are not there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.kafka.local import PartsError, home, parts
from streams.kafka.local.cluster import LocalCluster


@pytest.fixture(scope="session")
def homes_data() -> Path:
    """Folder with the measured year of 17 homes, from the cache or fetched by package name."""
    from demo import homes

    try:
        return homes.folder()
    except homes.HomesError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"the measured homes are not here: {error}")


@pytest.fixture(scope="session")
def kafka_parts() -> None:
    """Java and the jars of a local cluster, fetched if need be; where they cannot be had the test is skipped."""
    try:
        parts.ensure([parts.KAFKA, parts.REGISTRY], home(), lambda _: None)
    except PartsError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def cluster(kafka_parts: None) -> Iterator[LocalCluster]:
    """One broker and a registry, shared by the tests of a worker: use topics and subjects of your own."""
    with LocalCluster.temporary() as running:
        yield running
