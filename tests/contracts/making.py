"""Small contract files for the tests."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streams.contracts import Contracts, load
from streams.contracts.evolution import release
from streams.contracts.topic import Topic

ROOT = Path(__file__).parents[2]

STAMP = {"type": "long", "logicalType": "timestamp-micros"}
STATUS = {"type": "enum", "name": "DoorOpenedStatus", "symbols": ["UNKNOWN", "AJAR", "WIDE"], "default": "UNKNOWN"}

DOOR: dict[str, Any] = {
    "type": "record",
    "name": "DoorOpened",
    "namespace": "flexlog.house",
    "doc": "A door was opened.",
    "fields": [
        {"name": "site_id", "type": "string", "doc": "Site."},
        {"name": "door_id", "type": "string", "doc": "Door."},
        {"name": "occurred_at", "type": STAMP, "doc": "When."},
        {"name": "status", "type": STATUS, "doc": "How far."},
        {"name": "gap_mm", "type": "double", "doc": "How wide, in mm."},
        {"name": "force_w", "type": ["null", "long"], "default": None, "doc": "How hard."},
    ],
}
TOPIC = {
    "description": "Doors.",
    "owner": "house",
    "record": "house.DoorOpened",
    "lane": "site",
    "key": "site_id",
    "identity": ["door_id", "occurred_at"],
    "time": "occurred_at",
    "lateness": "10m",
    "retention": "400d",
    "personal_data": "pseudonymous",
    "checks": ["gap_mm >= 0", "force_w IS NULL OR force_w < 1000"],
}
EXAMPLE = {
    "site_id": "s1",
    "door_id": "front",
    "occurred_at": "2026-01-31T23:45:00Z",
    "status": "AJAR",
    "gap_mm": 12.5,
}
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "site_id": "s1",
    "door_id": "front",
    "occurred_at": NOON,
    "status": "AJAR",
    "gap_mm": 12.5,
    "force_w": None,
}
SCHEMA_FILE = "avro/house/DoorOpened.avsc"
TOPIC_FILE = "topics/house.door.v1.yaml"
EXAMPLES_FILE = "avro/house/DoorOpened.examples.json"


def field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """One field of a schema."""
    found: dict[str, Any] = next(part for part in schema["fields"] if part["name"] == name)
    return found


class House:
    """A project of one record and one topic, on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write(SCHEMA_FILE, DOOR)
        self.write(EXAMPLES_FILE, [EXAMPLE])
        self.write(TOPIC_FILE, TOPIC)

    @property
    def avro(self) -> Path:
        return self.root / "avro"

    @property
    def topics(self) -> Path:
        return self.root / "topics"

    def write(self, name: str, content: Any) -> Path:
        """A file: text as it is, anything else as JSON (which YAML reads too)."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1), encoding="utf-8")
        return path

    def change(self, name: str, how: Callable[[Any], Any]) -> None:
        """Change a JSON file in place; what ``how`` returns replaces it unless it is None."""
        content = json.loads((self.root / name).read_text(encoding="utf-8"))
        made = how(content)
        self.write(name, content if made is None else made)

    def schema(self, how: Callable[[dict[str, Any]], Any]) -> None:
        """Change the schema."""
        self.change(SCHEMA_FILE, how)

    def release(self) -> list[Path]:
        """Release what has changed."""
        return release(self.avro, self.topics)

    def load(self) -> Contracts:
        """Load it."""
        return load(self.avro, self.topics)

    def topic(self) -> Topic:
        """Its topic."""
        return self.load().topic("house.door.v1")


def with_rejected(house: House) -> House:
    """The same with the schema of rejected records, as the project has it."""
    source = ROOT / "avro" / "stream"
    (house.avro / "stream").mkdir(parents=True)
    for name in ("RecordRejected.avsc", "RecordRejected.examples.json"):
        shutil.copy(source / name, house.avro / "stream" / name)
    return house
