from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from energy import forecast, rules
from energy.time import UTC_MICROS
from processors.model_training import spec
from processors.model_training.logic import Config
from streams.testing import TopologyDriver, assert_replayable, utc
from topics import (
    IntervalMeasured,
    ModelTrained,
    ResourceRegistered,
    RulePublished,
    SiteRegistered,
    WeatherPredicted,
)

ORIGIN = {"origin": "test", "origin_id": "test"}
START = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
QUICK = forecast.Training(rounds=15, leaves=7, rate=0.3, leaf_share=0.01)
CONFIG = Config(learn_days=6, retrain_days=7, training=QUICK)
SPEC = spec(CONFIG)
WEEK = pytest.mark.driver(at="2026-01-05 00:00", tick=timedelta(hours=6), twice=False)
KINDS = ("load", "pv", "meter")


def world(driver: TopologyDriver, sites: Iterable[str] = ("h1",), kinds: Iterable[str] = KINDS) -> None:
    driver.pipe(RulePublished, rules.rows(rules.load()), **ORIGIN)
    same: dict[str, Any] = {"valid_from": utc("2026-01-01"), "status": "ACTIVE"} | ORIGIN
    home = {"kind": "home", "country": "US", "timezone": "UTC", "simulated": True, "weather_cell": "c"}
    driver.pipe(SiteRegistered, [same | home | {"site_id": site} for site in sites])
    rest = {
        "role": "CONSUMER",
        "commodity": "ELECTRICITY",
        "control_type": "NONE",
        "power_min_w": -9e3,
        "power_max_w": 9e3,
    }
    driver.pipe(
        ResourceRegistered,
        [
            same | rest | {"site_id": site, "resource_id": f"{site}/{kind}", "kind": kind}
            for site in sites
            for kind in kinds
        ],
    )


def measure(
    driver: TopologyDriver, days: int, site: str = "h1", factor: float = 1.0, quality: str = "MEASURED"
) -> None:  # fmt: skip
    """From the start: 300 W and 1500 W in the evening, 2 kW of sun at noon, with some noise."""
    count = np.arange(days * 96)
    hour = count % 96 / 4
    noise = np.random.Generator(np.random.PCG64(1)).normal(0, 20, len(count))
    load = np.where((hour >= 18) & (hour < 22), 1500.0, 300.0) + noise
    pv = -np.clip(2000 * np.sin((hour - 6) / 12 * np.pi), 0, None)
    for kind, power in (("load", load), ("pv", pv), ("meter", load + pv)):
        rows = pl.DataFrame(
            {
                "period_start": pl.Series([START + timedelta(minutes=15) * int(n) for n in count], dtype=UTC_MICROS),
                "energy_wh": factor * power / 4,
            }
        ).with_columns(period_end=pl.col("period_start") + timedelta(minutes=15))
        names = {"site_id": site, "resource_id": f"{site}/{kind}", "commodity": "ELECTRICITY", "method": "test"}
        driver.pipe(IntervalMeasured, rows, **names, revision=0, quality=quality, coverage=0.5, samples=3)


def predict(driver: TopologyDriver, days: int) -> None:
    rows = [
        {
            "weather_cell": "c", "source": "test", "issued_at": START - DAY, "temperature_c": 20.0,
            "period_start": START + timedelta(hours=hour), "period_end": START + timedelta(hours=hour + 1),
            "irradiance_global_w_per_m2": max(0.0, 900 * np.sin((hour % 24 - 5.5) / 12 * np.pi)),
        }
        for hour in range(24 * days)
    ]  # fmt: skip
    driver.pipe(WeatherPredicted, rows, **ORIGIN)


def payload(made: pl.DataFrame, scope: str) -> bytes:
    chunks = made.filter(pl.col("scope") == scope).sort("set_no")
    return b"".join(chunks["payload"])


@WEEK
def test_the_first_training_falls_when_enough_days_are_there_and_the_next_a_week_later(driver: TopologyDriver) -> None:
    world(driver)
    predict(driver, 16)
    measure(driver, 16)
    driver.complete(IntervalMeasured, to=START)
    driver.advance(to=START + timedelta(hours=6))
    for number in range(1, 60):
        driver.complete(IntervalMeasured, to=START + number * timedelta(hours=6))
        driver.advance(by=timedelta(hours=6))
    made = driver.read(ModelTrained)
    times = made.select("scope", "valid_from", "trained_from", "trained_to").rows()
    # the watermark is six hours behind the tick here: six days of data at 6 days and 6 hours
    first, second = START + 6 * DAY + timedelta(hours=6), START + 13 * DAY + timedelta(hours=6)
    assert times == [
        ("load", first, START, START + 6 * DAY),
        ("pv", first, START, START + 6 * DAY),
        ("load", second, START, START + 13 * DAY),
        ("pv", second, START, START + 13 * DAY),
    ]
    assert made["model_id"].to_list()[0] == "load_forecast/load/20260111T000000Z"


