"""What a storage can give up and down per quarter-hour, and what that costs its owner.

Up-regulation is discharging (less consumption), down-regulation charging, both against a storage that would rest.
Energies and powers are those at the connection (AC); inside, with one-way efficiencies ec and ed,

* up:   energy = (stored - lowest) x ed,          quantity = min(-power_min, site's room to export, energy / hold)
* down: energy = (highest - stored) / ec,         quantity = min(power_max, site's room to import, energy / hold)

where lowest and highest are the tighter of the technical and the owner's fill levels, and hold is the time for which a
quantity must last. The energy is shared by all periods: it is the offer's ``energy_limit_wh``.

Cost per MWh at the connection, relative to resting (r = ec x ed is the round trip, wear is per MWh discharged):

* up:   wear + (1 / r - 1) x retail price: what is discharged saves a purchase now, 1 / r is bought back later;
* down: r x wear + (1 - r) x retail price: of what is bought now, r saves a purchase later.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache

import polars as pl

from energy.time import to_local_date

UP = "UP"
DOWN = "DOWN"
DAY_S = 86_400
UNBOUNDED_W = 1e15


@dataclass(frozen=True)
class Storage:
    """A storage and its state: the columns of one row of `storage_offers`.

    Attributes:
        power_min_w: Discharging at full power, not positive.
        power_max_w: Charging at full power, not negative.
        storage_wh: Content between fill levels 0 and 1.
        fill_level: Now, 0 to 1.
        fill_level_min: Technical limit.
        fill_level_max: Technical limit.
        charge_efficiency: One way, above 0 up to 1.
        discharge_efficiency: One way, above 0 up to 1.
        retail_micros_per_mwh: What the owner pays for energy.
        wear_micros_per_mwh: Ageing per MWh discharged (rule ``storage.wear``).
        owner_fill_min: The owner's limit.
        owner_fill_max: The owner's limit.
        available: False where the owner has opted out.
        up_limit_w: What the connection lets the site feed out beyond its forecast.
        down_limit_w: What it lets the site draw beyond its forecast.
    """

    power_min_w: float
    power_max_w: float
    storage_wh: float
    fill_level: float
    fill_level_min: float
    fill_level_max: float
    charge_efficiency: float
    discharge_efficiency: float
    retail_micros_per_mwh: int
    wear_micros_per_mwh: int
    owner_fill_min: float = 0.0
    owner_fill_max: float = 1.0
    available: bool = True
    up_limit_w: float = UNBOUNDED_W
    down_limit_w: float = UNBOUNDED_W

    def offers(self, hold_s: int = 900) -> "dict[str, Offered]":
        """Return what can be offered by direction; a direction without any is left out."""
        rows = storage_offers(pl.DataFrame([asdict(self)]), hold_s=hold_s)
        names = ("quantity_w", "energy_limit_wh", "price_micros_per_mwh", "max_duration_s", "rebound_ratio")
        return {row["direction"]: Offered(**{name: row[name] for name in names}) for row in rows.iter_rows(named=True)}


@dataclass(frozen=True)
class Offered:
    """One direction of a storage.

    Attributes:
        quantity_w: Power that can be held for the time asked.
        energy_limit_wh: Energy for all periods together.
        price_micros_per_mwh: Cost at the connection.
        max_duration_s: How long the quantity lasts.
        rebound_ratio: Energy that is consumed more (up) or less (down) later, per energy delivered.
    """

    quantity_w: int
    energy_limit_wh: int
    price_micros_per_mwh: int
    max_duration_s: float
    rebound_ratio: float


def storage_offers(slots: pl.DataFrame, *, hold_s: int = 900) -> pl.DataFrame:
    """Work out what many storages can offer in many periods.

    Args:
        slots: A row per storage and period: the columns of `Storage` (limits of site and owner and ``available`` may
            be absent or null: unlimited) and any others, which are kept.
        hold_s: Seconds for which a quantity must last; at least the period.

    Returns:
        A row per slot and direction that offers at least 1 W, up before down: the other columns of the slots, and
        ``direction``, ``quantity_w, energy_limit_wh, price_micros_per_mwh`` (Int64, rounded down, down, half-even),
        ``max_duration_s``, ``rebound_ratio``.
    """
    full = _with_defaults(slots)
    others = [name for name in full.columns if name not in Storage.__dataclass_fields__]
    both = pl.concat([full.select(*others, "available", **_DIRECTIONS[direction]) for direction in (UP, DOWN)])
    offered = _offered(hold_s)
    return both.with_columns(**offered).filter(_OFFERING).select(*others, "direction", *offered, "rebound_ratio")


def _directions() -> Mapping[str, Mapping[str, pl.Expr]]:
    """What a direction rests on: energy, power, cost. Made once: an expression costs more to make than to evaluate."""
    low = pl.max_horizontal("fill_level_min", "owner_fill_min")
    high = pl.min_horizontal("fill_level_max", "owner_fill_max")
    above = ((pl.col("fill_level") - low) * pl.col("storage_wh")).clip(lower_bound=0.0)
    below = ((high - pl.col("fill_level")) * pl.col("storage_wh")).clip(lower_bound=0.0)
    round_trip = pl.col("charge_efficiency") * pl.col("discharge_efficiency")
    wear, retail = pl.col("wear_micros_per_mwh"), pl.col("retail_micros_per_mwh")
    up = {
        "direction": pl.lit(UP),
        "room": above * pl.col("discharge_efficiency"),
        "power": pl.min_horizontal(-pl.col("power_min_w"), pl.col("up_limit_w").clip(lower_bound=0.0)),
        "cost": wear + (1.0 / round_trip - 1.0) * retail,
        "rebound_ratio": 1.0 / round_trip,
    }
    down = {
        "direction": pl.lit(DOWN),
        "room": below / pl.col("charge_efficiency"),
        "power": pl.min_horizontal(pl.col("power_max_w"), pl.col("down_limit_w").clip(lower_bound=0.0)),
        "cost": round_trip * wear + (1.0 - round_trip) * retail,
        "rebound_ratio": round_trip,
    }
    return {UP: up, DOWN: down}


_DIRECTIONS = _directions()
_OFFERING = pl.col("available") & (pl.col("quantity_w") > 0)


@cache
def _offered(hold_s: int) -> Mapping[str, pl.Expr]:
    quantity = pl.min_horizontal("power", pl.col("room") * (3600.0 / hold_s)).floor().cast(pl.Int64)
    return {
        "quantity_w": quantity,
        "energy_limit_wh": pl.col("room").round(6).floor().cast(pl.Int64),  # 0.6 - 0.2 of 10 kWh is 4000 Wh
        "price_micros_per_mwh": pl.col("cost").round(0, mode="half_to_even").cast(pl.Int64),
        "max_duration_s": pl.col("room") * 3600.0 / quantity,
    }


def _with_defaults(slots: pl.DataFrame) -> pl.DataFrame:
    defaults = {
        "owner_fill_min": 0.0,
        "owner_fill_max": 1.0,
        "available": True,
        "up_limit_w": UNBOUNDED_W,
        "down_limit_w": UNBOUNDED_W,
    }
    fill = [
        (pl.col(name).fill_null(value) if name in slots.columns else pl.lit(value)).alias(name)
        for name, value in defaults.items()
    ]
    return slots.with_columns(fill)


def site_room(load_w: pl.Expr, import_limit_w: pl.Expr, export_limit_w: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Return how much less and more than its forecast load (W, positive = consumption) a site can draw.

    Both limits are magnitudes; null is none. A site that already breaks one has room in the other direction only.
    """
    up = (load_w + export_limit_w).fill_null(UNBOUNDED_W).clip(lower_bound=0.0)
    down = (import_limit_w - load_w).fill_null(UNBOUNDED_W).clip(lower_bound=0.0)
    return up, down


