"""What the pictures show, asked of the history: one function a picture, each gives frames."""

# ruff: noqa: S608 -- all that is put into SQL is ours or quoted; nothing comes from a person

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from demo.facts import Query, Traded, forecast_pairs
from streams.history.tables import moment, text

_HOURS = "dateDiff('second', period_start, period_end) / 3600"


@dataclass(frozen=True)
class HomeDay:
    """A home on one local day.

    Attributes:
        title: What it is an example of.
        quarters: period_start, load_w, pv_w (negative), battery_w (positive = charging), meter_w, baseline_w (only in
            activations), requested_w, delivered_w, forecast_w (load and PV, median); null where there is none.
        fill: occurred_at, fill_level (0..1).
    """

    title: str
    site_id: str
    since: datetime
    until: datetime
    timezone: str
    quarters: pl.DataFrame
    fill: pl.DataFrame


def day_bounds(day: date, timezone: str) -> tuple[datetime, datetime]:
    """Begin and end of a local day."""
    zone, next_day = ZoneInfo(timezone), day + timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=zone), datetime(
        next_day.year, next_day.month, next_day.day, tzinfo=zone
    )


def home_days(query: Query, traded: Traded) -> list[HomeDay]:
    """Pick homes' days that tell something: one that delivered, one that fell out, one that fell short.

    Each is the day with the most energy of its kind; kinds that did not happen are left out.
    """
    local_day = f"toDate(toTimeZone(period_start, {text(traded.timezone)}))"
    days = query(f"""
        SELECT d.site_id AS site_id, d.day AS day, requested_wh, delivered_wh, off_wh, r.revoked AS revoked FROM (
            SELECT site_id, {local_day} AS day, sum(requested_wh) AS requested_wh, sum(delivered_wh) AS delivered_wh,
                   sum(abs(d.delivered_wh - d.requested_wh)) AS off_wh
            FROM latest_delivery_measured_v1 AS d WHERE {traded.where()} GROUP BY site_id, day
        ) AS d LEFT JOIN (
            SELECT site_id, {local_day} AS day, count() AS revoked
            FROM dispatch_instruction_v1 WHERE action = 'REVOKE' GROUP BY site_id, day
        ) AS r ON r.site_id = d.site_id AND r.day = d.day
        ORDER BY day, site_id
    """)
    fell_out = pl.col("revoked") > 0
    gap = pl.col("requested_wh") - pl.col("delivered_wh")
    kinds = [
        ("a home that delivered", ~fell_out, pl.col("requested_wh") - 3 * pl.col("off_wh")),
        ("a home that fell out and was replaced", fell_out, gap),
        ("a home that fell short", ~fell_out & (gap > 0.1 * pl.col("requested_wh")), gap),
    ]
    found: list[HomeDay] = []
    for title, which, score in kinds:
        best = days.filter(which).sort(score, descending=True, maintain_order=True).head(4)
        drawn = [home_day(query, row["site_id"], row["day"], traded.timezone, title) for row in best.to_dicts()]
        if drawn:
            found.append(next((one for one in drawn if _lived_in(one.quarters)), drawn[0]))
    return found


def _lived_in(quarters: pl.DataFrame) -> bool:
    """Whether a day has both load and PV to be seen; some of the real homes have none on some days."""
    load_w, pv_w = quarters["load_w"].mean(), quarters["pv_w"].min()
    return isinstance(load_w, float) and load_w > 100 and isinstance(pv_w, float) and pv_w < -500


