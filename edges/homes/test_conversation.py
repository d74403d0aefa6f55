from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edges import dataset
from edges.chance import seconds
from edges.conftest import Drive
from edges.homes import SPEC, Config, Faults, spec
from edges.homes.battery import Batteries
from edges.homes.conversation import Homes
from edges.homes.fleet import fleet, powers
from streams.columns import UTC_MICROS
from streams.testing import TopologyDriver, assert_rows, utc
from topics import (
    ContractChanged,
    InstructionIssued,
    InstructionReported,
    PreferenceSet,
    ReadingTaken,
    ResourceRegistered,
    SiteRegistered,
    StateReported,
)

START = utc("2023-05-08 07:00")  # a Monday, midnight in Los Angeles
NONE = Faults.none()
ONE_WAY = 0.9  # of the made-up batteries: the root of 0.81
FULL, RESERVE = 6400 * 0.9, 640


def config(year: str, faults: Faults = NONE, **other: Any) -> Config:
    values: dict[str, Any] = {"data": year, "start": START, "faults": faults, "reserves": (0.1,)}
    return Config(**values | other)


def instruct(
    driver: TopologyDriver, name: str, *periods: tuple[str, float], home: str = "home-01", **other: Any
) -> None:
    """Send an instruction of quarter-hours ``(start, power)``."""
    rows = [
        {
            "site_id": home, "instruction_id": name, "set_no": number, "set_id": name, "set_size": len(periods),
            "resource_id": f"{home}/battery", "activation_id": "block", "cause": "ACTIVATION", "action": "FOLLOW",
            "form": "POWER", "period_start": utc(start), "period_end": utc(start) + timedelta(minutes=15),
            "power_w": power, "abnormal": False, "fallback": "LOCAL",
        } | other
        for number, (start, power) in enumerate(periods, 1)
    ]  # fmt: skip
    driver.pipe(InstructionIssued, rows)


def power(driver: TopologyDriver, resource: str, since: str, until: str) -> list[float]:
    rows = driver.read(ReadingTaken).filter(
        (ReadingTaken.resource_id == resource)
        & ReadingTaken.occurred_at.is_between(utc(since), utc(until), closed="right")
    )
    return rows.sort("occurred_at")["power_w"].to_list()


def stored(driver: TopologyDriver, at: str, home: str = "home-01") -> float:
    states = driver.read(StateReported).filter(
        (StateReported.resource_id == f"{home}/battery") & (StateReported.occurred_at == utc(at))
    )
    return float(states["stored_wh"].item())


def reports(driver: TopologyDriver) -> list[tuple[str, str]]:
    rows = driver.read(InstructionReported).sort("occurred_at", maintain_order=True)
    return [(f"{at:%H:%M:%S}", status) for at, status in rows.select("occurred_at", "status").iter_rows()]


# Readings.


def hourly(driver: TopologyDriver, kind: str) -> pl.DataFrame:
    """Energy of each site and hour, as a mean of power."""
    steps = driver.read(ReadingTaken).filter(ReadingTaken.resource_id.str.ends_with(f"/{kind}"))
    hour = (pl.col("occurred_at") - pl.duration(seconds="duration_s")).dt.truncate("1h")
    return (
        steps.group_by("site_id", hour.alias("hour"), maintain_order=True)
        .agg(pl.len(), wh=(pl.col("power_w") * pl.col("duration_s") / 3600).sum())
        .sort("site_id", "hour")
    )


@pytest.mark.parametrize("start", ["2022-11-05 07:00", "2023-03-12 08:00", "2023-05-08 07:00"])
def test_with_faults_off_a_homes_energy_is_the_source_files_to_the_wh(drive: Drive, measured: str, start: str) -> None:
    driver = drive(spec(config(measured, start=utc(start))), at=start)
    driver.host.run(utc(start) + timedelta(hours=50))
    load, pv = hourly(driver, "load"), hourly(driver, "pv")
    assert set(load["len"]) == set(pv["len"]) == {12}
    for number in range(1, 18):
        source = pl.read_csv(Path(measured) / f"Building_{number}.csv")
        size_kw = 5 if number in {4, *range(10, 18)} else 4  # schema.json
        for measured_wh, column, factor in (
            (load, "non_shiftable_load", 1000),
            (pv, "solar_generation", -size_kw),
        ):
            mine = measured_wh.filter(pl.col("site_id") == f"home-{number:02d}")
            assert mine.height == 50
            for hour, wh in mine.select("hour", "wh").iter_rows():
                local = hour.astimezone(ZoneInfo("America/Los_Angeles"))
                row = (local.date() - date(2022, 8, 1)).days * 24 + local.hour
                assert wh == pytest.approx(source[column][row] * factor, abs=1e-9)


