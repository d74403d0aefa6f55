"""The types that mypy sees of the record classes: ``topics/__init__.pyi``, made of the contracts."""

from collections.abc import Iterator

from streams.contracts.library import Contracts
from streams.contracts.topic import Field, Topic

_TYPES = {
    "string": "str",
    "long": "int",
    "double": "float",
    "boolean": "bool",
    "timestamp": "datetime",
    "date": "date",
    "bytes": "bytes",
    "array": "list[dict[str, Any]]",
}
_HEAD = '''\
# Made by `flexlog contracts stubs` of avro/ and topics/. Do not edit.
"""The event types."""

from datetime import date as date
from datetime import datetime as datetime
from typing import Any, Literal, TypeAlias

from streams.columns import Col
from streams.contracts import Contracts, Record

CONTRACTS: Contracts
'''


def stubs(contracts: Contracts) -> str:
    """The text of ``topics/__init__.pyi``.

    Enum values are literals on events, so that mypy finds a misspelt symbol; columns of frames are strings.
    """
    parts = [_HEAD]
    parts += [f"{name}: TypeAlias = Literal[{_quoted(symbols)}]\n" for name, symbols in contracts.enums.items()]
    for record in contracts.records.values():
        parts.append("\n" + "\n".join(_class(record.__topic__)) + "\n")
    return "".join(parts)


def _quoted(symbols: tuple[str, ...]) -> str:
    return ", ".join(f'"{symbol}"' for symbol in symbols)


def _class(topic: Topic) -> Iterator[str]:
    yield f"class {topic.record_name}(Record):"
    yield f'    """{_text(topic.doc)}"""'
    for field in topic.fields:
        yield f"    {field.name}: Col[{_type(field)}]"
        yield f'    """{_text(field.doc)}"""'
    yield "    def __init__("
    yield "        self,"
    yield "        *,"
    for field in topic.fields:
        yield f"        {field.name}: {_type(field)}{' = ...' if field.has_default else ''},"
    yield "    ) -> None: ..."


def _text(doc: str) -> str:
    return doc.replace("\\", "\\\\").replace('"""', '\\"""')


def _type(field: Field) -> str:
    """The Python type of a value."""
    name = field.enum.rpartition(".")[2] if field.kind == "enum" else _TYPES[field.kind]
    if field.kind == "array" and not field.items[0].name:
        name = f"list[{_type(field.items[0])}]"
    return f"{name} | None" if field.nullable else name
