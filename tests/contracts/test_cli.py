import subprocess
import sys
import time
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result

from streams.cli import COMMANDS, main
from streams.contracts import Contracts
from streams.contracts.stubs import stubs
from tests.contracts.making import ROOT, TOPIC, TOPIC_FILE, House, field


@click.command()
def offered() -> None:
    """Offered by a package."""
    click.echo("offered")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, contracts: Contracts) -> CliRunner:
    """The command line with the project's own contracts as what is installed."""
    topology = SimpleNamespace(writers=lambda name: ["homes"], readers=lambda name: ["intervals", "baseline"])
    monkeypatch.setattr("streams.topology.discover", lambda: topology)
    monkeypatch.setattr(Contracts, "installed", classmethod(lambda cls: contracts))
    return CliRunner()


def _run(run: CliRunner, *args: str) -> Result:
    return run.invoke(main, list(args), prog_name="flexlog")


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys; from streams.cli import main; main(['--help'], standalone_mode=False);"
        "print([name for name in sys.modules if name.startswith(('streams.cli.', 'demo', 'rich', 'chdb'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_adds_no_tenth_of_a_second_to_importing_the_library() -> None:
    def seconds(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
        return time.perf_counter() - start

    library = "import streams"
    listed = "from streams.cli import main; main(['--help'], standalone_mode=False)"
    assert min(seconds(listed) - seconds(library) for _ in range(5)) < 0.1


def test_commands_of_other_packages_join(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints([EntryPoint("extra", f"{__name__}:offered", "flexlog.commands")])
    monkeypatch.setattr("streams.cli.entry_points", lambda *, group: points.select(group=group))
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or SimpleNamespace(offered=offered))
    run = CliRunner()
    assert "extra" in _run(run, "--help").output
    assert _run(run, "extra").output == "offered\n"
    assert "No such command 'nothing'" in _run(run, "nothing").output


def test_check_of_the_project_is_one_line_with_counts(run: CliRunner, contracts: Contracts) -> None:
    result = _run(run, "contracts", "check", "--root", str(ROOT))
    assert result.exit_code == 0
    assert result.output.startswith(f"{len(contracts.records)} records, ")
    assert result.output.count("\n") == 1


def test_check_prints_every_violation_with_file_and_field(run: CliRunner, house: House) -> None:
    house.release()
    house.schema(lambda schema: field(schema, "gap_mm").update(doc=""))
    house.write(TOPIC_FILE, TOPIC | {"personal_data": "none"})
    result = _run(run, "contracts", "check", "--root", str(house.root))
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert any(line.endswith("DoorOpened.avsc: gap_mm: has no doc") for line in lines)
    assert any("house.door.v1.yaml: personal_data: is none" in line for line in lines)
    assert lines[-1] == "Error: 2 violations"
    assert len(lines) == 3


def test_show_is_a_page_with_all_that_a_reader_needs(run: CliRunner) -> None:
    result = _run(run, "contracts", "show", "telemetry.interval.v1")
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    for part in (
        "telemetry.interval.v1 IntervalMeasured",
        "lane site",
        "key site_id",
        "identity resource_id, commodity, period_start",
        "time period_start, never late",
        "written by homes",
        "read by intervals, baseline",
        "energy_wh double, may be null Wh",
        "period_start timestamp UTC",
        "MEASURED CALCULATED ESTIMATED MISSING",
        "period_end > period_start",
        "quality = 'MISSING' OR energy_wh IS NOT NULL",
    ):
        assert part in words, part


def test_show_of_every_topic_works(run: CliRunner, contracts: Contracts) -> None:
    for name in (*contracts.topics, "telemetry.reading.v1.rejected"):
        result = _run(run, "contracts", "show", name)
        assert result.exit_code == 0, result.output
        assert all(field.name in result.output for field in contracts.topic(name).fields)


def test_what_a_person_got_wrong_is_one_line(run: CliRunner) -> None:
    result = _run(run, "contracts", "show", "telemetry.readings.v1")
    assert result.exit_code == 1
    assert result.output.startswith("Error: there is no topic 'telemetry.readings.v1'; nearest: telemetry.reading.v1")
    assert result.output.count("\n") == 1


def test_list_has_a_line_for_every_topic(run: CliRunner, contracts: Contracts) -> None:
    result = _run(run, "contracts", "list")
    assert all(f"{name} " in result.output for name in contracts.topics)


def test_stubs_are_written_where_they_differ(run: CliRunner, house: House) -> None:
    result = _run(run, "contracts", "stubs", "--root", str(house.root))
    assert result.output.endswith("__init__.pyi: written\n")
    assert (house.topics / "__init__.pyi").read_text() == stubs(house.load())
    assert _run(run, "contracts", "stubs", "--root", str(house.root)).output.endswith("up to date\n")


def test_release_keeps_what_has_changed_and_refuses_what_cannot_be_read(run: CliRunner, house: House) -> None:
    def release() -> Result:
        return _run(run, "contracts", "release", "--root", str(house.root))

    assert release().output.endswith("released/DoorOpened.v1.avsc: released\n")
    assert release().output.startswith("nothing to release")
    house.schema(lambda schema: field(schema, "gap_mm").update(type="long"))
    result = release()
    assert result.exit_code == 1
    assert "DoorOpened.avsc: gap_mm: is double in v1 and long in now" in result.output
    assert result.output.splitlines()[-1] == "Error: nothing is released"
    assert not (house.avro / "house/released/DoorOpened.v2.avsc").exists()


def test_the_installed_command_answers(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("flexlog")
    if not command.exists():
        pytest.skip("the package is not installed in this environment")
    done = subprocess.run([command, "contracts", "check"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["avro: no such folder", "Error: 1 violation"]