def test_more_homes_are_days_of_real_ones_of_the_same_weekday_and_month(measured: str) -> None:
    made, source = fleet(config(measured, homes=200)), dataset.homes(measured)
    assert made.sites[0] == "home-001"
    assert made.sites[199] == "home-200"
    calendar = [date(2016, 8, 1) + timedelta(days=day) for day in range(365)]
    kind = np.array([day.month * 10 + day.isoweekday() for day in calendar])
    assert (made.days[:17] == np.arange(365)).all()
    assert (kind[made.days] == kind).all()
    assert (np.sort(made.days, axis=1) == np.arange(365)).all()
    assert (made.days[17:] != np.arange(365)).any(axis=1).all()
    assert ((made.load_scale[17:] > 0.84) & (made.load_scale[17:] < 1.16)).all()
    # An hour of an extra home is an hour of the home that it is made of.
    load_w, _ = powers(config(measured, homes=200), seconds(START) + 18 * 3600)
    day = (date(2023, 5, 8) - date(2022, 8, 1)).days
    expected = source.load_w[50 % 17, made.days[50, day] * 24 + 18] * made.load_scale[50]
    assert load_w[50].mean() == pytest.approx(expected)


def test_a_meter_is_load_and_pv_and_battery(drive: Drive, year: str) -> None:
    driver = drive(spec(config(year)), at=START)
    driver.host.run(utc("2023-05-08 19:30"))
    instruct(driver, "i", ("2023-05-08 20:00", -3000.0))
    driver.host.run(utc("2023-05-08 20:15"))
    meter, load, pv, battery = (
        power(driver, f"home-01/{kind}", "2023-05-08 20:00", "2023-05-08 20:15")
        for kind in ("meter", "load", "pv", "battery")
    )
    assert battery == [-3000.0] * 3
    assert all(value < 0 for value in pv)
    assert meter == pytest.approx([sum(parts) for parts in zip(load, pv, battery, strict=True)])


def test_the_same_seed_gives_the_same_and_another_seed_another_hour(year: str) -> None:
    hour_s = seconds(START)
    first = powers(config(year), hour_s)[0].copy()
    powers.cache_clear()
    assert (powers(config(year), hour_s)[0] == first).all()
    assert (powers(config(year, seed=1), hour_s)[0] != first).all()
    assert powers(config(year, seed=1), hour_s)[0].mean(axis=1) == pytest.approx(first.mean(axis=1))


# Registration.


def test_homes_register_once_with_their_battery_contract_and_wishes(drive: Drive, year: str) -> None:
    driver = drive(spec(config(year, homes=20, reserves=(0.1, 0.2), opt_out_share=0.1)), at=START)
    driver.host.run(START)
    driver.crash_and_restore()
    driver.host.run(START + timedelta(hours=1))
    counts = [driver.read(kind).height for kind in (SiteRegistered, ResourceRegistered, ContractChanged, PreferenceSet)]
    assert counts == [20, 80, 20, 22]
    assert_rows(
        driver.read(ResourceRegistered).filter(ResourceRegistered.site_id == "home-03").sort("resource_id"),
        ResourceRegistered,
        """
        resource_id     | role     | control_type | power_min_w | power_max_w | storage_wh | charge_efficiency
        home-03/battery | STORAGE  | FRBC         | -5000       | 5000        | 6400       | 0.9
        home-03/load    | CONSUMER | NONE         | 0           | 24000       |            |
        home-03/meter   | CONSUMER | NONE         | -7680       | 24000       |            |
        home-03/pv      | PRODUCER | NONE         | -5000       | 0           |            |
    """,
    )
    assert_rows(
        driver.read(ContractChanged).filter(ContractChanged.site_id == "home-03"),
        ContractChanged,
        """
        contract_id | account_id | counterparty_id | portfolio_id | status | capacity_share_ppm | valid_from
        contract-03 | account-03 | aggregator      | fontana      | ACTIVE | 700000             | 2023-05-08 07:00
    """,
    )
    wishes = driver.read(PreferenceSet)
    assert set(wishes["fill_level_min"].drop_nulls()) == {0.1, 0.2}
    assert wishes.filter(PreferenceSet.preference_id == "opt-out")["available"].to_list() == [False, False]
    assert driver.read(SiteRegistered)["simulated"].all()
    assert set(driver.read(SiteRegistered)["grid_node_id"]) == {"node-a", "node-b"}


