"""What a task has consumed at a tick, and what it waits for."""

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from streams import Emit, Records
from streams.errors import WiringError
from streams.hosts.board import Board, micros
from streams.hosts.memory import MemoryLog
from streams.hosts.task import Limits
from streams.testing import TopologyDriver, utc
from streams.topology import CLOCK, COMMIT, PROGRESS
from tests.conformance.plant import CONTRACTS, DAYS, HOURS, CounterRead, DayTotalled, FactorSet, HourSummed
from tests.hosts import world

START = "2026-01-01 00:00"
QUARTER = timedelta(minutes=15)


def make(*specs: Any, **options: Any) -> TopologyDriver:
    return TopologyDriver(*(specs or (HOURS, DAYS)), at=START, contracts=CONTRACTS, **options)


def other(spec: Any, **fields: Any) -> Any:
    return dataclasses.replace(spec, **fields)


def read_once(driver: TopologyDriver, energy_wh: int, site: str = "s1") -> None:
    driver.pipe(CounterRead, [{"site_id": site, "counter_id": site, "read_at": driver.now, "energy_wh": energy_wh}])


def events(driver: TopologyDriver, topic: str) -> list[dict[str, Any]]:
    return driver.host.codec.decode_events(driver.topology.topic(topic), driver.host.log.read(topic, 0, 0).events)


def said(driver: TopologyDriver, column: str = "energy_wh") -> list[Any]:
    return driver.read(HourSummed)[column].to_list()


def sum_once(ctx: Any) -> Iterator[Emit[Any]]:
    """One event a tick: how many rows the table of factors has, and the tick's minute as energy."""
    yield hour(ctx, ctx.now.hour * 60 + ctx.now.minute, ctx.table(FactorSet).height)


def hour(ctx: Any, energy_wh: int, factor_ppm: int = 0, site: str = "s") -> Emit[Any]:
    row = {"site_id": site, "period_start": ctx.now, "revision": 0, "energy_wh": energy_wh, "factor_ppm": factor_ppm}
    return Emit(HourSummed, [HourSummed.from_dict(row)])


TABLED = other(HOURS, reads=Records(), on_batch=None, state=(), on_tick=sum_once)


def test_a_record_in_a_transaction_that_is_open_at_the_tick_is_waited_for_and_not_lost() -> None:
    driver = make()
    codec, topic, log = driver.host.codec, CounterRead.__topic__, driver.host.log
    row = {"site_id": "s1", "counter_id": "slow", "read_at": driver.now, "energy_wh": 5}
    encoded = codec.encode(topic, codec.prepare(topic, [row]))
    slow = log.transaction("slow")
    slow.append(topic.name, 0, encoded.keys, encoded.values)
    read_once(driver, 10)
    driver.advance(by=QUARTER)
    read_once(driver, 1_000)  # appended after the tick
    driver.host.settle()
    assert driver.commits() == 0
    slow.commit({})
    driver.host.settle()
    assert said(driver) == [15]
    assert driver.replay() == []
    driver.close()


def test_an_aborted_transaction_between_two_ticks_is_stepped_over() -> None:
    driver = make()
    read_once(driver, 10)
    lost = driver.host.log.transaction("lost")
    lost.append("plant.counter.v1", 0, [b"s1"], [b"rubbish"])
    lost.abort()
    driver.advance(by=QUARTER)
    read_once(driver, 5)
    driver.advance(by=QUARTER)
    assert said(driver) == [10, 15]
    assert driver.rejected(CounterRead) == []
    driver.close()


def test_a_reader_that_lags_takes_of_its_upstream_what_that_had_written_at_the_tick() -> None:
    driver = make()
    days = [task for task in driver.host.tasks if task.spec is DAYS]
    driver.host.tasks = [task for task in driver.host.tasks if task.spec is HOURS]
    for energy_wh in (10, 200, 3_000):
        read_once(driver, energy_wh)
        driver.advance(by=timedelta(hours=1))
    assert driver.read(DayTotalled).height == 0
    driver.host.tasks += days
    driver.host.settle()
    assert driver.read(DayTotalled)["energy_wh"].to_list() == [10, 210, 3_210]
    driver.close()


def test_only_the_first_tick_of_a_span_is_due() -> None:
    driver = make()
    driver.advance(to="2026-01-01 02:00")
    ticks = [event["tick_at"].strftime("%H:%M") for event in events(driver, PROGRESS) if event["processor"] == "days"]
    assert ticks == ["00:15", "01:00", "02:00"]
    driver.close()


def test_a_tick_that_comes_twice_or_goes_back_is_no_tick() -> None:
    driver = make()
    read_once(driver, 1)
    driver.advance(to="2026-01-01 01:00")
    before = driver.commits()
    for back in (timedelta(0), timedelta(minutes=5), timedelta(days=1)):
        event = {"clock_id": "c", "tick_at": driver.now - back, "sequence": 0, "missed": 0, "simulated": True}
        values = driver.host.codec.encode_events(driver.topology.topic(CLOCK), [event])
        transaction = driver.host.log.transaction("clock")
        transaction.append(CLOCK, 0, [b"c"], values)
        transaction.commit({})
        driver.host.settle()
    assert driver.commits() == before
    driver.crash_and_restore()
    driver.host.settle()
    assert driver.commits() == before
    read_once(driver, 2)
    driver.advance(by=QUARTER)
    assert said(driver) == [1, 2]  # two hours
    assert driver.replay() == []
    driver.close()


