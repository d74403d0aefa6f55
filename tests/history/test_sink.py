"""The sink brings every record once: gaps, faults, cut inserts, several sinks, and logs that are not its own."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from streams.contracts.codec import Codec, RegistryAway
from streams.errors import HistoryError
from streams.history import History, Sink
from streams.history import shelf as shelf_module
from streams.history import sink as sink_module
from streams.history import store as store_module
from tests.history.world import INTERVAL, PARTITIONS, TABLE, World, interval, read_all
from topics import CONTRACTS

PLACES = ["_partition", "_offset"]


def world_of(events: int, *, sites: int = 12, every: int = 7) -> World:
    """A log whose transactions spread over months, with an aborted one now and then."""
    world = World()
    world.create(INTERVAL)
    for start in range(0, events, every):
        batch = [
            interval(number % sites, number // sites * 700 + number % 3 * 3_000, energy=float(number))
            for number in range(start, min(start + every, events))
        ]
        world.append(INTERVAL, batch)
        if start % 5 == 0:
            world.append(INTERVAL, batch[:2], abort=True)
    return world


def places_of(frame: pl.DataFrame) -> list[tuple[int, int]]:
    return sorted(frame.select(PLACES).rows())


def stored(history: History, *, once: bool) -> list[tuple[int, int]]:
    """The places of all rows of the table, as they are or as a reader sees them."""
    sql = f"SELECT _partition, _offset FROM {TABLE} ORDER BY ALL"
    return (history.query(sql) if once else history._session.select(sql)).rows()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks of 16 offsets, so that a few hundred records are many blocks."""
    for module in (shelf_module, sink_module, store_module):
        monkeypatch.setattr(module, "BLOCK", 16)
    return 16


def test_offsets_of_aborted_records_and_markers_are_passed_over() -> None:
    world = world_of(60)
    with History.embedded(None, CONTRACTS, hold_rows=0) as history:
        sink = Sink(world.log, history, world.codec)
        assert sink.advance(INTERVAL, world.ends(INTERVAL)) == 60
        assert {place: history.held(INTERVAL, place) for place in range(PARTITIONS)} == world.ends(INTERVAL)
        assert sink.advance(INTERVAL, world.ends(INTERVAL)) == 0
        assert stored(history, once=False) == places_of(world.rows(INTERVAL))


def test_asking_for_more_than_is_stable_brings_what_is_stable_and_comes_to_an_end() -> None:
    world = world_of(20)
    ends = world.ends(INTERVAL)
    pending = world.log.transaction("slow")
    pending.append(INTERVAL.name, 0, [b"k"], [b"v"])
    with History.embedded(None, CONTRACTS) as history:
        sink = Sink(world.log, history, world.codec)
        assert sink.advance(INTERVAL, {place: end + 1_000 for place, end in ends.items()}) == 20
        pending.abort()
        assert sink.advance(INTERVAL, {place: end + 1_000 for place, end in ends.items()}) == 0


def test_nothing_is_inserted_where_nothing_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(20)
    with History.embedded(None, CONTRACTS, hold_rows=0) as history:
        sink = Sink(world.log, history, world.codec)
        sink.advance(INTERVAL, world.ends(INTERVAL))
        monkeypatch.setattr(history._session, "insert", lambda *_: pytest.fail("an insert"))
        monkeypatch.setattr(history._session, "select", lambda *_: pytest.fail("a query"))
        monkeypatch.setattr(world.log, "read", lambda *_, **__: pytest.fail("a read of the log"))
        assert sink.advance(INTERVAL, world.ends(INTERVAL)) == 0