def test_discovery_reads_no_data_and_the_first_wake_says_what_is_missing(drive: Drive) -> None:
    driver = drive(SPEC, at=START)
    with pytest.raises(dataset.DatasetError, match="set `data` in the edge's configuration"):
        driver.host.run(START)


# Batteries.


@given(st.lists(st.floats(-9000, 9000), min_size=1, max_size=60), st.floats(0, 1))
def test_a_battery_keeps_its_limits_and_loses_what_it_must(asked_w: list[float], level: float) -> None:
    one = Batteries(*(np.array([value]) for value in (6400.0, 640.0, 5000.0, 0.9)))
    stored_wh = np.array([6400 * level])
    before, charged, discharged = float(stored_wh[0]), 0.0, 0.0
    for ask in asked_w:
        got, stored_wh = one.follow(stored_wh, np.array([ask]), 0.25)
        assert abs(got[0]) <= min(abs(ask), 5000)
        assert got[0] * ask >= 0
        charged, discharged = charged + max(got[0], 0) * 0.25, discharged + max(-got[0], 0) * 0.25
        assert min(before, 640) - 1e-6 <= stored_wh[0] <= 6400 + 1e-6
    assert stored_wh[0] == pytest.approx(before + charged * 0.9 - discharged / 0.9, abs=1e-6)


def test_an_accepted_instruction_is_carried_out_in_its_periods(drive: Drive, year: str) -> None:
    driver = drive(spec(config(year)), at=START)
    driver.host.run(utc("2023-05-09 01:00"))
    instruct(driver, "i", ("2023-05-09 01:15", -2000.0), ("2023-05-09 01:30", -1000.0))
    driver.host.run(utc("2023-05-09 02:00"))
    assert power(driver, "home-01/battery", "2023-05-09 01:00", "2023-05-09 02:00") == pytest.approx(
        [0, 0, 0] + [-2000.0] * 3 + [-1000.0] * 3 + [0, 0, 0]
    )
    # 500 Wh and 250 Wh leave the battery through a tenth of loss.
    assert stored(driver, "2023-05-09 02:00") == pytest.approx(FULL - 750 / ONE_WAY)
    (accepted, *rest) = reports(driver)
    assert accepted[1] == "ACCEPTED"
    assert "01:00:20" <= accepted[0] <= "01:00:50"
    assert rest == [("01:15:00", "STARTED"), ("01:45:00", "SUCCEEDED")]
    row = driver.read(InstructionReported).row(0, named=True)
    assert (row["instruction_id"], row["resource_id"], row["decided_by"]) == ("i", "home-01/battery", "DEVICE")


def test_an_instruction_that_comes_in_the_middle_holds_from_its_acceptance(drive: Drive, year: str) -> None:
    driver = drive(spec(config(year)), at=START)
    driver.host.run(utc("2023-05-08 19:05"))
    instruct(driver, "i", ("2023-05-08 19:00", -3000.0))
    driver.host.run(utc("2023-05-08 19:15"))
    (accepted, started, done) = (
        driver.read(InstructionReported).sort("occurred_at", maintain_order=True).rows(named=True)
    )
    assert [accepted["status"], started["status"], done["status"]] == ["ACCEPTED", "STARTED", "SUCCEEDED"]
    waited_s = (accepted["occurred_at"] - utc("2023-05-08 19:05")).total_seconds()
    assert 20 <= waited_s <= 50
    assert started["occurred_at"] == accepted["occurred_at"]
    given = power(driver, "home-01/battery", "2023-05-08 19:00", "2023-05-08 19:15")
    assert given == pytest.approx([0, -3000.0 * (300 - waited_s) / 300, -3000.0])


def test_half_an_instruction_is_none(drive: Drive, year: str) -> None:
    driver = drive(spec(config(year)), at=START)
    instruct(driver, "i", ("2023-05-08 08:00", -2000.0), set_size=2)
    driver.host.run(utc("2023-05-08 09:00"))
    assert reports(driver) == []
    assert power(driver, "home-01/battery", "2023-05-08 08:00", "2023-05-08 09:00") == [0.0] * 12


