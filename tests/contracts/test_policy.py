"""Each rule is shown to find what it is for: the file and the field of one thing that was broken."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.contracts.policy import RULES, check
from streams.contracts.stubs import stubs
from tests.contracts.making import (
    DOOR,
    EXAMPLE,
    EXAMPLES_FILE,
    ROOT,
    SCHEMA_FILE,
    STATUS,
    TOPIC,
    TOPIC_FILE,
    House,
    field,
    with_rejected,
)

Break = Callable[[House], Any]


def test_the_projects_own_contracts_break_no_rule() -> None:
    assert list(map(str, check(ROOT / "avro", ROOT / "topics"))) == []


def test_the_small_project_breaks_no_rule(house: House) -> None:
    house.release()
    assert list(map(str, check(house.avro, house.topics))) == []
    with_rejected(house).release()
    assert list(map(str, check(house.avro, house.topics))) == []


def _set(which: str, /, **changes: Any) -> Break:
    return lambda house: house.schema(lambda schema: field(schema, which).update(changes))


def _add(**new: Any) -> Break:
    return lambda house: house.schema(lambda schema: schema["fields"].append({"doc": "New.", **new}))


def _topic(**changes: Any) -> Break:
    return lambda house: house.write(TOPIC_FILE, TOPIC | changes)


def _example(**changes: Any) -> Break:
    return lambda house: house.write(EXAMPLES_FILE, [EXAMPLE | changes])


def _status(**changes: Any) -> Break:
    return _set("status", type=STATUS | changes)


def _rename(record: str) -> Break:
    def move(house: House) -> None:
        for suffix in ("avsc", "examples.json"):
            (house.root / f"avro/house/DoorOpened.{suffix}").rename(house.root / f"avro/house/{record}.{suffix}")
        house.change(f"avro/house/{record}.avsc", lambda schema: schema.update(name=record))
        house.change(
            f"avro/house/{record}.avsc", lambda schema: field(schema, "status")["type"].update(name=f"{record}Status")
        )
        house.write(TOPIC_FILE, TOPIC | {"record": f"house.{record}"})

    return move


def _move_topic(name: str) -> Break:
    return lambda house: (house.root / TOPIC_FILE).rename(house.root / "topics" / f"{name}.yaml")


def _second_topic(house: House) -> None:
    house.write("topics/house.gate.v1.yaml", TOPIC)


def _second_meaning(house: House) -> None:
    gate = DOOR | {"name": "GateOpened", "fields": [*DOOR["fields"][:3], field(DOOR, "status") | {}]}
    gate["fields"][3] = gate["fields"][3] | {"type": STATUS | {"symbols": ["UNKNOWN", "LOCKED"]}}
    house.write("avro/house/GateOpened.avsc", gate)
    house.write("avro/house/GateOpened.examples.json", [{**EXAMPLE, "status": "LOCKED"}])
    house.write("topics/house.gate.v1.yaml", TOPIC | {"record": "house.GateOpened", "checks": []})


def _side(**changes: Any) -> Break:
    def share(house: House) -> None:
        side = {"type": "enum", "name": "Side", "namespace": "flexlog", "symbols": ["UNKNOWN", "L"], "doc": "."}
        house.write("avro/shared/Side.avsc", side | {"default": "UNKNOWN"} | changes)
        name = f"{changes.get('namespace', 'flexlog')}.Side"
        house.schema(
            lambda schema: schema["fields"].append(
                {"name": "side", "type": ["null", name], "default": None, "doc": "Side."}
            )
        )

    return share


def _new_major(house: House) -> None:
    _rename("DoorOpenedV2")(house)
    _move_topic("house.door.v2")(house)


SCHEMA, TOPICS = "DoorOpened.avsc", "house.door.v1.yaml"
BROKEN: dict[str, tuple[Break, str, str, str]] = {
    # legal_names
    "present tense": (_rename("DoorOpen"), "DoorOpen.avsc", "name", "past tense"),
    "no camel case": (_rename("DOOROpened"), "DOOROpened.avsc", "name", "CamelCase"),
    "name and file": (lambda h: h.schema(lambda s: s.update(name="GateOpened")), SCHEMA, "name", "DoorOpened"),
    "namespace and folder": (lambda h: h.schema(lambda s: s.update(namespace="flexlog.a")), SCHEMA, "name", "house"),
    "camel case of a field": (_add(name="openedBy", type="string"), SCHEMA, "openedBy", "snake_case"),
    "field that a class needs": (_add(name="make", type="string"), SCHEMA, "make", "needs itself"),
    "field that is a keyword": (_add(name="from", type="string"), SCHEMA, "from", "needs itself"),
    "topic without major": (_move_topic("house.door"), "house.door.yaml", "", "<context>.<noun>.v<major>"),
    "topic of another context": (_move_topic("flat.door.v1"), "flat.door.v1.yaml", "record", "another context"),
    "major of topic and record": (_move_topic("house.door.v2"), "house.door.v2.yaml", "record", "major version"),
    # documented
    "record without doc": (lambda h: h.schema(lambda s: s.pop("doc") and None), SCHEMA, "doc", "is missing"),
    "field without doc": (_set("gap_mm", doc=" "), SCHEMA, "gap_mm", "has no doc"),
    "shared enum without doc": (_side(doc=""), "Side.avsc", "doc", "is missing"),
    "item without doc": (
        _add(
            name="marks",
            type={
                "type": "array",
                "items": {"type": "record", "name": "M", "fields": [{"name": "by", "type": "string"}]},
            },
        ),
        SCHEMA,
        "marks.by",
        "has no doc",
    ),
    # units_in_names
    "number without unit": (_set("gap_mm", name="gap"), SCHEMA, "gap", "without a unit"),
    "number of an array without unit": (
        _add(
            name="marks",
            type={
                "type": "array",
                "items": {"type": "record", "name": "M", "fields": [{"name": "size", "type": "long", "doc": "."}]},
            },
        ),
        SCHEMA,
        "size",
        "without a unit",
    ),
    # lawful_enums
    "enum without default": (_set("status", type={**STATUS, "default": "AJAR"}), SCHEMA, "status", '"default": "UNK'),
    "enum without UNKNOWN": (_status(symbols=["AJAR", "UNKNOWN"]), SCHEMA, "status", "first symbol"),
    "small symbol": (_status(symbols=["UNKNOWN", "AJAR", "wide"]), SCHEMA, "status", "symbol wide"),
    "name of an enum": (_status(name="Status"), SCHEMA, "status", "call it DoorOpenedStatus"),
    "enum with two meanings": (_second_meaning, "GateOpened.avsc", "status", "has other symbols than in"),
    "shared enum elsewhere": (_side(namespace="flexlog.house"), "Side.avsc", "namespace", "live in flexlog"),
    "shared enum without default": (_side(default="L"), "Side.avsc", "", '"default": "UNKNOWN"'),
    "default of UNKNOWN": (_set("status", default="UNKNOWN"), SCHEMA, "status", "defaults to UNKNOWN"),
    # rare_types
    "array": (_add(name="marks", type={"type": "array", "items": "string"}), SCHEMA, "marks", "is an array"),
    "bytes": (_add(name="payload", type="bytes"), SCHEMA, "payload", "is bytes"),
    # whole_blocks
    "half a set": (_add(name="set_no", type="long"), SCHEMA, "set_id", "stands together with set_no"),
    "half an origin": (_add(name="origin", type="string"), SCHEMA, "origin_id", "stands together with origin"),
    "price without currency": (
        lambda h: [
            _add(name=name, type=["null", "long"], default=None)(h)
            for name in ("price_micros_per_mwh", "price_micros_per_mw_h", "price_micros")
        ],
        SCHEMA,
        "currency",
        "a price needs one",
    ),
    "price of another type": (
        _add(name="price_micros", type=["null", "double"], default=None),
        SCHEMA,
        "price_micros",
        "must be a nullable long",
    ),
    # lanes
    "key of the lane": (_topic(key="door_id"), TOPICS, "key", "keyed site_id"),
    "first field": (
        lambda h: h.schema(lambda s: s["fields"].insert(0, s["fields"].pop(1))),
        SCHEMA,
        "door_id",
        "first field must be the key",
    ),
    "nullable identity": (_topic(identity=["force_w"]), TOPICS, "identity", "neither nullable"),
    "identity of a double": (_topic(identity=["gap_mm"]), TOPICS, "identity", "nor a double"),
    "identity with revision": (
        lambda h: (_add(name="revision", type="long")(h), _topic(identity=["door_id", "revision"])(h)),
        TOPICS,
        "identity",
        "restates",
    ),
    "identity twice": (_topic(identity=["door_id", "door_id"]), TOPICS, "identity", "twice"),
    "no personal data in lane site": (_topic(personal_data="none"), TOPICS, "personal_data", "about people"),
    # orphans
    "schema without topic": (lambda h: (h.root / TOPIC_FILE).unlink(), SCHEMA, "", "no topic has this record"),
    "record of two topics": (_second_topic, "house.gate.v1.yaml", "record", "one topic, one record type"),
    "shared enum of nobody": (
        lambda h: h.write("avro/shared/Side.avsc", {**STATUS, "name": "Side", "doc": "."}),
        "Side.avsc",
        "",
        "no record uses it",
    ),
    "examples of nothing": (lambda h: h.write("avro/house/Gate.examples.json", []), "Gate.examples.json", "", "orphan"),
    "stray file": (lambda h: h.write("avro/house/notes.txt", "x"), "notes.txt", "", "orphan"),
    "released of nothing": (lambda h: h.write("avro/house/released/X.v1.avsc", DOOR), "X.v1.avsc", "", "orphan"),
    "topic of rejected records": (
        lambda h: with_rejected(h).write(
            "topics/stream.rejected.v1.yaml",
            TOPIC
            | {
                "record": "stream.RecordRejected",
                "lane": "reference",
                "key": "processor",
                "identity": ["processor"],
                "time": "_appended_at",
                "checks": [],
            },
        ),
        "stream.rejected.v1.yaml",
        "record",
        "derived, never written by hand",
    ),
    # sound_checks
    "check that can be null": (
        _topic(checks=["force_w > 0"]),
        TOPICS,
        "checks",
        "can yield NULL where force_w is null",
    ),
    "check of no condition": (_topic(checks=["gap_mm + 1"]), TOPICS, "checks", "is no condition"),
    "check of two types": (_topic(checks=["gap_mm = door_id"]), TOPICS, "checks", "gap_mm = door_id"),
    # examples
    "no examples": (lambda h: (h.root / EXAMPLES_FILE).unlink(), "DoorOpened.examples.json", "", "cannot be read"),
    "no example": (lambda h: h.write(EXAMPLES_FILE, []), "DoorOpened.examples.json", "", "at least one example"),
    "example of another field": (_example(colour="red"), "DoorOpened.examples.json", "[0].colour", "no such field"),
    "example that breaks a check": (_example(gap_mm=-1), "DoorOpened.examples.json", "[0]", "check `gap_mm >= 0`"),
    "example in local time": (
        _example(occurred_at="2026-01-31T23:45:00"),
        "DoorOpened.examples.json",
        "[0].occurred_at",
        "with a Z",
    ),
    "example of another symbol": (_example(status="SHUT"), "DoorOpened.examples.json", "[0]", "is none of AJAR, WIDE"),
    "example of another type": (_example(door_id=3), "DoorOpened.examples.json", "[0]", "is no string"),
    # evolution
    "a change that is not released": (
        _add(name="note", type=["null", "string"], default=None),
        SCHEMA,
        "",
        "differs from v1; run `flexlog contracts release`",
    ),
    "a change that cannot be": (_set("gap_mm", type="long"), SCHEMA, "gap_mm", "is double in v1 and long in now"),
    "never released": (
        lambda h: shutil.rmtree(h.root / "avro/house/released"),
        SCHEMA,
        "",
        "is not released; run `flexlog contracts release`",
    ),
    "versions with a gap": (
        lambda h: (h.root / "avro/house/released/DoorOpened.v1.avsc").rename(
            h.root / "avro/house/released/DoorOpened.v2.avsc"
        ),
        "released",
        "DoorOpened",
        "numbered 1, 2, 3",
    ),
    # upcasters
    "new major without upcaster": (_new_major, "DoorOpenedV2.upcast.py", "", "there is no topic 'house.door.v1'"),
    "upcaster of a first major": (
        lambda h: h.write("avro/house/DoorOpened.upcast.py", "def upcast(frame): return frame"),
        "DoorOpened.upcast.py",
        "",
        "nothing before it",
    ),
    # current_stubs
    "old stubs": (
        lambda h: (h.write("topics/__init__.py", ""), h.write("topics/__init__.pyi", "old")),
        "__init__.pyi",
        "",
        "run `flexlog contracts stubs`",
    ),
    "no stubs": (lambda h: h.write("topics/__init__.py", ""), "__init__.pyi", "", "run `flexlog contracts stubs`"),
    # loading
    "a file that cannot be read": (lambda h: h.write(SCHEMA_FILE, "{"), SCHEMA, "line 1", "no JSON"),
    "an unknown key": (_topic(colour="red"), TOPICS, "colour", "unknown key"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_named_with_file_and_field(house: House, case: str) -> None:
    how, file, name, text = BROKEN[case]
    house.release()
    how(house)
    found = check(house.avro, house.topics)
    named = [(violation.file.name, violation.field) for violation in found if text in violation.text]
    assert (file, name) in named, "\n".join(map(str, found))


def test_every_rule_has_a_case_that_it_alone_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No rule is there for show: without it, something of the above goes unnoticed."""
    unnoticed = {rule.__name__ for rule in RULES}
    for number, (how, file, name, text) in enumerate(BROKEN.values()):
        house = House(tmp_path / str(number))
        house.release()
        how(house)
        for rule in [rule for rule in RULES if rule.__name__ in unnoticed]:
            with monkeypatch.context() as without:
                without.setattr("streams.contracts.policy.RULES", tuple(other for other in RULES if other != rule))
                found = check(house.avro, house.topics)
            if not any(v.file.name == file and v.field == name and text in v.text for v in found):
                unnoticed.discard(rule.__name__)
    assert unnoticed == set()


def test_a_folder_that_is_not_there_is_a_violation(tmp_path: Path) -> None:
    assert [str(found) for found in check(tmp_path / "avro", tmp_path)] == [f"{tmp_path / 'avro'}: no such folder"]


def test_stubs_that_are_current_are_no_violation(house: House) -> None:
    house.release()
    house.write("topics/__init__.py", "")
    house.write("topics/__init__.pyi", stubs(house.load()))
    assert check(house.avro, house.topics) == []
