"""A small world worked out by hand: two homes, one activation of two quarter-hours, one correction."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from demo.facts import Query, Traded
from streams.contracts.record import Record
from streams.testing import TopologyDriver, table, utc
from topics import (
    ActivationRequested,
    BidCleared,
    BidSubmitted,
    ContractChanged,
    DeliveryMeasured,
    InstructionIssued,
    InstructionReported,
    IntervalMeasured,
    LineSettled,
    LoadPredicted,
    PricePublished,
    ProductDefined,
    Progressed,
    ReadingTaken,
    ResourceRegistered,
    SiteRegistered,
    StatementIssued,
    StateReported,
)

LOS_ANGELES = "America/Los_Angeles"
TRADED = Traded(utc("2023-05-08 07:00"), utc("2023-05-09 07:00"), LOS_ANGELES)
"""One local day."""
ORIGIN = {"origin": "test", "origin_id": "1"}
DELIVERED: dict[str, object] = {
    "portfolio_id": "p", "activation_id": "a", "product_id": "local-up", "direction": "UP", "requested_wh": 1250,
    "method": "high_5_of_10", "method_version": 1, "quality": "MEASURED", "coverage": 1.0,
}  # fmt: skip


class World:
    """Events put into a log by hand, and the history of them."""

    def __init__(self) -> None:
        self.driver = TopologyDriver(at="2023-05-01 00:00")

    def put(self, at: str, record: type[Record], rows: str, **same: object) -> None:
        """Append events at a time; a period without an end is a quarter-hour."""
        self.driver.host.pass_time(utc(at))
        events = [row | same for row in table(record, rows)]
        if "period_end" in record.__topic__.columns:
            events = [{"period_end": event["period_start"] + timedelta(minutes=15)} | event for event in events]
        self.driver.pipe(record, events)

    def query(self) -> Query:
        """Bring all into the history."""
        self.driver.host.fill_history()
        return self.driver.host.history().query


@pytest.fixture(scope="session")
def told() -> Iterator[Query]:
    """The whole small world's history, for those who only ask."""
    world = World()
    _fill(world)
    yield world.query()
    world.driver.close()


@pytest.fixture
def bare() -> Iterator[World]:
    """Nothing yet."""
    world = World()
    yield world
    world.driver.close()


@pytest.fixture
def world(bare: World) -> World:
    """The whole small world, to add to."""
    _fill(bare)
    return bare


def _fill(world: World) -> None:
    _register(world)
    _predict(world)
    _trade(world)
    _dispatch(world)
    _measure(world)
    _deliver(world)
    _settle(world)


def _register(world: World) -> None:
    world.put(
        "2023-05-01 00:00",
        SiteRegistered,
        """
        site_id | valid_from
        home-01 | 2023-05-01
        home-02 | 2023-05-01
        """,
        status="ACTIVE", kind="home", country="US", timezone=LOS_ANGELES, simulated=True, **ORIGIN,
    )  # fmt: skip
    world.put(
        "2023-05-01 00:00",
        ResourceRegistered,
        """
        site_id | resource_id     | kind    | role     | valid_from | power_min_w | power_max_w
        home-01 | home-01/load    | load    | CONSUMER | 2023-05-01 | 0           | 9000
        home-01 | home-01/pv      | pv      | PRODUCER | 2023-05-01 | -4000       | 0
        home-01 | home-01/meter   | meter   | CONSUMER | 2023-05-01 | -4000       | 9000
        home-01 | home-01/battery | battery | STORAGE  | 2023-05-01 | -5000       | 5000
        home-02 | home-02/meter   | meter   | CONSUMER | 2023-05-01 | -4000       | 9000
        """,
        status="ACTIVE", commodity="ELECTRICITY", control_type="NONE", **ORIGIN,
    )  # fmt: skip
    world.put(
        "2023-05-01 00:00",
        ContractChanged,
        """
        site_id | contract_id | account_id | valid_from
        home-01 | contract-01 | account-01 | 2023-05-01
        home-02 | contract-02 | account-02 | 2023-05-01
        """,
        status="ACTIVE", kind="FLEXIBILITY", counterparty_id="aggregator", portfolio_id="p", currency="USD", **ORIGIN,
    )  # fmt: skip
    world.put(
        "2023-05-01 00:00",
        ProductDefined,
        """
        product_id | valid_from
        local-up   | 2023-05-01
        """,
        status="ACTIVE", market_id="market", kind="LOCAL", commodity="ELECTRICITY", direction="UP", currency="USD",
        pricing="PAY_AS_BID", activation="ORDER", resolution_s=900, min_quantity_w=5000, step_w=1000, simulated=True,
        **ORIGIN,
    )  # fmt: skip