def test_an_empty_battery_aborts_at_its_owners_reserve(drive: Drive, year: str) -> None:
    driver = drive(spec(config(year)), at=START)
    driver.host.run(utc("2023-05-08 14:15"))
    quarters = [f"2023-05-08 {15 + minute // 60:02d}:{minute % 60:02d}" for minute in range(0, 120, 15)]
    instruct(driver, "i", *((quarter, -5000.0) for quarter in quarters))
    driver.host.run(utc("2023-05-08 17:15"))
    given = power(driver, "home-01/battery", "2023-05-08 15:00", "2023-05-08 17:00")
    assert given[:11] == pytest.approx([-5000.0] * 11)
    assert -sum(given) / 12 == pytest.approx((FULL - RESERVE) * ONE_WAY)
    assert stored(driver, "2023-05-08 16:00") == pytest.approx(RESERVE)
    # 4,608 Wh last 55.3 minutes; it is noticed when the quarter-hour is over, and nothing is done after it.
    assert reports(driver)[1:] == [("15:00:00", "STARTED"), ("16:00:00", "ABORTED")]
    assert driver.read(InstructionReported)["reason_code"].to_list()[-1] == "STORAGE_EMPTY"


def test_a_battery_charges_up_at_night(drive: Drive, year: str) -> None:
    driver = drive(spec(config(year)), at=START)
    driver.host.run(utc("2023-05-09 00:30"))
    instruct(driver, "i", ("2023-05-09 01:00", -4000.0))
    driver.host.run(utc("2023-05-09 07:00"))
    # Recharging begins at 21:00 in Los Angeles, 04:00 UTC: 1,000 Wh out took 1,111 Wh, and 1,235 Wh bring it back.
    assert power(driver, "home-01/battery", "2023-05-09 01:15", "2023-05-09 04:00") == [0.0] * 33
    charging = power(driver, "home-01/battery", "2023-05-09 04:00", "2023-05-09 07:00")
    assert charging[:5] == pytest.approx([2500.0] * 5)
    assert sum(charging) / 12 == pytest.approx(1000 / ONE_WAY**2)
    assert stored(driver, "2023-05-09 07:00") == pytest.approx(FULL)


def test_a_home_keeps_to_its_own_connection(drive: Drive, year: str) -> None:
    driver = drive(spec(config(year, export_limit_w=4000.0)), at=START)
    driver.host.run(utc("2023-05-08 19:30"))  # noon: PV gives less than 4 kW
    instruct(driver, "i", ("2023-05-08 20:00", -5000.0))
    driver.host.run(utc("2023-05-08 20:15"))
    assert power(driver, "home-01/meter", "2023-05-08 20:00", "2023-05-08 20:15") == pytest.approx([-4000.0] * 3)
    assert reports(driver)[-1] == ("20:15:00", "SUCCEEDED")


def test_instructions_that_hold_at_once_add_up(drive: Drive, year: str) -> None:
    driver = drive(spec(config(year)), at=START)
    instruct(driver, "i", ("2023-05-08 09:00", -1000.0), ("2023-05-08 09:15", -1000.0))
    instruct(driver, "j", ("2023-05-08 09:15", -500.0), activation_id="other")
    driver.host.run(utc("2023-05-08 09:30"))
    given = power(driver, "home-01/battery", "2023-05-08 09:00", "2023-05-08 09:30")
    assert given == pytest.approx([-1000.0] * 3 + [-1500.0] * 3)


def test_an_instruction_that_is_taken_back_ends_there(drive: Drive, year: str) -> None:
    driver = drive(spec(config(year)), at=START)
    instruct(driver, "i", ("2023-05-08 19:00", -1200.0), ("2023-05-08 19:15", -1200.0))
    driver.host.run(utc("2023-05-08 19:05"))
    instruct(driver, "r", ("2023-05-08 19:12", -1200.0), action="REVOKE", supersedes_id="i")
    driver.host.run(utc("2023-05-08 19:45"))
    # It holds for 2 of the 5 minutes from 19:10.
    given = power(driver, "home-01/battery", "2023-05-08 19:00", "2023-05-08 19:30")
    assert given == pytest.approx([-1200.0, -1200.0, -480.0, 0, 0, 0])
    assert [status for _, status in reports(driver)] == ["ACCEPTED", "STARTED", "REVOKED"]
    assert set(driver.read(InstructionReported)["instruction_id"]) == {"i"}


