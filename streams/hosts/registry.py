"""The schema registry of the embedded host: schemas by id, kept in the log."""

from streams.contracts.registry import UnknownSchema
from streams.hosts.memory import MemoryLog


class LogRegistry:
    """Schema ids beside the records that carry them. Ids count from 1 in the order of first use."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._schemas = {int(k.removeprefix("schema/")): v for k, v in log.meta.items() if k.startswith("schema/")}
        self._ids = {schema: schema_id for schema_id, schema in self._schemas.items()}

    def register(self, subject: str, schema: str) -> int:
        """The id of a schema; the same text has one id, whatever its subject."""
        del subject
        known = self._ids.get(schema)
        if known is None:
            known = len(self._schemas) + 1
            self._schemas[known] = schema
            self._ids[schema] = known
            self._log.remember(f"schema/{known}", schema)
        return known

    def schema(self, schema_id: int) -> str:
        """The schema of an id.

        Raises:
            UnknownSchema: there is none.
        """
        known = self._log.meta.get(f"schema/{schema_id}")  # another process may have written it since
        if known is None:
            raise UnknownSchema(f"no schema has the id {schema_id}")
        return known
