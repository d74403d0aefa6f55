"""The same history over HTTP."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.contracts.examples import read_examples
from streams.errors import HistoryError
from streams.history import History, Sink
from tests.history.world import ALL_TOPICS, INTERVAL, T0, TABLE, World, examples, interval, placed, read_all
from topics import CONTRACTS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, Any]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.history.http_front"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as front:
        assert front.stdout is not None
        assert front.stdin is not None
        yield {"host": "127.0.0.1", "port": int(front.stdout.readline()), "compress": False}
        front.stdin.close()
        assert front.wait(30) == 0


def test_every_topic_goes_there_and_comes_back(server: dict[str, Any]) -> None:
    with History.server(CONTRACTS, database="every_topic", **server) as history:
        for topic in ALL_TOPICS[::4]:
            world = World()
            world.create(topic, 1)
            encoded = world.codec.encode(topic, world.codec.prepare(topic, read_examples(topic)))
            world.put(topic, {0: list(zip(encoded.keys, encoded.values, strict=True))})
            Sink(world.log, history, world.codec).advance(topic, world.ends(topic))
            found = read_all(history, topic, world.ends(topic), latest=False)
            assert found.equals(examples(topic).sort([*topic.identity], maintain_order=True))


def test_rows_are_there_for_others_at_once_and_once_after_reopening(server: dict[str, Any]) -> None:
    world = World()
    world.create(INTERVAL)
    with (
        History.server(CONTRACTS, database="others", **server) as writer,
        History.server(CONTRACTS, database="others", **server) as reader,
    ):
        sink = Sink(world.log, writer, world.codec)
        for step in range(4):
            world.append(INTERVAL, [interval(site, step * 4_000) for site in range(9)])
            sink.advance(INTERVAL, world.ends(INTERVAL))
            assert read_all(reader, INTERVAL, world.ends(INTERVAL)).height == 9 * (step + 1)
    world.put(INTERVAL, {0: [(b"key", b"rubbish")]})
    for _ in range(2):
        with History.server(CONTRACTS, database="others", **server) as again:
            Sink(world.log, again, world.codec).advance(INTERVAL, world.ends(INTERVAL))
            assert again._session.select(f"SELECT count() AS n FROM {TABLE}").item() == 36
            assert again._session.select("SELECT count() AS n FROM _undecodable").item() == 1
            keys = [f"site-{site:03d}" for site in (1, 2)]
            found = again.read(INTERVAL, world.ends(INTERVAL), since=T0, until=T0.replace(day=2), keys=keys)
            assert found.get_column("site_id").to_list() == keys


def test_queries_of_people_see_every_row_once_and_change_nothing(server: dict[str, Any]) -> None:
    world = World()
    world.create(INTERVAL)
    world.append(INTERVAL, [interval(site, 0) for site in range(5)])
    with History.server(CONTRACTS, database="people", **server) as history:
        Sink(world.log, history, world.codec).advance(INTERVAL, world.ends(INTERVAL))
        history._session.command(f"SYSTEM STOP MERGES {TABLE}")
        history._session.command(f"INSERT INTO {TABLE} SELECT * FROM {TABLE}")
        assert history._session.select(f"SELECT count() AS n FROM {TABLE}").item() == 10
        assert history.query(f"SELECT count() AS n FROM {TABLE}").item() == 5
        with pytest.raises(HistoryError, match=r"Unknown expression.*nothing") as wrong:
            history.query(f"SELECT nothing FROM {TABLE}")
        assert "\n" not in str(wrong.value)
        with pytest.raises(HistoryError, match="readonly"):
            history.query(f"INSERT INTO {TABLE} SELECT * FROM {TABLE}")


def test_a_check_refuses_over_http_too(server: dict[str, Any]) -> None:
    with History.server(CONTRACTS, database="checks", **server) as history:
        history.ensure(INTERVAL)
        bad = placed(examples(INTERVAL).head(1)).with_columns(site_id=examples(INTERVAL).head(1)["site_id"].str.head(0))
        with pytest.raises(HistoryError, match=r"site_id.*violated"):
            history._session.insert(TABLE, bad, None)


def test_a_server_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(HistoryError, match=r"^history at 127\.0\.0\.1:9: ") as wrong:
        History.server(CONTRACTS, host="127.0.0.1", port=9, connect_timeout=1)
    assert "\n" not in str(wrong.value)
