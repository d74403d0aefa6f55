from pathlib import Path

import polars as pl

from edges.conftest import Drive
from edges.rules import Config, spec
from energy.rules import Rulebook
from streams.testing import assert_rows, utc
from topics import ProductDefined, RulePublished

RULES = """
rules:
  - {rule_id: readings.gap, scope: "", valid_from: 2023-01-01T00:00:00Z, valid_to: 2023-06-01T00:00:00Z, value: 1800,
     unit: s, source: a test, source_date: 2022-12-01}
  - {rule_id: readings.gap, scope: "", valid_from: 2023-06-01T00:00:00Z, value: 900, unit: s, source: a test}
"""


def test_rules_and_product_are_published_once_as_they_stand(drive: Drive, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RULES)
    driver = drive(spec(Config(folder=str(tmp_path), valid_from=utc("2023-05-08"))), at="2023-05-08 00:00")
    driver.host.run(utc("2023-05-08 00:00"))
    driver.crash_and_restore()
    driver.host.run(utc("2023-05-20 00:00"))
    assert_rows(
        driver.read(RulePublished),
        RulePublished,
        """
        rule_id      | scope | valid_from | valid_to   | status | value_long | value_text | unit | source | source_date
        readings.gap | ""    | 2023-01-01 | 2023-06-01 | ACTIVE | 1800       |            | s    | a test | 2022-12-01
        readings.gap | ""    | 2023-06-01 |            | ACTIVE | 900        |            | s    | a test |
    """,
    )
    assert_rows(
        driver.read(ProductDefined),
        ProductDefined,
        """
        product_id | valid_from | market_id    | kind  | direction | pricing    | activation | resolution_s | simulated
        local-up   | 2023-05-08 | local-market | LOCAL | UP        | PAY_AS_BID | ORDER      | 900          | true
    """,
    )


def test_a_rule_that_changes_is_published_again_and_no_other(drive: Drive, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RULES)
    driver = drive(spec(Config(folder=str(tmp_path))), at="2023-05-08 00:00")
    driver.host.run(utc("2023-05-08 12:00"))
    (tmp_path / "a.yaml").write_text(RULES.replace("900", "600"))
    driver.host.run(utc("2023-05-08 23:59"))
    assert driver.read(RulePublished).height == 2
    driver.host.run(utc("2023-05-09 00:00"))
    published = driver.read(RulePublished)
    assert published["value_long"].to_list() == [1800, 900, 600]
    book = Rulebook(driver.read(RulePublished, latest=True).to_dicts())
    assert [book.long("readings.gap", utc(at)) for at in ("2023-05-31", "2023-06-01")] == [1800, 600]


def test_the_shipped_rules_hold_in_the_demos_year(drive: Drive) -> None:
    driver = drive(spec(Config()), at="2023-05-08 00:00")
    driver.host.run(utc("2023-05-08 00:00"))
    published = driver.read(RulePublished)
    assert published.select(pl.struct("rule_id", "scope", "valid_from").n_unique()).item() == published.height > 20
    assert (published["source"].str.len_chars() > 0).all()
    assert Rulebook(published.to_dicts()).long("market.min_quantity", utc("2023-05-08"), ["LOCAL"]) == 5000