def _measure(world: World) -> None:
    world.put(
        "2023-05-08 19:20",
        ReadingTaken,
        """
        site_id | resource_id  | occurred_at         | power_w
        home-01 | home-01/load | 2023-05-08 19:05    | 1000
        home-01 | home-01/load | 2023-05-08 19:10    | 1400
        home-01 | home-01/load | 2023-05-08 19:10    | 1400
        """,
        commodity="ELECTRICITY", quality="MEASURED",
    )  # fmt: skip
    measured = {"commodity": "ELECTRICITY", "samples": 3, "method": "test", "coverage": 1.0}
    world.put(
        "2023-05-08 20:00",
        IntervalMeasured,
        """
        site_id | resource_id   | period_start     | revision | energy_wh | quality
        home-01 | home-01/load  | 2023-05-01 19:00 | 0        | 250       | MEASURED
        home-01 | home-01/load  | 2023-05-01 19:15 | 0        | 325       | MEASURED
        home-01 | home-01/load  | 2023-05-01 19:30 | 0        | 999       | MEASURED
        home-01 | home-01/load  | 2023-05-08 19:00 | 0        | 100       | MEASURED
        home-01 | home-01/load  | 2023-05-08 19:15 | 0        | 250       | MEASURED
        home-01 | home-01/load  | 2023-05-08 19:30 | 0        | 500       | ESTIMATED
        home-01 | home-01/load  | 2023-05-08 19:00 | 1        | 300       | MEASURED
        home-01 | home-01/pv    | 2023-05-01 19:00 | 0        | -400      | MEASURED
        home-01 | home-01/pv    | 2023-05-08 19:00 | 0        | -500      | MEASURED
        home-01 | home-01/meter | 2023-05-08 19:00 | 0        | -900      | MEASURED
        home-01 | home-01/meter | 2023-05-08 19:15 | 0        | 250       | MEASURED
        """,
        **measured,
    )
    world.put(
        "2023-05-08 20:00",
        StateReported,
        """
        site_id | resource_id     | actuator_id | occurred_at      | fill_level
        home-01 | home-01/battery | ""          | 2023-05-08 19:00 | 0.9
        home-01 | home-01/battery | ""          | 2023-05-08 19:15 | 0.5
        """,
    )


def _predict(world: World) -> None:
    world.put(
        "2023-05-07 16:00",
        LoadPredicted,
        """
        resource_id  | issued_at        | period_start     | q05_w | q10_w | q25_w | q50_w | q75_w | q90_w | q95_w
        home-01/load | 2023-05-07 10:00 | 2023-05-08 19:00 | 1     | 2     | 3     | 4     | 5     | 6     | 7
        home-01/load | 2023-05-07 16:00 | 2023-05-08 19:00 | 800   | 850   | 900   | 1000  | 1100  | 1200  | 1300
        home-01/load | 2023-05-08 22:00 | 2023-05-08 19:00 | 9000  | 9000  | 9000  | 9000  | 9000  | 9000  | 9000
        home-01/load | 2023-05-07 16:00 | 2023-05-08 19:15 | 500   | 550   | 600   | 900   | 910   | 920   | 930
        home-01/load | 2023-05-07 16:00 | 2023-05-08 19:30 | 0     | 0     | 0     | 0     | 0     | 0     | 0
        home-01/pv   | 2023-05-07 16:00 | 2023-05-08 19:00 | -2500 | -2400 | -2300 | -1700 | -1500 | -1400 | -1000
        """,
        site_id="home-01", commodity="ELECTRICITY", model_id="m", model_fingerprint="f",
    )  # fmt: skip


