"""The report of a run: one self-contained page, drawn from its history."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from demo import facts, figures
from demo.charts import chain, dispatch, forecast, homeday, market, money
from demo.charts.canvas import NARROW, WIDE
from demo.facts import Query, Traded
from demo.summary import Summary, many, party_totals

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Picture:
    """A picture in both sizes.

    Attributes:
        name: Of its file, where it is written to one.
    """

    name: str
    wide: str
    narrow: str

    @classmethod
    def drawn(cls, name: str, draw: Callable[[int], str]) -> "Picture":
        """Draw it at both widths."""
        return cls(name, draw(WIDE), draw(NARROW))


@dataclass(frozen=True)
class Pictures:
    """All pictures of a run; those of things that did not happen are missing.

    Attributes:
        named: By name.
        days: Titles and pictures of homes' days.
        trail: One correction, followed: when what became known; empty where there was none.
    """

    named: Mapping[str, Picture]
    days: list[tuple[str, Picture]]
    trail: list[tuple[datetime, str]]
    curve_at: datetime | None
    trouble_at: datetime | None
    forecast_site: str

    def files(self) -> list[tuple[str, Picture]]:
        """All of them with the names of their files."""
        return [*self.named.items(), *((picture.name, picture) for _, picture in self.days)]


def draw(query: Query, traded: Traded, summary: Summary) -> Pictures:
    """Ask the history and draw everything."""
    named: dict[str, Picture] = {}

    def put(name: str, one: Callable[[int], str]) -> None:
        named[name] = Picture.drawn(name, one)

    counts = facts.counts(query)
    currency = summary.currency
    put("chain", lambda width: chain.draw(counts, width))
    activations = facts.activations(query)
    week = figures.week(query, traded)
    if week.height and week["offered_w"].sum():
        put("week", lambda width: market.week(week, activations, traded, currency, width))
    if activations.height:
        put("delivery", lambda width: market.delivery(activations, traded, width))
    bids = figures.curve(query)
    if bids.height:
        put("curve", lambda width: market.curve(bids, currency, width))
    trouble = figures.trouble(query)
    if trouble:
        put("dispatch", lambda width: dispatch.draw(trouble, traded.timezone, width))
    errors = figures.forecast_by_site(query, traded)
    site = errors["site_id"][errors.height // 2] if errors.height else ""
    if site:
        of_site = figures.forecast_of(query, traded, site)
        put("forecast", lambda width: forecast.bands(of_site, traded, width))
        put("forecast_by_home", lambda width: forecast.by_home(errors, width))
    flows, homes = figures.flows(query), figures.homes_money(query)
    if flows.height:
        put("waterfall", lambda width: money.waterfall(flows, currency, width))
        put("homes_money", lambda width: money.homes(homes, currency, width))
    corrections = figures.corrections(query)
    if corrections.intervals.height or corrections.money.height:
        put("corrections", lambda width: money.corrections(corrections, traded, currency, width))
    days = []
    for number, day in enumerate(figures.home_days(query, traded)):
        picture = Picture.drawn(f"home_day_{number + 1}", lambda width, day=day: homeday.draw(day, width))  # type: ignore[misc]
        days.append((f"{day.title}: {day.site_id}, {_date(day.since)}", picture))
    return Pictures(
        named,
        days,
        trail(figures.one_correction(query), traded, currency),
        bids["period_start"][0].astimezone(ZoneInfo(traded.timezone)) if bids.height else None,
        trouble.since.astimezone(ZoneInfo(traded.timezone)) if trouble else None,
        site,
    )


def trail(found: Mapping[str, Any] | None, traded: Traded, currency: str) -> list[tuple[datetime, str]]:
    """Tell a correction in the order in which things became known.

    Args:
        found: As of `demo.figures.one_correction`.
        traded: For the local time.
        currency: Of the amounts.
    """
    if found is None:
        return []
    quarter = _clock(found["period_start"], ZoneInfo(traded.timezone))
    told = []
    for number, row in enumerate(found["intervals"]):
        energy = "nothing yet" if row["energy_wh"] is None else f"{row['energy_wh']:.0f} Wh"
        shows = "shows" if number == 0 else "now shows"
        text = f"the meter of {found['site_id']} {shows} {energy} for the quarter-hour of {quarter} "
        told.append((row["known_at"], f"{text}({row['quality'].lower()}, revision {row['revision']})"))
    for row in found["deliveries"]:
        text = f"it delivered {row['delivered_wh']} Wh of {row['requested_wh']} Wh asked, against a baseline of "
        told.append((row["known_at"], f"{text}{row['baseline_wh']} Wh (revision {row['revision']})"))
    account, first, more = found["account_id"], found["first_micros"] / 1e6, found["amount_micros"] / 1e6
    word = "credited" if first >= 0 else "charged"
    told.append((found["first_known_at"], f"{account} is {word} {abs(first):.6f} {currency}"))
    text = f"a correction line of {more:+.6f} {currency} refers to it; the next statement has it"
    told.append((found["known_at"], text))
    return sorted(told, key=lambda row: row[0])


def page(pictures: Pictures, summary: Summary, where: str) -> str:
    """Return the report as HTML.

    Args:
        pictures: As drawn.
        summary: The run's figures.
        where: The folder's name, as a person types it in commands.
    """
    import jinja2  # noqa: PLC0415  # only where a report is made

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"money": money.amount, "kwh": _kwh, "count": _count, "percent": _percent, "local": _clock}
    zone = ZoneInfo(summary.timezone)
    first = _date(summary.traded_from.astimezone(zone))
    final = _date((summary.traded_until - timedelta(minutes=1)).astimezone(zone))
    return environment.get_template("report.html.j2").render(
        s=summary,
        p=pictures,
        where=where,
        parties=party_totals(summary),
        period=first if first == final else f"{first} to {final}",
        days=round((summary.traded_until - summary.traded_from) / timedelta(days=1)),
        many=many,
        zone=zone,
    )


def standalone(picture: Picture) -> str:
    """Return a picture as an SVG file of its own, for light and dark pages."""
    style = (_FOLDER / "chart.css.j2").read_text(encoding="utf-8").replace("\n", "")
    body = picture.wide
    at = body.index(">") + 1
    head = body[:at].replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    ground = '<rect width="100%" height="100%" rx="10" style="fill:var(--paper)"/>'
    return f"{head}<style>{style}</style>{ground}{body[at:]}\n"


def _date(time: datetime) -> str:
    return f"{time.day} {time:%b %Y}"


def _clock(time: datetime, zone: ZoneInfo) -> str:
    local = time.astimezone(zone)
    return f"{local:%a} {local.day} {local:%b}, {local:%H:%M}"


def _kwh(watt_hours: float) -> str:
    value = abs(watt_hours) / 1000
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
