"""Fixtures for the tests beside a processor or edge."""

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from streams.testing import TopologyDriver


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "driver(**options): options of the `driver` fixture's TopologyDriver")


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> "Iterator[TopologyDriver]":
    """A driver of the SPEC beside the test. ``@pytest.mark.driver(at=…, partitions=…)`` sets its options."""
    from streams.testing import TopologyDriver  # noqa: PLC0415 -- polars only where a test needs it

    package = request.module.__name__.rpartition(".")[0]
    spec = getattr(request.module, "SPEC", None) or importlib.import_module(package).SPEC
    marker = request.node.get_closest_marker("driver")
    made = TopologyDriver(spec, **(marker.kwargs if marker else {}))
    yield made
    made.close()