def test_what_a_home_cannot_do_it_refuses_with_the_reason(drive: Drive, year: str) -> None:
    driver = drive(spec(config(year)), at=START)
    driver.host.run(utc("2023-05-08 09:00"))
    instruct(driver, "late", ("2023-05-08 08:30", -1000.0))
    instruct(driver, "meter", ("2023-05-08 09:30", -1000.0), resource_id="home-01/meter")
    instruct(driver, "level", ("2023-05-08 09:30", -1000.0), form="LEVEL", level=1, power_w=None)
    driver.host.run(utc("2023-05-08 09:15"))
    rows = driver.read(InstructionReported).sort("instruction_id").select("instruction_id", "status", "reason_code")
    assert rows.rows() == [
        ("late", "REJECTED", "TOO_LATE"),
        ("level", "REJECTED", "NOT_SUPPORTED"),
        ("meter", "REJECTED", "NOT_SUPPORTED"),
    ]


# Faults.


def test_a_home_that_refuses_says_so_and_does_nothing(drive: Drive, year: str) -> None:
    driver = drive(spec(config(year, NONE.model_copy(update={"refuse_share": 1.0}))), at=START)
    instruct(driver, "i", ("2023-05-08 09:00", -1000.0))
    driver.host.run(utc("2023-05-08 09:15"))
    assert [status for _, status in reports(driver)] == ["REJECTED"]
    assert power(driver, "home-01/battery", "2023-05-08 09:00", "2023-05-08 09:15") == [0.0] * 3


def test_a_home_that_delivers_short_says_nothing_of_it(drive: Drive, year: str) -> None:
    driver = drive(spec(config(year, NONE.model_copy(update={"short_share": 1.0, "short_factor": 0.6}))), at=START)
    instruct(driver, "i", ("2023-05-08 09:00", -1000.0))
    driver.host.run(utc("2023-05-08 09:15"))
    assert [status for _, status in reports(driver)] == ["ACCEPTED", "STARTED", "SUCCEEDED"]
    assert power(driver, "home-01/battery", "2023-05-08 09:00", "2023-05-08 09:15") == pytest.approx([-600.0] * 3)


def test_a_silent_home_neither_answers_nor_acts_and_sends_its_readings_afterwards(drive: Drive, year: str) -> None:
    driver = drive(spec(config(year, NONE.model_copy(update={"silent_share": 1.0, "silence_s": 3600}))), at=START)
    driver.host.run(utc("2023-05-08 08:50"))
    instruct(driver, "i", ("2023-05-08 09:00", -1000.0))
    driver.host.run(utc("2023-05-08 09:45"))
    instruct(driver, "j", ("2023-05-08 10:00", -1000.0))
    assert power(driver, "home-01/meter", "2023-05-08 08:45", "2023-05-08 09:45") == []
    assert len(power(driver, "home-02/meter", "2023-05-08 08:45", "2023-05-08 09:45")) == 12
    driver.host.run(utc("2023-05-08 10:00"))
    assert reports(driver) == []
    assert power(driver, "home-01/battery", "2023-05-08 08:45", "2023-05-08 10:00") == [0.0] * 15
    order = driver.read(ReadingTaken).filter(ReadingTaken.resource_id == "home-01/load")["occurred_at"]
    assert order.is_sorted()


def test_the_first_homes_of_the_bad_activation_refuse_and_fall_silent_in_turn(drive: Drive, year: str) -> None:
    faults = NONE.model_copy(
        update={"trouble_from": utc("2023-05-08 09:00"), "trouble_refusals": 2, "trouble_silences": 1}
    )
    driver = drive(spec(config(year, faults)), at=START)
    for activation, start in (("early", "08:30"), ("bad", "09:00"), ("later", "09:30")):
        for home in range(1, 6):
            instruct(
                driver, f"{activation}/{home}", (f"2023-05-08 {start}", -500.0),
                home=f"home-{home:02d}", activation_id=activation,
            )  # fmt: skip
        driver.host.run(utc(f"2023-05-08 {start}") - timedelta(minutes=10))
    driver.host.run(utc("2023-05-08 10:00"))
    said = driver.read(InstructionReported).filter(InstructionReported.status.is_in(["ACCEPTED", "REJECTED"]))
    answers = dict(said.select("instruction_id", "status").iter_rows())
    assert [answers[f"early/{home}"] for home in range(1, 6)] == ["ACCEPTED"] * 5
    bad = [answers.get(f"bad/{home}", "SILENT") for home in range(1, 6)]
    assert bad == ["REJECTED", "SILENT", "REJECTED", "ACCEPTED", "ACCEPTED"]
    # The silent home is still silent when it is asked for the next one.
    assert [answers.get(f"later/{home}", "SILENT") for home in range(1, 6)] == ["ACCEPTED", "SILENT"] + ["ACCEPTED"] * 3


