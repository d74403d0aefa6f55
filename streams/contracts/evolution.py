"""What a schema may become: FULL_TRANSITIVE against every released version, and what no registry looks at.

Logs are read again and again, so every version must read every other: data of an old one with the new, data of the
new one with the old. The rules are those of Avro's schema resolution, both ways, between all versions; beyond them
stand what is frozen at birth (CONTRACTS section 1): field order, logical types, enum symbols, defaults.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from streams.contracts.files import read_source
from streams.contracts.schema import canonical, read_json
from streams.contracts.violation import FaultError, Violation
from streams.errors import ContractError

_VERSION = re.compile(r"(?P<record>[A-Za-z0-9]+)\.v(?P<number>[1-9]\d*)\.avsc")
Change = tuple[str, str]  # field, what is wrong


def released(schema_file: Path) -> list[tuple[int, Path]]:
    """The released versions of a schema, by number."""
    found = []
    for path in (schema_file.parent / "released").glob(f"{schema_file.stem}.v*.avsc"):
        match = _VERSION.fullmatch(path.name)
        if match and match["record"] == schema_file.stem:
            found.append((int(match["number"]), path))
    return sorted(found)


def same_meaning(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Whether two schemas differ in nothing but documentation."""
    one, other = canonical(left), canonical(right)
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def incompatible(versions: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[Change]:
    """What keeps these versions, oldest first, from being one another's readers for ever.

    Args:
        versions: a name for each (``v1``, ``now``) and its schema, shared enums inlined.
    """
    forms = [(name, canonical(schema)) for name, schema in versions]
    seen: set[Change] = set()
    for (old_name, old), (new_name, new) in itertools.combinations(forms, 2):
        for field, text in (*_unreadable(old, new), *_thawed(old, new)):
            told = text.format(old=old_name, new=new_name)
            if (field, text) not in seen:
                seen.add((field, text))
                yield field, told


def _unreadable(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """What one of two record schemas cannot read of the other."""
    if old["name"] != new["name"]:
        yield "name", f"{{new}} is called {new['name']}, {{old}} {old['name']}; a new name is a new record and topic"
        return
    before = {part["name"]: part for part in old["fields"]}
    after = {part["name"]: part for part in new["fields"]}
    for name, part in after.items():
        if name not in before:
            if "default" not in part:
                yield name, "is not in {old} and has no default, so {new} cannot read what {old} wrote"
        else:
            yield from ((_inside(name, field), text) for field, text in _types(before[name]["type"], part["type"]))
    for name, part in before.items():
        if name not in after and "default" not in part:
            yield name, "has no default in {old} and is not in {new}, so {old} cannot read what {new} writes"


def _inside(name: str, field: str) -> str:
    return f"{name}.{field}" if field else name


def _types(old: Any, new: Any) -> Iterator[Change]:
    """What two types cannot read of one another; widening (int to long) works one way only, so never here."""
    if isinstance(old, list) != isinstance(new, list):
        yield "", "is nullable in only one of {old} and {new}; it cannot change"
        return
    if isinstance(old, list):
        yield from _types(old[1], new[1])
        return
    old_shape, new_shape = (part if isinstance(part, dict) else {"type": part} for part in (old, new))
    if old_shape["type"] != new_shape["type"]:
        yield "", f"is {old_shape['type']} in {{old}} and {new_shape['type']} in {{new}}; a type cannot change"
        return
    if old_shape.get("logicalType") != new_shape.get("logicalType"):
        kinds = [shape.get("logicalType") or "no logical type" for shape in (old_shape, new_shape)]
        yield "", f"is {kinds[0]} in {{old}} and {kinds[1]} in {{new}}; a logical type cannot change"
    match old_shape["type"]:
        case "enum":
            yield from _enums(old_shape, new_shape)
        case "array":
            yield from _types(old_shape["items"], new_shape["items"])
        case "record":
            yield from _unreadable(old_shape, new_shape)
            yield from _thawed(old_shape, new_shape)


def _enums(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    if old["name"] != new["name"]:
        yield "", f"is enum {old['name']} in {{old}} and {new['name']} in {{new}}; an enum's name cannot change"
    if old["symbols"] != new["symbols"] and "default" not in old:
        yield "", "has no enum default in {old}, so its symbols can never change"
    if new["symbols"][: len(old["symbols"])] != old["symbols"]:
        yield "", "symbols of {old} are gone or moved in {new}; symbols are only added, at the end"
    if old.get("default") != new.get("default"):
        yield "", "has another enum default in {new} than in {old}"


def _thawed(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """What a registry lets pass and a log that is read again does not."""
    before = [part["name"] for part in old["fields"]]
    after = [part["name"] for part in new["fields"]]
    kept = [name for name in after if name in before]
    if kept != [name for name in before if name in after]:
        yield "fields", "stand in another order in {new} than in {old}; fields are only added, at the end"
    elif after[: len(kept)] != kept:
        added = next(name for name in after if name not in before)
        yield added, "stands before fields of {old}; fields are only added, at the end"
    defaults = {part["name"]: part["default"] for part in old["fields"] if "default" in part}
    for part in new["fields"]:
        if part["name"] in defaults and part.get("default", ...) != defaults[part["name"]]:
            yield part["name"], "has another default in {new} than in {old}; what was written would be read anew"
        elif part["name"] in before and part["name"] not in defaults and "default" in part:
            yield part["name"], "has a default in {new} and none in {old}; it cannot get one"


def written(schema: Mapping[str, Any]) -> str:
    """A schema as a released file has it: self-contained, a field a line."""
    head = {key: value for key, value in schema.items() if key != "fields"}
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}," for key, value in head.items()]
    fields = ",\n".join(f"    {json.dumps(field, ensure_ascii=False)}" for field in schema["fields"])
    return "\n".join(("{", *lines, '  "fields": [', fields, "  ]", "}", ""))


def release(avro_dir: Path, topics_dir: Path) -> list[Path]:
    """Write every schema that differs from its newest released version as the next one.

    A released version is self-contained: a shared enum may grow without changing what was released.

    Raises:
        ContractError: a file cannot be used, or a schema and its released versions cannot read each other;
            nothing is written then.
    """
    source = read_source(avro_dir, topics_dir)
    refused = list(source.violations)
    pending: dict[Path, str] = {}
    for name, schema in source.schemas.items():
        file = source.schema_file(name)
        try:
            versions = history(file, schema)
            refused += [Violation(file, field, text) for field, text in incompatible(versions)]
        except FaultError as fault:
            refused.append(Violation(file.parent / "released", fault.field, fault.text))
            continue
        if versions[-1][0] == "now":
            pending[file.parent / "released" / f"{file.stem}.v{len(versions)}.avsc"] = written(schema)
    if refused:
        raise ContractError("nothing is released:\n" + "\n".join(map(str, refused)))
    for path, text in pending.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(pending)


def history(schema_file: Path, current: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """All versions of a schema for `incompatible`: the released ones, and the current one where it differs.

    Raises:
        FaultError: a released file is no JSON.
    """
    versions: list[tuple[str, Mapping[str, Any]]] = [
        (f"v{number}", read_json(path)) for number, path in released(schema_file)
    ]
    if not versions or not same_meaning(versions[-1][1], current):
        versions.append(("now", current))
    return versions
