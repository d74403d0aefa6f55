from datetime import date

import polars as pl
import pytest

from edges.conftest import Drive
from edges.price import Config, spec
from streams.testing import assert_rows, utc
from topics import PricePublished


def test_a_day_is_published_the_day_before_at_noon_and_today_at_once(drive: Drive, year: str) -> None:
    driver = drive(spec(Config(data=year, start=utc("2023-04-10 07:00"))), at="2023-04-10 07:00")
    driver.host.run(utc("2023-04-10 18:59"))
    assert driver.read(PricePublished).height == 24
    driver.host.run(utc("2023-04-10 19:00"))  # 12:00 in Los Angeles
    published = driver.read(PricePublished)
    # The made-up tariff is 0.20 dollars per kWh at midnight and a cent more every hour.
    assert_rows(
        published.filter(PricePublished.period_start.is_in([utc("2023-04-11 06:00"), utc("2023-04-11 07:00")])),
        PricePublished,
        """
        period_start     | period_end       | price_micros_per_mwh | kind   | product_id | currency | status | revision
        2023-04-11 06:00 | 2023-04-11 07:00 | 430000000            | RETAIL | retail     | USD      | FINAL  | 0
        2023-04-11 07:00 | 2023-04-11 08:00 | 200000000            | RETAIL | retail     | USD      | FINAL  | 0
    """,
    )
    driver.crash_and_restore()
    driver.host.run(utc("2023-04-12 18:59"))
    assert driver.read(PricePublished)["period_start"].n_unique() == driver.read(PricePublished).height == 24 * 3


@pytest.mark.parametrize(("start", "hours"), [("2022-11-06 07:00", 25), ("2023-03-12 08:00", 23)])
def test_a_day_of_23_or_25_hours_has_a_price_for_each(drive: Drive, year: str, start: str, hours: int) -> None:
    driver = drive(spec(Config(data=year, start=utc(start))), at=start)
    driver.host.run(utc(start))
    prices = driver.read(PricePublished).sort("period_start")
    assert prices.height == hours
    assert prices["period_start"].diff().drop_nulls().unique().to_list() == [prices["period_end"][0] - utc(start)]
    by_hour = prices.group_by(
        pl.col("period_start").dt.convert_time_zone("America/Los_Angeles").dt.hour().alias("hour"), maintain_order=True
    ).agg(pl.col("price_micros_per_mwh").unique())
    assert by_hour["price_micros_per_mwh"].list.first().to_list() == [
        200_000_000 + hour * 10_000_000 for hour in by_hour["hour"]
    ]


def test_the_measured_peak_is_dearest_from_four_to_nine(drive: Drive, measured: str) -> None:
    config = Config(data=measured, start=utc("2023-05-08 07:00"), first_day=date(2022, 8, 1))
    driver = drive(spec(config), at="2023-05-08 07:00")
    driver.host.run(utc("2023-05-08 07:00"))
    prices = driver.read(PricePublished)["price_micros_per_mwh"].to_list()
    # pricing.csv: a winter weekday costs 0.21 dollars per kWh, and 0.50 from 16:00 to 21:00.
    assert prices == [210_000_000] * 16 + [500_000_000] * 5 + [210_000_000] * 3