def test_a_home_without_connection_goes_on_and_is_seen_when_it_is_back(drive: Drive, year: str) -> None:
    faults = NONE.model_copy(update={"dark_from": utc("2023-05-08 09:00"), "dark_homes": 2, "dark_s": 3600})
    driver = drive(spec(config(year, faults)), at=START)
    for home, start in ((3, "08:30"), (1, "09:00"), (2, "09:00"), (4, "09:15"), (5, "09:30")):
        instruct(driver, f"i{home}", (f"2023-05-08 {start}", -1000.0), home=f"home-{home:02d}")
    driver.host.run(utc("2023-05-08 09:30"))
    instruct(driver, "next", ("2023-05-08 09:45", -1000.0))
    driver.host.run(utc("2023-05-08 09:59"))
    said = driver.read(InstructionReported)
    assert said.filter(site_id="home-01")["status"].to_list() == ["ACCEPTED"]  # before it began
    assert said.filter(site_id="home-04")["status"].to_list() == ["ACCEPTED"]
    for site in ("home-02", "home-03", "home-05"):  # one at a time, and no more than two
        assert said.filter(site_id=site)["status"].to_list() == ["ACCEPTED", "STARTED", "SUCCEEDED"]
    assert power(driver, "home-01/meter", "2023-05-08 08:45", "2023-05-08 09:59")[3:] == []
    assert len(power(driver, "home-03/meter", "2023-05-08 09:00", "2023-05-08 09:45")) == 9
    driver.host.run(utc("2023-05-08 10:00"))
    unseen, seen = (power(driver, f"home-{n:02d}/battery", "2023-05-08 09:00", "2023-05-08 10:00") for n in (1, 2))
    assert (len(unseen), unseen[:3]) == (12, [-1000.0] * 3)
    assert unseen == seen  # a battery with a connection charges up afterwards, as this one did
    order = driver.read(ReadingTaken).filter(ReadingTaken.resource_id == "home-01/load")["occurred_at"]
    assert order.is_sorted()


MANY = Faults(outage_share=0.05, late_share=0.01, day_late_share=0.005, duplicate_share=0.02, lost_share=0)


def test_whatever_goes_wrong_every_reading_that_is_not_lost_arrives_unchanged(drive: Drive, year: str) -> None:
    worlds = []
    for faults in (NONE, MANY):
        driver = drive(spec(config(year, faults)), at=START)
        driver.host.run(utc("2023-05-08 20:00"))
        # Batteries that work: what is late must still say what they did.
        for home in range(1, 18):
            instruct(driver, f"i{home}", ("2023-05-08 21:00", -1000.0), home=f"home-{home:02d}")
        driver.host.run(START + timedelta(hours=53))
        worlds.append(driver.read(ReadingTaken))
    right, wrong = worlds
    first_day = ReadingTaken.occurred_at <= START + timedelta(days=1)
    key = ["resource_id", "occurred_at"]
    known = wrong.filter(first_day).unique([*key, "power_w"], maintain_order=True).sort(key)
    # The batteries' answers depend on who has a connection, so only what does not is compared.
    for kind in ("load", "pv"):
        here = ReadingTaken.resource_id.str.ends_with(f"/{kind}")
        assert known.filter(here).equals(right.filter(first_day & here).sort(key))
    parts = {kind: known.filter(ReadingTaken.resource_id.str.ends_with(f"/{kind}"))["power_w"] for kind in
             ("meter", "load", "pv", "battery")}  # fmt: skip
    assert (parts["meter"] - parts["load"] - parts["pv"] - parts["battery"]).abs().max() == pytest.approx(0, abs=1e-9)
    assert wrong.height > known.height


