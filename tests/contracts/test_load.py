import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import polars as pl
import pytest

from streams.contracts import Contracts, load
from streams.contracts.topic import Topic
from streams.errors import ContractError, WiringError
from tests.contracts.making import DOOR, EXAMPLE, ROOT, SCHEMA_FILE, TOPIC, TOPIC_FILE, House, field, with_rejected


def test_a_topic_knows_its_file_and_its_record(door: Topic) -> None:
    assert door.name == "house.door.v1"
    assert door.lane == "site"
    assert door.lateness == timedelta(minutes=10)
    assert door.columns == {
        "site_id": pl.String(),
        "door_id": pl.String(),
        "occurred_at": pl.Datetime("us", "UTC"),
        "status": pl.String(),
        "gap_mm": pl.Float64(),
        "force_w": pl.Int64(),
    }
    assert [part.name for part in door.fields if part.nullable] == ["force_w"]
    assert door.by_name["status"].symbols == ("UNKNOWN", "AJAR", "WIDE")
    assert door.vectorised
    assert door.record.__name__ == "DoorOpened"
    assert door.record.__topic__ is door


def test_the_fingerprint_is_that_of_the_parsing_canonical_form(house: House) -> None:
    # Avro specification, "Transforming into Parsing Canonical Form": docs, defaults and logical types do not count.
    before = house.topic().fingerprint
    house.schema(lambda schema: field(schema, "gap_mm").update(doc="Another text."))
    assert house.topic().fingerprint == before
    house.schema(lambda schema: field(schema, "gap_mm").update(name="width_mm"))
    house.change(TOPIC_FILE, lambda topic: topic.update(checks=[]))
    assert house.topic().fingerprint != before
    assert len(before) == 32


def test_a_shared_enum_is_written_out_where_it_is_first_used(house: House) -> None:
    house.write("avro/shared/Side.avsc", _side("LEFT"))
    house.schema(
        lambda schema: schema["fields"].extend(
            [
                {"name": "side", "type": "flexlog.Side", "doc": "Side."},
                {"name": "hinge", "type": ["null", "flexlog.Side"], "default": None, "doc": "Side of the hinge."},
            ]
        )
    )
    topic = house.topic()
    assert field(topic.schema, "side")["type"]["symbols"] == ["UNKNOWN", "LEFT"]  # type: ignore[arg-type]
    assert field(topic.schema, "hinge")["type"] == ["null", "flexlog.Side"]  # type: ignore[arg-type]
    assert topic.by_name["hinge"].symbols == topic.by_name["side"].symbols == ("UNKNOWN", "LEFT")
    assert house.load().enums["Side"] == ("LEFT",)


def _side(*symbols: str) -> dict[str, Any]:
    return {
        "type": "enum",
        "name": "Side",
        "namespace": "flexlog",
        "doc": "A side.",
        "symbols": ["UNKNOWN", *symbols],
        "default": "UNKNOWN",
    }


def _set(name: str, **changes: Any) -> Callable[[Any], None]:
    return lambda schema: field(schema, name).update(changes)


SCHEMA_FAULTS: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "int": (_set("gap_mm", type="int"), "gap_mm", '"int" is not allowed'),
    "map": (_set("gap_mm", type={"type": "map", "values": "long"}), "gap_mm", "is not allowed"),
    "nested record": (_set("gap_mm", type={"type": "record", "name": "X", "fields": []}), "gap_mm", "is not allowed"),
    "millis": (_set("occurred_at", type={"type": "long", "logicalType": "timestamp-millis"}), "occurred_at", "millis"),
    "decimal": (_set("gap_mm", type={"type": "bytes", "logicalType": "decimal"}), "gap_mm", "is not allowed"),
    "wide union": (_set("force_w", type=["null", "long", "double"]), "force_w", "the only union"),
    "null last": (_set("force_w", type=["long", "null"]), "force_w", "null first"),
    "default of a nullable": (_set("force_w", default=3), "force_w", "is null"),
    "no default": (lambda s: field(s, "force_w").pop("default") and None, "force_w", '"default": null'),
    "wrong default": (_set("gap_mm", default="wide"), "gap_mm", "is no double"),
    "true is no number": (_set("gap_mm", default=True), "gap_mm", "is no double"),
    "enum without symbols": (_set("status", type={"type": "enum", "name": "S", "symbols": []}), "status", "symbols"),
    "symbol twice": (_set("status", type={"type": "enum", "name": "S", "symbols": ["A", "A"]}), "status", "differ"),
    "field twice": (lambda s: s["fields"].append(s["fields"][0]), "site_id", "stands twice"),
    "unknown name": (_set("status", type="flexlog.Nothing"), "status", "is not allowed"),
    "array in array": (
        _set("gap_mm", type={"type": "array", "items": {"type": "array", "items": "long"}}),
        "gap_mm",
        "is not allowed",
    ),
}