def home_day(query: Query, site_id: str, day: date, timezone: str, title: str) -> HomeDay:
    """A home's local day."""
    since, until = day_bounds(day, timezone)
    site = text(site_id)
    within = f"period_start >= {moment(since)} AND period_start < {moment(until)}"
    quarters = query(f"""
        SELECT period_start, {", ".join(f"any({kind}_w) AS {kind}_w" for kind in _HOME_DAY)} FROM (
            SELECT period_start, {", ".join(f"if(k.kind = '{kind}', power_w, NULL) AS {kind}_w" for kind in _MEASURED)},
                   {_nulls("baseline", "requested", "delivered", "forecast")}
            FROM (
                SELECT resource_id, period_start, argMax(energy_wh / ({_HOURS}), revision) AS power_w
                FROM telemetry_interval_v1 WHERE {within} AND site_id = {site} GROUP BY resource_id, period_start
            ) AS i INNER JOIN (
                SELECT resource_id, kind FROM registry_resource_v1 WHERE site_id = {site} LIMIT 1 BY resource_id
            ) AS k ON k.resource_id = i.resource_id
            UNION ALL
            SELECT period_start, {_nulls(*_MEASURED)}, avg(baseline_wh / ({_HOURS})),
                   sum(requested_wh / ({_HOURS})), sum(delivered_wh / ({_HOURS})), NULL
            FROM latest_delivery_measured_v1 WHERE {within} AND site_id = {site} GROUP BY period_start
            UNION ALL
            SELECT period_start, {_nulls(*_MEASURED)}, {_nulls("baseline", "requested", "delivered")}, sum(q50) FROM (
                SELECT resource_id, period_start, argMax(q50_w, issued_at) AS q50
                FROM forecast_load_v1 WHERE {within} AND site_id = {site} AND issued_at <= period_start
                GROUP BY resource_id, period_start
            ) GROUP BY period_start
        ) GROUP BY period_start ORDER BY period_start
    """)
    fill = query(f"""
        SELECT occurred_at, any(s.fill_level) AS fill_level FROM telemetry_state_v1 AS s
        WHERE occurred_at >= {moment(since)} AND occurred_at <= {moment(until)} AND site_id = {site}
              AND s.fill_level IS NOT NULL
        GROUP BY occurred_at ORDER BY occurred_at
    """)
    return HomeDay(title, site_id, since, until, timezone, quarters, fill)


_MEASURED = ("load", "pv", "battery", "meter")
_HOME_DAY = (*_MEASURED, "baseline", "requested", "delivered", "forecast")


def _nulls(*kinds: str) -> str:
    return ", ".join(f"NULL AS {kind}_w" for kind in kinds)


def week(query: Query, traded: Traded) -> pl.DataFrame:
    """The portfolio in the market, per period: what it bid and won, at which prices.

    Returns:
        period_start, offered_w, won_w, bid_micros_per_mw_h (of the cheapest step), price_micros_per_mw_h (of the
        dearest capacity that the market took).
    """
    return query(f"""
        SELECT period_start, toFloat64(sum(offered)) AS offered_w, toFloat64(sum(won)) AS won_w,
               min(bid) AS bid_micros_per_mw_h, max(price) AS price_micros_per_mw_h
        FROM (
            SELECT period_start, quantity_w AS offered, 0 AS won, price_micros_per_mw_h AS bid, NULL AS price
            FROM latest_market_bid_v1 WHERE status = 'SUBMITTED' AND {traded.where()}
            UNION ALL
            SELECT period_start, 0, quantity_w, NULL, NULL FROM latest_market_clearing_v1 WHERE {traded.where()}
            UNION ALL
            SELECT period_start, 0, 0, NULL, price_micros_per_mw_h FROM latest_market_price_v1
            WHERE kind = 'CLEARING' AND {traded.where()}
        ) GROUP BY period_start ORDER BY period_start
    """)


def curve(query: Query) -> pl.DataFrame:
    """The bid curve of the quarter-hour that tells most: partly accepted, with the most steps.

    Returns:
        A row a step in the order of its capacity price: period_start, period_end, step, quantity_w, won_w,
        price_micros_per_mw_h, price_micros_per_mwh, status, clearing_micros_per_mw_h (null where there is none).
    """
    return query("""
        WITH steps AS (
            SELECT b.period_start AS period_start, b.period_end AS period_end, b.step AS step,
                   b.quantity_w AS quantity_w, c.quantity_w AS won_w, toString(c.status) AS status,
                   b.price_micros_per_mw_h AS price_micros_per_mw_h, b.price_micros_per_mwh AS price_micros_per_mwh
            FROM (SELECT * FROM latest_market_bid_v1 WHERE status = 'SUBMITTED') AS b
            INNER JOIN latest_market_clearing_v1 AS c ON c.bid_id = b.bid_id
        ), chosen AS (
            SELECT period_start FROM steps GROUP BY period_start
            ORDER BY countIf(won_w > 0) > 0 AND countIf(won_w < quantity_w) > 0 DESC, count() DESC,
                     least(countIf(won_w > 0), countIf(won_w = 0)) DESC, sum(won_w) DESC, period_start LIMIT 1
        )
        SELECT s.*, p.price AS clearing_micros_per_mw_h FROM steps AS s
        LEFT JOIN (
            SELECT period_start, max(price_micros_per_mw_h) AS price FROM latest_market_price_v1
            WHERE kind = 'CLEARING' GROUP BY period_start
        ) AS p ON p.period_start = s.period_start
        WHERE s.period_start IN (SELECT period_start FROM chosen)
        ORDER BY price_micros_per_mw_h, price_micros_per_mwh, step
    """)