@WEEK
def test_a_model_is_a_set_of_chunks_with_the_fingerprint_of_the_whole(driver: TopologyDriver) -> None:
    driver.close()
    driver = TopologyDriver(
        spec(CONFIG.model_copy(update={"chunk_bytes": 5_000})), at=START, tick=timedelta(hours=6), twice=True
    )
    world(driver)
    predict(driver, 7)
    measure(driver, 7)
    driver.host.pass_time(START + 7 * DAY)
    driver.advance(by=timedelta(hours=12))
    made = driver.read(ModelTrained).filter(pl.col("scope") == "load")
    assert made.height > 1
    assert made["set_no"].to_list() == list(range(1, made.height + 1))
    assert set(made["set_size"]) == {made.height}
    assert max(map(len, made["payload"])) == 5_000
    whole = payload(made, "load")
    assert set(made["fingerprint"]) == {forecast.fingerprint(whole)}
    assert forecast.loads(whole).purpose == "LOAD"
    driver.close()


def test_what_is_learned_forecasts_the_next_days_and_a_second_run_gives_the_same_bytes() -> None:
    made = []
    for _ in range(2):
        driver = TopologyDriver(SPEC, at=START, tick=timedelta(hours=6), twice=False)
        world(driver)
        predict(driver, 14)
        measure(driver, 14)
        driver.host.pass_time(START + 14 * DAY)
        driver.advance(by=timedelta(hours=12))
        made.append(driver.read(ModelTrained))
        past = driver.read(IntervalMeasured).select("resource_id", "period_start", power_w=pl.col("energy_wh") * 4)
        weather = driver.read(WeatherPredicted).with_columns(pl.col("period_start") + 2 * DAY)
        driver.close()
    assert payload(made[0], "load") == payload(made[1], "load")
    assert payload(made[0], "pv") == payload(made[1], "pv")
    past = past.with_columns(timezone=pl.lit("UTC"), weather_cell=pl.lit("c"))
    day = past.filter(pl.col("period_start") >= START + 13 * DAY)
    for scope, error_w in (("load", 60), ("pv", 150)):
        mine = pl.col("resource_id") == f"h1/{scope}"
        targets = day.filter(mine).drop("power_w").with_columns(pl.col("period_start") + 2 * DAY)
        told = forecast.predict(forecast.loads(payload(made[0], scope)), past.filter(mine), targets, weather)
        truth = day.filter(mine)["power_w"]
        assert float((told["q50_w"] - truth).abs().mean()) < error_w  # type: ignore[arg-type]


@WEEK
def test_what_is_missing_teaches_nothing(driver: TopologyDriver) -> None:
    world(driver)
    measure(driver, 7, quality="MISSING")
    driver.host.pass_time(START + 7 * DAY)
    driver.advance(by=timedelta(hours=12))
    assert driver.read(ModelTrained).is_empty()


@WEEK
def test_a_kind_that_nobody_has_gets_no_model(driver: TopologyDriver) -> None:
    world(driver, kinds=("load",))
    measure(driver, 7)
    driver.host.pass_time(START + 7 * DAY)
    driver.advance(by=timedelta(hours=12))
    assert driver.read(ModelTrained)["scope"].to_list() == ["load"]


def test_of_many_sites_every_nth_teaches() -> None:
    made = {}
    for sites in (("h1", "h3"), ("h1", "h2", "h3", "h4")):
        driver = TopologyDriver(
            spec(CONFIG.model_copy(update={"sites_max": 2})),
            at=START,
            tick=timedelta(hours=6),
            twice=False,
            partitions=2,
        )
        world(driver, sites)
        for number, site in enumerate(sites):
            measure(driver, 7, site, factor=1.0 if site in {"h1", "h3"} else 5.0 + number)
        driver.host.pass_time(START + 7 * DAY)
        driver.advance(by=timedelta(hours=12))
        made[len(sites)] = payload(driver.read(ModelTrained), "load")
        driver.close()
    assert made[2] == made[4]


def test_any_cut_any_crash_and_any_number_of_partitions_give_the_same_bytes() -> None:
    def scenario(driver: TopologyDriver) -> None:
        world(driver, ("h1", "h2"))
        predict(driver, 7)
        for site in ("h1", "h2"):
            measure(driver, 7, site)
        driver.host.pass_time(START + 7 * DAY)
        driver.advance(by=timedelta(hours=18))

    assert_replayable(SPEC, scenario=scenario, at=START, tick=timedelta(hours=6), runs=2)