@pytest.mark.parametrize("case", SCHEMA_FAULTS)
def test_a_schema_that_cannot_be_used_is_named_with_file_and_field(house: House, case: str) -> None:
    how, name, text = SCHEMA_FAULTS[case]
    house.schema(how)
    with pytest.raises(ContractError) as error:
        house.load()
    assert f"DoorOpened.avsc: {name}: " in str(error.value)
    assert text in str(error.value)


TOPIC_FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown key": ({"lanes": "site"}, "lanes", "unknown key"),
    "lane": ({"lane": "home"}, "lane", "'site'"),
    "lateness": ({"lateness": "ten"}, "lateness", "is no time span"),
    "retention": ({"retention": "long"}, "retention", "pattern"),
    "key": ({"key": "house_id"}, "key", "has no field 'house_id'"),
    "key of another type": ({"key": "gap_mm"}, "key", "must be a string"),
    "identity": ({"identity": ["door"]}, "identity", "has no field 'door'"),
    "no identity": ({"identity": []}, "identity", "at least 1"),
    "time": ({"time": "status"}, "time", "must be a timestamp"),
    "record": ({"record": "house.DoorShut"}, "record", "there is no"),
    "check of nothing": ({"checks": ["gap > 0"]}, "checks", "has no field 'gap'"),
    "check with a function": ({"checks": ["abs(gap_mm) > 0"]}, "checks", "functions such as abs()"),
    "check with division": ({"checks": ["gap_mm / 2 > 0"]}, "checks", "cannot read from '/ 2 > 0' on"),
    "check that ends early": ({"checks": ["gap_mm >"]}, "checks", "expected a field or a value"),
    "check that goes on": ({"checks": ["gap_mm > 0 gap_mm"]}, "checks", "more than one expression"),
    "checks as a string": ({"checks": "gap_mm > 0"}, "checks", "list"),
}


@pytest.mark.parametrize("case", TOPIC_FAULTS)
def test_a_topic_that_cannot_be_used_is_named_with_file_and_key(house: House, case: str) -> None:
    changes, key, text = TOPIC_FAULTS[case]
    house.write(TOPIC_FILE, TOPIC | changes)
    with pytest.raises(ContractError) as error:
        house.load()
    assert f"house.door.v1.yaml: {key}: " in str(error.value)
    assert text in str(error.value)


def test_broken_files_are_named_with_their_line(house: House) -> None:
    house.write(SCHEMA_FILE, '{\n "type": "record",\n oops')
    with pytest.raises(ContractError, match=r"DoorOpened.avsc: line 3: no JSON"):
        house.load()
    house.write(SCHEMA_FILE, DOOR)
    house.write(TOPIC_FILE, "description: [")
    with pytest.raises(ContractError, match=r"house.door.v1.yaml: no YAML"):
        house.load()


def test_all_faults_are_counted(house: House) -> None:
    house.write(TOPIC_FILE, TOPIC | {"a": 1, "b": 2})
    with pytest.raises(ContractError, match=r"and 1 more: run `flexlog contracts check`"):
        house.load()


