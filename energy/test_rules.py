from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from energy.baseline import HighXOfY
from energy.intervals import Gaps
from energy.rules import Rulebook, RuleError, baseline_method, load, parse, reading_gaps, rows

NOW = datetime(2026, 2, 16, 12, tzinfo=UTC)
RULE = """
  - rule_id: market.resolution
    scope: SDAC
    valid_from: 2026-01-01T00:00:00Z
    value: 900
    unit: s
    source: somebody
"""


def rules(text: str) -> Rulebook:
    return Rulebook(rows(parse("rules:" + text, "test.yaml")))


def test_the_shipped_rules_can_be_read_and_have_their_sources() -> None:
    shipped = load()
    assert len(shipped) > 40
    assert all(rule.source for rule in shipped)
    assert all(rule.valid_from.tzinfo is UTC for rule in shipped)
    keys = [(rule.rule_id, rule.scope, rule.valid_from) for rule in shipped]
    assert keys == sorted(set(keys))


def test_the_shipped_rules_say_what_the_design_says() -> None:
    book = Rulebook(rows(load()))
    assert reading_gaps(book, NOW).gap_s == 30 * 60
    ten = baseline_method(book, NOW, ["AEMO"])
    assert (ten.x, ten.y, ten.by_day_type) == (10, 10, True)
    assert (baseline_method(book, NOW, ["NYISO"]).x, baseline_method(book, NOW, ["NYISO"]).y) == (5, 10)
    assert baseline_method(book, NOW, ["some-product"]).cap == 0.2
    assert (book.long("market.min_quantity", NOW, ["LOCAL"]), book.long("market.step", NOW, ["LOCAL"])) == (5000, 1000)
    # 300 per kWh over 7,500 cycles, in micros per MWh
    assert book.long("storage.wear", NOW) == 300 * 1000 * 10**6 // 7500
    assert book.long("grid.emergency_limit_min", NOW, ["DE"]) == 4200


def test_the_market_time_unit_changed_with_the_delivery_day_of_october_2025() -> None:
    book = Rulebook(rows(load()))
    # midnight of 2025-10-01 in Brussels is 22:00 UTC
    assert book.long("market.resolution", datetime(2025, 9, 30, 21, 59, tzinfo=UTC), ["SDAC"]) == 3600
    assert book.long("market.resolution", datetime(2025, 9, 30, 22, 0, tzinfo=UTC), ["SDAC"]) == 900


def test_a_row_has_the_fields_of_the_event() -> None:
    (row,) = rows(parse("rules:" + RULE + "    source_date: 2025-10-01\n", "test.yaml"))
    assert row == {
        "rule_id": "market.resolution", "scope": "SDAC",
        "valid_from": datetime(2026, 1, 1, tzinfo=UTC), "valid_to": None,
        "status": "ACTIVE", "value_long": 900, "value_double": None, "value_text": None, "unit": "s",
        "source": "somebody", "source_date": date(2025, 10, 1),
    }  # fmt: skip
    (text,) = rows(parse("rules:" + RULE.replace("900", "PAY_AS_BID"), "test.yaml"))
    (double,) = rows(parse("rules:" + RULE.replace("900", "2.0"), "test.yaml"))
    assert (text["value_long"], text["value_double"], text["value_text"]) == (None, None, "PAY_AS_BID")
    assert (double["value_long"], double["value_double"], double["value_text"]) == (None, 2.0, None)


def test_the_narrower_scope_counts_and_everywhere_is_the_last() -> None:
    book = rules(RULE + RULE.replace("SDAC", '""').replace("900", "60"))
    assert book.long("market.resolution", NOW, ["MARI", "SDAC"]) == 900
    assert book.long("market.resolution", NOW, ["MARI"]) == 60
    assert book.long("market.resolution", NOW) == 60
    assert book.double("market.resolution", NOW) == 60.0


def test_a_rule_holds_from_its_start_to_its_end() -> None:
    book = rules(RULE + "    valid_to: 2026-03-01T00:00:00Z\n")
    assert book.find("market.resolution", datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC), ["SDAC"]) is None
    assert book.find("market.resolution", datetime(2026, 1, 1, tzinfo=UTC), ["SDAC"]) is not None
    assert book.find("market.resolution", datetime(2026, 3, 1, tzinfo=UTC), ["SDAC"]) is None
    withdrawn = [row | {"status": "WITHDRAWN"} for row in rows(parse("rules:" + RULE, "test.yaml"))]
    assert Rulebook(withdrawn).find("market.resolution", NOW, ["SDAC"]) is None


def test_a_rule_that_is_wanted_and_not_there_is_named() -> None:
    with pytest.raises(RuleError, match=r"no rule a\.b holds at 2026-02-16T12:00:00Z for scope 'x', ''"):
        rules(RULE).long("a.b", NOW, ["x"])
    with pytest.raises(RuleError, match=r"market\.resolution \(scope 'SDAC'\) has no str value"):
        rules(RULE).text("market.resolution", NOW, ["SDAC"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rules: [", "test.yaml: not YAML"),
        ("rule: []", "one key, 'rules'"),
        ("rules:\n  - 5", "test.yaml: rule 1"),
        ("rules:" + RULE.replace("    unit: s\n", ""), "test.yaml: market.resolution: unit: Field required"),
        ("rules:" + RULE.replace("source: somebody", 'source: ""'), "market.resolution: source: "),
        ("rules:" + RULE + "    colour: red\n", "market.resolution: colour: Extra inputs"),
        ("rules:" + RULE.replace("00:00:00Z", "00:00:00"), "market.resolution: valid_from: .*no offset from UTC"),
        ("rules:" + RULE + "    valid_to: 2026-01-01T00:00:00Z\n", "valid_to is not after valid_from"),
        ("rules:" + RULE.replace("900", "true"), "market.resolution: value: .*write 1 or 0"),
        ("rules:" + RULE.replace("market.resolution", "Resolution"), "Resolution: rule_id: "),
    ],
)
def test_a_rule_that_is_written_wrong_is_one_line_with_file_rule_and_field(text: str, says: str) -> None:
    with pytest.raises(RuleError, match=says) as error:
        parse(text, "test.yaml")
    assert "\n" not in str(error.value)


def test_two_rules_that_hold_at_once_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rules:" + RULE)
    (tmp_path / "b.yaml").write_text("rules:" + RULE.replace("2026-01-01", "2026-06-01"))
    with pytest.raises(RuleError, match=r"b\.yaml: market\.resolution .*overlaps the one in a\.yaml"):
        load(tmp_path)
    (tmp_path / "a.yaml").write_text("rules:" + RULE + "    valid_to: 2026-06-01T00:00:00Z\n")
    assert len(load(tmp_path)) == 2
    with pytest.raises(RuleError, match="no rules files"):
        load(tmp_path / "none")


def test_a_method_is_built_from_its_rules() -> None:
    shipped = rows(load())
    assert reading_gaps(Rulebook(shipped), NOW) == Gaps(continuous_s=900, gap_s=1800)
    assert baseline_method(Rulebook(shipped), NOW) == HighXOfY(
        x=4, y=5, days_back=45, days_min=3, by_day_type=True, adjustment="RATIO", cap=0.2,
        window_from_s=4 * 3600, window_to_s=3600,
    )  # fmt: skip
    wrong = [row | {"value_text": "SOMEHOW"} if row["rule_id"] == "baseline.adjustment" else row for row in shipped]
    with pytest.raises(RuleError, match="'SOMEHOW'; use one of NONE, RATIO, ADDITIVE"):
        baseline_method(Rulebook(wrong), NOW)
