"""The figures of a run, worked out from its history, and what does not add up in them."""

from collections.abc import Mapping
from datetime import datetime

import polars as pl
from pydantic import BaseModel, ConfigDict

from demo import facts
from demo.facts import Query, Traded
from streams.hosts.replay import Outcome

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Account(BaseModel):
    """An account: what its lines and what its statements say it receives."""

    model_config = _FROZEN

    lines_micros: int
    statements_micros: int


class Errors(BaseModel):
    """How well a kind of resource was forecast, in W.

    Attributes:
        quarter_hours: Compared ones.
        within: Share of the truth between the 5 % and the 95 % quantile; None for sums.
    """

    model_config = _FROZEN

    quarter_hours: int
    forecast_mae_w: float
    naive_mae_w: float
    within: float | None


class Summary(BaseModel):
    """What a run came to. Money in millionths of the currency, positive = the account receives.

    Attributes:
        readings: Records in the topic, doubles and latecomers with them.
        intervals: Quarter-hours of resources; restated ones count once.
        rejected: Records in all rejected topics.
        offered_wh, won_wh: Capacity bid and cleared, times its time.
        asked_wh, delivered_wh: Of activations: what was ordered, and what was delivered against the baselines.
        credited_wh: Delivered, but in each quarter-hour at least 0 and at most what was asked.
        forecast_mae_w, naive_mae_w: Mean absolute errors over all load and PV resources in the traded days; the naive
            forecast is the same quarter-hour seven days before.
        forecasts: The same by kind: load, pv, and net (a site's load and PV together).
        home_accounts, market_accounts: Whose accounts are whose; the rest is the aggregator's.
        simulated: What in this run is simulated.
        phases: Seconds by phase.
        replay_commits, replay_mismatches: None where there was no replay.
        seconds: From the first simulated second to the report.
        problems: What does not add up; empty in a good run.
    """

    model_config = _FROZEN

    homes: int
    traded_from: datetime
    traded_until: datetime
    timezone: str
    readings: int
    intervals: int
    interval_revisions: int
    rejected: int
    load_wh: float
    pv_wh: float
    bids: int
    bids_won: int
    offered_wh: int
    won_wh: int
    quarter_hours_bid: int
    activations: int
    asked_wh: int
    delivered_wh: int
    credited_wh: int
    instructions: int
    revocations: int
    settlement_lines: int
    correction_lines: int
    statements: int
    correcting_statements: int
    currency: str
    accounts: dict[str, Account]
    home_accounts: tuple[str, ...]
    market_accounts: tuple[str, ...]
    lines_sum_micros: int
    forecast_mae_w: float | None
    naive_mae_w: float | None
    forecasts: dict[str, Errors]
    simulated: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    commits: int = 0
    replay_commits: int | None = None
    replay_mismatches: int | None = None
    seconds: float = 0.0
    readings_per_s: float = 0.0
    memory_mb: float = 0.0
    phases: dict[str, float] = {}

    @property
    def better(self) -> float | None:
        """How much lower the forecast's error is than the naive one's, as a share."""
        if self.forecast_mae_w is None or not self.naive_mae_w:
            return None
        return 1 - self.forecast_mae_w / self.naive_mae_w


SIMULATED = (
    "the market: its gates, competitors, clearing and activations",
    "what happens inside each measured hour",
    "the batteries' operation, their owners' wishes, and faults of devices and connections",
    "the clock",
)
"""What is simulated. Load, PV and the sizes of the batteries are measured (CityLearn 2022)."""