@dataclass(frozen=True)
class Trouble:
    """An activation in which homes fell out: what was ordered when, and what became of it.

    Attributes:
        orders: A row an instruction, in the order they were issued: instruction_id, site_id, action, issued_at, since,
            until, quantity_w, supersedes_id.
        reports: instruction_id, site_id, status, occurred_at, reason_code.
    """

    activation_id: str
    since: datetime
    until: datetime
    quantity_w: int
    orders: pl.DataFrame
    reports: pl.DataFrame


def trouble(query: Query) -> Trouble | None:
    """The activation with the most revoked instructions; without any, the one with the most instructions."""
    chosen = query("""
        SELECT a.activation_id AS activation_id, a.period_start AS since, a.period_end AS until,
               a.quantity_w AS quantity_w
        FROM (SELECT * FROM latest_market_activation_v1 WHERE status = 'ORDERED') AS a INNER JOIN (
            SELECT activation_id, uniqExact(instruction_id) AS orders,
                   uniqExactIf(instruction_id, action = 'REVOKE') AS revoked
            FROM dispatch_instruction_v1 GROUP BY activation_id
        ) AS i ON i.activation_id = a.activation_id
        ORDER BY i.revoked DESC, i.orders DESC, since LIMIT 1
    """)
    if chosen.is_empty():
        return None
    activation, since, until, quantity_w = chosen.row(0)
    orders = query(f"""
        SELECT instruction_id, any(site_id) AS site_id, toString(any(action)) AS action, min(_appended_at) AS issued_at,
               min(period_start) AS since, max(period_end) AS until, max(quantity_w) AS quantity_w,
               any(supersedes_id) AS supersedes_id
        FROM dispatch_instruction_v1 WHERE activation_id = {text(activation)}
        GROUP BY instruction_id ORDER BY issued_at, action, site_id
    """)
    reports = query(f"""
        SELECT instruction_id, site_id, toString(status) AS status, occurred_at, reason_code FROM dispatch_status_v1
        WHERE instruction_id IN (
            SELECT instruction_id FROM dispatch_instruction_v1 WHERE activation_id = {text(activation)}
        ) ORDER BY occurred_at, site_id, status
    """)
    return Trouble(activation, since, until, quantity_w, orders, reports)


def forecast_by_site(query: Query, traded: Traded) -> pl.DataFrame:
    """Mean absolute errors by home, best first: site_id, forecast_mae_w, naive_mae_w (over load and PV)."""
    return query(f"""
        SELECT r.site_id AS site_id, avg(abs(q50_w - true_w)) AS forecast_mae_w,
               avg(abs(naive_w - true_w)) AS naive_mae_w
        FROM ({forecast_pairs(traded)}) AS p
        INNER JOIN (SELECT DISTINCT resource_id, site_id FROM registry_resource_v1) AS r
        ON r.resource_id = p.resource_id
        GROUP BY r.site_id ORDER BY forecast_mae_w, r.site_id
    """)


def forecast_of(query: Query, traded: Traded, site_id: str) -> pl.DataFrame:
    """A home's forecasts and truth: kind, period_start, q05_w … q95_w, true_w, naive_w; by kind and time."""
    return query(f"""
        SELECT p.* FROM ({forecast_pairs(traded)}) AS p
        INNER JOIN (SELECT DISTINCT resource_id FROM registry_resource_v1 WHERE site_id = {text(site_id)}) AS r
        ON r.resource_id = p.resource_id ORDER BY kind, period_start
    """)


