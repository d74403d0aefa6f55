"""What every host must do, shown on the plant: on the log in memory, and the same on a Kafka cluster."""

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.errors import FencedError, RejectLimitError
from streams.hosts.local import LocalHost
from streams.hosts.task import Limits, Task
from streams.testing import Crash, TopologyDriver, assert_replayable, utc
from streams.topology import COMMIT
from tests.conformance.hosts import START, Hosts, InMemory, OnKafka
from tests.conformance.plant import CONTRACTS, DAYS, HOURS, CounterRead, DayTotalled, FactorSet, Hour, HourSummed


@pytest.fixture(scope="module", params=["memory", "kafka"])
def hosts(request: pytest.FixtureRequest) -> Iterator[Hosts]:
    if request.param == "memory":
        yield InMemory()
        return
    on_kafka = OnKafka(request.getfixturevalue("cluster"))
    yield on_kafka
    on_kafka.close()


@pytest.fixture
def driver(hosts: Hosts) -> Iterator[TopologyDriver]:
    made = hosts.plant()
    yield made
    made.close()


def reading(site: str, minute: int, energy_wh: int) -> dict[str, Any]:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    return {"site_id": site, "counter_id": f"{site}/c", "read_at": at, "energy_wh": energy_wh}


readings = st.lists(
    st.builds(reading, st.sampled_from(["s1", "s2", "s3"]), st.integers(0, 180), st.integers(0, 1_000)), max_size=12
)
steps = st.lists(st.tuples(readings, st.sampled_from([None, 500_000, 2_000_000])), min_size=1, max_size=5)


def play(driver: TopologyDriver, script: Sequence[tuple[list[dict[str, Any]], int | None]]) -> None:
    for rows, factor in script:
        if factor is not None:
            driver.pipe(FactorSet, [{"factor_id": "f", "valid_from": driver.now, "factor_ppm": factor}])
        if rows:
            driver.pipe(CounterRead, rows)
        driver.advance(by=timedelta(minutes=30))


def world(driver: TopologyDriver) -> list[pl.DataFrame]:
    return [driver.read(record).sort(pl.all()) for record in (HourSummed, DayTotalled)]


def test_the_plant_gives_what_arithmetic_gives(driver: TopologyDriver) -> None:
    driver.pipe(CounterRead, [reading("s1", 5, 10), reading("s2", 6, 5)])
    driver.advance(to="2026-01-01 01:00")
    driver.pipe(FactorSet, [{"factor_id": "f", "valid_from": utc(START), "factor_ppm": 500_000}])
    driver.pipe(CounterRead, [reading("s1", 25, 10)])
    driver.advance(to="2026-01-01 02:00")
    hours = driver.read(HourSummed, latest=True)
    assert hours.select("site_id", "energy_wh", "revision").rows() == [("s1", 10, 1), ("s2", 5, 0)]
    days = driver.read(DayTotalled).select("energy_wh", "sites", "revision").rows()
    assert days == [(15, 2, 0)]  # 10 + 5, and again 20/2 + 5: nothing new to say


