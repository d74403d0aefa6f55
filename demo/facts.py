"""What the history says of a run: each question one query, each answer a number or a frame."""

# ruff: noqa: S608 -- all that is put into SQL is ours or quoted; nothing comes from a person

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from streams.history.tables import moment, text

Query = Callable[[str], pl.DataFrame]
"""Runs SQL on a run's history; it must see every event once."""


@dataclass(frozen=True)
class Traded:
    """The delivery days that were traded.

    Attributes:
        since: Begin of the first of them, UTC.
        until: End of the last, UTC.
        timezone: In which days begin and end.
    """

    since: datetime
    until: datetime
    timezone: str

    def where(self, column: str = "period_start", *, before: timedelta = timedelta(0)) -> str:
        """A condition on a time, widened to earlier times by ``before``."""
        return f"{column} >= {moment(self.since - before)} AND {column} < {moment(self.until)}"


def scalars(query: Query, sql: str) -> dict[str, int | float]:
    """The one row of a query by column; nulls and NaN are zero."""
    row = query(sql).fill_nan(None).row(0, named=True)
    return {name: value or 0 for name, value in row.items()}


def counts(query: Query) -> dict[str, int]:
    """Count the events: {what: how many}. An interval, bid or instruction counts once, however often restated."""
    parts = {
        "homes": "SELECT uniqExact(site_id) FROM registry_site_v1",
        "readings": "SELECT count() FROM telemetry_reading_v1",
        "intervals": "SELECT countIf(revision = 0) FROM telemetry_interval_v1",
        "interval_revisions": "SELECT countIf(revision > 0) FROM telemetry_interval_v1",
        "models": "SELECT uniqExact(model_id) FROM forecast_model_v1",
        "predictions": "SELECT count() FROM forecast_load_v1",
        "offers": "SELECT count() FROM flexibility_offer_v1",
        "curve_steps": "SELECT count() FROM flexibility_portfolio_v1",
        "bids": "SELECT uniqExact(bid_id) FROM market_bid_v1 WHERE status = 'SUBMITTED'",
        "clearings": "SELECT uniqExact(bid_id, trade_id) FROM market_clearing_v1",
        "activations": "SELECT count() FROM latest_market_activation_v1 WHERE status = 'ORDERED'",
        "instructions": "SELECT uniqExact(instruction_id) FROM dispatch_instruction_v1",
        "revocations": "SELECT uniqExact(instruction_id) FROM dispatch_instruction_v1 WHERE action = 'REVOKE'",
        "reports": "SELECT count() FROM dispatch_status_v1",
        "baselines": "SELECT count() FROM forecast_baseline_v1",
        "deliveries": "SELECT count() FROM delivery_measured_v1",
        "settlement_lines": "SELECT count() FROM settlement_line_v1",
        "correction_lines": "SELECT countIf(correction_no > 0) FROM settlement_line_v1",
        "statements": "SELECT count() FROM settlement_statement_v1",
        "correcting_statements": "SELECT count() FROM settlement_statement_v1 WHERE corrects_statement_id IS NOT NULL",
    }
    union = " UNION ALL ".join(f"SELECT {text(name)} AS name, toInt64(({sql})) AS total" for name, sql in parts.items())
    found = query(union)
    return dict(zip(found["name"], found["total"], strict=True))


def accounts(query: Query) -> pl.DataFrame:
    """Sum each account's lines and statements.

    Returns:
        account_id, currency, lines_micros, statements_micros; by currency and account.
    """
    return query("""
        SELECT account_id, currency, sum(line) AS lines_micros, sum(stated) AS statements_micros
        FROM (
            SELECT account_id, currency, amount_micros AS line, toInt64(0) AS stated FROM settlement_line_v1
            UNION ALL
            SELECT account_id, currency, toInt64(0), amount_micros FROM settlement_statement_v1
        ) GROUP BY account_id, currency ORDER BY currency, account_id
    """)


UNEQUAL = pl.col("lines_micros") != pl.col("statements_micros")
"""Of `accounts`: its statements say something else than its lines."""


def settled_until(query: Query) -> datetime:
    """Return up to when settlement and statements are complete, as their tasks last reported."""
    found = query("""
        SELECT min(reached) AS reached FROM (
            SELECT max(watermark) AS reached FROM stream_progress_v1
            WHERE processor IN ('settlement', 'statement') GROUP BY task
        )
    """)
    reached: datetime = found["reached"][0]
    return reached


