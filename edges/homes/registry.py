"""Who the simulated homes are, as they register: sites, resources, contracts and their owners' wishes."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from edges import dataset
from edges.chance import generator
from edges.homes.config import Config
from edges.homes.fleet import Fleet, fleet
from streams import Emit
from topics import ContractChanged, PreferenceSet, ResourceRegistered, SiteRegistered

Registration = Emit[SiteRegistered | ResourceRegistered | ContractChanged | PreferenceSet]

_RESPONSE_S = 5.0
_STORAGE = (
    "storage_wh",
    "fill_level_min",
    "fill_level_max",
    "charge_efficiency",
    "discharge_efficiency",
    "response_s",
)
# An owner who opted out did so for one of these: weekend days, workday evenings, workday mornings (weekdays as bits).
_OPT_OUTS = ((0b1100000, 8 * 3600, 22 * 3600), (0b0011111, 18 * 3600, 22 * 3600), (0b0011111, 6 * 3600, 9 * 3600))


def registrations(config: Config) -> Iterator[Registration]:
    """Say who the homes are, from the configured start on."""
    made = fleet(config)
    sites = pl.DataFrame({"site_id": made.sites}).with_columns(
        valid_from=pl.lit(config.start).dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC")),
        origin=pl.lit("homes"),
        number=pl.col("site_id").str.strip_prefix("home-"),
    )
    yield Emit(SiteRegistered, _sites(config, sites))
    yield Emit(ResourceRegistered, _resources(config, made, sites))
    yield Emit(ContractChanged, _contracts(config, sites))
    yield Emit(PreferenceSet, _preferences(config, made, sites))


def _sites(config: Config, sites: pl.DataFrame) -> pl.DataFrame:
    nodes = np.arange(sites.height) % len(config.grid_node_ids)
    return sites.with_columns(
        status=pl.lit("ACTIVE"),
        kind=pl.lit("home"),
        country=pl.lit("US"),
        timezone=pl.lit(dataset.TIMEZONE),
        simulated=pl.lit(value=True),
        zone=pl.lit(config.zone),
        grid_node_id=pl.Series([config.grid_node_ids[node] for node in nodes]),
        import_limit_w=pl.lit(config.import_limit_w),
        export_limit_w=pl.lit(config.export_limit_w),
        weather_cell=pl.lit(config.weather_cell),
        origin_id=pl.concat_str(pl.lit("site/"), "site_id"),
    ).drop("number")


def _resources(config: Config, made: Fleet, sites: pl.DataFrame) -> pl.DataFrame:
    batteries = made.batteries
    plain: dict[str, pl.Expr] = dict.fromkeys(_STORAGE, pl.lit(None, pl.Float64))

    def kind(name: str, role: str, low: pl.Expr, high: pl.Expr, **more: pl.Expr) -> pl.DataFrame:
        control = "FRBC" if role == "STORAGE" else "NONE"
        return sites.select(
            "site_id",
            "valid_from",
            "origin",
            resource_id=pl.concat_str("site_id", pl.lit(f"/{name}")),
            status=pl.lit("ACTIVE"),
            kind=pl.lit(name),
            role=pl.lit(role),
            commodity=pl.lit("ELECTRICITY"),
            control_type=pl.lit(control),
            power_min_w=low,
            power_max_w=high,
            **(plain | more),
        )

    zero, most = pl.lit(0.0), pl.lit(config.import_limit_w)
    power = pl.lit(pl.Series(batteries.power_w))
    efficiency = pl.lit(pl.Series(batteries.efficiency))
    frames = [
        kind(
            "battery", "STORAGE", -power, power,
            storage_wh=pl.lit(pl.Series(batteries.capacity_wh)), fill_level_min=zero, fill_level_max=pl.lit(1.0),
            charge_efficiency=efficiency, discharge_efficiency=efficiency, response_s=pl.lit(_RESPONSE_S),
        ),
        kind("load", "CONSUMER", zero, most),
        kind("meter", "CONSUMER", pl.lit(-config.export_limit_w), most),
        kind("pv", "PRODUCER", pl.lit(pl.Series(-made.pv_nominal_w)), zero),
    ]  # fmt: skip
    rows = pl.concat(frames).sort("resource_id")
    return rows.with_columns(origin_id=pl.concat_str(pl.lit("resource/"), "resource_id"))


def _contracts(config: Config, sites: pl.DataFrame) -> pl.DataFrame:
    return sites.with_columns(
        contract_id=pl.concat_str(pl.lit("contract-"), "number"),
        status=pl.lit("ACTIVE"),
        kind=pl.lit("FLEXIBILITY"),
        account_id=pl.concat_str(pl.lit("account-"), "number"),
        counterparty_id=pl.lit(config.aggregator_id),
        portfolio_id=pl.lit(config.portfolio_id),
        currency=pl.lit(config.currency),
        capacity_share_ppm=pl.lit(config.capacity_share_ppm),
        energy_share_ppm=pl.lit(config.energy_share_ppm),
        penalty_share_ppm=pl.lit(config.penalty_share_ppm),
        origin_id=pl.concat_str(pl.lit("contract/"), "number"),
    ).drop("number")


def _preferences(config: Config, made: Fleet, sites: pl.DataFrame) -> pl.DataFrame:
    common = sites.select(
        "site_id",
        "valid_from",
        "origin",
        resource_id=pl.concat_str("site_id", pl.lit("/battery")),
        status=pl.lit("ACTIVE"),
    )
    standard = common.with_columns(
        preference_id=pl.lit("standard"),
        automation=pl.lit("AUTOMATIC"),
        available=pl.lit(value=True),
        weekdays=pl.lit(None, pl.Int64),
        day_from_s=pl.lit(None, pl.Int64),
        day_to_s=pl.lit(None, pl.Int64),
        fill_level_min=pl.lit(pl.Series(made.reserve)),
        fill_level_max=pl.lit(1.0),
    )
    chance = generator(config.seed, "preferences")
    some = np.sort(chance.permutation(len(made))[: round(config.opt_out_share * len(made))])
    drawn = chance.integers(0, len(_OPT_OUTS), len(some))
    weekdays, begin, end = (pl.Series([_OPT_OUTS[one][part] for one in drawn], dtype=pl.Int64) for part in range(3))
    away = common[some].with_columns(
        preference_id=pl.lit("opt-out"),
        automation=pl.lit("OFF"),
        available=pl.lit(value=False),
        weekdays=weekdays,
        day_from_s=begin,
        day_to_s=end,
        fill_level_min=pl.lit(None, pl.Float64),
        fill_level_max=pl.lit(None, pl.Float64),
    )
    return pl.concat([standard, away]).with_columns(
        origin_id=pl.concat_str(pl.lit("preference/"), "site_id", pl.lit("/"), "preference_id")
    )
