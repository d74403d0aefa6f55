"""What is remembered: who has batteries on which terms, how full they are, what is forecast, what was offered."""

from datetime import date, datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from streams import Col, Keyed

OFFERED = ("resource_id", "product_id", "direction", "period_start")


class Config(BaseModel):
    """When is offered, and what is assumed.

    Attributes:
        offer_hour: hour of the local clock at which the next day is offered.
        offer_minute: minute of that hour.
        assumed_fill_level: of a battery on the day after, unless its owner wants another.
        near: how far ahead the reported fill level counts.
        threshold: by how much of its storage a battery must differ from what was offered to be offered anew.
    """

    model_config = ConfigDict(frozen=True)

    offer_hour: int = Field(default=9, ge=0, le=23)
    offer_minute: int = Field(default=15, ge=0, le=59)
    assumed_fill_level: float = Field(default=0.9, ge=0.0, le=1.0)
    near: timedelta = timedelta(hours=2)
    threshold: float = Field(default=0.05, gt=0.0)


class Battery(Keyed, key=("resource_id", "valid_from")):
    """A storage as registered."""

    resource_id: Col[str]
    valid_from: Col[datetime]
    valid_to: Col[datetime | None]
    status: Col[str]
    site_id: Col[str]
    commodity: Col[str]
    power_min_w: Col[float]
    power_max_w: Col[float]
    storage_wh: Col[float]
    fill_level_min: Col[float]
    fill_level_max: Col[float]
    charge_efficiency: Col[float]
    discharge_efficiency: Col[float]
    response_s: Col[float | None]


class Site(Keyed, key=("site_id", "valid_from")):
    """A site as registered."""

    site_id: Col[str]
    valid_from: Col[datetime]
    valid_to: Col[datetime | None]
    status: Col[str]
    timezone: Col[str]
    zone: Col[str]
    import_limit_w: Col[float | None]
    export_limit_w: Col[float | None]


class Contract(Keyed, key=("contract_id", "valid_from")):
    """A contract as it was changed."""

    contract_id: Col[str]
    valid_from: Col[datetime]
    valid_to: Col[datetime | None]
    status: Col[str]
    site_id: Col[str]
    kind: Col[str]
    portfolio_id: Col[str]
    resource_id: Col[str | None]
    product_id: Col[str | None]
    currency: Col[str]
    min_price_micros_per_mwh: Col[int | None]


class Preference(Keyed, key=("site_id", "resource_id", "preference_id", "valid_from")):
    """What an owner wants, as it was set."""

    site_id: Col[str]
    resource_id: Col[str]
    preference_id: Col[str]
    valid_from: Col[datetime]
    valid_to: Col[datetime | None]
    status: Col[str]
    automation: Col[str]
    available: Col[bool | None]
    weekdays: Col[int | None]
    day_from_s: Col[int | None]
    day_to_s: Col[int | None]
    fill_level_min: Col[float | None]
    fill_level_max: Col[float | None]
    ready_fill_level: Col[float | None]
    min_price_micros_per_mwh: Col[int | None]


class Level(Keyed, key=("resource_id",)):
    """What a battery reported last."""

    resource_id: Col[str]
    site_id: Col[str]
    occurred_at: Col[datetime]
    fill_level: Col[float | None]
    stored_wh: Col[float | None]
    usable: Col[bool]


class Load(Keyed, key=("resource_id", "period_start"), expires="period_start"):
    """The newest forecast of a resource in a quarter-hour."""

    resource_id: Col[str]
    period_start: Col[datetime]
    site_id: Col[str]
    issued_at: Col[datetime]
    q50_w: Col[float]


class Changed(Keyed, key=("site_id",)):
    """A site of which something that is registered has changed."""

    site_id: Col[str]


class Fresh(Keyed, key=("site_id",)):
    """A site with a new forecast, and the last quarter-hour of it."""

    site_id: Col[str]
    last: Col[datetime]


class Ahead(Keyed, key=("site_id", "day"), expires="ends"):
    """A local day that a site is still to be offered for, and from when on."""

    site_id: Col[str]
    day: Col[date]
    offer_at: Col[datetime]
    ends: Col[datetime]


class Told(Keyed, key=("resource_id",)):
    """At which fill level a battery's next quarter-hours were offered, and up to when."""

    resource_id: Col[str]
    fill_level: Col[float]
    usable: Col[bool]
    until: Col[datetime]


class Offer(Keyed, key=("portfolio_id", *OFFERED), expires="period_start"):
    """What was offered last; a quantity of 0 was withdrawn."""

    portfolio_id: Col[str]
    resource_id: Col[str]
    product_id: Col[str]
    direction: Col[str]
    period_start: Col[datetime]
    site_id: Col[str]
    quantity_w: Col[int]
    energy_limit_wh: Col[int]
    price_micros_per_mwh: Col[int]
    currency: Col[str]
    revision: Col[int]