def test_defaults_are_python_values(house: House) -> None:
    house.schema(
        lambda schema: schema["fields"].extend(
            [
                {"name": "seen_at", "type": field(DOOR, "occurred_at")["type"], "default": 1_000_000, "doc": "."},
                {"name": "day", "type": {"type": "int", "logicalType": "date"}, "default": 1, "doc": "."},
                {"name": "share_ppm", "type": "long", "default": 7, "doc": "."},
                {"name": "wind_m_per_s", "type": "double", "default": 1, "doc": "."},
                {"name": "label", "type": "string", "default": "", "doc": "."},
                {"name": "open", "type": "boolean", "default": False, "doc": "."},
                {"name": "marks", "type": {"type": "array", "items": "string"}, "default": [], "doc": "."},
            ]
        )
    )
    fields = house.topic().by_name
    assert fields["seen_at"].default == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert fields["day"].default == date(1970, 1, 2)
    assert (fields["share_ppm"].default, fields["label"].default, fields["open"].default) == (7, "", False)
    assert isinstance(fields["wind_m_per_s"].default, float)
    assert fields["marks"].default == []


def test_an_unknown_topic_names_the_nearest(contracts: Contracts) -> None:
    with pytest.raises(WiringError, match=r"no topic 'telemetry.readings.v1'; nearest: telemetry.reading.v1"):
        contracts.topic("telemetry.readings.v1")
    with pytest.raises(WiringError, match=r"nearest: telemetry.reading.v1"):
        contracts.topic("ReadingTaken")


def test_a_record_of_other_contracts_is_refused(contracts: Contracts, house: House) -> None:
    with pytest.raises(WiringError, match="record DoorOpened"):
        contracts.topic(house.topic().record)
    assert house.load().topic(house.load().topics["house.door.v1"].name).record_name == "DoorOpened"


def test_a_rejected_topic_is_derived_in_the_same_lane(house: House) -> None:
    contracts = with_rejected(house).load()
    rejected = contracts.rejected("house.door.v1")
    assert (rejected.name, rejected.lane, rejected.key) == ("house.door.v1.rejected", "site", "processor")
    assert rejected.record is contracts.records["RecordRejected"]
    assert rejected.personal_data == "pseudonymous"
    assert contracts.topic("house.door.v1.rejected") is rejected is contracts.rejected(contracts.topic("house.door.v1"))
    assert "house.door.v1.rejected" not in contracts.topics
    with pytest.raises(WiringError, match="has a topic for every topic"):
        contracts.topic(rejected.record)


def test_merging_refuses_a_topic_that_stands_twice_and_names_both(tmp_path: Any, contracts: Contracts) -> None:
    one, other = House(tmp_path / "one"), House(tmp_path / "other")
    assert set(one.load().merge(contracts).topics) == {"house.door.v1", *contracts.topics}
    with pytest.raises(ContractError, match=r"topic house.door.v1 stands twice: in .*one.* and in .*other"):
        one.load().merge(other.load())
    again = one.load()
    assert set(again.merge(again).topics) == {"house.door.v1"}


def test_installed_contracts_come_from_the_entry_points(monkeypatch: pytest.MonkeyPatch, contracts: Contracts) -> None:
    def offer(value: str) -> None:
        points = EntryPoints([EntryPoint("a", value, "flexlog.contracts")])
        monkeypatch.setattr("streams.contracts.library.entry_points", lambda *, group: points.select(group=group))

    offer("topics:CONTRACTS")
    assert dict(Contracts.installed().topics) == dict(contracts.topics)
    offer("topics:__doc__")
    with pytest.raises(WiringError, match=r"a = topics:__doc__ .* is no Contracts object"):
        Contracts.installed()


def test_the_projects_contracts_load_in_less_than_150_ms() -> None:
    def once() -> float:
        start = time.perf_counter()
        load(ROOT / "avro", ROOT / "topics")
        return time.perf_counter() - start

    assert min(once() for _ in range(3)) < 0.15


def test_a_record_is_its_columns_and_its_events(door: Topic) -> None:
    record = door.record
    event = record(**{**EXAMPLE, "occurred_at": datetime(2026, 1, 31, tzinfo=UTC)})
    assert event.to_dict()["force_w"] is None
    frame = pl.DataFrame({"gap_mm": [1.0, 3.0]})
    assert frame.filter(record.gap_mm > 2)["gap_mm"].to_list() == [3.0]  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="needs 'site_id'"):
        record()
