"""A commit is all or nothing: whatever fails, nothing is lost, doubled or half done."""

import dataclasses
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from streams import Emit, Reject
from streams.errors import EmitError, FencedError, RejectLimitError, StreamsError
from streams.hosts import task as task_module
from streams.hosts.task import Limits
from streams.testing import TopologyDriver
from streams.topology import COMMIT
from tests.conformance.plant import CONTRACTS, DAYS, HOURS, CounterRead, DayTotalled, FactorSet, Hour, HourSummed
from tests.hosts.world import bytes_of

START = "2026-01-01 00:00"
QUARTER = timedelta(minutes=15)
WRITTEN = ("plant.hour.v1", "plant.day.v1")


def make(*specs: Any, **options: Any) -> TopologyDriver:
    return TopologyDriver(*(specs or (HOURS, DAYS)), at=START, contracts=CONTRACTS, **options)


def hours(**fields: Any) -> Any:
    return dataclasses.replace(HOURS, **fields)


def read(driver: TopologyDriver, *energies: int, site: str = "s1") -> None:
    driver.pipe(
        CounterRead,
        [{"site_id": site, "counter_id": site, "read_at": driver.now, "energy_wh": energy} for energy in energies],
    )


def garbage(driver: TopologyDriver, record: Any, count: int = 1) -> None:
    driver.pipe_raw(record, [b"s1"] * count, [b"\x01"] * count)


def play(driver: TopologyDriver) -> None:
    rng = random.Random(2)
    for _ in range(6):
        for _ in range(4):
            read(driver, *(rng.randrange(100) for _ in range(3)), site=f"s{rng.randrange(6)}")
        driver.advance(by=timedelta(minutes=30))


def failing(times: int, wrong: Callable[..., Any]) -> Callable[..., Any]:
    """A handler that first does all that the right one does, then something wrong; after some times it is right."""
    left = [times]

    def on_tick(ctx: Any) -> Iterator[Emit[Any]]:
        assert HOURS.on_tick is not None
        yield from HOURS.on_tick(ctx) or ()
        if left[0]:
            left[0] -= 1
            ctx.state(Hour).delete(ctx.state(Hour).scan())
            yield from wrong(ctx)

    return on_tick


def raise_value_error(ctx: Any) -> Any:
    raise ValueError("wrong")


def broken(**fields: Any) -> Callable[..., Any]:
    def emit(ctx: Any) -> Iterator[Emit[Any]]:
        row = {"site_id": "s", "period_start": ctx.now, "revision": 0, "energy_wh": 1, "factor_ppm": 1} | fields
        yield Emit(HourSummed, pl.DataFrame([row]))

    return emit


