"""What a person sees: the phases as they go, and the run on one screen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Self

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from demo.charts.money import amount
from demo.summary import Summary, many, party_totals

Step = Callable[[float, str], None]
"""Told how far a phase is, between 0 and 1, and what to say beside its bar."""
_TEXT = 24
_ENOUGH = 0.1
"""How much better than the naive forecast a forecast should be."""


class Phases:
    """The phases of a run: a bar each on a terminal, a line each elsewhere; and how long each took.

    Args:
        console: Where they are shown.
    """

    def __init__(self, console: Console) -> None:
        self.seconds: dict[str, float] = {}
        self._console = console
        self._shown = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=34),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not self._shown,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def phase(self, name: str, note: str = "") -> Iterator[Step]:
        """Show a phase while it runs. A phase that comes again goes on."""
        begin = perf_counter()
        task = self._progress.add_task(name, total=1.0, note=note)
        said = note

        def step(share: float, words: str = "") -> None:
            nonlocal said
            said = words or said
            self._progress.update(task, completed=min(share, 1.0), note=said)

        yield step
        took = perf_counter() - begin
        self.seconds[name] = self.seconds.get(name, 0.0) + took
        self._progress.update(task, completed=1.0, note=f"{said:<{_TEXT}} {took:5.1f} s")
        if not self._shown:
            self._console.print(f"{name:<9} {said:<{_TEXT}} {took:5.1f} s", highlight=False)


def show(console: Console, summary: Summary, where: str) -> None:
    """Show a run on one screen.

    Args:
        console: Where.
        summary: The run's figures.
        where: Its folder, as a person types it.
    """
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column()
    for name, text in _rows(summary):
        rows.add_row(name, text)
    days = round((summary.traded_until - summary.traded_from).total_seconds() / 86_400)
    title = f"flexlog demo: {many(summary.homes, 'home')}, {many(days, 'day')} traded"
    console.print(Panel(rows, title=title, title_align="left", border_style="red" if summary.problems else "green"))
    console.print(
        "Load, PV and battery sizes are measured (CityLearn 2022, MIT). Simulated: the market and its "
        "activations, what happens inside an hour, the batteries' work, owners and faults, the clock.",
        style="dim",
        highlight=False,
    )
    for problem in summary.problems:
        console.print(f"does not add up: {problem}", style="bold red", highlight=False)
    console.print("\nWhere to look next", style="bold")
    look = {
        f"{where}/report.html": "the run in pictures",
        f'flexlog query "SHOW TABLES" --data {where}': "its history, in SQL",
        f"flexlog tail settlement.statement.v1 --data {where}": "its events, as JSON",
        f"flexlog replay --data {where}": "run it again, to the byte",
    }
    room = max(map(len, look)) + 3
    for what, words in look.items():
        console.print(f"{what:<{room}}{words}", highlight=False, soft_wrap=True)


def _rows(s: Summary) -> Iterator[tuple[str, Text]]:
    parties = party_totals(s)
    intervals = f"{s.intervals:,} intervals ({s.interval_revisions:,} restated)"
    used = f"in the traded days {s.load_wh / 1000:,.0f} kWh used, {-s.pv_wh / 1000:,.0f} kWh produced"
    yield "Energy", Text(f"{s.readings:,} readings ({s.rejected:,} rejected), {intervals}\n{used}")
    yield "Forecast", _forecast(s)
    won = f"{_kw(s.won_wh, s)} of {_kw(s.offered_wh, s)} kW on average ({_share(s.won_wh, s.offered_wh)})"
    yield "Market", Text(f"{s.bids_won:,} of {s.bids:,} bids won, {won}; simulated")
    asked = f"{s.credited_wh / 1000:,.1f} of {s.asked_wh / 1000:,.1f} kWh asked ({_share(s.credited_wh, s.asked_wh)})"
    told = f"{s.instructions:,} instructions, {s.revocations:,} of them revocations"
    yield "Delivery", Text(f"{asked} in {many(s.activations, 'activation')}\n{told}")
    sides = f"market {amount(parties.market)}, aggregator {amount(parties.aggregator)}, homes {amount(parties.homes)}"
    each = f"(each {amount(parties.home_least)} to {amount(parties.home_most)})"
    yield "Money", Text(f"{sides} {s.currency} {each}")
    statements = f"{s.correcting_statements:,} of {s.statements:,} statements"
    yield "Corrected", Text(f"{s.correction_lines:,} of {s.settlement_lines:,} lines, {statements}")
    yield "Sums", _sums(s)
    yield "Replay", _replay(s)
    yield "Speed", Text(f"{s.seconds:.1f} s, {s.readings_per_s:,.0f} readings a second, {s.memory_mb:,.0f} MB")


def _forecast(s: Summary) -> Text:
    if s.better is None:
        return Text("nothing to compare", style="yellow")
    text = Text(f"{s.forecast_mae_w:.0f} W mean absolute error, the week before as forecast {s.naive_mae_w:.0f} W: ")
    word = "better" if s.better >= 0 else "worse"
    return text.append(f"{abs(s.better):.0%} {word}", style="green" if s.better >= _ENOUGH else "yellow")


def _sums(s: Summary) -> Text:
    differing = sum(one.lines_micros != one.statements_micros for one in s.accounts.values())
    good = not differing and not s.lines_sum_micros
    words = "statements equal lines" if not differing else f"{differing} accounts' statements differ from their lines"
    text = Text(f"all lines together {amount(s.lines_sum_micros)} {s.currency}, ")
    return text.append(words, style="green" if good else "bold red")


def _replay(s: Summary) -> Text:
    if s.replay_commits is None:
        return Text("not asked for", style="yellow")
    text = Text(f"{s.replay_commits:,} of {s.commits:,} commits run again: ")
    if s.replay_mismatches or s.replay_commits != s.commits:
        return text.append(f"{s.replay_mismatches or 0:,} tasks differ", style="bold red")
    return text.append("the same bytes", style="green")


def _kw(watt_hours: float, s: Summary) -> str:
    quarters = max(s.quarter_hours_bid, 1)
    return f"{watt_hours / (quarters / 4) / 1000:,.1f}"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "none"
