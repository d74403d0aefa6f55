"""Schemas by id: what the five bytes before every value refer to."""

from collections.abc import Iterable
from typing import Protocol

from streams.errors import StreamsError


class UnknownSchema(StreamsError):  # noqa: N818  # named by what it says
    """The registry is there and has no schema of this id: what refers to it is rejected."""


class RegistryAway(StreamsError):  # noqa: N818  # named by what it says
    """The registry cannot be asked: a reason to wait, never to reject."""


class SchemaRegistry(Protocol):
    """Where schemas are kept."""

    def register(self, subject: str, schema: str) -> int:
        """The id of a schema under a subject; the same schema has the same id.

        Raises:
            RegistryAway: it cannot be asked.
        """
        ...

    def schema(self, schema_id: int) -> str:
        """The schema of an id.

        Raises:
            UnknownSchema: it has none of this id.
            RegistryAway: it cannot be asked.
        """
        ...


class MemoryRegistry:
    """A registry in memory: ids from 1 in the order of registration.

    Args:
        items: what another one's `items` gave, to go on where it was.
    """

    def __init__(self, items: Iterable[tuple[int, str, str]] = ()) -> None:
        self._items: dict[tuple[str, str], int] = {}
        self._schemas: dict[int, str] = {}
        self._ids: dict[str, int] = {}
        for schema_id, subject, schema in items:
            self._items[subject, schema] = schema_id
            self._schemas[schema_id] = schema
            self._ids[schema] = schema_id

    def register(self, subject: str, schema: str) -> int:
        """The id of a schema; a schema that two subjects share has one id, as in Confluent's."""
        schema_id = self._ids.get(schema)
        if schema_id is None:
            schema_id = max(self._schemas, default=0) + 1
            self._ids[schema] = schema_id
            self._schemas[schema_id] = schema
        self._items.setdefault((subject, schema), schema_id)
        return schema_id

    def schema(self, schema_id: int) -> str:
        """The schema of an id."""
        try:
            return self._schemas[schema_id]
        except KeyError:
            raise UnknownSchema(f"no schema has the id {schema_id}") from None

    def items(self) -> list[tuple[int, str, str]]:
        """All that is registered as (id, subject, schema), in the order of registration."""
        return [(schema_id, subject, schema) for (subject, schema), schema_id in self._items.items()]