def test_cuts_do_not_change_the_world(hosts: Hosts) -> None:
    @settings(max_examples=hosts.few(15, 2), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(script=steps, rows=st.sampled_from([1, 2, 5]), partitions=st.sampled_from([1, 3]))
    def shown(script: Any, rows: int, partitions: int) -> None:
        whole = InMemory().plant(twice=False)
        cut = hosts.plant(twice=False, limits=Limits(batch_rows=rows), partitions=partitions)
        try:
            for driver in (whole, cut):
                play(driver, script)
            assert all(a.equals(b) for a, b in zip(world(whole), world(cut), strict=True))
        finally:
            whole.close()
            cut.close()

    shown()


def test_the_order_in_which_tasks_run_changes_nothing(hosts: Hosts) -> None:
    rng = random.Random(5)
    rows = [reading(f"s{rng.randrange(5)}", rng.randrange(200), rng.randrange(50)) for _ in range(9)]
    script = [(rows, None)] * hosts.few(4, 2)
    worlds = []
    for order in (["hours", "days"], ["days", "hours"]):
        driver = hosts.plant(twice=False)
        driver.host._order = order
        driver.host.restore()
        play(driver, script)
        worlds.append(world(driver))
        driver.close()
    assert all(a.equals(b) for a, b in zip(*worlds, strict=True))


def test_a_crash_after_every_single_commit_gives_the_same_bytes(hosts: Hosts) -> None:
    script = [([reading("s1", 10, 7), reading("s2", 70, 9)], 500_000), ([reading("s1", 11, 1)], None)]
    calm, shaken = InMemory().plant(twice=False), hosts.plant(twice=False)
    shaken.crash_when = lambda point: point == "after_commit"
    play(calm, script)
    play(shaken, script)
    assert shaken.crashes >= calm.commits()
    for record in (HourSummed, DayTotalled):
        topic = record.__topic__.name
        for partition in range(calm.host.log.partitions(topic)):
            bodies = [[v[5:] for v in d.host.log.read(topic, partition, 0).events] for d in (calm, shaken)]
            assert bodies[0] == bodies[1]
    assert calm.state(Hour).equals(shaken.state(Hour))
    shaken.crash_when = None
    assert shaken.replay() == []
    calm.close()
    shaken.close()


def test_cuts_crashes_and_partition_counts_leave_the_events_as_they_are(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.contracts.Contracts.installed", lambda: CONTRACTS)
    rng = random.Random(11)
    rows = [reading(f"s{rng.randrange(4)}", rng.randrange(200), rng.randrange(9)) for _ in range(6)]
    script = [(rows, None)] * hosts.few(4, 2)
    assert_replayable(
        HOURS,
        DAYS,
        scenario=lambda driver: play(driver, script),
        at=START,
        runs=hosts.few(4, 1),
        cluster=hosts.cluster,
    )


def crash_at_random(seed: int) -> Callable[[str], bool]:
    rng = random.Random(seed)
    return lambda _: rng.random() < 0.05


def commits(driver: TopologyDriver) -> list[dict[str, Any]]:
    slab = driver.host.log.read(COMMIT, 0, 0)
    return driver.host.codec.decode_events(driver.topology.topic(COMMIT), slab.events)


def test_commit_numbers_are_contiguous_and_cuts_tile_the_input(hosts: Hosts) -> None:
    driver = hosts.plant(limits=Limits(batch_rows=2))
    driver.crash_when = crash_at_random(3)
    play(driver, [([reading("s1", minute, 1) for minute in range(0, 60, 5)], None)] * hosts.few(3, 2))
    places: dict[tuple[str, str, int], int] = {}
    numbers: dict[str, int] = {}
    for event in commits(driver):
        assert event["commit_no"] == numbers.get(event["task"], 0) + 1
        numbers[event["task"]] = event["commit_no"]
        for item in event["inputs"]:
            place = (event["task"], item["topic"], item["partition"])
            assert item["from_offset"] == places.get(place, 0)
            places[place] = item["to_offset"]
    assert driver.crashes > 0
    ends = {p: driver.host.log.end("plant.counter.v1", p) for p in range(2)}
    assert {p: places.get((f"hours.v1.{p}", "plant.counter.v1", p), 0) for p in range(2)} == ends
    driver.close()


def test_a_barrier_takes_no_record_appended_after_its_tick(hosts: Hosts) -> None:
    driver = hosts.plant()
    host = driver.host
    driver.pipe(CounterRead, [reading("s1", 1, 1)])
    host.tasks, tasks = [], host.tasks
    driver.advance(by=timedelta(minutes=15))  # a tick nobody acts on yet
    hosts.pause()
    driver.pipe(CounterRead, [reading("s1", 2, 100)])  # hindsight, seen from that tick
    host.tasks = tasks
    host.settle()
    assert driver.read(HourSummed)["energy_wh"].to_list() == [1]
    driver.advance(by=timedelta(minutes=15))
    assert driver.read(HourSummed)["energy_wh"].to_list() == [1, 101]
    driver.close()


def test_a_zombie_that_was_superseded_commits_nothing(driver: TopologyDriver) -> None:
    driver.pipe(CounterRead, [reading("s1", 1, 1)])
    zombies: list[Task] = driver.host.tasks
    driver.host.restore()
    driver.advance(by=timedelta(minutes=15))
    before = driver.commits()
    driver.pipe(CounterRead, [reading("s1", 2, 1)])
    driver.host.tasks, mine = [], driver.host.tasks
    driver.advance(by=timedelta(minutes=15))
    for zombie in zombies:
        zombie.board = driver.host.board
        with pytest.raises(FencedError):
            zombie.step()
    assert driver.commits() == before
    driver.host.tasks = mine
    driver.host.settle()
    assert driver.read(HourSummed)["energy_wh"].to_list() == [1, 2]


def test_what_cannot_be_used_is_put_aside_with_reason_and_position_and_the_rest_goes_on(driver: TopologyDriver) -> None:
    codec, topic = driver.host.codec, CounterRead.__topic__
    good = codec.encode(topic, codec.prepare(topic, [reading("s1", 1, 4), reading("s1", 2, 6)]))
    bad = [b"\x01garbage", good.values[0][:-1], good.values[0] + b"x", b"\x00\x7f\xff\xff\x63abc", None]
    values = [good.values[0], *bad, good.values[1]]
    driver.pipe_raw(CounterRead, [b"s1"] * len(values), values)
    driver.pipe_raw(CounterRead, [b"s9"], [good.values[0]])
    driver.advance(by=timedelta(minutes=15))
    assert driver.read(HourSummed)["energy_wh"].to_list() == [10]
    found = {event["reason_code"] for event in driver.rejected(CounterRead)}
    assert found == {"BAD_MAGIC", "TRUNCATED", "TRAILING_BYTES", "UNKNOWN_SCHEMA", "NULL_VALUE", "KEY_MISMATCH"}
    positions = sorted(e["offset"] for e in driver.rejected(CounterRead) if e["key"] == b"s1")
    start = positions[0]
    assert positions == [start, start + 1, start + 2, start + 3, start + 4]
    assert driver.replay() == []


def test_too_many_rejects_stop_the_processor_with_nothing_lost(hosts: Hosts) -> None:
    driver = hosts.plant(limits=Limits(reject_share=0.1, reject_window=10))
    driver.pipe_raw(CounterRead, [b"s1"] * 3, [b"\x01"] * 3)
    with pytest.raises(RejectLimitError, match=r"hours\.v1\.\d stopped: 3 of the last 3 rows were rejected"):
        driver.advance(by=timedelta(minutes=15))
    assert len(driver.rejected(CounterRead)) == 3
    driver.crash_and_restore()
    driver.pipe(CounterRead, [reading("s1", 1, 4)])
    driver.advance(by=timedelta(minutes=15))
    assert driver.read(HourSummed)["energy_wh"].to_list() == [4]
    driver.close()


def test_a_folder_is_opened_again_and_goes_on(tmp_path: Any) -> None:
    from streams.topology import Topology

    topology = Topology(CONTRACTS, (HOURS, DAYS), absent=True)

    def run(host: LocalHost, rows: list[dict[str, Any]], at: datetime) -> None:
        driver = TopologyDriver.__new__(TopologyDriver)
        driver.__dict__.update(host=host, topology=topology, crash_when=None, _sequence=0, crashes=0)
        driver.pipe(CounterRead, rows)
        host.pass_time(at)
        driver.tick()

    first, second = utc("2026-01-01 01:00"), utc("2026-01-01 02:00")
    with LocalHost(topology, start=utc(START), folder=tmp_path) as host:
        run(host, [reading("s1", 1, 5)], first)
        count = host.commits()
    with LocalHost(topology, start=utc(START), folder=tmp_path) as host:
        assert host.now == first
        assert host.commits() == count
        run(host, [reading("s1", 2, 6)], second)
        codec, topic = host.codec, HourSummed.__topic__
        slab = host.log.read(topic.name, 0, 0)
        assert codec.decode(topic, slab.keys, slab.values).frame["energy_wh"].to_list() == [5, 11]


def test_a_handler_that_is_not_pure_is_caught() -> None:
    import dataclasses

    calls: list[int] = []

    def impure(ctx: Any) -> Any:
        calls.append(1)
        from streams import Emit

        yield Emit(
            HourSummed,
            [{"site_id": "s", "period_start": ctx.now, "revision": len(calls), "energy_wh": 0, "factor_ppm": 0}],
        )

    spec = dataclasses.replace(HOURS, on_tick=impure)
    driver = TopologyDriver(spec, at=START, contracts=CONTRACTS)
    with pytest.raises(Exception, match=r"gave other events for plant\.hour\.v1 when it ran again"):
        driver.advance(by=timedelta(minutes=15))
    driver.close()


def test_a_crash_is_no_error_that_a_handler_could_swallow() -> None:
    assert not issubclass(Crash, Exception)
