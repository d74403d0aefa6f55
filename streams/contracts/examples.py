"""The real examples beside every schema."""

import base64
import binascii
from datetime import date, datetime
from pathlib import Path
from typing import Any

from streams.contracts.schema import read_json
from streams.contracts.topic import Field, Topic
from streams.contracts.violation import FaultError


def examples_file(topic: Topic) -> Path:
    """``<Record>.examples.json`` beside the schema."""
    return topic.schema_file.with_name(f"{topic.schema_file.stem}.examples.json")


def read_examples(topic: Topic) -> list[dict[str, Any]]:
    """The examples of a topic's record as Python values; fields that are left out are left out.

    Raises:
        FaultError: no list of objects, an unknown field, a time without ``Z``, bytes that are no base64.
    """
    found = read_json(examples_file(topic))
    if not isinstance(found, list) or not found or not all(isinstance(example, dict) for example in found):
        raise FaultError("", "is no list of at least one example")
    return [
        {name: _value(topic, f"[{at}].{name}", name, value) for name, value in example.items()}
        for at, example in enumerate(found)
    ]


def _value(topic: Topic, where: str, name: str, value: Any) -> Any:
    field = topic.by_name.get(name)
    if field is None:
        raise FaultError(where, f"{topic.record_name} has no such field")
    return _typed(field, where, value)


def _typed(field: Field, where: str, value: Any) -> Any:
    if value is None:
        return None
    try:
        match field.kind:
            case "timestamp":
                return _instant(value)
            case "date":
                return date.fromisoformat(value)
            case "bytes":
                return base64.b64decode(value, validate=True)
            case "double" if isinstance(value, int) and not isinstance(value, bool):
                return float(value)
            case "array":
                return [_item(field, f"{where}[{at}]", item) for at, item in enumerate(value)]
    except (ValueError, TypeError, binascii.Error) as error:
        raise FaultError(where, f"{value!r} is no {field.kind}: {error}") from None
    return value


def _instant(text: str) -> datetime:
    if not text.endswith("Z"):
        raise ValueError("write UTC with a Z at the end")
    return datetime.fromisoformat(text)


def _item(field: Field, where: str, item: Any) -> Any:
    if not field.items[0].name:
        return _typed(field.items[0], where, item)
    parts = {part.name: part for part in field.items}
    if not isinstance(item, dict) or not item.keys() <= parts.keys():
        raise FaultError(where, f"{item!r}: its fields are {', '.join(parts)}")
    return {name: _typed(part, f"{where}.{name}", item.get(name)) for name, part in parts.items()}
