"""The report of the small world of `conftest.py`."""

import re
import xml.etree.ElementTree as ET

import pytest

from demo import figures, report
from demo.conftest import TRADED, World, reached
from demo.facts import Query
from demo.summary import Summary, finished, summarise
from streams.hosts.replay import Outcome


@pytest.fixture
def summary(told: Query) -> Summary:
    return finished(
        summarise(told, TRADED), commits=9, outcome=Outcome(commits=9), phases={}, seconds=2.0, memory_mb=1.0
    )


def test_the_page_needs_no_network_and_tells_the_figures(told: Query, summary: Summary) -> None:
    page = report.page(report.draw(told, TRADED, summary), summary, "out/here")
    assert not re.search(r"""(src|href)=|url\(|@import|https?://(?!www\.w3\.org/)""", page)
    assert "9 commits" in page
    assert "the same bytes" in page
    assert "--data out/here" in page
    assert "account-01 is credited 0.400000 USD" in page
    assert "a correction line of +0.008000 USD" in page
    assert "This run does not add up" not in page
    for word in ("simulated", "CityLearn 2022", "MIT"):
        assert word in page
    assert page.count('<svg class="chart"') == 2 * (10 + 3)  # ten pictures and three homes' days, for both widths


def test_what_does_not_add_up_is_said_on_top(told: Query, summary: Summary) -> None:
    bad = summary.model_copy(update={"problems": ("account <x>: odd",)})
    page = report.page(report.draw(told, TRADED, bad), bad, "out")
    assert "This run does not add up" in page
    assert "account &lt;x&gt;: odd" in page


def test_a_run_in_which_nothing_happened_has_a_report_too(bare: World) -> None:
    reached(bare, TRADED.until)
    query = bare.query()
    summary = finished(summarise(query, TRADED), commits=0, outcome=None, phases={}, seconds=1.0, memory_mb=1.0)
    pictures = report.draw(query, TRADED, summary)
    assert set(pictures.named) == {"chain"}
    assert "was not replayed" in report.page(pictures, summary, "out")


def test_a_correction_is_told_in_the_order_in_which_it_became_known(told: Query) -> None:
    trail = report.trail(figures.one_correction(told), TRADED, "USD")
    assert [at for at, _ in trail] == sorted(at for at, _ in trail)
    told_of = [words.split(" ")[0] for _, words in trail]
    assert told_of == ["the", "it", "account-01", "it", "a"]
    assert report.trail(None, TRADED, "USD") == []


def test_a_picture_stands_alone_as_a_file(told: Query, summary: Summary) -> None:
    pictures = report.draw(told, TRADED, summary)
    names = [name for name, _ in pictures.files()]
    assert "waterfall" in names
    assert "home_day_1" in names
    svg = report.standalone(pictures.named["waterfall"])
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme:dark" in svg