def _trade(world: World) -> None:
    market = {"portfolio_id": "p", "gate_id": "g", "product_id": "local-up", "zone": "z", "currency": "USD"}
    quarter = {"direction": "UP", "period_start": utc("2023-05-08 19:00")}
    world.put(
        "2023-05-07 17:00",
        BidSubmitted,
        """
        bid_id | revision | status    | set_id | step | quantity_w | price_micros_per_mw_h | price_micros_per_mwh
        b0     | 0        | SUBMITTED | s0     | 0    | 99000      | 5_000_000             | 200_000_000
        b0     | 1        | SUBMITTED | s1     | 0    | 8000       | 5_000_000             | 200_000_000
        b1     | 0        | SUBMITTED | s1     | 1    | 4000       | 9_000_000             | 300_000_000
        b2     | 0        | SUBMITTED | s1     | 2    | 1000       | 9_000_000             | 300_000_000
        b2     | 1        | WITHDRAWN | s1     | 2    | 1000       | 9_000_000             | 300_000_000
        """,
        set_no=1, set_size=1, min_quantity_w=0, conditions=[], direct=False, known_until=utc("2023-05-07 16:00"),
        coverage=1.0, decided_by="WATERMARK", **market, **quarter,
    )  # fmt: skip
    world.put(
        "2023-05-07 18:00",
        BidCleared,
        """
        bid_id | trade_id | status   | quantity_w | price_micros_per_mw_h | price_micros_per_mwh
        b0     | ""       | PARTIAL  | 6000       | 5_000_000             | 200_000_000
        b1     | ""       | REJECTED | 0          |                       |
        """,
        revision=0, **market, **quarter, **ORIGIN,
    )  # fmt: skip
    world.put(
        "2023-05-07 18:00",
        PricePublished,
        """
        zone | product_id | kind     | price_micros_per_mw_h
        z    | local-up   | CLEARING | 7_000_000
        """,
        period_start=quarter["period_start"], revision=0, commodity="ELECTRICITY",
        status="FINAL", currency="USD", **ORIGIN,
    )  # fmt: skip
    world.put(
        "2023-05-08 18:45",
        ActivationRequested,
        """
        activation_id | revision | status    | period_start     | period_end       | quantity_w
        a             | 0        | ORDERED   | 2023-05-08 19:00 | 2023-05-08 19:30 | 10000
        gone          | 0        | ORDERED   | 2023-05-08 20:00 | 2023-05-08 20:30 | 10000
        gone          | 1        | CANCELLED | 2023-05-08 20:00 | 2023-05-08 20:30 | 10000
        """,
        portfolio_id="p", kind="SCHEDULED", product_id="local-up", zone="z", direction="UP",
        price_micros_per_mwh=200_000_000, currency="USD", **ORIGIN,
    )  # fmt: skip


def _dispatch(world: World) -> None:
    world.put(
        "2023-05-08 18:46",
        InstructionIssued,
        """
        site_id | instruction_id | action | supersedes_id | period_start     | period_end       | set_no
        home-01 | i1             | FOLLOW |               | 2023-05-08 19:00 | 2023-05-08 19:15 | 1
        home-01 | i1             | FOLLOW |               | 2023-05-08 19:15 | 2023-05-08 19:30 | 2
        home-02 | i2             | FOLLOW |               | 2023-05-08 19:00 | 2023-05-08 19:30 | 1
        """,
        set_id="i", set_size=2, activation_id="a", cause="ACTIVATION", form="POWER", power_w=-5000.0, abnormal=False,
        direction="UP", quantity_w=5000, fallback="LOCAL", resource_id="battery",
    )  # fmt: skip
    world.put(
        "2023-05-08 18:48",
        InstructionIssued,
        """
        site_id | instruction_id | action | supersedes_id | period_start     | period_end       | set_no
        home-02 | i3             | REVOKE | i2            | 2023-05-08 19:00 | 2023-05-08 19:30 | 1
        """,
        set_id="i3", set_size=1, activation_id="a", cause="ACTIVATION", form="POWER", power_w=-5000.0, abnormal=False,
        direction="UP", quantity_w=5000, fallback="LOCAL", resource_id="battery",
    )  # fmt: skip
    world.put(
        "2023-05-08 18:49",
        InstructionReported,
        """
        site_id | instruction_id | status   | occurred_at      | resource_id     | reason_code
        home-01 | i1             | ACCEPTED | 2023-05-08 18:47 | home-01/battery |
        home-02 | i2             | REJECTED | 2023-05-08 18:47 | home-02/battery | DEVICE_NOT_READY
        """,
        decided_by="DEVICE", **ORIGIN,
    )  # fmt: skip


def _deliver(world: World) -> None:
    world.put(
        "2023-05-08 21:00",
        DeliveryMeasured,
        """
        site_id | resource_id   | period_start     | revision | baseline_wh | measured_wh | delivered_wh
        home-01 | home-01/meter | 2023-05-08 19:00 | 0        | 600         | 500         | 100
        home-02 | home-02/meter | 2023-05-08 19:00 | 0        | 700         | -500        | 1200
        home-01 | home-01/meter | 2023-05-08 19:15 | 0        | 150         | 250         | -100
        home-02 | home-02/meter | 2023-05-08 19:15 | 0        | 500         | 0           | 500
        """,
        **DELIVERED,
    )