def test_progress_of_a_rare_processor_is_not_forgotten_while_it_counts() -> None:
    rare = other(HOURS, every=timedelta(days=30))
    driver = make(rare, other(DAYS, every=timedelta(days=1)), tick=timedelta(days=1))
    read_once(driver, 7)
    driver.advance(to="2026-01-20 00:00")
    task = next(task for task in driver.host.tasks if task.spec.name == "days")
    assert task.engine.tick == driver.host.board.ticks[-1]
    assert driver.read(DayTotalled)["energy_wh"].to_list() == [7]
    driver.close()


def test_progress_of_another_version_moves_no_barrier() -> None:
    driver = make()
    driver.host.tasks, tasks = [], driver.host.tasks
    driver.advance(to=START)
    tick = driver.now
    event = {"task": "hours.v9.0", "tick_at": tick, "processor": "hours", "watermark": tick, "outputs": []}
    values = driver.host.codec.encode_events(driver.topology.topic(PROGRESS), [event])
    transaction = driver.host.log.transaction("other")
    transaction.append(PROGRESS, 0, [b"hours.v9.0"], values)
    transaction.commit({})
    driver.host.tasks = [task for task in tasks if task.spec is DAYS]
    driver.host.settle()
    assert driver.commits() == 0
    driver.close()