def many(count: int, noun: str) -> str:
    """A count with its noun, in the plural where it is due."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def summarise(query: Query, traded: Traded, *, rejected: int = 0) -> Summary:
    """Work out a run's figures from its history.

    Args:
        query: Runs SQL on the history.
        traded: The traded days.
        rejected: Records in the rejected topics, which the history does not hold.
    """
    counts = facts.counts(query)
    trading = facts.trading(query)
    money = facts.accounts(query)
    reached = facts.settled_until(query)
    errors = {row.pop("kind"): Errors(**row) for row in facts.forecast_errors(query, traded).sort("kind").to_dicts()}
    whole = errors.pop("resource", None)
    currencies = money["currency"].unique(maintain_order=True).to_list()
    accounts = {
        row["account_id"]: Account(lines_micros=row["lines_micros"], statements_micros=row["statements_micros"])
        for row in money.to_dicts()
    }
    named = Summary.model_fields.keys()
    return Summary(
        traded_from=traded.since,
        traded_until=traded.until,
        timezone=traded.timezone,
        rejected=rejected,
        **{name: value for name, value in counts.items() if name in named},  # type: ignore[arg-type]  # all are counts
        **facts.energy(query, traded),  # type: ignore[arg-type]  # as above
        bids_won=int(trading["bids_won"]),
        offered_wh=int(trading["offered_wh"]),
        won_wh=int(trading["won_wh"]),
        quarter_hours_bid=int(trading["quarter_hours"]),
        **delivered(facts.activations(query)),  # type: ignore[arg-type]  # as above
        currency="/".join(currencies),
        accounts=accounts,
        home_accounts=facts.names(query, "account_id", "registry_contract_v1"),
        market_accounts=facts.names(query, "market_id", "market_product_v1"),
        lines_sum_micros=sum(account.lines_micros for account in accounts.values()),
        forecast_mae_w=whole.forecast_mae_w if whole else None,
        naive_mae_w=whole.naive_mae_w if whole else None,
        forecasts=errors,
        simulated=SIMULATED,
        problems=tuple(problems(accounts, currencies, None if reached >= traded.until else reached)),
    )


def delivered(activations: pl.DataFrame) -> dict[str, int]:
    """Sum what was asked, delivered and credited.

    Args:
        activations: As of `facts.activations`.

    Returns:
        asked_wh, delivered_wh, credited_wh: each quarter-hour is credited at least 0 and at most what was asked.
    """
    hours = (pl.col("period_end") - pl.col("period_start")).dt.total_seconds() / 3600
    rows = activations.select(
        asked=pl.col("asked_w") * hours,
        delivered=pl.col("delivered_wh").fill_null(0),
    ).with_columns(credited=pl.min_horizontal(pl.col("delivered").clip(lower_bound=0), "asked"))
    sums = rows.sum().row(0)
    return {name: round(value) for name, value in zip(("asked_wh", "delivered_wh", "credited_wh"), sums, strict=True)}


class Parties(BaseModel):
    """What each party receives, in millionths of the currency; homes together, and the least and most of one."""

    model_config = _FROZEN

    market: int
    aggregator: int
    homes: int
    home_least: int
    home_most: int


def party_totals(summary: Summary) -> Parties:
    """Sum the accounts by party."""
    own = {name: account.lines_micros for name, account in summary.accounts.items()}
    homes = [own.get(name, 0) for name in summary.home_accounts]
    market = sum(own.get(name, 0) for name in summary.market_accounts)
    return Parties(
        market=market,
        aggregator=sum(own.values()) - sum(homes) - market,
        homes=sum(homes),
        home_least=min(homes, default=0),
        home_most=max(homes, default=0),
    )


def problems(accounts: Mapping[str, Account], currencies: list[str], unsettled: datetime | None = None) -> list[str]:
    """Say what does not add up: lines against statements, and all lines against zero.

    Args:
        accounts: By name.
        currencies: Of all lines.
        unsettled: Where settlement stopped before the end of the traded days.
    """
    found = []
    if unsettled is not None:
        found.append(f"settlement has come to {unsettled:%Y-%m-%d %H:%M} UTC only, which is before the traded days end")
    if len(currencies) > 1:
        found.append(f"lines in several currencies ({', '.join(currencies)}) cannot be summed")
    total = sum(account.lines_micros for account in accounts.values())
    if total:
        found.append(f"all lines together are {total} millionths, not 0")
    for name, account in accounts.items():
        if account.lines_micros != account.statements_micros:
            found.append(
                f"account {name}: its lines sum to {account.lines_micros} millionths, its statements to "
                f"{account.statements_micros}"
            )
    return found


def replay_problems(outcome: Outcome | None) -> list[str]:
    """Say what a replay found wrong; nothing where there was none."""
    if outcome is None:
        return []
    found = [str(mismatch) for mismatch in outcome.mismatches]
    skipped = sum(outcome.skipped.values())
    if skipped:
        found.append(f"{skipped} commits could not be replayed: their processors are not installed")
    return found


def finished(
    summary: Summary,
    *,
    commits: int,
    outcome: Outcome | None,
    phases: Mapping[str, float],
    seconds: float,
    memory_mb: float,
) -> Summary:
    """Add what only the run itself knows.

    Args:
        summary: What the history says.
        commits: In the log.
        outcome: Of the replay; None where there was none.
        phases: Seconds by phase.
        seconds: Of the whole run.
        memory_mb: The most that its processes took, added.
    """
    problems = [*summary.problems, *replay_problems(outcome)]
    if outcome is not None and outcome.commits != commits:
        problems.append(f"{outcome.commits} of {commits} commits were replayed")
    return summary.model_copy(
        update={
            "commits": commits,
            "replay_commits": None if outcome is None else outcome.commits,
            "replay_mismatches": None if outcome is None else len(outcome.mismatches),
            "problems": tuple(problems),
            "phases": {name: round(value, 2) for name, value in phases.items()},
            "seconds": round(seconds, 2),
            "readings_per_s": round(summary.readings / seconds, 1),
            "memory_mb": round(memory_mb, 1),
        }
    )