def _settle(world: World) -> None:
    line = {
        "portfolio_id": "p", "product_id": "local-up", "period_start": utc("2023-05-08 19:00"), "currency": "USD",
        "period_end": utc("2023-05-08 19:15"), "run_id": "r", "activation_id": "a", "energy_wh": 1,
        "basis_micros": 1, "share_ppm": 500_000,
    }  # fmt: skip
    capacity = line | {"activation_id": None, "capacity_w": 6000, "correction_no": 0, "run_kind": "FIXING"}
    world.put(
        "2023-05-08 22:00",
        LineSettled,
        """
        account_id | counterparty_id | line_id | kind     | reason_code | amount_micros | site_id
        aggregator | market          | l1      | CAPACITY |             | 7500          |
        market     | aggregator      | l2      | CAPACITY |             | -7500         |
        account-01 | aggregator      | l3      | SHARE    | CAPACITY    | 5000          | home-01
        aggregator | account-01      | l4      | SHARE    | CAPACITY    | -5000         | home-01
        """,
        **capacity,
    )
    world.put(
        "2023-05-08 22:00",
        LineSettled,
        """
        account_id | counterparty_id | line_id | kind    | reason_code | amount_micros | site_id
        aggregator | market          | l5      | ENERGY  |             | 500000        |
        market     | aggregator      | l6      | ENERGY  |             | -500000       |
        market     | aggregator      | l7      | PENALTY |             | 30000         |
        aggregator | market          | l8      | PENALTY |             | -30000        |
        account-01 | aggregator      | l9      | SHARE   | ENERGY      | 400000        | home-01
        aggregator | account-01      | l10     | SHARE   | ENERGY      | -400000       | home-01
        account-02 | aggregator      | l11     | SHARE   | PENALTY     | -10000        | home-02
        aggregator | account-02      | l12     | SHARE   | PENALTY     | 10000         | home-02
        """,
        correction_no=0, run_kind="FIXING", **line,
    )  # fmt: skip
    world.put(
        "2023-05-09 09:00",
        DeliveryMeasured,
        """
        site_id | resource_id   | period_start     | revision | baseline_wh | measured_wh | delivered_wh
        home-01 | home-01/meter | 2023-05-08 19:00 | 1        | 600         | -900        | 1500
        """,
        **DELIVERED,
    )
    world.put(
        "2023-05-09 10:00",
        LineSettled,
        """
        account_id | counterparty_id | line_id | kind  | reason_code | corrects_line_id | amount_micros | site_id
        account-01 | aggregator      | l9/1    | SHARE | ENERGY      | l9               | 8000          | home-01
        aggregator | account-01      | l10/1   | SHARE | ENERGY      | l10              | -8000         | home-01
        """,
        correction_no=1, run_kind="CORRECTION", **line,
    )  # fmt: skip
    day = {"period_start": TRADED.since, "period_end": TRADED.until, "currency": "USD", "lines_digest": "0"}
    world.put(
        "2023-05-09 08:00",
        StatementIssued,
        """
        account_id | counterparty_id | statement_id | lines | amount_micros | corrects_statement_id
        account-01 | aggregator      | s1           | 2     | 405000        |
        account-02 | aggregator      | s2           | 1     | -10000        |
        market     | aggregator      | s3           | 3     | -477500       |
        aggregator | account-01      | s4           | 2     | -405000       |
        aggregator | account-02      | s5           | 1     | 10000         |
        aggregator | market          | s6           | 3     | 477500        |
        account-01 | aggregator      | s7           | 1     | 8000          | s1
        aggregator | account-01      | s8           | 1     | -8000         | s4
        """,
        **day,
    )
    reached(world, TRADED.until + timedelta(hours=1))


def reached(world: World, at: object) -> None:
    """Let settlement and statement report how far they are."""
    world.put(
        "2023-05-10 00:00",
        Progressed,
        """
        task            | processor
        settlement.v1.0 | settlement
        statement.v1.0  | statement
        intervals.v1.0  | intervals
        """,
        tick_at=utc("2023-05-10 00:00"), watermark=at, outputs=[],
    )  # fmt: skip