def test_inserts_never_reach_over_a_block(small_blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(100)
    for hold in (0, 50, 10_000):
        with History.embedded(None, CONTRACTS, hold_rows=hold) as history:
            real = history._session.insert

            def insert(table: str, frame: pl.DataFrame, token: str | None, real: Callable[..., None] = real) -> None:
                blocks = frame.select("_partition", pl.col("_offset") // small_blocks).unique()
                assert blocks.height == blocks.get_column("_partition").n_unique()
                real(table, frame, token)

            monkeypatch.setattr(history._session, "insert", insert)
            Sink(world.log, history, world.codec).advance(INTERVAL, world.ends(INTERVAL))
            assert stored(history, once=True) == places_of(world.rows(INTERVAL))


# --- what cannot be decoded ----------------------------------------------------------------------------------------


def test_what_cannot_be_decoded_is_kept_with_its_place_and_reason_and_the_rest_goes_on() -> None:
    world = world_of(10)
    before = world.ends(INTERVAL)[0]
    good = world.codec.encode(INTERVAL, world.codec.prepare(INTERVAL, [interval(1, 0)]))
    world.put(INTERVAL, {0: [(b"k", b"\x07rubbish"), (None, None), (b"other", good.values[0]), (b"x", b"\xff\xfe")]})
    for hold in (0, 1_000):
        with History.embedded(None, CONTRACTS, hold_rows=hold) as history:
            sink = Sink(world.log, history, world.codec)
            assert sink.advance(INTERVAL, world.ends(INTERVAL)) == 10
            for _ in range(2):  # and once more, as if the history had never heard of it
                found = history.query(
                    "SELECT topic, partition, offset, reason_code, key, value, "
                    "toUnixTimestamp64Micro(appended_at) AS at FROM _undecodable ORDER BY offset"
                )
                assert found.select("topic", "partition", "offset", "reason_code").rows() == [
                    (INTERVAL.name, 0, before, "BAD_MAGIC"),
                    (INTERVAL.name, 0, before + 1, "NULL_VALUE"),
                    (INTERVAL.name, 0, before + 2, "KEY_MISMATCH"),
                    (INTERVAL.name, 0, before + 3, "TRUNCATED"),
                ]
                assert found.item(1, "key") is None
                assert found.item(1, "value") is None
                assert found.item(3, "value") == b"\xff\xfe"
                history._session._client.command("INSERT INTO _undecodable SELECT * FROM _undecodable")


def test_a_registry_that_is_away_is_waited_for_and_nothing_is_lost_or_rejected() -> None:
    world = world_of(10)

    class Away:
        here = False

        def register(self, subject: str, schema: str) -> int:
            return world.codec.registry.register(subject, schema)

        def schema(self, schema_id: int) -> str:
            if not self.here:
                raise RegistryAway("away")
            return world.codec.registry.schema(schema_id)

    registry = Away()
    with History.embedded(None, CONTRACTS) as history:
        sink = Sink(world.log, history, Codec(registry))
        with pytest.raises(RegistryAway):
            sink.advance(INTERVAL, world.ends(INTERVAL))
        registry.here = True
        assert sink.advance(INTERVAL, world.ends(INTERVAL)) == 10


# --- cut short -----------------------------------------------------------------------------------------------------


def reopened(path: Path, world: World, *, hold: int = 0) -> History:
    history = History.embedded(path, CONTRACTS, hold_rows=hold)
    Sink(world.log, history, world.codec).advance(INTERVAL, world.ends(INTERVAL))
    return history


def as_stored(world: World) -> pl.DataFrame:
    return world.rows(INTERVAL).with_columns(
        pl.col("_appended_at").cast(pl.Datetime("us", "UTC")), pl.lit(1, pl.UInt32).alias("_schema_id")
    )


def test_the_rest_of_an_insert_of_which_only_one_month_was_written_is_brought_later(tmp_path: Path) -> None:
    world = world_of(60)
    rows = as_stored(world)
    month = rows.get_column("period_start").dt.month()
    last = rows.filter(month == month.max())  # offsets before and behind are missing
    with History.embedded(tmp_path, CONTRACTS, hold_rows=0) as history:
        history.ensure(INTERVAL)
        history._session.insert(TABLE, last, None)
        assert 0 < last.height < 40
    with reopened(tmp_path, world) as history:
        assert stored(history, once=False) == places_of(rows), "nothing is missing and nothing was written twice"
        assert read_all(history, INTERVAL, world.ends(INTERVAL), latest=False).height == 60


def test_undecodable_records_of_a_cut_insert_are_brought_later_and_once(tmp_path: Path) -> None:
    world = world_of(10)
    world.put(INTERVAL, {0: [(b"k", b"bad"), (b"k", b"\x00")]})
    world.append(INTERVAL, [interval(site, 9) for site in range(12)])
    with History.embedded(tmp_path, CONTRACTS, hold_rows=0) as history:  # killed before any of them
        history.ensure(INTERVAL)
        history._session.insert(TABLE, as_stored(world).tail(3), None)
    for _ in range(3):
        with reopened(tmp_path, world) as history:
            assert history._session.select("SELECT count() AS n FROM _undecodable").item() == 2
            assert stored(history, once=False) == places_of(world.rows(INTERVAL))


def test_a_server_that_remembers_a_token_and_lost_the_rows_gets_them_again(tmp_path: Path) -> None:
    world = world_of(24, sites=1, every=1)
    place = next(place for place, end in world.ends(INTERVAL).items() if end)
    tokens: list[str | None] = []
    rows = as_stored(world)
    with History.embedded(tmp_path, CONTRACTS, hold_rows=0) as history:
        real = history._session.insert

        def note(table: str, frame: pl.DataFrame, token: str | None) -> None:
            tokens.append(token)
            real(table, frame, token)

        history._session.insert = note  # type: ignore[method-assign]
        sink = Sink(world.log, history, world.codec)
        for end in (5, 10, 15):
            sink.advance(INTERVAL, {place: end})
        assert tokens[0] is None
        assert None not in tokens[1:]
        held = history.held(INTERVAL, place)
        following = rows.filter(pl.col("_offset") >= held, pl.col("_offset") < 20)
        first, last = following.get_column("_offset").to_list()[:: following.height - 1]
        poisoned: list[str | None] = []
        history._session.insert = lambda table, frame, token: poisoned.append(token)  # type: ignore[method-assign]
        history._insert_rows(history._shelf(INTERVAL), following, {place: f"{place}:{first}-{last}"})
        assert poisoned[0], "what the insert to come would be called"
        real(TABLE, rows.head(1), poisoned[0])  # the server remembers that name, and has other rows
    before = len(places_of(rows.filter(pl.col("_offset") < held)))
    with History.embedded(tmp_path, CONTRACTS, hold_rows=0) as history:
        assert Sink(world.log, history, world.codec).advance(INTERVAL, {place: 20}) == following.height
        assert len(stored(history, once=True)) == before + following.height


def test_rows_of_an_insert_that_failed_are_inserted_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(20)
    with History.embedded(None, CONTRACTS, hold_rows=0) as history:
        sink = Sink(world.log, history, world.codec)
        real = history._session.insert
        calls: list[int] = []

        def flaky(table: str, frame: pl.DataFrame, token: str | None) -> None:
            calls.append(1)
            real(table, frame, token)
            if len(calls) % 2:
                raise HistoryError("the line broke when all was written")

        monkeypatch.setattr(history._session, "insert", flaky)
        for share in (0.2, 0.5, 0.7, 1.0):
            ends = {place: int(end * share) for place, end in world.ends(INTERVAL).items()}
            for _ in range(2):
                try:
                    sink.advance(INTERVAL, ends)
                    history.flush()
                except HistoryError:
                    continue
        history.flush()
        assert stored(history, once=True) == places_of(world.rows(INTERVAL))
        assert read_all(history, INTERVAL, world.ends(INTERVAL), latest=False).height == 20


# --- several sinks -------------------------------------------------------------------------------------------------


def keep_doubles(history: History) -> None:
    """Stop the merges that would take doubles away before they are counted."""
    history.ensure(INTERVAL)
    history._session.command(f"SYSTEM STOP MERGES {TABLE}")


def run_both(world: World, sinks: list[Sink], steps: int) -> None:
    """Two threads, each with a sink, advance by other steps."""
    failed: list[BaseException] = []

    def run(sink: Sink, stride: int) -> None:
        try:
            for step in range(stride, steps + stride, stride):
                share = min(step / steps, 1)
                sink.advance(INTERVAL, {place: int(end * share) for place, end in world.ends(INTERVAL).items()})
            sink.advance(INTERVAL, world.ends(INTERVAL))
        except BaseException as error:  # noqa: BLE001  # the test reports it
            failed.append(error)

    threads = [threading.Thread(target=run, args=(sink, 1 + at)) for at, sink in enumerate(sinks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


@pytest.mark.parametrize("hold", [0, 25])
@pytest.mark.usefixtures("small_blocks")
def test_two_sinks_at_once_on_one_history_bring_every_row_once(hold: int) -> None:
    world = world_of(120)
    with History.embedded(None, CONTRACTS, hold_rows=hold) as history:
        run_both(world, [Sink(world.log, history, Codec(world.codec.registry)) for _ in range(2)], 12)
        history.flush()
        assert stored(history, once=False) == places_of(world.rows(INTERVAL))
        assert read_all(history, INTERVAL, world.ends(INTERVAL), latest=False).height == 120


@pytest.mark.parametrize("hold", [0, 25])
@pytest.mark.usefixtures("small_blocks")
def test_two_sinks_with_a_history_each_leave_every_row_once_for_the_reader(tmp_path: Path, hold: int) -> None:
    world = world_of(120)
    with (
        History.embedded(tmp_path, CONTRACTS, hold_rows=hold) as one,
        History.embedded(tmp_path, CONTRACTS, hold_rows=hold) as two,
    ):
        keep_doubles(one)
        run_both(world, [Sink(world.log, history, Codec(world.codec.registry)) for history in (one, two)], 12)
        one.flush()
        two.flush()
        assert len(stored(one, once=False)) > 120, "they did write doubles, or this proves nothing"
    ends, expected = world.ends(INTERVAL), places_of(world.rows(INTERVAL))
    with History.embedded(tmp_path, CONTRACTS) as history:
        assert stored(history, once=True) == expected
        assert read_all(history, INTERVAL, ends, latest=False).height == 120
        assert (
            history.query(f"SELECT count() AS n FROM latest_{TABLE}").item() == read_all(history, INTERVAL, ends).height
        )


def test_a_second_sink_in_step_with_the_first_is_recognised_by_its_tokens(tmp_path: Path) -> None:
    world = world_of(100)
    with (
        History.embedded(tmp_path, CONTRACTS, hold_rows=0) as one,
        History.embedded(tmp_path, CONTRACTS, hold_rows=0) as two,
    ):
        keep_doubles(one)
        sinks = [Sink(world.log, history, world.codec) for history in (one, two)]
        first: dict[int, int] = {}
        for step in range(1, 11):
            ends = {place: end * step // 10 for place, end in world.ends(INTERVAL).items()}
            for sink in sinks:
                sink.advance(INTERVAL, ends)
            first = first or ends
        doubles = len(stored(one, once=False)) - 100
        twice = world.rows(INTERVAL).filter(
            pl.col("_offset") < pl.col("_partition").replace_strict(first, return_dtype=pl.UInt64)
        )
        assert doubles == twice.height, "only what came before each had inserted once is there twice"


# --- logs that are not its own -------------------------------------------------------------------------------------


def test_a_topic_made_anew_is_not_mixed_with_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(20)
    reopened(tmp_path, world).close()
    monkeypatch.setattr(world.log, "uuid", lambda _: "another")
    with History.embedded(tmp_path, CONTRACTS) as history, pytest.raises(HistoryError, match=r"made anew.*of its own"):
        Sink(world.log, history, world.codec).advance(INTERVAL, world.ends(INTERVAL))


def test_a_history_that_holds_more_than_the_log_is_refused(tmp_path: Path) -> None:
    reopened(tmp_path, world_of(60)).close()
    young = world_of(10)
    with History.embedded(tmp_path, CONTRACTS) as history, pytest.raises(HistoryError, match="do not belong together"):
        Sink(young.log, history, young.codec).advance(INTERVAL, young.ends(INTERVAL))


def test_a_log_that_has_forgotten_its_beginning_is_taken_up_where_it_begins(tmp_path: Path) -> None:
    world = world_of(60)
    for place, end in world.ends(INTERVAL).items():
        world.log.truncate(INTERVAL.name, place, end // 2)
    ends = world.ends(INTERVAL)
    kept: list[Any] = []
    for place, end in ends.items():
        slab = world.log.read(INTERVAL.name, place, 0, stop=end)
        kept += [(place, int(offset)) for offset in slab.offsets]
    with History.embedded(tmp_path, CONTRACTS) as history:
        Sink(world.log, history, world.codec).advance(INTERVAL, ends)
        assert stored(history, once=True) == sorted(kept)
