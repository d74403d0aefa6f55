import subprocess
import sys
from pathlib import Path

from streams.contracts import Contracts
from streams.contracts.stubs import stubs
from tests.contracts.making import ROOT

USE = """
from datetime import UTC, datetime
import polars as pl
from topics import BidSubmitted, Direction, ReadingTaken
NOW = datetime(2026, 1, 1, tzinfo=UTC)
column: pl.Expr = ReadingTaken.power_w > 3
event = ReadingTaken(site_id="s", resource_id="r", commodity="HEAT", occurred_at=NOW, quality="MEASURED")
power: float | None = event.power_w
def opposite(direction: Direction) -> Direction: return "UP" if direction == "DOWN" else "DOWN"
# wrong from here on
ReadingTaken(site_id="s", resource_id="r", commodity="HEATT", occurred_at=NOW, quality="MEASURED")
ReadingTaken(site_id="s", resource_id="r", commodity="HEAT", occurred_at="now", quality="MEASURED")
ReadingTaken(site_id="s", resource_id="r", commodity="HEAT", quality="MEASURED")
ReadingTaken(site_id="s", resource_id="r", commodity="HEAT", occurred_at=NOW, quality="MEASURED", colour=3)
ReadingTaken.powr_w
known: float = event.power_w
print(event.commodity == "HEATT")
ReadingTaken("s", "r", "HEAT", NOW, "MEASURED")
"""


def test_the_types_in_the_tree_are_those_of_the_contracts(contracts: Contracts) -> None:
    assert (ROOT / "topics" / "__init__.pyi").read_text(encoding="utf-8") == stubs(contracts)


def test_mypy_knows_columns_events_and_symbols(tmp_path: Path) -> None:
    file = tmp_path / "use.py"
    file.write_text(USE, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    wrong = USE.splitlines().index("# wrong from here on") + 1
    lines = {int(line.split(":")[1]) for line in done.stdout.splitlines() if "error:" in line}
    assert lines == set(range(wrong + 1, len(USE.splitlines()) + 1)), done.stdout


def test_every_name_of_the_stubs_is_there_at_run_time(contracts: Contracts) -> None:
    import topics

    for name in (*contracts.records, *contracts.enums, "CONTRACTS"):
        assert hasattr(topics, name)
    assert topics.ReadingTaken is contracts.records["ReadingTaken"]