def names(query: Query, column: str, table: str) -> tuple[str, ...]:
    """All values of a column, in order."""
    return tuple(query(f"SELECT DISTINCT {column} FROM {table} ORDER BY {column}")[column])


def trading(query: Query) -> dict[str, int | float]:
    """Sum what was offered to the market and what it took.

    Returns:
        offered_wh and won_wh (capacity times time), bids_won, quarter_hours (with a bid).
    """
    return scalars(
        query,
        """
        SELECT
            toInt64(sum(b.quantity_w * dateDiff('second', b.period_start, b.period_end) / 3600)) AS offered_wh,
            toInt64(sum(c.won_w * dateDiff('second', b.period_start, b.period_end) / 3600)) AS won_wh,
            countIf(c.won_w > 0) AS bids_won,
            uniqExact(b.period_start) AS quarter_hours
        FROM (SELECT * FROM latest_market_bid_v1 WHERE status = 'SUBMITTED') AS b
        LEFT JOIN (
            SELECT bid_id, sum(quantity_w) AS won_w FROM latest_market_clearing_v1 GROUP BY bid_id
        ) AS c ON c.bid_id = b.bid_id
        """,
    )


def activations(query: Query) -> pl.DataFrame:
    """What was asked and what was delivered.

    Returns:
        A row per activation and quarter-hour, in order: activation_id, block_start, block_end, period_start,
        period_end, asked_w, price_micros_per_mwh, delivered_wh (of all sites against their baselines; null where it
        was not measured), sites, quality_estimated (sites not wholly measured).
    """
    return query("""
        WITH delivered AS (
            SELECT activation_id, period_start, sum(delivered_wh) AS delivered_wh, toInt64(uniqExact(site_id)) AS sites,
                   toInt64(countIf(quality NOT IN ('MEASURED', 'CALCULATED'))) AS quality_estimated
            FROM latest_delivery_measured_v1 GROUP BY activation_id, period_start
        ), quarters AS (
            SELECT activation_id, period_start AS block_start, period_end AS block_end, quantity_w,
                   price_micros_per_mwh, direction,
                   p.resolution_s AS step_s,
                   arrayJoin(range(toUnixTimestamp(period_start), toUnixTimestamp(period_end), p.resolution_s)) AS at
            FROM (SELECT * FROM latest_market_activation_v1 WHERE status = 'ORDERED') AS a
            INNER JOIN (
                SELECT product_id, toUInt32(any(resolution_s)) AS resolution_s FROM latest_market_product_v1
                GROUP BY product_id
            ) AS p ON p.product_id = a.product_id
        )
        SELECT q.activation_id AS activation_id, block_start, block_end,
               toDateTime64(q.at, 6, 'UTC') AS period_start,
               least(toDateTime64(q.at + q.step_s, 6, 'UTC'), block_end) AS period_end,
               quantity_w AS asked_w, price_micros_per_mwh,
               if(d.sites = 0, NULL, d.delivered_wh) AS delivered_wh, d.sites AS sites, d.quality_estimated
        FROM quarters AS q
        LEFT JOIN delivered AS d ON d.activation_id = q.activation_id AND d.period_start = toDateTime64(q.at, 6, 'UTC')
        ORDER BY block_start, activation_id, period_start
    """)


def _kinds(kinds: str) -> str:
    return f"SELECT resource_id, kind FROM registry_resource_v1 WHERE kind IN ({kinds}) LIMIT 1 BY resource_id"


_QUANTILES = ("q05_w", "q25_w", "q50_w", "q75_w", "q95_w")


