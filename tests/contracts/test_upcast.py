"""One real upcaster: meters that counted production as positive and had words of their own for quality."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams.contracts import Contracts, load
from streams.contracts.codec import Codec
from streams.contracts.evolution import incompatible
from streams.contracts.examples import read_examples
from streams.contracts.policy import check
from streams.contracts.upcast import major, previous, upcaster
from streams.errors import ContractError, WiringError

HERE = Path(__file__).parent / "upcast"


@pytest.fixture
def meters(tmp_path: Path) -> Path:
    return Path(shutil.copytree(HERE, tmp_path / "meters"))


def _load(root: Path) -> Contracts:
    return load(root / "avro", root / "topics")


def test_the_change_could_not_have_been_a_version() -> None:
    contracts = _load(HERE)
    old, new = (contracts.topic(f"telemetry.reading.v{number}") for number in (1, 2))
    renamed = {**new.schema, "name": "ReadingTaken"}
    found = {field for field, _ in incompatible([("v1", old.schema), ("now", renamed)])}
    assert found == {"power_w", "quality", "flag"}


def test_old_events_are_read_as_the_new_record(codec: Codec) -> None:
    contracts = _load(HERE)
    old, new = (contracts.topic(f"telemetry.reading.v{number}") for number in (1, 2))
    assert previous(contracts, new) is old
    log = codec.encode(old, codec.prepare(old, read_examples(old)))
    frame = upcaster(contracts, new)(codec.decode(old, log.keys, log.values).frame)
    midnight, noon = datetime(2026, 1, 31, 23, 45, tzinfo=UTC), datetime(2026, 2, 1, 11, 45, tzinfo=UTC)
    assert codec.prepare(new, frame).rows() == [
        ("home-1", "meter-1", midnight, 2500.0, "MEASURED", None),
        ("home-1", "meter-1", noon, -3100.0, "ESTIMATED", None),
        ("home-2", "meter-2", noon, 0.0, "MISSING", "E7"),
    ]
    again = codec.encode(new, codec.prepare(new, frame))
    assert codec.decode(new, again.keys, again.values).frame.equals(frame)


def test_the_example_breaks_no_rule() -> None:
    assert check(HERE / "avro", HERE / "topics") == []


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("", "has no function upcast"),
        ("def upcast(frame): return frame", "must give the columns of ReadingTakenV2"),
        ("def upcast(frame): return frame[:1]", "as many rows as it was given"),
        ("def upcast(frame): return None", "must give a frame"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
    ],
)
def test_an_upcaster_that_does_not_fit_is_named(meters: Path, code: str, text: str) -> None:
    (meters / "avro/telemetry/ReadingTakenV2.upcast.py").write_text(code)
    found = check(meters / "avro", meters / "topics")
    assert [violation.file.name for violation in found] == ["ReadingTakenV2.upcast.py"]
    assert text in found[0].text


def test_an_upcaster_that_is_missing_is_named(meters: Path) -> None:
    (meters / "avro/telemetry/ReadingTakenV2.upcast.py").unlink()
    contracts = _load(meters)
    with pytest.raises(ContractError, match=r"ReadingTakenV2.upcast.py: is missing"):
        upcaster(contracts, contracts.topic("telemetry.reading.v2"))


def test_there_is_nothing_before_the_first_major() -> None:
    contracts = _load(HERE)
    with pytest.raises(WiringError, match=r"telemetry.reading.v1 is the first of its kind"):
        upcaster(contracts, contracts.topic("telemetry.reading.v1"))
    assert [major(name) for name in ("ReadingTaken", "ReadingTakenV2", "ReadingTakenV11")] == [1, 2, 11]
