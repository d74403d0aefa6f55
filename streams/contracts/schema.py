"""From an Avro schema to the fields of a record."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from streams.columns import UTC_MICROS
from streams.contracts.topic import Field, Kind
from streams.contracts.violation import FaultError

SHARED_NAMESPACE = "flexlog"
UNKNOWN = "UNKNOWN"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_ZERO = date(1970, 1, 1)
_MICRO = timedelta(microseconds=1)

# The only types there are (CONTRACTS section 1): Avro type and logical type, kind, column.
_PRIMITIVES: dict[tuple[str, str | None], tuple[Kind, pl.DataType]] = {
    ("string", None): ("string", pl.String()),
    ("long", None): ("long", pl.Int64()),
    ("double", None): ("double", pl.Float64()),
    ("boolean", None): ("boolean", pl.Boolean()),
    ("bytes", None): ("bytes", pl.Binary()),
    ("long", "timestamp-micros"): ("timestamp", UTC_MICROS),
    ("int", "date"): ("date", pl.Date()),
}
_ALLOWED = (
    "string, long, double, boolean, timestamp-micros, date, enum, bytes, array, or a union of null and one of them"
)


def micros(instant: datetime) -> int:
    """An aware time as it stands on the wire: microseconds since 1970, UTC."""
    return (instant - EPOCH) // _MICRO


def days(day: date) -> int:
    """A date as it stands on the wire: days since 1970."""
    return day.toordinal() - _DAY_ZERO.toordinal()


def read_json(path: Path) -> Any:
    """The JSON of a file; a `FaultError` names the line where it is broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise FaultError(f"line {error.lineno}", f"no JSON: {error.msg}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FaultError("", f"cannot be read: {error}") from None


def full_name(node: Mapping[str, Any], namespace: str) -> str:
    """The full name of a named type that stands in ``namespace``."""
    name = str(node.get("name", ""))
    if "." in name:
        return name
    return f"{node.get('namespace', namespace)}.{name}"


def read_shared(folder: Path) -> dict[str, dict[str, Any]]:
    """The shared enums by full name, from ``avro/shared/<Name>.avsc``."""
    found = {}
    for path in sorted(folder.glob("*.avsc")):
        node = read_json(path)
        if not isinstance(node, dict) or node.get("type") != "enum":
            raise FaultError(path.name, "only enums are shared")
        found[full_name(node, SHARED_NAMESPACE)] = node
    return found


def inline(node: Any, shared: Mapping[str, dict[str, Any]], seen: set[str] | None = None) -> Any:
    """A schema with every shared enum written out where it is first used; later uses keep the name."""
    seen = set() if seen is None else seen
    if isinstance(node, str):
        if node in shared and node not in seen:
            seen.add(node)
            return {**shared[node], "name": node.rpartition(".")[2], "namespace": node.rpartition(".")[0]}
        return node
    if isinstance(node, list):
        return [inline(part, shared, seen) for part in node]
    if isinstance(node, dict):
        walked = {"type", "items", "fields"}
        return {key: inline(part, shared, seen) if key in walked else part for key, part in node.items()}
    return node


class _Reader:
    """Turns the fields of one record into `Field`s; knows the named types met so far."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._enums: dict[str, Mapping[str, Any]] = {}

    def field(self, node: Any, *, inside: str = "") -> Field:
        if not isinstance(node, dict) or not isinstance(node.get("name"), str) or "type" not in node:
            raise FaultError(inside or "fields", "a field needs a name and a type")
        name = f"{inside}.{node['name']}" if inside else node["name"]
        made = self._typed(node["type"], name, in_array=bool(inside))
        value: Any = None
        if "default" in node:
            value = _default(made, node["default"], name)
        elif made.nullable and not inside:
            raise FaultError(name, 'a nullable field needs "default": null')
        changes = {"name": node["name"], "doc": str(node.get("doc", ""))}
        return _replace(made, **changes, has_default="default" in node, default=value)

    def _typed(self, node: Any, name: str, *, in_array: bool) -> Field:
        nullable = False
        if isinstance(node, list):
            if len(node) != 2 or node[0] != "null":
                raise FaultError(name, f'the only union is ["null", type], null first; this is {json.dumps(node)}')
            nullable, node = True, node[1]
        if isinstance(node, str) and (node, None) not in _PRIMITIVES:
            full = node if "." in node else f"{self._namespace}.{node}"
            if full in self._enums:
                return _replace(self._enum(self._enums[full], name), nullable=nullable)
        shape = {"type": node} if isinstance(node, str) else node
        if not isinstance(shape, dict):
            raise FaultError(name, f"type {json.dumps(node)} is not allowed; use {_ALLOWED}")
        if shape.get("type") == "enum":
            return _replace(self._enum(shape, name), nullable=nullable)
        if shape.get("type") == "array" and not in_array:
            return _replace(self._array(shape, name), nullable=nullable)
        known = _PRIMITIVES.get((str(shape.get("type")), shape.get("logicalType")))
        if known is None:
            raise FaultError(name, f"type {json.dumps(node)} is not allowed; use {_ALLOWED}")
        return Field(name, known[0], known[1], nullable, "")

    def _enum(self, node: Mapping[str, Any], name: str) -> Field:
        symbols = node.get("symbols")
        if not isinstance(symbols, list) or not symbols or not all(isinstance(s, str) for s in symbols):
            raise FaultError(name, "an enum needs symbols")
        if len(set(symbols)) != len(symbols):
            raise FaultError(name, "an enum's symbols must differ")
        full = full_name(node, self._namespace)
        self._enums[full] = node
        return Field(name, "enum", pl.String(), nullable=False, doc="", symbols=tuple(symbols), enum=full)

    def _array(self, node: Mapping[str, Any], name: str) -> Field:
        items = node.get("items")
        if isinstance(items, dict) and items.get("type") == "record":
            fields = tuple(self.field(part, inside=name) for part in items.get("fields", ()))
            if not fields:
                raise FaultError(name, "an array's records need fields")
            dtype: pl.DataType = pl.List(pl.Struct({part.name: part.dtype for part in fields}))
        else:
            fields = (_replace(self._typed(items, name, in_array=True), name=""),)
            dtype = pl.List(fields[0].dtype)
        return Field(name, "array", dtype, nullable=False, doc="", items=fields)


def _replace(field: Field, **changes: Any) -> Field:
    return Field(**{**field.__dict__, **changes})


def _default(field: Field, value: Any, name: str) -> Any:
    """The Python value of a schema's default."""
    if field.nullable:
        if value is not None:
            raise FaultError(name, "the default of a nullable field is null")
        return None
    wanted: dict[Kind, type | tuple[type, ...]] = {
        "string": str,
        "long": int,
        "double": (int, float),
        "boolean": bool,
        "timestamp": int,
        "date": int,
        "enum": str,
        "bytes": str,
        "array": list,
    }
    right = isinstance(value, wanted[field.kind]) and (field.kind == "boolean" or not isinstance(value, bool))
    if not right or (field.kind == "enum" and value not in field.symbols) or (field.kind == "array" and value):
        raise FaultError(name, f"default {json.dumps(value)} is no {field.kind}")
    match field.kind:
        case "timestamp":
            return EPOCH + timedelta(microseconds=value)
        case "date":
            return _DAY_ZERO + timedelta(days=value)
        case "double":
            return float(value)
        case "bytes":
            return value.encode("latin-1")
    return value


def fields_of(schema: Any) -> tuple[Field, ...]:
    """The fields of a record's schema (shared enums inlined).

    Raises:
        FaultError: a type that is not allowed, a union of another form, a default that does not fit.
    """
    if not isinstance(schema, dict) or schema.get("type") != "record" or not isinstance(schema.get("name"), str):
        raise FaultError("", "an event type is an Avro record with a name")
    if not isinstance(schema.get("fields"), list) or not schema["fields"]:
        raise FaultError("fields", "a record needs fields")
    reader = _Reader(full_name(schema, "").rpartition(".")[0])
    fields = tuple(reader.field(node) for node in schema["fields"])
    names = [field.name for field in fields]
    for name in names:
        if names.count(name) > 1:
            raise FaultError(name, "stands twice")
    return fields


def is_vectorised(fields: Iterable[Field]) -> bool:
    """Whether the vectorised decoder takes these fields: no bytes, no arrays, enum indices of one byte."""
    return all(field.kind not in ("bytes", "array") and len(field.symbols) <= 64 for field in fields)


_AVRO = {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}


def canonical(node: Any) -> Any:
    """A schema without what changes no meaning (docs, aliases, order of keys), logical types and defaults kept.

    Named types are inlined everywhere, so that the place of a definition makes no difference.

    Raises:
        FaultError: a type is named that the schema does not define.
    """
    return _canonical(node, "", {})


def _canonical(node: Any, namespace: str, named: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_canonical(part, namespace, named) for part in node]
    if isinstance(node, str):
        full = node if "." in node else f"{namespace}.{node}"
        if full not in named and node not in _AVRO:
            raise FaultError("", f"names {node}, which it does not define")
        return named.get(full, node)
    kept = {key: node[key] for key in ("logicalType", "symbols", "default") if key in node}
    kind = node["type"]
    if kind in ("record", "enum"):
        full = full_name(node, namespace)
        kept |= {"type": kind, "name": full}
        named[full] = kept
        if kind == "record":
            space = full.rpartition(".")[0]
            kept["fields"] = [
                {
                    "name": part["name"],
                    "type": _canonical(part["type"], space, named),
                    **({"default": part["default"]} if "default" in part else {}),
                }
                for part in node["fields"]
            ]
        return kept
    if kind == "array":
        return kept | {"type": "array", "items": _canonical(node["items"], namespace, named)}
    plain = _canonical(kind, namespace, named)
    return kept | {"type": plain} if kept else plain
