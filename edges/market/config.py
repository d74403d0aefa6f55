"""What can be set of the simulated local market."""

from datetime import UTC, date, datetime, time

from pydantic import BaseModel, ConfigDict, Field

from topics import Direction


class Config(BaseModel):
    """A system operator that buys upward flexibility by the day, simulated with its other suppliers.

    Attributes:
        start: Time before which nothing happens.
        trade_from: First local day of delivery that bids are taken for; None for the first that is possible. Prices
            are published before it too, from the other suppliers alone.
        trade_until: Last local day of delivery that bids are taken for; None for no end. Prices go on.
        seed: Of demand, suppliers and calls.
        timezone: Whose days and hours count.
        opens, inputs_until, closes, results: Hours of the local clock on the day before delivery.
        step_w, min_quantity_w: Of the product; the least is asked of all steps of a period together.
        demand_w: What the operator needs in its hour of greatest need, on average.
        suppliers: How many others there are.
        supply_ratio: What they have together, relative to `demand_w`.
        capacity_price_max, energy_price_max: Nothing dearer is bought; micros per MW and hour, micros per MWh.
        calls_per_day: Least and most blocks in which energy is called.
        call_share: Least and most of the day's need that a block calls.
        notice_s: Between call and start.
        reply_s: In which the call is to be answered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: datetime = datetime(2023, 4, 10, 7, tzinfo=UTC)
    trade_from: date | None = None
    trade_until: date | None = None
    seed: int = Field(default=2022, ge=0)
    timezone: str = "America/Los_Angeles"
    opens: time = time(8)
    inputs_until: time = time(10)
    closes: time = time(10, 30)
    results: time = time(11)

    market_id: str = "local-market"
    product_id: str = "local-up"
    zone: str = "10Y-LOCAL-DEMO"
    direction: Direction = "UP"
    currency: str = "USD"
    step_w: int = Field(default=1_000, ge=1)
    min_quantity_w: int = Field(default=5_000, ge=0)

    demand_w: int = Field(default=60_000, ge=0)
    suppliers: int = Field(default=8, ge=0)
    supply_ratio: float = Field(default=1.3, ge=0)
    capacity_price_max: int = 100_000_000
    energy_price_max: int = 1_000_000_000
    calls_per_day: tuple[int, int] = (3, 4)
    call_share: tuple[float, float] = (0.4, 1.0)
    notice_s: int = Field(default=900, ge=0)
    reply_s: int = Field(default=120, ge=1)