WRONG = {
    "raises": (raise_value_error, ValueError, "wrong"),
    "a null": (broken(energy_wh=None), EmitError, "energy_wh"),
    "a type": (broken(energy_wh="much"), EmitError, "energy_wh"),
    "a column": (broken(energy_kwh=1), EmitError, "energy_kwh"),
    "a naive time": (broken(period_start=pl.Series([0]).cast(pl.Datetime("us"))[0]), EmitError, "period_start"),
    "no Emit": (lambda ctx: [None], EmitError, "made a NoneType; make Emit or Reject"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_handler_that_fails_leaves_all_as_it_was_and_can_be_run_again(case: str) -> None:
    wrong, kind, text = WRONG[case]
    calm, shaken = make(), make(hours(on_tick=failing(1, wrong)), DAYS, twice=False)
    for driver in (calm, shaken):
        read(driver, 5, 6)
    with pytest.raises(kind, match=text) as caught:
        shaken.advance(by=QUARTER)
    told = str(caught.value) + " ".join(getattr(caught.value, "__notes__", []))
    assert "task hours.v1.0" in told
    assert "nothing of this batch is committed" in told
    assert (shaken.commits(), shaken.state(Hour).height) == (0, 0)
    assert bytes_of(shaken.host.log, *WRITTEN) == {(topic, 0): [] for topic in WRITTEN}
    shaken.host.settle()
    calm.advance(by=QUARTER)
    assert bytes_of(shaken.host.log, *WRITTEN) == bytes_of(calm.host.log, *WRITTEN)
    assert shaken.state(Hour).equals(calm.state(Hour))
    calm.close()
    shaken.close()


def test_what_has_changed_since_the_tick_survives_a_crash_between_two_parts_of_a_batch() -> None:
    calm, shaken = (make(limits=Limits(batch_rows=1), twice=False) for _ in range(2))
    play(calm)
    shaken.crash_when = lambda point: point == "after_commit"
    play(shaken)
    assert shaken.crashes >= calm.commits()
    assert bytes_of(shaken.host.log, *WRITTEN) == bytes_of(calm.host.log, *WRITTEN)
    calm.close()
    shaken.close()


def test_a_state_restored_from_a_snapshot_is_the_same_and_what_lies_before_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calm = make(twice=False, limits=Limits(batch_rows=2))
    play(calm)
    monkeypatch.setattr(task_module, "_SNAPSHOT_FROM_BYTES", 0)
    shaken = make(twice=False, limits=Limits(batch_rows=2))
    rng = random.Random(8)
    shaken.crash_when = lambda point: rng.random() < 0.15
    play(shaken)
    assert shaken.crashes > 10
    assert shaken.host.log.start("hours.v1.changelog", 0) > 0
    assert shaken.state(Hour).equals(calm.state(Hour))
    assert bytes_of(shaken.host.log, *WRITTEN) == bytes_of(calm.host.log, *WRITTEN)
    before = [(task.engine.store.digest(), task._snapshot_bytes, task._tail_bytes) for task in shaken.host.tasks]
    shaken.crash_when = None
    shaken.crash_and_restore()
    assert [(t.engine.store.digest(), t._snapshot_bytes, t._tail_bytes) for t in shaken.host.tasks] == before
    calm.close()
    shaken.close()


@pytest.mark.parametrize("point", ["begin", "append", "flush", "before_commit", "after_commit"])
def test_a_commit_that_is_interrupted_is_never_done_twice(point: str) -> None:
    driver = make(twice=False)
    read(driver, 5)

    def interrupt(at: str) -> None:
        if at == point:
            driver.host.log.crash = None
            raise KeyboardInterrupt

    driver.host.tasks, tasks = [], driver.host.tasks
    driver.advance(by=QUARTER)
    driver.host.tasks = tasks
    driver.host.log.crash = interrupt
    with pytest.raises(KeyboardInterrupt):
        driver.host.settle()
    try:  # somebody goes on all the same
        driver.host.settle()
    except FencedError as error:
        assert "is not ours" in str(error)  # noqa: PT017 -- whether it is refused depends on the point
        driver.crash_and_restore()
        driver.host.settle()
    assert driver.read(HourSummed)["energy_wh"].to_list() == [5]
    assert driver.state(Hour)["energy_wh"].to_list() == [5]
    assert driver.replay() == []
    driver.close()


def test_a_task_stopped_by_too_many_rejects_stays_stopped_until_it_is_started_again() -> None:
    driver = make(limits=Limits(reject_share=0.1, reject_window=10))
    garbage(driver, CounterRead, 3)
    with pytest.raises(RejectLimitError, match="3 of the last 3 rows"):
        driver.advance(by=QUARTER)
    read(driver, 4)
    with pytest.raises(RejectLimitError, match="3 of the last 3 rows"):
        driver.advance(by=QUARTER)
    assert driver.read(HourSummed).height == 0
    driver.crash_and_restore()
    driver.host.settle()
    assert driver.read(HourSummed)["energy_wh"].to_list() == [4]
    assert len(driver.rejected(CounterRead)) == 3
    driver.close()


def test_few_rejects_among_many_rows_stop_nobody() -> None:
    driver = make(limits=Limits(reject_share=0.1, reject_window=10))
    for _ in range(5):
        read(driver, *[1] * 19)
        garbage(driver, CounterRead)
        driver.advance(by=QUARTER)
    assert len(driver.rejected(CounterRead)) == 5
    driver.close()


def test_a_record_of_a_table_that_cannot_be_used_is_put_aside_once_by_each_processor() -> None:
    driver = make(partitions=3)
    garbage(driver, FactorSet)
    driver.pipe(FactorSet, [{"factor_id": "f", "valid_from": driver.now, "factor_ppm": 2_000_000}])
    read(driver, 5)
    driver.advance(by=QUARTER)
    driver.crash_and_restore()
    read(driver, 5)
    driver.advance(by=QUARTER)
    found = [(event["processor"], event["topic"], event["offset"]) for event in driver.rejected(FactorSet)]
    assert found == [("hours", "plant.factor.v1", 0)]
    assert driver.read(HourSummed)["energy_wh"].to_list() == [10, 20]
    assert driver.replay() == []
    driver.close()


def turn_down(ctx: Any, batch: Any) -> Iterator[Any]:
    rows = batch[CounterRead]
    yield Reject(CounterRead, rows.filter(pl.col("energy_wh") > 10), "too much")
    assert HOURS.on_batch is not None
    HOURS.on_batch(ctx, _Only(rows.filter(pl.col("energy_wh") <= 10)))


class _Only:
    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __getitem__(self, record: Any) -> pl.DataFrame:
        return self._frame


def test_rows_that_a_processor_turns_down_are_put_aside_with_position_and_bytes() -> None:
    driver = make(hours(on_batch=turn_down))
    read(driver, 4, 11, 5)
    driver.advance(by=QUARTER)
    (found,) = driver.rejected(CounterRead)
    slab = driver.host.log.read("plant.counter.v1", 0, 0)
    assert (found["offset"], found["reason_code"], found["reason_text"]) == (1, "REFUSED", "too much")
    assert (found["key"], found["value"]) == (slab.keys[1], slab.values[1])
    assert driver.read(HourSummed)["energy_wh"].to_list() == [9]
    assert driver.replay() == []
    driver.close()


def test_rejecting_other_rows_the_second_time_is_caught() -> None:
    runs = [0]

    def fickle(ctx: Any, batch: Any) -> Iterator[Reject]:
        runs[0] += 1
        yield Reject(CounterRead, batch[CounterRead].head(runs[0]), "by chance")

    driver = make(hours(on_batch=fickle))
    read(driver, 1, 2, 3)
    with pytest.raises(StreamsError, match="rejected other rows, or held another watermark"):
        driver.advance(by=QUARTER)
    assert driver.commits() == 0
    driver.close()


def test_another_state_the_second_time_is_caught() -> None:
    runs = [0]

    def fickle(ctx: Any, batch: Any) -> None:
        runs[0] += 1
        row = {"site_id": "s", "period_start": [ctx.now], "energy_wh": runs[0], "revision": 0}
        ctx.state(Hour).put(pl.DataFrame(row))

    driver = make(hours(on_batch=fickle, on_tick=lambda ctx: None))
    read(driver, 1)
    with pytest.raises(StreamsError, match="left another state when it ran again"):
        driver.advance(by=QUARTER)
    driver.close()


def test_crashes_at_every_point_leave_contiguous_commits_whose_ranges_tile_tables_too() -> None:
    driver = make(twice=False, partitions=2, limits=Limits(batch_rows=3))
    rng = random.Random(4)
    driver.crash_when = lambda _: rng.random() < 0.05
    for number in range(5):
        driver.pipe(FactorSet, [{"factor_id": "f", "valid_from": driver.now, "factor_ppm": number}])
        play(driver)
    assert driver.crashes > 20
    topic = driver.topology.topic(COMMIT)
    places: dict[tuple[str, str, int], int] = {}
    numbers: dict[str, int] = {}
    for event in driver.host.codec.decode_events(topic, driver.host.log.read(COMMIT, 0, 0).events):
        numbers[event["task"]] = numbers.get(event["task"], 0) + 1
        assert event["commit_no"] == numbers[event["task"]]
        for item in event["inputs"]:
            place = (event["task"], item["topic"], item["partition"])
            assert item["from_offset"] == places.get(place, 0)
            places[place] = item["to_offset"]
    assert ("days.v1.0", "plant.hour.v1", 1) in places
    assert ("hours.v1.1", "plant.factor.v1", 0) in places
    driver.crash_when = None
    assert driver.replay() == []
    assert driver.read(DayTotalled).height > 0
    driver.close()
