from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import polars as pl
import pytest

from energy import forecast
from energy.time import UTC_MICROS, quarters_of_day, with_local
from processors.load_forecast import SPEC
from streams.errors import StreamsError
from streams.testing import TopologyDriver, assert_replayable, utc
from topics import IntervalMeasured, LoadPredicted, ModelTrained, ResourceRegistered, SiteRegistered, WeatherPredicted

LOS_ANGELES = "America/Los_Angeles"
ORIGIN = {"origin": "test", "origin_id": "test"}
SMALL = forecast.Training(rounds=30, leaves=8, rate=0.3, leaf_share=0.005)


def days(first: date, count: int, timezone: str = LOS_ANGELES) -> Iterator[datetime]:
    for number in range(count):
        yield from quarters_of_day(first + timedelta(days=number), timezone)


def powers(first: date, count: int, timezone: str = LOS_ANGELES, site: str = "h1") -> pl.DataFrame:
    """The same every day: 300 W, and 1500 W from 18:00 to 22:00; PV 2000 W from 10:00 to 14:00."""
    starts = pl.DataFrame({"period_start": list(days(first, count, timezone))}, schema={"period_start": UTC_MICROS})
    clock = with_local(starts.with_columns(timezone=pl.lit(timezone), site_id=pl.lit(site), weather_cell=pl.lit("c")))
    quarter = pl.col("clock_quarter")
    load = pl.when(quarter.is_between(72, 87)).then(1500.0).otherwise(300.0)
    pv = pl.when(quarter.is_between(40, 55)).then(-2000.0).otherwise(0.0)
    parts = [
        clock.with_columns(power_w=power, resource_id=pl.lit(f"{site}/{kind}"), kind=pl.lit(kind))
        for kind, power in (("load", load), ("pv", pv), ("meter", load + pv))
    ]
    return pl.concat(parts).drop("local_date", "clock_quarter")


def register(
    driver: TopologyDriver, timezone: str = LOS_ANGELES, site: str = "h1", kinds: str = "load pv meter"
) -> None:
    shared: dict[str, Any] = {"site_id": site, "valid_from": utc("2026-01-01"), "status": "ACTIVE"} | ORIGIN
    home = {"kind": "home", "country": "US", "timezone": timezone, "simulated": True, "weather_cell": "c"}
    driver.pipe(SiteRegistered, [shared | home])
    common = shared | {"role": "CONSUMER", "commodity": "ELECTRICITY", "control_type": "NONE"}
    rows = [
        {"resource_id": f"{site}/{kind}", "kind": kind, "power_min_w": -9e3, "power_max_w": 9e3}
        for kind in kinds.split()
    ]
    driver.pipe(ResourceRegistered, [common | row for row in rows])


def measure(driver: TopologyDriver, told: pl.DataFrame) -> None:
    rows = told.select(
        "site_id", "resource_id", "period_start", energy_wh=pl.col("power_w") / 4,
        period_end=pl.col("period_start") + timedelta(minutes=15), quality=pl.lit("MEASURED"), coverage=pl.lit(1.0),
    )  # fmt: skip
    driver.pipe(IntervalMeasured, rows, commodity="ELECTRICITY", revision=0, samples=3, method="test")


def models(first: date, count: int = 14) -> list[dict[str, Any]]:
    told, nothing = powers(first, count), WeatherPredicted.__topic__.empty()
    made = []
    for scope, purpose in (("load", "LOAD"), ("pv", "PV")):
        rows = told.filter(pl.col("kind") == scope)
        payload = forecast.train(rows, nothing, purpose=purpose, settings=SMALL).dumps()  # type: ignore[arg-type]
        half = len(payload) // 2
        shared = {
            "model_id": f"m-{scope}", "set_id": f"m-{scope}", "set_size": 2, "purpose": "load_forecast", "scope": scope,
            "algorithm": "test", "format": forecast.FORMAT, "feature_set": forecast.FEATURE_SET,
            "fingerprint": forecast.fingerprint(payload), "trained_from": utc("2026-01-01"),
            "trained_to": utc("2026-01-15"), "valid_from": utc("2026-01-15"), "seed": 0,
        }  # fmt: skip
        made += [shared | {"set_no": 1, "payload": payload[:half]}, shared | {"set_no": 2, "payload": payload[half:]}]
    return made


def error_w(made: pl.DataFrame, truth: pl.DataFrame) -> float:
    """The largest error of the median where the truth is level for more than an hour before and after."""
    power, reach = truth["power_w"], 5
    level = pl.all_horizontal(power == power.shift(step) for step in range(-reach, reach + 1))
    far = pl.select(level.fill_null(value=False)).to_series()
    assert far.sum() > 40
    assert power.filter(far).n_unique() == 2
    return float((made["q50_w"] - power).filter(far).abs().max())  # type: ignore[arg-type]


