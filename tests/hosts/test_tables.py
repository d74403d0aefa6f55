"""A table is a function of its bounds and the tick, whatever was asked of it before."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streams.contracts.codec import Codec, MemoryRegistry
from streams.hosts.memory import MemoryLog
from streams.hosts.tables import TableView
from tests.conformance.plant import FactorSet

START = datetime(2026, 1, 1, tzinfo=UTC)
TOPIC = FactorSet.__topic__


@pytest.fixture
def make() -> Callable[..., TableView]:
    log, codec = MemoryLog(clock=lambda: 0), Codec(MemoryRegistry([]))
    log.create(TOPIC.name, 1)
    draw = random.Random(7)
    for number in range(20):
        row: dict[str, Any] = {
            "factor_id": f"f{draw.randrange(3)}",
            "valid_from": START + timedelta(hours=draw.randrange(12)),
            "factor_ppm": number,
        }
        encoded = codec.encode(TOPIC, codec.prepare(TOPIC, [row]))
        transaction = log.transaction("p")
        transaction.append(TOPIC.name, 0, encoded.keys, encoded.values)
        transaction.commit({})
    return lambda keep=None: TableView(TOPIC, log, codec, keep)


def at(hour: int) -> datetime:
    return START + timedelta(hours=hour)


def test_asked_for_the_time_before_its_first_row_a_table_is_empty_again(make: Callable[..., TableView]) -> None:
    view = make()
    assert view.as_of((40,), START).height > 0
    assert view.as_of((0,), START).height == 0


def test_what_was_over_at_a_later_tick_is_there_again_at_an_earlier_one(make: Callable[..., TableView]) -> None:
    view, keep = make(timedelta(0)), timedelta(0)
    early = make(keep).as_of((40,), at(2)).rows()
    view.as_of((20,), at(0))
    view.as_of((40,), at(11))  # drops nearly all
    assert view.as_of((40,), at(2)).rows() == early
    assert len(early) > view.as_of((40,), at(11)).height


@pytest.mark.parametrize("keep", [None, timedelta(0), timedelta(hours=3)])
def test_a_table_does_not_depend_on_what_was_asked_before(make: Callable[..., TableView], keep: Any) -> None:
    draw = random.Random(1)
    view = make(keep)
    for _ in range(150):
        bounds, now = (draw.randrange(42),), at(draw.randrange(14))
        assert view.as_of(bounds, now).equals(make(keep).as_of(bounds, now)), (bounds, now)