def test_readings_come_late_twice_and_never_about_as_often_as_is_set(drive: Drive, year: str) -> None:
    faults = Faults(outage_share=0.04, late_share=0.01, day_late_share=0.005, duplicate_share=0.02, lost_share=0.01)
    driver = drive(spec(config(year, faults, homes=60)), at=START)
    driver.host.run(START + timedelta(hours=53))
    slab = driver.host.log.read(ReadingTaken.__topic__.name, 0, 0, limit=10_000_000)
    # In quarter-hours: when it came first, less when its own was over; of what was measured on the first day.
    came = (pl.Series(slab.appended_at).cast(UTC_MICROS) - pl.col("occurred_at").dt.offset_by("-1us")).alias("late")
    first = (
        driver.read(ReadingTaken)
        .with_columns(came)
        .filter(ReadingTaken.occurred_at <= START + timedelta(days=1))
        .group_by("resource_id", "occurred_at", maintain_order=True)
        .agg(times=pl.len(), late=pl.col("late").min().dt.total_seconds() // 900)
    )
    total = 60 * 4 * 288

    def share(where: pl.Expr) -> float:
        return first.filter(where).height / total

    assert 1 - first.height / total == pytest.approx(0.01, rel=0.2)
    assert share(pl.col("times") == 2) == pytest.approx(0.02, rel=0.2)
    assert share(pl.col("times") > 2) == 0
    assert share(pl.col("late") >= 80) == pytest.approx(0.005, rel=0.3)
    assert share(pl.col("late").is_between(5, 16)) == pytest.approx(0.01 * 12 / 16, rel=0.3)
    # An outage of n quarter-hours makes the last of them late by one quarter-hour and the first by n.
    assert share(pl.col("late").is_between(1, 4)) == pytest.approx(0.04 + 0.01 * 4 / 16, rel=0.3)


# Restarts.


def test_a_restart_anywhere_changes_nothing(drive: Drive, year: str) -> None:
    worlds = []
    faults = Faults(outage_share=0.05, late_share=0.01, refuse_share=0.2, silent_share=0.2, short_share=0.2)
    for crash in (False, True):
        driver = drive(spec(config(year, faults)), at=START)
        for quarter in range(1, 30):
            driver.host.run(START + timedelta(minutes=15 * quarter))
            if quarter % 5 == 1:
                for home in range(1, 18):
                    instruct(
                        driver, f"{quarter}/{home}", (f"2023-05-08 {7 + quarter // 4 + 1:02d}:00", -700.0),
                        home=f"home-{home:02d}", activation_id=f"a{quarter}",
                    )  # fmt: skip
            if crash:
                driver.crash_and_restore()
        worlds.append([driver.read(kind) for kind in (ReadingTaken, StateReported, InstructionReported)])
        statuses = set(driver.read(InstructionReported)["status"])
        assert {"ACCEPTED", "REJECTED", "STARTED", "SUCCEEDED"} <= statuses
    for undisturbed, restarted in zip(*worlds, strict=True):
        assert undisturbed.equals(restarted)


def test_what_is_remembered_stays_small(drive: Drive, year: str) -> None:
    driver = drive(spec(config(year, Faults())), at=START)
    for hour in range(72):
        instruct(driver, f"i{hour}", (f"2023-05-{8 + (7 + hour) // 24:02d} {(7 + hour) % 24:02d}:30", -100.0))
        driver.host.run(START + timedelta(hours=hour))
    session = driver.session("homes")
    assert isinstance(session, Homes)
    assert len(session.orders) <= 3
    assert len(session.model_dump_json()) < 4_000


def test_in_quiet_times_the_same_is_sent_together(drive: Drive, year: str) -> None:
    faults = Faults(late_share=0.05, duplicate_share=0.05, lost_share=0.02, outage_share=0.05)
    sent, heard, wakes = [], [], []
    for quiet_until in (None, START + timedelta(hours=9)):  # 16:00; every four hours: 08:00, 12:00, 16:00
        homes = spec(config(year, faults, quiet_until=quiet_until, quiet_s=4 * 3600))
        driver = drive(homes, at=START)
        driver.advance(to=START + timedelta(hours=10))
        sent.append(driver.read(ReadingTaken))
        heard.append(driver.read(StateReported))
        log = driver.host.log
        wakes.append(len(set(log.read("telemetry.reading.v1", 0, 0).appended_at.tolist())))
        driver.close()
    assert sent[0].equals(sent[1])
    assert heard[0].equals(heard[1])
    assert wakes == [40, 7]  # 08, 12, 16 and then four an hour until 17:00