TRAINED = models(date(2026, 1, 1))


@pytest.mark.driver(at="2026-02-01 08:00")
def test_the_next_local_day_is_forecast_at_nine_and_only_once(driver: TopologyDriver) -> None:
    register(driver)
    driver.pipe(ModelTrained, TRAINED)
    measure(driver, powers(date(2026, 1, 10), 22))
    driver.advance(to="2026-02-01 16:00")  # 08:00 in Los Angeles
    assert driver.read(LoadPredicted).is_empty()
    driver.advance(to="2026-02-01 17:00")
    made = driver.read(LoadPredicted)
    assert set(made["issued_at"]) == {utc("2026-02-01 17:00")}
    for resource in ("h1/load", "h1/pv"):
        starts = made.filter(pl.col("resource_id") == resource)["period_start"].to_list()
        assert starts == quarters_of_day(date(2026, 2, 2), LOS_ANGELES)
    assert made.height == 2 * 96
    driver.advance(to="2026-02-02 16:00")
    assert driver.read(LoadPredicted).height == 2 * 96
    measure(driver, powers(date(2026, 2, 1), 1))
    driver.advance(to="2026-02-02 17:00")
    assert driver.read(LoadPredicted).height == 4 * 96


@pytest.mark.driver(at="2026-02-01 08:00")
def test_what_is_the_same_every_day_is_forecast_as_it_is(driver: TopologyDriver) -> None:
    register(driver)
    driver.pipe(ModelTrained, TRAINED)
    measure(driver, powers(date(2026, 1, 10), 22))
    driver.advance(to="2026-02-01 17:00")
    made = driver.read(LoadPredicted)
    truth = powers(date(2026, 2, 2), 1).select("resource_id", "period_start", "power_w")
    assert made.join(truth, on=["resource_id", "period_start"], maintain_order="left").height == 2 * 96
    for resource in ("h1/load", "h1/pv"):
        mine = pl.col("resource_id") == resource
        assert error_w(made.filter(mine), truth.filter(mine)) < 30
    fingerprints = {row["scope"]: row["fingerprint"] for row in TRAINED}
    assert set(made["model_fingerprint"]) == set(fingerprints.values())
    assert made.filter(pl.col("resource_id") == "h1/pv")["model_id"].unique().to_list() == ["m-pv"]


@pytest.mark.driver(at="2026-02-01 08:00")
def test_quantiles_do_not_cross_and_keep_to_their_side_of_zero(driver: TopologyDriver) -> None:
    register(driver)
    driver.pipe(ModelTrained, TRAINED)
    measure(driver, powers(date(2026, 1, 10), 22))
    driver.advance(to="2026-02-01 17:00")
    made = driver.read(LoadPredicted)
    quantiles = [made[name] for name in forecast.COLUMNS]
    assert all((low <= high).all() for low, high in pairwise(quantiles))
    assert made.filter(pl.col("resource_id") == "h1/load")["q05_w"].min() >= 0  # type: ignore[operator]
    assert made.filter(pl.col("resource_id") == "h1/pv")["q95_w"].max() <= 0  # type: ignore[operator]


@pytest.mark.parametrize(
    ("day", "count", "timezone"),
    [
        (date(2026, 3, 8), 92, LOS_ANGELES),
        (date(2026, 11, 1), 100, LOS_ANGELES),
        (date(2026, 3, 29), 92, "Europe/Brussels"),
        (date(2026, 10, 25), 100, "Europe/Brussels"),
    ],
)
def test_a_day_of_92_and_of_100_quarter_hours_is_forecast_whole(day: date, count: int, timezone: str) -> None:
    before = day - timedelta(days=1)
    driver = TopologyDriver(SPEC, at=quarters_of_day(before, timezone)[0], tick=timedelta(hours=1))
    register(driver, timezone)
    driver.pipe(ModelTrained, TRAINED)
    measure(driver, powers(day - timedelta(days=16), 15, timezone))
    driver.advance(by=timedelta(hours=10))
    made = driver.read(LoadPredicted).filter(pl.col("resource_id") == "h1/load")
    assert made["period_start"].to_list() == quarters_of_day(day, timezone)
    assert made.height == count
    truth = powers(day, 1, timezone).filter(pl.col("kind") == "load")
    assert error_w(made, truth) < 30
    driver.close()


