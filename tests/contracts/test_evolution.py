import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest

from streams.contracts.evolution import history, incompatible, released
from streams.contracts.schema import canonical
from streams.errors import ContractError
from tests.contracts.making import DOOR, GOOD, SCHEMA_FILE, STAMP, STATUS, TOPIC, TOPIC_FILE, House, field


@pytest.fixture
def house(tmp_path: Path) -> House:
    """The small project without checks, which would miss a field that is gone."""
    made = House(tmp_path)
    made.write(TOPIC_FILE, TOPIC | {"checks": []})
    return made


def _add(**new: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda schema: schema["fields"].append({"doc": "New.", **new})


def _set(which: str, /, **changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda schema: field(schema, which).update(changes)


def _status(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda schema: field(schema, "status").update(type=STATUS | changes)


ALLOWED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a doc": lambda schema: schema.update(doc="Another text."),
    "a nullable field": _add(name="note", type=["null", "string"], default=None),
    "a field with a default": _add(name="count_no", type="long", default=0),
    "a further symbol": _status(symbols=["UNKNOWN", "AJAR", "WIDE", "SHUT"]),
    "an array with a default": _add(name="marks", type={"type": "array", "items": "string"}, default=[]),
    "the removal of a field with a default": lambda schema: schema["fields"].pop(),
}

# What the registry refuses (CONTRACTS, "Frozen at birth"), and what it does not notice.
REFUSED: dict[str, tuple[Callable[[dict[str, Any]], Any], str, str]] = {
    "another name": (lambda s: s.update(name="DoorShut", aliases=["DoorOpened"]), "name", "a new record and topic"),
    "another namespace": (lambda s: s.update(namespace="flexlog.flat"), "name", "flexlog.flat.DoorOpened"),
    "a double that was a long": (_set("gap_mm", type="long"), "gap_mm", "is double in v1 and long in now"),
    "a long that was nullable": (
        lambda s: s["fields"].__setitem__(5, _plain_force()),
        "force_w",
        "nullable in only one",
    ),
    "a nullable that was a double": (
        _set("gap_mm", type=["null", "double"], default=None),
        "gap_mm",
        "nullable in only one",
    ),
    "a new field without default": (_add(name="note", type="string"), "note", "has no default, so now cannot read"),
    "the removal of one without": (
        lambda s: s["fields"].pop(4) and None,
        "gap_mm",
        "so v1 cannot read what now writes",
    ),
    "another field name": (_set("gap_mm", name="width_mm", aliases=["gap_mm"]), "width_mm", "has no default"),
    "a symbol removed": (_status(symbols=["UNKNOWN", "AJAR"]), "status", "are gone or moved"),
    "symbols moved": (_status(symbols=["UNKNOWN", "WIDE", "AJAR"]), "status", "are gone or moved"),
    "another enum": (_status(name="Other"), "status", "an enum's name cannot change"),
    "another enum default": (_status(default="AJAR"), "status", "another enum default"),
    "a lost logical type": (_set("occurred_at", type="long"), "occurred_at", "a logical type cannot change"),
    "a new logical type": (_set("force_w", type=["null", STAMP]), "force_w", "a logical type cannot change"),
    "another order": (lambda s: s["fields"].reverse(), "fields", "in another order"),
    "a field in between": (
        lambda s: s["fields"].insert(1, {"name": "note", "type": ["null", "string"], "default": None, "doc": "."}),
        "note",
        "fields are only added, at the end",
    ),
    "a default that comes": (_set("gap_mm", default=1.0), "gap_mm", "it cannot get one"),
}


def _plain_force() -> dict[str, Any]:
    return {"name": "force_w", "type": "long", "default": 0, "doc": "How hard."}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_every_version_can_read_of_every_other_is_released(house: House, case: str) -> None:
    assert [path.name for path in house.release()] == ["DoorOpened.v1.avsc"]
    house.schema(lambda schema: (ALLOWED[case](schema), None)[1])
    written = [path.name for path in house.release()]
    assert written == ([] if case == "a doc" else ["DoorOpened.v2.avsc"])
    assert house.release() == []


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_not_be_read_again_is_not_released(house: House, case: str) -> None:
    how, name, text = REFUSED[case]
    house.release()
    house.schema(lambda schema: (how(schema), None)[1])
    with pytest.raises(ContractError) as error:
        house.release()
    assert f"DoorOpened.avsc: {name}: " in str(error.value)
    assert text in str(error.value)
    assert [number for number, _ in released(house.root / SCHEMA_FILE)] == [1]


def test_every_version_is_looked_at_not_only_the_newest(house: House) -> None:
    house.release()
    house.schema(lambda schema: schema["fields"].pop() and None)  # force_w, which has a default
    house.release()
    house.schema(_add(name="force_w", type=["null", "string"], default=None))
    with pytest.raises(ContractError, match=r"force_w: is long in v1 and string in now"):
        house.release()


def test_a_released_version_is_self_contained(house: House) -> None:
    side = {"type": "enum", "name": "Side", "namespace": "flexlog", "doc": ".", "symbols": ["UNKNOWN", "LEFT"]}
    house.write("avro/shared/Side.avsc", side | {"default": "UNKNOWN"})
    house.schema(_add(name="side", type=["null", "flexlog.Side"], default=None))
    (path,) = house.release()
    assert field(json.loads(path.read_text()), "side")["type"][1]["symbols"] == ["UNKNOWN", "LEFT"]
    house.write("avro/shared/Side.avsc", side | {"default": "UNKNOWN", "symbols": ["UNKNOWN", "RIGHT"]})
    with pytest.raises(ContractError, match=r"side: symbols of v1 are gone or moved in now"):
        house.release()


def test_a_change_inside_an_array_is_seen(house: House) -> None:
    items = {"type": "record", "name": "DoorOpenedMark", "fields": [{"name": "at", "type": STAMP, "doc": "."}]}
    house.schema(_add(name="marks", type={"type": "array", "items": items}))
    house.release()
    house.schema(
        lambda schema: field(schema, "marks")["type"]["items"]["fields"].append(
            {"name": "by", "type": "string", "doc": "."}
        )
    )
    with pytest.raises(ContractError, match=r"marks.by: is not in v1 and has no default"):
        house.release()


def test_the_form_that_is_compared_knows_no_docs_and_no_place_of_a_definition() -> None:
    inline = json.loads(json.dumps(DOOR))
    apart = json.loads(json.dumps(DOOR))
    for schema in (inline, apart):
        schema["fields"].append({"name": "again", "type": "flexlog.house.DoorOpenedStatus", "doc": "."})
    apart["fields"][6]["type"] = STATUS | {"doc": "Elsewhere."}
    assert canonical(inline) == canonical(apart)
    assert canonical(inline) != canonical(DOOR)


@pytest.mark.parametrize("case", [*ALLOWED, *REFUSED])
def test_the_rules_are_at_least_as_strict_as_avros_resolution(house: House, case: str) -> None:
    """Where fastavro cannot resolve one version as the other, the rules must have refused the change."""
    how = ALLOWED[case] if case in ALLOWED else REFUSED[case][0]
    new = json.loads(json.dumps(DOOR))
    how(new)
    refused = bool(list(incompatible([("v1", DOOR), ("now", new)])))
    event = {"note": "x", "count_no": 1, "marks": [], "width_mm": 1.0} | GOOD
    failed = False
    for writer, reader in ((DOOR, new), (new, DOOR)):
        out = io.BytesIO()
        try:
            values: Any = event | ({"gap_mm": 1} if field_type(writer, "gap_mm") == "long" else {})
            values |= {"force_w": 1} if field_type(writer, "force_w") == "long" else {}
            fastavro.schemaless_writer(out, fastavro.parse_schema(writer), values)
            out.seek(0)
            fastavro.schemaless_reader(out, fastavro.parse_schema(writer), fastavro.parse_schema(reader))
        except (fastavro.read.SchemaResolutionError, ValueError, TypeError):
            failed = True
    assert refused or not failed
    assert refused == (case in REFUSED)


def field_type(schema: dict[str, Any], name: str) -> Any:
    return next((part["type"] for part in schema["fields"] if part["name"] == name), None)


def test_the_history_ends_with_the_current_schema_only_where_it_differs(house: House) -> None:
    file = house.root / SCHEMA_FILE
    assert [name for name, _ in history(file, DOOR)] == ["now"]
    house.release()
    assert [name for name, _ in history(file, DOOR)] == ["v1"]
