"""Every topic has its table: types, comments, checks, views; and a newer contract is taken up."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from streams.contracts import Contracts, Topic, load
from streams.contracts.codec import Codec
from streams.contracts.examples import read_examples
from streams.errors import HistoryError
from streams.history import History, Sink
from streams.history.shelf import PLACE_DTYPES
from streams.history.tables import table_name
from tests.history.world import ALL_TOPICS, INTERVAL, T0, TABLE, World, examples, interval, placed, read_all
from topics import CONTRACTS


@pytest.mark.parametrize("topic", ALL_TOPICS, ids=lambda topic: topic.name)
def test_the_examples_of_every_topic_come_back_as_they_were_written(topic: Topic) -> None:
    world = World()
    world.create(topic, 1)
    events = read_examples(topic)
    encoded = world.codec.encode(topic, world.codec.prepare(topic, events))
    world.put(topic, {0: list(zip(encoded.keys, encoded.values, strict=True))})
    for hold in (0, 1_000):  # from the table, from memory
        with History.embedded(None, CONTRACTS, hold_rows=hold) as history:
            assert Sink(world.log, history, world.codec).advance(topic, world.ends(topic)) == len(events)
            found = read_all(history, topic, world.ends(topic), latest=False)
        assert found.schema == topic.empty().schema
        expected = examples(topic).sort([*topic.identity], maintain_order=True)
        assert found.equals(expected)
        again = world.codec.encode(topic, found)
        assert sorted(again.values) == sorted(encoded.values), "a row encodes back to the bytes it came from"


@pytest.mark.parametrize("topic", ALL_TOPICS, ids=lambda topic: topic.name)
def test_columns_say_what_they_are_and_are_nullable_only_where_the_field_is(topic: Topic) -> None:
    with History.embedded(None, CONTRACTS) as history:
        history.ensure(topic)
        found = history.query(
            "SELECT name, type, comment FROM system.columns "
            f"WHERE database = currentDatabase() AND table = '{table_name(topic.name)}'"
        )
    described = {name: (kind, comment) for name, kind, comment in found.iter_rows()}
    assert list(described) == [*topic.columns, *PLACE_DTYPES]
    for field in topic.fields:
        kind, comment = described[field.name]
        assert comment == field.doc
        assert ("Nullable" in kind and not kind.startswith("Array")) == field.nullable
        if field.kind == "enum":
            assert kind.startswith("LowCardinality(")
        if field.kind == "timestamp":
            assert "DateTime64(6, 'UTC')" in kind


# --- a newer contract ----------------------------------------------------------------------------------------------


def contracts(folder: Path, fields: list[dict[str, Any]], checks: list[str]) -> Contracts:
    """Contracts of one topic, ``lab.sample.v1``."""
    (folder / "avro/lab").mkdir(parents=True)
    (folder / "topics").mkdir()
    base = [
        {"name": "place_id", "type": "string", "doc": "Place."},
        {"name": "taken_at", "type": {"type": "long", "logicalType": "timestamp-micros"}, "doc": "When."},
    ]
    names = {"type": "record", "name": "SampleTaken", "namespace": "flexlog.lab", "doc": "A sample."}
    (folder / "avro/lab/SampleTaken.avsc").write_text(json.dumps(names | {"fields": base + fields}))
    (folder / "topics/lab.sample.v1.yaml").write_text(
        "description: A sample.\nowner: lab\nrecord: lab.SampleTaken\nlane: site\nkey: place_id\n"
        "identity: [place_id, taken_at]\ntime: taken_at\nlateness: 0s\nretention: forever\npersonal_data: none\n"
        f"checks: {json.dumps(checks)}\n"
    )
    return load(folder / "avro", folder / "topics")


WEIGHT = {"name": "weight_kg", "type": "double", "doc": "Weight, kg."}
COLOUR = {"name": "colour", "type": ["null", "string"], "default": None, "doc": "Colour."}
LABEL = {"name": "label", "type": "string", "default": "it's none", "doc": "Label."}


def test_a_table_takes_up_fields_and_checks_of_a_newer_contract_and_keeps_its_rows(tmp_path: Path) -> None:
    old = contracts(tmp_path / "old", [WEIGHT], ["weight_kg >= 0"])
    new = contracts(tmp_path / "new", [WEIGHT, COLOUR, LABEL], ["weight_kg < 100", "label <> ''"])
    world = World()
    before, after = old.topic("lab.sample.v1"), new.topic("lab.sample.v1")
    world.create(before, 1)
    event = {"place_id": "p", "taken_at": T0, "weight_kg": 1.5}
    world.append(before, [event])
    with History.embedded(tmp_path / "history", old) as history:
        Sink(world.log, history, world.codec).advance(before, {0: 1})
    world.append(after, [event | {"taken_at": datetime(2026, 1, 2, tzinfo=UTC), "colour": "red", "label": "b"}])
    with History.embedded(tmp_path / "history", new, hold_rows=0) as history:
        Sink(world.log, history, Codec(world.codec.registry)).advance(after, world.ends(after))
        found = read_all(history, after, world.ends(after))
        assert found.select("colour", "label").rows() == [(None, "it's none"), ("red", "b")]
        assert history.query("SELECT count() AS n FROM latest_lab_sample_v1 WHERE colour IS NULL").item() == 1
        bad = placed(found.head(1).with_columns(pl.lit(-1.0).alias("weight_kg")))
        history._session.insert("lab_sample_v1", bad, None)  # the check that is gone no longer refuses
        with pytest.raises(HistoryError, match="weight_kg_100"):
            history._session.insert("lab_sample_v1", bad.with_columns(pl.lit(100.0).alias("weight_kg")), None)
    with History.embedded(tmp_path / "history", old) as history:  # an older version of us keeps what it does not know
        history.ensure(before)
        assert "label" in history.query("SELECT * FROM lab_sample_v1").columns
        assert "label_" in history.query("SHOW CREATE TABLE lab_sample_v1").item()


def test_a_field_of_another_type_is_one_clear_line(tmp_path: Path) -> None:
    old = contracts(tmp_path / "old", [WEIGHT], [])
    new = contracts(tmp_path / "new", [WEIGHT | {"type": "long"}], [])
    with History.embedded(tmp_path / "history", old) as history:
        history.ensure(old.topic("lab.sample.v1"))
    with (
        History.embedded(tmp_path / "history", new) as history,
        pytest.raises(HistoryError, match=r"weight_kg: it is Float64, .*SampleTaken.avsc wants Int64; .*major topic"),
    ):
        history.ensure(new.topic("lab.sample.v1"))


# --- views ---------------------------------------------------------------------------------------------------------


def test_views_show_the_newest_of_each_identity_now_and_as_of_an_append_time_each_row_once() -> None:
    world = World()
    world.create(INTERVAL)
    world.append(INTERVAL, [interval(1, step, energy=10.0) for step in range(3)])
    middle = world.now
    world.append(INTERVAL, [interval(1, 1, revision=1, energy=99.0)])
    with History.embedded(None, CONTRACTS) as history:
        sink = Sink(world.log, history, world.codec)
        sink.advance(INTERVAL, world.ends(INTERVAL))
        history.flush()
        history._session._client.command(f"INSERT INTO {TABLE} SELECT * FROM {TABLE}")  # doubles
        assert history._session._client.command(f"SELECT count() FROM {TABLE}") == 8
        assert history.query(f"SELECT count() AS n FROM {TABLE}").item() == 4
        newest = f"SELECT energy_wh, revision FROM latest_{TABLE} ORDER BY period_start"
        assert history.query(newest).rows() == [(10.0, 0), (99.0, 1), (10.0, 0)]
        at = datetime.fromtimestamp(middle / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
        known = f"SELECT energy_wh, revision FROM as_of_{TABLE}(at = '{at}') ORDER BY period_start"
        assert history.query(known).rows() == [(10.0, 0), (10.0, 0), (10.0, 0)]
        # and without what `query` sets: a dashboard on the server sees each row once in the views
        assert history._session._client.command(f"SELECT count() FROM latest_{TABLE}") == 3