def flows(query: Query) -> pl.DataFrame:
    """Where the money went: pot, to_market_micros, to_homes_micros, to_aggregator_micros; corrections included.

    A pot is what the market pays or is paid for: CAPACITY, ENERGY or PENALTY. A SHARE says by its reason which pot it
    was cut from.
    """
    return query("""
        SELECT if(kind = 'SHARE', coalesce(reason_code, ''), toString(kind)) AS pot,
               sumIf(amount_micros, account_id IN (SELECT market_id FROM market_product_v1)) AS to_market_micros,
               sumIf(amount_micros, account_id IN (SELECT account_id FROM registry_contract_v1)) AS to_homes_micros,
               sum(amount_micros) - to_market_micros - to_homes_micros AS to_aggregator_micros
        FROM settlement_line_v1 GROUP BY pot ORDER BY pot
    """)


def homes_money(query: Query) -> pl.DataFrame:
    """What each home receives, the most first: account_id, capacity_micros, energy_micros (penalties taken off)."""
    return query("""
        SELECT account_id, sumIf(amount_micros, activation_id IS NULL) AS capacity_micros,
               sumIf(amount_micros, activation_id IS NOT NULL) AS energy_micros
        FROM settlement_line_v1 WHERE account_id IN (SELECT account_id FROM registry_contract_v1)
        GROUP BY account_id ORDER BY capacity_micros + energy_micros DESC, account_id
    """)


@dataclass(frozen=True)
class Corrections:
    """How the past was corrected, by the hour in which it became known.

    Attributes:
        intervals: known_at, revised: intervals restated in that hour.
        deliveries: known_at, revised.
        money: known_at, up_micros, down_micros: what correction lines added to and took from their accounts.
    """

    intervals: pl.DataFrame
    deliveries: pl.DataFrame
    money: pl.DataFrame


def corrections(query: Query) -> Corrections:
    """Ask for all revisions and correction lines."""
    hour = "toDateTime64(toStartOfHour(_appended_at), 6, 'UTC')"

    def revised(table: str) -> pl.DataFrame:
        return query(
            f"SELECT {hour} AS known_at, toInt64(count()) AS revised FROM {table} WHERE revision > 0 "
            "GROUP BY known_at ORDER BY known_at"
        )

    money = query(f"""
        SELECT {hour} AS known_at, sumIf(amount_micros, amount_micros > 0) AS up_micros,
               sumIf(amount_micros, amount_micros < 0) AS down_micros
        FROM settlement_line_v1 WHERE correction_no > 0 GROUP BY known_at ORDER BY known_at
    """)
    return Corrections(revised("telemetry_interval_v1"), revised("delivery_measured_v1"), money)


def one_correction(query: Query) -> dict[str, object] | None:
    """Follow one correction from the interval that changed to the statement: the one that moved the most money."""
    found = query("""
        SELECT c.line_id AS line_id, c.corrects_line_id AS corrects_line_id, c.account_id AS account_id,
               c.counterparty_id AS counterparty_id, c.amount_micros AS amount_micros, c.site_id AS site_id,
               c.activation_id AS activation_id, c.period_start AS period_start, c._appended_at AS known_at,
               f.amount_micros AS first_micros, f._appended_at AS first_known_at
        FROM (SELECT * FROM settlement_line_v1 WHERE correction_no = 1 AND kind = 'SHARE' AND site_id IS NOT NULL) AS c
        INNER JOIN settlement_line_v1 AS f ON f.line_id = c.corrects_line_id
        WHERE c.account_id IN (SELECT account_id FROM registry_contract_v1)
        ORDER BY abs(c.amount_micros) DESC, line_id LIMIT 1
    """)
    if found.is_empty():
        return None
    line = found.row(0, named=True)
    where = f"site_id = {text(line['site_id'])} AND period_start = {moment(line['period_start'])}"
    before = f"_appended_at <= {moment(line['known_at'])}"
    deliveries = query(f"""
        SELECT revision, baseline_wh, measured_wh, delivered_wh, requested_wh, _appended_at AS known_at
        FROM delivery_measured_v1
        WHERE {where} AND activation_id = {text(line["activation_id"] or "")} AND {before} ORDER BY revision
    """)
    intervals = query(f"""
        SELECT revision, energy_wh, toString(quality) AS quality, _appended_at AS known_at FROM telemetry_interval_v1
        WHERE {where} AND resource_id IN (
            SELECT resource_id FROM registry_resource_v1 WHERE kind = 'meter' AND site_id = {text(line["site_id"])}
        ) AND {before} ORDER BY revision
    """)
    return {**line, "deliveries": deliveries.to_dicts(), "intervals": intervals.to_dicts()}
