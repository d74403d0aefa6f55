"""A conversation remembers exactly what is committed, and hears everything once."""

import dataclasses
import random
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import Field

from streams import Emit, Session
from streams.edge import Message, Send
from streams.hosts.board import micros
from streams.testing import TopologyDriver
from tests.conformance.plant import CONTRACTS, CounterRead, FactorSet, HourSummed
from tests.hosts.world import ANSWERER, START, bytes_of


def make(edge: Any, **options: Any) -> TopologyDriver:
    return TopologyDriver(edge, at=START, contracts=CONTRACTS, **options)


def hour(driver: TopologyDriver, *energies: int) -> None:
    rows = [
        {"site_id": "s1", "period_start": START, "revision": n, "energy_wh": energy, "factor_ppm": 1}
        for n, energy in enumerate(energies)
    ]
    driver.pipe(HourSummed, rows)


def test_a_conversation_that_fails_midway_leaves_no_trace_and_hears_it_all_again() -> None:
    left = [1]

    def fails_once(talk: Any, event: Any) -> Iterator[Any]:
        talk.session.sums.append(event.energy_wh)
        yield Send(event.energy_wh, talk.id("said"))
        if event.energy_wh == 3 and left[0]:
            left[0] -= 1
            raise ValueError("midway")

    driver = make(dataclasses.replace(ANSWERER, on_event=fails_once))
    hour(driver, 1, 2, 3, 4)
    with pytest.raises(ValueError, match="midway"):
        driver.host.settle()
    assert driver.session("s1") == ANSWERER.session()
    assert driver.sent() == []
    driver.host.settle()
    assert driver.session("s1").model_dump() == {"sums": [1, 2, 3, 4]}
    assert [send.body for send in driver.sent()] == [1, 2, 3, 4]
    driver.crash_and_restore()
    assert driver.session("s1").model_dump() == {"sums": [1, 2, 3, 4]}
    driver.close()


@pytest.mark.parametrize("point", ["begin", "append", "before_commit", "after_commit"])
def test_a_write_that_fails_is_neither_remembered_nor_forgotten(point: str) -> None:
    driver = make(ANSWERER)
    hour(driver, *range(10))

    def interrupt(at: str) -> None:
        if at == point:
            driver.host.log.crash = None
            raise KeyboardInterrupt

    driver.host.log.crash = interrupt
    with pytest.raises(KeyboardInterrupt):
        driver.host.settle()
    driver.host.settle()  # the same host goes on
    hour(driver, 10)
    driver.host.settle()
    for _ in range(2):
        assert driver.session("s1").model_dump() == {"sums": list(range(11))}
        assert driver.read(FactorSet)["factor_ppm"].to_list() == [1_000_010]
        driver.crash_and_restore()
    driver.close()


def test_crashes_at_every_point_give_each_event_once_and_the_same_answers() -> None:
    calm, shaken = (make(ANSWERER, partitions=2) for _ in range(2))
    rng = random.Random(6)
    shaken.crash_when = lambda _: rng.random() < 0.2
    for driver in (calm, shaken):
        for number in range(30):
            hour(driver, number)
            driver.advance(by=driver._tick)
    assert shaken.crashes > 10
    assert shaken.session("s1") == calm.session("s1")
    assert bytes_of(shaken.host.log, "plant.factor.v1") == bytes_of(calm.host.log, "plant.factor.v1")
    calm.close()
    shaken.close()


class Heard(Session):
    """What was heard."""

    bodies: list[int] = Field(default_factory=list)


def listen(talk: Any, message: Message) -> Iterator[Any]:
    if message.body < 0:
        talk.reject(message, "negative")
        return
    talk.session.bodies.append(message.body)
    reading = {"site_id": talk.key, "counter_id": "c", "read_at": talk.now, "energy_wh": message.body}
    yield Emit(CounterRead, [CounterRead.from_dict(reading)])


LISTENER: Any = dataclasses.replace(
    ANSWERER,
    session=Heard,
    reads=type(ANSWERER.reads)(),
    writes=type(ANSWERER.writes)((CounterRead,)),
    on_event=None,
    on_message=listen,
)


def test_a_message_that_comes_twice_is_heard_once_also_after_a_restart() -> None:
    driver = make(LISTENER)
    driver.hear("s1", 5, id="m1")
    driver.hear("s1", 5, id="m1")
    driver.hear("s2", 6, id="m1")  # another conversation
    driver.hear("s1", 7, id="m1", origin="elsewhere")
    driver.crash_and_restore()
    driver.hear("s1", 5, id="m1")
    driver.hear("s1", -1, id="m2")
    assert driver.read(CounterRead)["energy_wh"].to_list() == [5, 6, 7]
    assert [(key, why) for key, _, why in driver.host.edges[0].rejected] == [("s1", "negative")]
    driver.close()


def test_a_message_whose_handling_failed_may_come_again() -> None:
    driver = make(LISTENER)
    with pytest.raises(TypeError):
        driver.hear("s1", "five", id="m1")
    driver.hear("s1", 5, id="m1")
    assert driver.session("s1").model_dump() == {"bodies": [5]}
    driver.close()


def test_what_was_heard_is_written_once_and_not_with_every_message() -> None:
    driver = make(LISTENER)
    sizes = []
    for number in range(40):
        at = driver.host.log.end("answerer.v1.changelog", 0)
        driver.host.edges[0].hear(f"s{number}", Message(f"m{number}", number), micros(driver.now))
        slab = driver.host.log.read("answerer.v1.changelog", 0, at)
        sizes.append(
            sum(len(key or b"") + len(value or b"") for key, value in zip(slab.keys, slab.values, strict=True))
        )
    assert max(sizes) <= min(sizes) + 10
    driver.close()