def forecast_pairs(traded: Traded) -> str:
    """SQL of forecasts beside truth: resource_id, kind, period_start, q05_w … q95_w, true_w, naive_w.

    A row per load or PV resource and quarter-hour of the traded days that has a forecast, a measured interval, and a
    measured interval in the same quarter-hour of the local clock seven days before (the naive forecast). Of several
    forecasts the last one that was issued before the quarter-hour counts.
    """
    week = timedelta(days=7, hours=1)  # and the hour that a change of the clock can move it by
    later = f"toTimeZone(addDays(toTimeZone(period_start, {text(traded.timezone)}), 7), 'UTC')"
    none = ", ".join(f"NULL AS {name}" for name in _QUANTILES)
    # Rows of all kinds are gathered by their key: a join of the truth with itself would be planned by its ids alone.
    return f"""
        WITH kinds AS ({_kinds("'load', 'pv'")}),
        truth AS (
            SELECT resource_id, period_start,
                   argMax(energy_wh * 3600 / dateDiff('second', period_start, period_end), revision) AS power_w,
                   argMax(quality, revision) AS quality
            FROM telemetry_interval_v1
            WHERE {traded.where(before=week)} AND resource_id IN (SELECT resource_id FROM kinds)
            GROUP BY resource_id, period_start HAVING quality = 'MEASURED'
        ),
        predicted AS (
            SELECT resource_id, period_start, {", ".join(f"argMax({name}, issued_at) AS {name}" for name in _QUANTILES)}
            FROM forecast_load_v1 WHERE {traded.where()} AND issued_at <= period_start
            GROUP BY resource_id, period_start
        ),
        gathered AS (
            SELECT resource_id, period_start, NULL AS true_w, NULL AS naive_w, {", ".join(_QUANTILES)} FROM predicted
            UNION ALL SELECT resource_id, period_start, power_w, NULL, {none} FROM truth
            UNION ALL SELECT resource_id, {later}, NULL, power_w, {none} FROM truth
        )
        SELECT g.resource_id AS resource_id, any(k.kind) AS kind, g.period_start AS period_start,
               {", ".join(f"any(g.{name}) AS {name}" for name in (*_QUANTILES, "true_w", "naive_w"))}
        FROM gathered AS g INNER JOIN kinds AS k ON k.resource_id = g.resource_id
        GROUP BY g.resource_id, g.period_start
        HAVING count(g.q50_w) > 0 AND count(g.true_w) > 0 AND count(g.naive_w) > 0
    """


def forecast_errors(query: Query, traded: Traded) -> pl.DataFrame:
    """Mean absolute errors of the median forecast and of the naive one.

    Returns:
        A row each for load, pv, resource (load and PV, each resource's quarter-hour counts once) and net (load and PV
        of a site together), where there is any: kind, quarter_hours, forecast_mae_w, naive_mae_w, within (share of the
        truth in the band from q05 to q95; null for net, for quantiles cannot be added).
    """
    figures = """toInt64(count()) AS quarter_hours, round(avg(abs(q50_w - true_w)), 3) AS forecast_mae_w,
        round(avg(abs(naive_w - true_w)), 3) AS naive_mae_w"""
    within = "round(countIf(true_w >= q05_w AND true_w <= q95_w) / count(), 4)"
    return query(f"""
        WITH pairs AS ({forecast_pairs(traded)}),
        nets AS (
            SELECT site_id, period_start, sum(q50_w) AS q50_w, sum(true_w) AS true_w, sum(naive_w) AS naive_w
            FROM pairs
            INNER JOIN (SELECT DISTINCT resource_id, site_id FROM registry_resource_v1) AS r USING resource_id
            GROUP BY site_id, period_start HAVING count() = 2
        )
        SELECT kind, {figures}, {within} AS within FROM pairs GROUP BY kind HAVING count() > 0
        UNION ALL SELECT 'resource', {figures}, {within} FROM pairs HAVING count() > 0
        UNION ALL SELECT 'net', {figures}, NULL FROM nets HAVING count() > 0
    """)


def energy(query: Query, traded: Traded) -> dict[str, int | float]:
    """Sum the energy of the traded days by kind of resource: load_wh, pv_wh (negative: production)."""
    return scalars(
        query,
        f"""
        SELECT sumIf(energy_wh, kind = 'load') AS load_wh, sumIf(energy_wh, kind = 'pv') AS pv_wh FROM (
            SELECT i.resource_id, any(k.kind) AS kind, argMax(i.energy_wh, i.revision) AS energy_wh
            FROM telemetry_interval_v1 AS i INNER JOIN ({_kinds("'load', 'pv'")}) AS k ON k.resource_id = i.resource_id
            WHERE {traded.where()}
            GROUP BY i.resource_id, i.period_start
        )
        """,
    )