def apply_preferences(slots: pl.DataFrame, preferences: pl.DataFrame, *, period_s: int = 900) -> pl.DataFrame:
    """Add what the owners want of each period.

    A preference holds in the periods that begin while it is valid and overlap its daily window: local seconds
    ``[day_from_s, day_to_s)`` (null: all day; from later than to: over midnight) on its weekdays (bit 0 = Monday, null:
    all; over midnight the day on which the window begins). Of several the tightest counts.

    Args:
        slots: ``resource_id, period_start, timezone`` and any others.
        preferences: The columns of PreferenceSet: ``resource_id, valid_from, valid_to, automation, available, weekdays,
            day_from_s, day_to_s, fill_level_min, fill_level_max``; those that are active.
        period_s: Length of a period.

    Returns:
        The slots in their order with ``available, owner_fill_min, owner_fill_max``.
    """
    numbered = slots.with_row_index("_slot")
    pairs = numbered[["_slot", "resource_id", "period_start", "timezone"]]
    pairs = pairs.join(preferences, on="resource_id", maintain_order="left_right").filter(_VALID)
    wishes = _in_window(pairs, period_s).group_by("_slot", maintain_order=True).agg(**_WISHES)
    found = numbered.join(wishes, on="_slot", how="left", maintain_order="left")
    return found.with_columns(**_NO_WISHES).drop("_slot")


_VALID = (pl.col("period_start") >= pl.col("valid_from")) & (
    pl.col("valid_to").is_null() | (pl.col("period_start") < pl.col("valid_to"))
)
_WISHES = {
    "available": (pl.col("available").fill_null(True) & (pl.col("automation") != "OFF")).all(),
    "owner_fill_min": pl.col("fill_level_min").max(),
    "owner_fill_max": pl.col("fill_level_max").min(),
}
_NO_WISHES = {
    "available": pl.col("available").fill_null(True),
    "owner_fill_min": pl.col("owner_fill_min").fill_null(0.0),
    "owner_fill_max": pl.col("owner_fill_max").fill_null(1.0),
}


def _in_window(pairs: pl.DataFrame, period_s: int) -> pl.DataFrame:
    """Keep the periods that overlap their preference's daily window."""
    if all(pairs[name].null_count() == len(pairs) for name in ("weekdays", "day_from_s", "day_to_s")):
        return pairs
    zones = pairs["timezone"].unique(maintain_order=True).to_list()
    parts = [pairs.filter(pl.col("timezone") == zone).with_columns(**_clock(zone)) for zone in zones]
    bits = pl.col("weekdays").fill_null(127)
    today = (bits // 2 ** pl.col("_weekday")) % 2 == 1
    yesterday = (bits // 2 ** ((pl.col("_weekday") + 6) % 7)) % 2 == 1
    start, end = pl.col("day_from_s").fill_null(0), pl.col("day_to_s").fill_null(DAY_S)
    begun, going = pl.col("_second") + period_s > start, pl.col("_second") < end
    inside = pl.when(start < end).then(today & begun & going).otherwise((today & begun) | (yesterday & going))
    return pl.concat(parts).filter(inside)


def _clock(zone: str) -> Mapping[str, pl.Expr]:
    local = pl.col("period_start").dt.convert_time_zone(zone)
    return {
        "_second": local.dt.hour().cast(pl.Int64) * 3600 + local.dt.minute().cast(pl.Int64) * 60,
        "_weekday": to_local_date(pl.col("period_start"), zone).dt.weekday().cast(pl.Int64) - 1,
    }
