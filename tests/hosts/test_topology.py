"""A wrong wiring is an error at start, with the file and the fix."""

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streams import Col, Edge, Emit, Keyed, Processor, Records, Session
from streams.contracts import Contracts
from streams.contracts.record import Record
from streams.errors import WiringError
from streams.topology import Topology, discover
from tests.conformance.plant import CONTRACTS, DAYS, HOURS, CounterRead, DayTotalled, FactorSet, HourSummed


def check(*specs: Any, contracts: Contracts = CONTRACTS, absent: bool = True) -> Topology:
    processors = tuple(spec for spec in specs if isinstance(spec, Processor))
    edges = tuple(spec for spec in specs if isinstance(spec, Edge))
    return Topology(contracts, processors, edges, absent=absent)


def changed(spec: Processor[Any, Any, Any], **fields: Any) -> Processor[Any, Any, Any]:
    return dataclasses.replace(spec, **fields)


def decide(ctx: Any) -> list[Emit[Any]]:
    return []


def test_the_right_wiring_passes_and_puts_writers_first() -> None:
    topology = check(DAYS, HOURS)
    assert [spec.name for spec in topology.ordered] == ["hours", "days"]
    assert topology.writers("plant.hour.v1") == ["hours"]
    assert topology.readers("plant.hour.v1") == ["days"]


WRONG = {
    "a second writer": (
        (HOURS, changed(HOURS, name="again")),
        r"again writes plant\.hour\.v1, which hours \(.*\) writes too; a topic has one writer",
    ),
    "a second name": ((HOURS, changed(DAYS, name="hours")), "a second processor is called 'hours'"),
    "no handler": ((changed(HOURS, on_batch=None),), "reads and on_batch go together"),
    "writes nothing": ((changed(DAYS, writes=Records()),), "days writes nothing"),
    "two lanes": (
        (changed(HOURS, reads=Records((CounterRead, FactorSet)), tables=Records()),),
        r"plant\.counter\.v1 \(lane site\) and plant\.factor\.v1 \(lane reference\).*take one of them as a table",
    ),
    "twice": (
        (changed(HOURS, tables=Records((FactorSet, CounterRead))),),
        r"plant\.counter\.v1 stands in reads and in tables; name it once",
    ),
    "keep": ((changed(HOURS, keep={HourSummed: timedelta(1)}),), "keep names HourSummed, which is not in tables"),
    "every": ((changed(HOURS, every=timedelta(0)),), "every must be longer than zero"),
    "a cycle": (
        (changed(HOURS, tables=Records((DayTotalled,))), DAYS),
        r"a cycle without a delay: .*hours.*days.*delayed=",
    ),
    "itself": ((changed(DAYS, tables=Records((DayTotalled,))),), "a cycle without a delay: days → days"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_wiring_says_where_and_what_to_do(case: str) -> None:
    specs, message = WRONG[case]
    with pytest.raises(WiringError, match=message) as caught:
        check(*specs)
    assert "__init__.py" in str(caught.value)


def test_a_delay_closes_a_cycle() -> None:
    late = changed(HOURS, tables=Records((FactorSet,)), delayed={DayTotalled: timedelta(hours=1)})
    assert [spec.name for spec in check(late, DAYS).ordered] == ["hours", "days"]


def test_its_own_history_is_no_cycle() -> None:
    check(changed(DAYS, history=Records((DayTotalled,))))


def test_a_topic_that_nobody_writes_is_an_error_for_a_host() -> None:
    with pytest.raises(WiringError, match=r"hours reads plant\.counter\.v1, which nobody writes"):
        check(HOURS, absent=False)


def test_a_record_of_other_contracts_is_an_error() -> None:
    with pytest.raises(WiringError, match=r"no topic 'plant\.counter\.v1'"):
        check(HOURS, contracts=Contracts.installed())


def test_a_record_that_is_none_is_an_error() -> None:
    with pytest.raises(WiringError, match="which is no record; import it from topics"):
        check(changed(HOURS, writes=Records((int,))))  # type: ignore[arg-type]


def test_unequal_keys_are_an_error(tmp_path: Path) -> None:
    from streams.contracts import load

    source = Path(__file__).parents[1] / "conformance" / "contracts"
    for kind in ("avro", "topics"):
        for path in (source / kind).rglob("*.*"):
            target = tmp_path / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path.read_text())
    hour = tmp_path / "topics" / "plant.day.v1.yaml"
    hour.write_text(hour.read_text().replace("lane: portfolio", "lane: site"))
    made = load(tmp_path / "avro", tmp_path / "topics")
    counter, day, hours = (made.records[name] for name in ("CounterRead", "DayTotalled", "HourSummed"))
    spec: Processor[Any, Any, Any] = changed(
        HOURS, reads=Records((counter, day)), writes=Records((hours,)), tables=Records()
    )
    with pytest.raises(WiringError, match=r"\(key site_id\).*\(key portfolio_id\).*different tasks"):
        check(spec, contracts=Contracts.installed().merge(made))


def test_an_edge_needs_to_know_whose_events_they_are() -> None:
    def edge(key: Any) -> Edge[Any, Any, Any, Any]:
        return Edge(
            name="e",
            version=1,
            session=Session,
            writes=Records(),
            reads=Records((HourSummed,)),
            key=key,
            on_event=lambda talk, event: None,
        )

    check(edge("site_id"))
    check(edge("=all"))
    with pytest.raises(WiringError, match="key 'site' is no field of HourSummed"):
        check(edge("site"))
    with pytest.raises(WiringError, match="no key for HourSummed"):
        check(edge({}))


def test_state_columns_that_the_key_names_must_exist() -> None:
    with pytest.raises(Exception, match="state Wrong has no column 'b'"):

        class Wrong(Keyed, key=("b",)):
            a: Col[str]


def test_a_misspelt_field_is_an_error_of_discovery_with_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.metadata

    import streams.topology as module

    folder = tmp_path / "theirs" / "broken"
    folder.mkdir(parents=True)
    (tmp_path / "theirs" / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("from topics import ReadingTaken\n\nCOLUMN = ReadingTaken.powr_w\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = importlib.metadata.EntryPoint("theirs", "theirs", "flexlog.processors")
    monkeypatch.setattr(module, "entry_points", lambda group: [entry] if group == "flexlog.processors" else [])
    with pytest.raises(WiringError, match=r"broken/__init__\.py:3: cannot load theirs\.broken: AttributeError.*powr_w"):
        discover()


def test_record_is_the_base_of_all() -> None:
    assert issubclass(CounterRead, Record)
