"""ClickHouse goes away and comes back: every row is there once for a reader, and what is wrong is one clear line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.errors import HistoryAwayError, HistoryError
from streams.history import History, Sink
from tests.history.wire import Fault, Front, Wire
from tests.history.world import INTERVAL, TABLE, World, interval, read_all
from topics import CONTRACTS

LINE = (
    r"^history at 127\.0\.0\.1:\d+: ClickHouse does not answer \(.*\); see whether it runs .*FLEXLOG_CLICKHOUSE__HOST"
)
PLACE = ["_partition", "_offset"]


@pytest.fixture
def front(tmp_path: Path) -> Front:
    made = Front(tmp_path / "server")
    (tmp_path / "server").mkdir()
    made.start()
    return made


@pytest.fixture
def wire(front: Front) -> Iterator[Wire]:
    with Wire(front) as made:
        made.mend()
        yield made


@pytest.fixture
def world() -> World:
    """Events of some months, each identity in two revisions."""
    made = World()
    made.create(INTERVAL)
    for revision in (0, 1):
        made.append(
            INTERVAL, [interval(n % 7, n * 700, energy=float(n), revision=revision) for n in range(revision, 60)]
        )
    return made


def open_history(wire: Wire) -> History:
    return History.server(CONTRACTS, host="127.0.0.1", port=wire.port, compress=False, connect_timeout=2)


def bring(world: World, history: History) -> int:
    return Sink(world.log, history, world.codec).advance(INTERVAL, world.ends(INTERVAL))


def assert_each_once(world: World, history: History) -> None:
    """What people's queries, the view of the newest and our own reads show is what the log has."""
    truth = world.rows(INTERVAL)
    assert truth.height == 119
    places = truth.select(PLACE).sort(PLACE)
    assert history.query(f"SELECT _partition, _offset FROM {TABLE} ORDER BY ALL").equals(places)
    newest = truth.sort(PLACE).unique(list(INTERVAL.identity), keep="last").sort("period_start", "site_id")
    columns = ["site_id", "period_start", "revision", "energy_wh"]
    latest = f"SELECT {', '.join(columns)} FROM latest_{TABLE} ORDER BY period_start, site_id"
    assert history.query(latest).rows() == newest.select(columns).rows()
    ends = world.ends(INTERVAL)
    assert read_all(history, INTERVAL, ends, latest=False).height == truth.height
    assert read_all(history, INTERVAL, ends)["energy_wh"].sum() == newest["energy_wh"].sum()


def test_a_server_that_is_not_there_yet_is_one_line_that_says_what_to_do(world: World, wire: Wire) -> None:
    wire.cut()
    for _ in range(2):
        with pytest.raises(HistoryAwayError, match=LINE) as told:
            open_history(wire)
        assert "\n" not in str(told.value)
        assert "onnection refused" in str(told.value)
    wire.mend()
    with open_history(wire) as history:
        assert bring(world, history) == 119
        assert_each_once(world, history)


def test_an_answer_that_is_lost_once_is_asked_for_again_and_nothing_is_doubled(world: World, wire: Wire) -> None:
    with open_history(wire) as history:
        wire.faults.append("unanswered")
        assert bring(world, history) == 119
        assert wire.inserts == 2
        assert history._session.select(f"SELECT count() FROM {TABLE}").item() == 119  # the table itself
        assert_each_once(world, history)


@pytest.mark.parametrize("fault", ["half", "unanswered"])
@pytest.mark.parametrize("again", ["the same process", "the next one"])
def test_an_insert_that_is_broken_off_is_made_good(world: World, wire: Wire, fault: Fault, again: str) -> None:
    history = open_history(wire)
    history.ensure(INTERVAL)
    wire.faults += [fault, fault]  # the client tries twice
    with pytest.raises(HistoryAwayError, match=LINE) as told:
        bring(world, history)
    assert "onnection" in str(told.value)
    assert wire.faults == []
    if again == "the next one":
        wire.cut()
        history.close()  # which cannot insert what waits, and says nothing
        wire.mend()
        history = open_history(wire)
    with history:
        bring(world, history)
        history.flush()
        assert_each_once(world, history)


def test_a_server_that_is_killed_and_started_again_goes_on(world: World, wire: Wire, front: Front) -> None:
    with open_history(wire) as history:
        ends = world.ends(INTERVAL)
        Sink(world.log, history, world.codec).advance(INTERVAL, {0: ends[0], 1: ends[1] // 2})
        front.kill()
        with pytest.raises(HistoryAwayError, match=LINE):
            bring(world, history)
        with pytest.raises(HistoryAwayError, match=LINE):
            read_all(history, INTERVAL, ends)
        front.start()
        bring(world, history)
        history.flush()
        assert_each_once(world, history)


def test_two_at_once_do_no_harm_while_the_way_is_bad(world: World, wire: Wire) -> None:
    with open_history(wire) as one, open_history(wire) as other:
        one.ensure(INTERVAL)
        other.ensure(INTERVAL)
        wire.faults += ["unanswered", "unanswered"]
        with pytest.raises(HistoryAwayError):
            bring(world, one)
        bring(world, other)
        bring(world, one)
        one.flush()
        for history in (one, other):
            assert_each_once(world, history)
        held = other._session.select(f"SELECT count() AS n FROM {TABLE}").item()
        assert held > 119, "both have inserted: it is the reader who drops the doubles"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (241, HistoryAwayError),
        (252, HistoryAwayError),
        (243, HistoryAwayError),
        (516, HistoryError),
        (60, HistoryError),
    ],
)
def test_what_passes_is_waited_for_and_what_does_not_is_said(code: int, kind: type[HistoryError]) -> None:
    """Codes of ClickHouse's ErrorCodes.cpp: memory, too many parts, disk full; wrong password, no such table."""
    from clickhouse_connect.driver.exceptions import DatabaseError

    from streams.history.session import _trouble

    error = DatabaseError(f"Received ClickHouse exception, code: {code}, server response: no", code=code)
    told = _trouble(error, "history at h:1", "query")
    assert type(told) is kind
    assert ("FLEXLOG_CLICKHOUSE__USER" in str(told)) == (code == 516)


def test_rows_equal_the_log_to_the_last_column(world: World, wire: Wire) -> None:
    with open_history(wire) as history:
        wire.faults += ["half", "unanswered"]
        with pytest.raises(HistoryAwayError):
            bring(world, history)
        bring(world, history)
        history.flush()
        found = read_all(history, INTERVAL, world.ends(INTERVAL), latest=False)
        truth = world.rows(INTERVAL).sort([*INTERVAL.identity, *PLACE]).select(found.columns)
        assert found.equals(truth)
