"""What can be set of the simulated homes."""

from datetime import UTC, date, datetime

from pydantic import BaseModel, ConfigDict, Field

from edges.dataset import FIRST_DAY

_START = datetime(2023, 4, 10, 7, tzinfo=UTC)  # a Monday, 00:00 in Los Angeles


class Faults(BaseModel):
    """What goes wrong, as shares between 0 and 1 of readings or of instructions; 0 turns a kind off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outage_share: float = Field(default=0.01, ge=0, le=0.5)
    """Readings of a home without connection: sent in order when it is back, after up to an hour."""
    late_share: float = Field(default=0.0005, ge=0, le=1)
    """Single readings that come up to four hours later, out of order."""
    day_late_share: float = Field(default=0.0001, ge=0, le=1)
    """Single readings that come about a day later."""
    duplicate_share: float = Field(default=0.002, ge=0, le=1)
    """Readings sent twice: four in five at once, the others a quarter-hour later."""
    lost_share: float = Field(default=0.001, ge=0, le=1)
    """Readings that never come."""
    refuse_share: float = Field(default=0.03, ge=0, le=1)
    """Instructions that a home refuses."""
    silent_share: float = Field(default=0.01, ge=0, le=1)
    """Instructions at which a home falls silent."""
    short_share: float = Field(default=0.05, ge=0, le=1)
    """Instructions that a home accepts and follows with only `short_factor` of the power."""
    short_factor: float = Field(default=0.6, ge=0, le=1)
    silence_s: int = Field(default=5400, ge=900)
    """How long a silent home neither answers, acts nor sends; its readings come in order afterwards."""
    trouble_from: datetime | None = None
    """The first activation that begins then or later is a bad one: its first homes refuse and fall silent in turn."""
    trouble_refusals: int = Field(default=3, ge=0)
    trouble_silences: int = Field(default=2, ge=0)
    dark_from: datetime | None = None
    """Of those that take an instruction which begins then or later, one for each begin loses its connection then, until
    there were `dark_homes`: it carries the instruction out, hears and answers nothing more, and sends its readings in
    order when it is back."""
    dark_homes: int = Field(default=1, ge=0)
    dark_s: int = Field(default=72_000, ge=900)

    @classmethod
    def none(cls) -> "Faults":
        """Nothing goes wrong."""
        shares = {name: 0.0 for name in cls.model_fields if name.endswith("_share")}
        return cls(**shares)  # type: ignore[arg-type]  # they are all floats


class Config(BaseModel):
    """The simulated homes.

    ``data`` names the folder with the data set's files; it is read at the first wake. More than 17 homes are made of
    days of the real ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = ""
    first_day: date = FIRST_DAY
    homes: int = Field(default=17, ge=1, le=100_000)
    start: datetime = _START
    seed: int = Field(default=2022, ge=0)
    faults: Faults = Faults()

    portfolio_id: str = "fontana"
    aggregator_id: str = "aggregator"
    zone: str = "10Y-LOCAL-DEMO"
    grid_node_ids: tuple[str, ...] = Field(default=("node-a", "node-b"), min_length=1)
    weather_cell: str = "fontana"
    currency: str = "USD"
    capacity_share_ppm: int = 700_000
    energy_share_ppm: int = 800_000
    penalty_share_ppm: int = 500_000

    quiet_until: datetime | None = None
    """Before this nobody asks anything of the homes: they send what they have measured every `quiet_s`."""
    quiet_s: int = Field(default=3600, ge=900, multiple_of=900)

    import_limit_w: float = Field(default=24_000.0, gt=0)
    """A connection of 100 A at 240 V."""
    export_limit_w: float = Field(default=7_680.0, gt=0)
    """An inverter of 32 A at 240 V; the home keeps to it by itself."""
    reserves: tuple[float, ...] = Field(default=(0.1, 0.15, 0.2), min_length=1)
    """Fill levels that owners keep for themselves, drawn evenly."""
    opt_out_share: float = Field(default=0.12, ge=0, le=1)
    """Homes whose owner wants to be left alone in some hours of some days."""
    target_fill_level: float = Field(default=0.9, gt=0, le=1)
    """Where a battery begins, and what it charges up to at night."""
    recharge_from_h: int = Field(default=21, ge=0, le=23)
    recharge_until_h: int = Field(default=6, ge=0, le=23)
    """Hours of the local clock between which a battery below its target charges: off-peak, over midnight."""
    recharge_w: float = Field(default=2_500.0, ge=0)
