"""The pages of reference say what the code has, and `flexlog docs --check` notices when they do not."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streams import observe
from streams.cli import docs, operating
from streams.kafka.settings import KafkaSettings, RegistrySettings, Settings

ROOT = Path(__file__).parents[2]


def _check(out: Path) -> Result:
    return CliRunner().invoke(docs.docs, ["--check", "--out", str(out)])


def test_every_default_on_the_page_is_what_the_variable_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = re.findall(r"^\| `(FLEXLOG_\w+__\w+)` \| [^|]+ \| `([^`]+)` \|", operating.configuration(), re.MULTILINE)
    plain = Settings.load()
    assert len(rows) > 15
    for variable, default in rows:
        monkeypatch.setenv(variable, default)
    assert Settings.load() == plain


def test_every_variable_on_the_page_is_known_and_a_misspelt_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    page = operating.configuration()
    for model, section in ((KafkaSettings, "KAFKA"), (RegistrySettings, "REGISTRY")):
        for name in model.model_fields:
            assert f"`FLEXLOG_{section}__{name.upper()}" in page
    monkeypatch.setenv("FLEXLOG_KAFKA__BATCH_ROW", "1")
    with pytest.raises(Exception, match="FLEXLOG_KAFKA__BATCH_ROW: there is no such setting"):
        Settings.load()


def test_limits_and_choices_are_on_the_page() -> None:
    page = operating.configuration()
    assert "| `FLEXLOG_KAFKA__BATCH_MS` | whole number, ≥ 1, ≤ 60,000 | `50` |" in page
    assert "| `FLEXLOG_KAFKA__GROUP_PROTOCOL` | `classic` or `consumer` | `classic` |" in page
    assert "| `FLEXLOG_KAFKA__PARTITIONS__SITE` | whole number, ≥ 1 | `64` |" in page
    assert "| `isolation.level` | leave it out" in page


def test_every_metric_is_on_its_page() -> None:
    page = operating.metrics()
    for metric in observe.METRICS:
        assert f"| `{metric.prometheus}` | {metric.kind} |" in page


@pytest.mark.parametrize("name", ["configuration.md", "metrics.md"])
def test_check_notices_a_page_that_is_not_as_the_code_has_it(name: str, tmp_path: Path) -> None:
    made = CliRunner().invoke(docs.docs, ["--out", str(tmp_path)])
    assert made.exit_code == 0, made.output
    assert _check(tmp_path).exit_code == 0
    page = tmp_path / name
    page.write_text(page.read_text().replace("|", "!", 1))
    told = _check(tmp_path)
    assert told.exit_code != 0
    assert name in str(told.exception)


def test_check_notices_a_setting_that_the_page_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CliRunner().invoke(docs.docs, ["--out", str(tmp_path)]).exit_code == 0
    more = {**KafkaSettings.model_fields, "another": KafkaSettings.model_fields["batch_ms"]}
    monkeypatch.setattr(KafkaSettings, "__pydantic_fields__", more)
    told = _check(tmp_path)
    assert told.exit_code != 0
    assert "configuration.md" in str(told.exception)