def test_all_ticks_are_known_after_a_restart_however_many(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = make(TABLED)
    driver.advance(to="2026-01-01 03:00")
    real, host = MemoryLog.read, driver.host

    def short(log: MemoryLog, *place: Any, limit: int = 50_000, **options: Any) -> Any:
        return real(log, *place, limit=min(limit, 5), **options)

    monkeypatch.setattr(MemoryLog, "read", short)
    board = Board(driver.topology, host.log, host.codec)
    board.refresh()
    assert board.ticks == host.board.ticks
    assert len(board.ticks) == 12
    driver.close()


def test_a_processor_without_on_tick_runs_at_once_past_any_gap() -> None:
    def forward(ctx: Any, batch: Any) -> Iterator[Emit[Any]]:
        rows = batch[CounterRead].select("site_id", "energy_wh", period_start="read_at")
        yield Emit(HourSummed, rows.with_columns(revision=pl.lit(0), factor_ppm=pl.lit(1)))

    at_once = other(HOURS, tables=Records(), state=(), on_batch=forward, on_tick=None)
    driver = make(at_once, limits=Limits(batch_rows=1))
    for energy_wh in (1, 2, 3):
        read_once(driver, energy_wh)  # each leaves a control marker
        lost = driver.host.log.transaction("lost")
        lost.append("plant.counter.v1", 0, [b"s1"] * 5, [b"rubbish"] * 5)
        lost.abort()
        driver.host.settle()
        assert said(driver)[-1] == energy_wh
    driver.advance(by=QUARTER)
    read_once(driver, 4)
    driver.host.settle()
    assert said(driver) == [1, 2, 3, 4]
    assert driver.replay() == []
    driver.close()


def test_before_its_first_tick_a_task_knows_no_time_however_its_input_is_cut() -> None:
    for rows in (1, 100):
        seen: list[datetime] = []

        def note(ctx: Any, batch: Any, seen: list[datetime] = seen) -> None:
            seen.append(ctx.now)

        driver = make(other(HOURS, on_batch=note), limits=Limits(batch_rows=rows), twice=False)
        for _ in range(3):
            read_once(driver, 1)
        driver.advance(by=QUARTER)
        assert set(seen) == {datetime(1970, 1, 1, tzinfo=UTC)}
        read_once(driver, 1)
        driver.advance(by=QUARTER)
        assert seen[-1] == utc("2026-01-01 00:15")
        driver.close()


def test_a_table_counts_what_edges_wrote_before_the_tick() -> None:
    driver = make(TABLED)
    for number in range(3):
        driver.pipe(FactorSet, [{"factor_id": f"f{number}", "valid_from": driver.now, "factor_ppm": 1}])
        driver.advance(by=QUARTER)
    assert said(driver, "factor_ppm") == [1, 2, 3]
    driver.close()


def test_a_delayed_table_closes_a_cycle_and_is_what_upstream_had_written_that_long_before() -> None:
    def back(ctx: Any) -> Iterator[Emit[Any]]:
        totals = ctx.table(DayTotalled)["energy_wh"].to_list()
        yield hour(ctx, 1, totals[-1] if totals else 0)

    cyclic = other(
        TABLED, tables=Records(), delayed={DayTotalled: timedelta(hours=2)}, on_tick=back, every=timedelta(hours=1)
    )
    driver = make(cyclic, DAYS, tick=timedelta(hours=1))
    driver.advance(to="2026-01-01 06:00")
    # at hour n the day's total is n; what hour n sees is the total of hour n - 2
    assert said(driver, "factor_ppm") == [0, 0, 1, 2, 3, 4]
    driver.crash_and_restore()
    driver.advance(to="2026-01-01 07:00")
    assert said(driver, "factor_ppm")[-1] == 5
    assert driver.replay() == []
    driver.close()


def test_a_delay_of_nothing_is_none() -> None:
    with pytest.raises(WiringError, match="delayed gives DayTotalled no delay"):
        make(other(TABLED, delayed={DayTotalled: timedelta(0)}), DAYS)


def test_history_is_as_of_the_tick_and_of_its_own_as_of_the_tick_before() -> None:
    def look(ctx: Any) -> Iterator[Emit[Any]]:
        span = {"since": utc("2025-12-31"), "until": utc("2026-01-02")}
        own = ctx.history(HourSummed, **span).height
        yield hour(ctx, ctx.history(CounterRead, **span).height, own, site=f"s{ctx.partition}")

    spec = other(TABLED, tables=Records(), history=Records((CounterRead, HourSummed)), on_tick=look)
    driver = make(spec)
    driver.host.tasks, tasks = [], driver.host.tasks
    for _ in range(3):
        read_once(driver, 1)
        driver.advance(by=QUARTER)
    driver.host.tasks = tasks  # all three ticks are caught up with: no hindsight
    driver.host.settle()
    assert said(driver) == [1, 2, 3]
    assert said(driver, "factor_ppm") == [0, 1, 2]
    assert driver.replay() == []
    driver.close()


def test_a_single_task_reads_all_partitions_and_cuts_tile_each() -> None:
    driver = make(other(HOURS, single=True), partitions=3, limits=Limits(batch_rows=2))
    for number in range(12):
        read_once(driver, 1, f"s{number}")
    driver.advance(by=QUARTER)
    driver.crash_and_restore()
    for number in range(12):
        read_once(driver, 2, f"s{number}")
    driver.advance(by=QUARTER)
    latest = driver.read(HourSummed, latest=True)
    assert latest["energy_wh"].to_list() == [3] * 12
    places: dict[int, int] = {}
    for event in events(driver, COMMIT):
        for item in event["inputs"]:
            assert item["from_offset"] == places.get(item["partition"], 0)
            places[item["partition"]] = item["to_offset"]
    assert set(places) == {0, 1, 2}
    assert driver.replay() == []
    driver.close()


def test_a_processor_without_reads_has_a_task_for_each_partition_that_it_writes() -> None:
    def say(ctx: Any) -> Iterator[Emit[Any]]:
        yield hour(ctx, ctx.partition, site=f"s{ctx.partition}")

    driver = make(other(TABLED, on_tick=say), partitions=3)
    driver.advance(by=QUARTER)
    assert sorted(said(driver)) == [0, 1, 2]
    driver.close()


def test_what_upstream_holds_back_holds_the_watermark_downstream() -> None:
    seen: list[tuple[datetime, datetime]] = []

    def hold(ctx: Any) -> None:
        ctx.hold(ctx.now - timedelta(hours=3))
        ctx.hold(ctx.now - timedelta(hours=1))

    def note(ctx: Any) -> None:
        seen.append((ctx.watermark(HourSummed), ctx.watermark(HourSummed, previous=True)))

    driver = make(other(HOURS, on_tick=hold), other(DAYS, on_tick=note), twice=False)
    driver.advance(to="2026-01-01 04:00")
    assert seen[-1] == (utc("2026-01-01 01:00"), utc("2026-01-01 00:00"))
    driver.close()


def test_a_watermark_is_held_on_a_tick_alone() -> None:
    driver = make(other(HOURS, on_batch=lambda ctx, batch: ctx.hold(ctx.now)))
    read_once(driver, 1)
    with pytest.raises(WiringError, match="held in on_tick"):
        driver.advance(by=QUARTER)
    driver.close()


def test_a_board_that_begins_late_says_the_same_of_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.hosts.board._FEW_TICKS", 3)
    monkeypatch.setattr("streams.hosts.board._REACH_MICROS", 3600 * 1_000_000)
    with world.host() as made:
        made.run(world.START + timedelta(hours=12))
        whole, late = (Board(made.topology, made.log, made.codec) for _ in range(2))
        since = micros(world.START + timedelta(hours=9))
        late.reach_back(since)
        for board in (whole, late):
            board.refresh()
        assert 10 < len(late.ticks) < len(whole.ticks) / 2
        ticks = [tick for tick in whole.ticks if tick >= since]
        assert [tick for tick in late.ticks if tick >= since] == ticks
        for tick in ticks:
            for topic in made.topology.contracts.topics.values():
                assert late.bounds(topic, tick) == whole.bounds(topic, tick)
                assert late.watermark(topic, tick) == whole.watermark(topic, tick)
        late.reach_back(since + 1)  # nothing new
        assert len(late.ticks) < len(whole.ticks) / 2
        late.reach_back(None)  # a task that begins
        late.refresh()
        assert late.ticks == whole.ticks
