"""A read gives exactly what the log says, wherever the rows happen to be: in memory, in the table, or in both."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contracts.codec import Codec
from streams.errors import HistoryError
from streams.history import History, Sink
from tests.history.world import INTERVAL, PARTITIONS, QUARTER, T0, TABLE, World, interval, read_all
from topics import CONTRACTS

#: Columns that tell the events of these tests apart.
SHORT = ["site_id", "period_start", "revision", "energy_wh"]


def by_hand(
    world: World, ends: dict[int, int], since: datetime, until: datetime, keys: list[str] | None, *, latest: bool
) -> list[tuple[Any, ...]]:
    """What a read must give, by plain Python over the log."""
    found = [
        row
        for row in world.rows(INTERVAL).iter_rows(named=True)
        if row["_offset"] < ends.get(row["_partition"], 0)
        and since <= row["period_start"] < until
        and (keys is None or row["site_id"] in keys)
    ]

    def identity(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in INTERVAL.identity)

    found.sort(key=lambda row: (*identity(row), row["_partition"], row["_offset"]))
    if latest:
        found = list({identity(row): row for row in found}.values())
    return [tuple(row[name] for name in SHORT) for row in found]


_event = st.builds(
    interval,
    site=st.integers(0, 5),
    step=st.integers(0, 8),
    revision=st.integers(0, 3),
    energy=st.floats(-10, 10),
    apart=st.just(timedelta(days=12)),
)
_step = st.one_of(
    st.tuples(st.just("append"), st.lists(_event, min_size=1, max_size=12)),
    st.tuples(st.just("abort"), st.lists(_event, min_size=1, max_size=3)),
    st.tuples(st.just("advance"), st.floats(0, 1)),
    st.tuples(st.just("flush"), st.none()),
)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(_step, min_size=1, max_size=12),
    hold=st.sampled_from([0, 4, 1_000]),
    window=st.tuples(st.integers(-1, 8), st.integers(0, 9)),
    keys=st.none() | st.lists(st.integers(0, 6), max_size=3),
    share=st.floats(0, 1),
    latest=st.booleans(),
)
def test_a_read_gives_what_the_log_says(
    *,
    steps: list[tuple[str, Any]],
    hold: int,
    window: tuple[int, int],
    keys: list[int] | None,
    share: float,
    latest: bool,
) -> None:
    world = World()
    world.create(INTERVAL)
    with History.embedded(None, CONTRACTS, hold_rows=hold) as history:
        sink = Sink(world.log, history, world.codec)
        held: dict[int, int] = {}
        for what, value in steps:
            if what in ("append", "abort"):
                world.append(INTERVAL, value, abort=what == "abort")
            elif what == "advance":
                held = {place: max(held.get(place, 0), int(end * value)) for place, end in world.ends(INTERVAL).items()}
                sink.advance(INTERVAL, held)
            else:
                history.flush()
        ends = {place: int(end * share) for place, end in held.items()}
        since, until = (T0 + timedelta(days=12) * edge for edge in window)
        names = None if keys is None else [f"site-{key:03d}" for key in keys]
        found = history.read(INTERVAL, ends, since=since, until=until, keys=names, latest=latest)
        assert found.schema == INTERVAL.empty().schema
        assert found.select(SHORT).rows() == by_hand(world, ends, since, until, names, latest=latest)


def test_partitions_that_are_not_named_are_not_read_and_later_offsets_neither() -> None:
    world = World()
    world.create(INTERVAL)
    world.append(INTERVAL, [interval(site, step) for step in range(3) for site in range(8)])
    for hold in (0, 1_000):
        with History.embedded(None, CONTRACTS, hold_rows=hold) as history:
            Sink(world.log, history, world.codec).advance(INTERVAL, world.ends(INTERVAL))
            parts = [read_all(history, INTERVAL, {place: 3}) for place in range(PARTITIONS)]
            assert sum(part.height for part in parts) == min(3, 3) * sum(
                end > 0 for end in world.ends(INTERVAL).values()
            )
            assert read_all(history, INTERVAL, {}).height == 0
            assert read_all(history, INTERVAL, dict.fromkeys(range(PARTITIONS), 0)).height == 0


def test_as_of_an_append_time_shows_what_was_known_then() -> None:
    world = World()
    world.create(INTERVAL)
    world.append(INTERVAL, [interval(1, 0, energy=1.0)])
    then = datetime.fromtimestamp(world.now / 1e6, UTC)
    world.append(INTERVAL, [interval(1, 0, energy=2.0, revision=1)])
    for hold in (0, 1_000):
        with History.embedded(None, CONTRACTS, hold_rows=hold) as history:
            ends = world.ends(INTERVAL)
            Sink(world.log, history, world.codec).advance(INTERVAL, ends)
            known = history.read(INTERVAL, ends, since=T0, until=T0 + QUARTER, as_of=then)
            assert known.select("revision", "energy_wh").rows() == [(0, 1.0)]
            before = history.read(INTERVAL, ends, since=T0, until=T0 + QUARTER, as_of=then - timedelta(microseconds=1))
            assert before.height == 0


def test_times_are_half_open_to_the_microsecond() -> None:
    world = World()
    world.create(INTERVAL)
    micro = timedelta(microseconds=1)
    events = [interval(1, 0) | {"period_start": T0 + micro * at, "period_end": T0 + QUARTER} for at in range(4)]
    world.append(INTERVAL, events)
    for hold in (0, 1_000):
        with History.embedded(None, CONTRACTS, hold_rows=hold) as history:
            ends = world.ends(INTERVAL)
            Sink(world.log, history, world.codec).advance(INTERVAL, ends)
            found = history.read(INTERVAL, ends, since=T0 + micro, until=T0 + micro * 3)
            assert found.get_column("period_start").to_list() == [T0 + micro, T0 + micro * 2]


def test_keys_with_quotes_and_backslashes_are_found() -> None:
    world = World()
    world.create(INTERVAL)
    names = ["it's", "back\\slash", "a`b", "ünïcode", "x') OR 1=1 --"]
    world.append(INTERVAL, [interval(1, 0) | {"site_id": name} for name in names])
    with History.embedded(None, CONTRACTS, hold_rows=0) as history:
        ends = world.ends(INTERVAL)
        Sink(world.log, history, world.codec).advance(INTERVAL, ends)
        for name in names:
            found = history.read(INTERVAL, ends, since=T0, until=T0 + QUARTER, keys=[name], latest=False)
            assert found.get_column("site_id").to_list() == [name]


def test_ten_thousand_keys_are_no_problem() -> None:
    world = World()
    world.create(INTERVAL)
    world.append(INTERVAL, [interval(site, 0) for site in range(20)])
    with History.embedded(None, CONTRACTS, hold_rows=0) as history:
        ends = world.ends(INTERVAL)
        Sink(world.log, history, world.codec).advance(INTERVAL, ends)
        many = [f"site-{site:03d}" for site in range(15)] + [f"other-{number:06d}" for number in range(10_000)]
        assert history.read(INTERVAL, ends, since=T0, until=T0 + QUARTER, keys=many).height == 15


def test_a_recent_read_asks_clickhouse_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.create(INTERVAL)
    with History.embedded(None, CONTRACTS, hold_rows=40) as history:
        sink = Sink(world.log, history, world.codec)
        for step in range(30):
            world.append(INTERVAL, [interval(site, step) for site in range(5)])
            sink.advance(INTERVAL, world.ends(INTERVAL))
        asked: list[str] = []
        real = history._session.select

        def select(sql: str) -> pl.DataFrame:
            asked.append(sql)
            return real(sql)

        monkeypatch.setattr(history._session, "select", select)
        ends = world.ends(INTERVAL)
        recent = history.read(INTERVAL, ends, since=T0 + QUARTER * 28, until=T0 + QUARTER * 40)
        assert (recent.height, asked) == (10, [])
        assert history.read(INTERVAL, ends, since=T0, until=T0 + QUARTER * 40).height == 150
        assert len(asked) == 1


# --- queries of people ---------------------------------------------------------------------------------------------


def test_a_query_sees_what_still_waits_and_cannot_change_anything() -> None:
    world = World()
    world.create(INTERVAL)
    world.append(INTERVAL, [interval(1, 0)])
    with History.embedded(None, CONTRACTS) as history:
        Sink(world.log, history, world.codec).advance(INTERVAL, world.ends(INTERVAL))
        assert history.query(f"SELECT count() AS n FROM {TABLE};").item() == 1
        for statement in (f"DROP TABLE {TABLE}", f"INSERT INTO {TABLE} SELECT * FROM {TABLE}", "SET readonly = 0"):
            with pytest.raises(HistoryError, match=r"readonly|what gives rows"):
                history.query(statement)
        with pytest.raises(Exception, match="readonly"):  # not only for want of a format
            history._session._people.command(f"DROP TABLE {TABLE}")
        assert history.query(f"SELECT count() AS n FROM {TABLE}").item() == 1


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT nothing", "Unknown expression.* `nothing`"),
        ("SELEC 1", "Syntax error"),
        ("SELECT * FROM nowhere", "Unknown table.*nowhere"),
        ("SELECT 1 FORMAT CSV", "without FORMAT"),
    ],
)
def test_a_wrong_query_is_one_clear_line(sql: str, said: str) -> None:
    with History.embedded(None, CONTRACTS) as history, pytest.raises(HistoryError, match=said) as wrong:
        history.query(sql)
    assert "\n" not in str(wrong.value)
    assert "version" not in str(wrong.value)


def test_bytes_stay_bytes_and_text_is_text() -> None:
    with History.embedded(None, CONTRACTS) as history:
        found = history.query("SELECT unhex('FF00') AS raw, 'é' AS text, ['a', 'b'] AS list, tuple('x', 1) AS pair")
    assert found.row(0) == (b"\xff\x00", "é", ["a", "b"], {"1": "x", "2": 1})


def test_the_codec_is_the_only_thing_a_reader_of_another_process_needs(tmp_path: Path) -> None:
    world = World()
    world.create(INTERVAL)
    world.append(INTERVAL, [interval(1, step) for step in range(5)])
    ends = world.ends(INTERVAL)
    with History.embedded(tmp_path, CONTRACTS) as history:
        Sink(world.log, history, Codec(world.codec.registry)).advance(INTERVAL, ends)
    with History.embedded(tmp_path, CONTRACTS) as history:  # reads before any sink has advanced
        assert read_all(history, INTERVAL, ends).height == 5
        assert history.query(f"SELECT count() AS n FROM {TABLE}").item() == 5


@pytest.mark.parametrize("hold_rows", [0, 1000])
def test_asked_for_some_columns_only_these_come_and_of_the_same_rows(hold_rows: int) -> None:
    """Though the identity, which says what is newest, is not among them."""
    world = World()
    world.create(INTERVAL)
    world.append(INTERVAL, [interval(site, step, revision=step % 2, energy=site) for site in (2, 1) for step in (0, 1)])
    world.append(INTERVAL, [interval(1, 0, revision=5, energy=7.0)])
    with History.embedded(None, CONTRACTS, hold_rows=hold_rows) as history:
        ends = world.ends(INTERVAL)
        Sink(world.log, history, world.codec).advance(INTERVAL, ends)
        asked: dict[str, Any] = {"since": T0, "until": T0 + timedelta(days=1)}
        some = history.read(INTERVAL, ends, **asked, columns=("energy_wh", "site_id"))
        assert some.columns == ["energy_wh", "site_id"]
        assert some.rows() == history.read(INTERVAL, ends, **asked).select("energy_wh", "site_id").rows()
        assert some["energy_wh"].sum() == 7.0 + 1.0 + 2.0 + 2.0
        assert history.read(INTERVAL, {}, **asked, columns=("quality",)).columns == ["quality"]
        with pytest.raises(HistoryError, match=f"topic {INTERVAL.name} has no column 'power_w'; it has "):
            history.read(INTERVAL, ends, **asked, columns=("power_w",))