@pytest.mark.driver(at="2026-02-01 08:00")
def test_each_site_is_forecast_in_its_own_time_zone(driver: TopologyDriver) -> None:
    register(driver)
    register(driver, "Europe/Brussels", "h2")
    driver.pipe(ModelTrained, TRAINED)
    measure(driver, powers(date(2026, 1, 10), 22))
    measure(driver, powers(date(2026, 1, 10), 22, "Europe/Brussels", "h2"))
    driver.advance(to="2026-02-02 18:00")
    made = driver.read(LoadPredicted).filter(pl.col("issued_at") > utc("2026-02-02 00:00"))
    first = made.group_by("site_id", "issued_at", maintain_order=True).agg(pl.col("period_start").min())
    assert sorted(first.rows()) == [
        ("h1", utc("2026-02-02 17:00"), utc("2026-02-03 08:00")),
        ("h2", utc("2026-02-02 08:00"), utc("2026-02-02 23:00")),
    ]


@pytest.mark.driver(at="2026-02-01 08:00")
def test_without_a_whole_model_it_is_tried_again_every_hour(driver: TopologyDriver) -> None:
    register(driver)
    measure(driver, powers(date(2026, 1, 10), 22))
    driver.pipe(ModelTrained, [row for row in TRAINED if row["set_no"] == 1])
    driver.advance(to="2026-02-01 18:30")
    assert driver.read(LoadPredicted).is_empty()
    driver.pipe(ModelTrained, [row for row in TRAINED if row["set_no"] == 2])
    driver.advance(to="2026-02-02 00:00")
    assert driver.read(LoadPredicted).is_empty()  # the table is six hours behind
    driver.advance(to="2026-02-02 02:00")
    assert set(driver.read(LoadPredicted)["issued_at"]) == {utc("2026-02-02 01:00")}


@pytest.mark.driver(at="2026-02-01 08:00")
def test_the_newest_model_counts(driver: TopologyDriver) -> None:
    register(driver)
    measure(driver, powers(date(2026, 1, 10), 22))
    newer = [row | {"model_id": "m-new", "set_id": "m-new", "valid_from": utc("2026-01-20")} for row in TRAINED[:2]]
    future = [
        row | {"model_id": "m-future", "set_id": "m-future", "valid_from": utc("2026-03-20")} for row in TRAINED[:2]
    ]
    other = [row | {"model_id": "m-other", "set_id": "m-other", "purpose": "twin"} for row in newer]
    driver.pipe(ModelTrained, [*newer, *TRAINED, *future, *other])
    driver.advance(to="2026-02-01 17:00")
    assert set(driver.read(LoadPredicted)["model_id"]) == {"m-new", "m-pv"}


@pytest.mark.driver(at="2026-02-01 08:00")
def test_a_model_with_other_bytes_than_its_fingerprint_stops_the_processor(driver: TopologyDriver) -> None:
    register(driver)
    measure(driver, powers(date(2026, 1, 10), 22))
    driver.pipe(ModelTrained, [TRAINED[0], TRAINED[1] | {"payload": TRAINED[1]["payload"][:-1] + b"x"}])
    with pytest.raises(StreamsError, match="model m-load has other bytes than its fingerprint"):
        driver.advance(to="2026-02-01 17:00")


@pytest.mark.driver(at="2026-02-01 08:00")
def test_a_resource_that_ended_is_not_forecast(driver: TopologyDriver) -> None:
    register(driver)
    shared = {"site_id": "h1", "resource_id": "h1/pv", "kind": "pv", "role": "PRODUCER", "commodity": "ELECTRICITY"}
    limits = {"control_type": "NONE", "power_min_w": -9e3, "power_max_w": 0.0}
    closed = shared | limits | ORIGIN | {"status": "CLOSED", "valid_from": utc("2026-02-01 10:00")}
    driver.pipe(ResourceRegistered, [closed])
    driver.pipe(ModelTrained, TRAINED)
    measure(driver, powers(date(2026, 1, 10), 22))
    driver.advance(to="2026-02-01 17:00")
    assert set(driver.read(LoadPredicted)["resource_id"]) == {"h1/load"}


def test_any_cut_any_crash_and_any_number_of_partitions_give_the_same_forecasts() -> None:
    def scenario(driver: TopologyDriver) -> None:
        for site in ("h1", "h2", "h3"):
            register(driver, site=site)
            measure(driver, powers(date(2026, 1, 23), 9, site=site))
        driver.pipe(ModelTrained, TRAINED)
        driver.advance(to="2026-02-02 18:00")

    assert_replayable(SPEC, scenario=scenario, at="2026-02-01 09:00", runs=2)


def test_the_hour_can_be_set() -> None:
    assert SPEC.config is not None
    early = replace(SPEC, config=SPEC.config.model_copy(update={"issue_hour": 2}))
    driver = TopologyDriver(early, at="2026-01-31 08:00")
    register(driver, kinds="load")
    driver.pipe(ModelTrained, TRAINED)
    measure(driver, powers(date(2026, 1, 10), 22))
    driver.advance(to="2026-02-01 11:00")
    assert driver.read(LoadPredicted)["issued_at"].max() == utc("2026-02-01 10:00")
    driver.close()
