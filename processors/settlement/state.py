"""What settlement remembers: the newest revision of each fact, what is to be settled, and with which terms it was."""

from datetime import datetime

from streams import Col, Keyed


class Cleared(Keyed, key=("bid_id", "trade_id"), expires="period_start"):
    """What was cleared of a bid."""

    bid_id: Col[str]
    trade_id: Col[str]
    revision: Col[int]
    portfolio_id: Col[str]
    product_id: Col[str]
    direction: Col[str]
    period_start: Col[datetime]
    period_end: Col[datetime]
    quantity_w: Col[int]
    price_micros_per_mw_h: Col[int | None]
    price_micros: Col[int | None]
    currency: Col[str]


class Offered(
    Keyed, key=("portfolio_id", "product_id", "direction", "period_start", "site_id"), expires="period_start"
):
    """What a site had offered for a period when bids for it were first cleared."""

    portfolio_id: Col[str]
    product_id: Col[str]
    direction: Col[str]
    period_start: Col[datetime]
    site_id: Col[str]
    quantity_w: Col[int]


class Weighed(Keyed, key=("subject",), expires="period_start"):
    """A cleared period whose offers are known."""

    subject: Col[str]
    period_start: Col[datetime]


class Called(Keyed, key=("activation_id",), expires="period_start"):
    """An activation; a cancelled one has no quantity."""

    activation_id: Col[str]
    revision: Col[int]
    portfolio_id: Col[str]
    product_id: Col[str]
    bid_id: Col[str | None]
    period_start: Col[datetime]
    period_end: Col[datetime]
    quantity_w: Col[int]
    price_micros_per_mwh: Col[int | None]
    currency: Col[str]


class Delivered(Keyed, key=("activation_id", "resource_id", "period_start"), expires="period_start"):
    """What a site delivered."""

    activation_id: Col[str]
    resource_id: Col[str]
    period_start: Col[datetime]
    revision: Col[int]
    site_id: Col[str]
    requested_wh: Col[int]
    delivered_wh: Col[int]


class Open(Keyed, key=("subject",), expires="period_start"):
    """To be settled, or settled again: a product's cleared period (``activation_id`` null), or an activation.

    ``period_end`` is known of a cleared period only; an activation says itself when it ends.
    """

    subject: Col[str]
    portfolio_id: Col[str]
    product_id: Col[str]
    activation_id: Col[str | None]
    period_start: Col[datetime]
    period_end: Col[datetime | None]


class Settled(Keyed, key=("subject",), expires="period_start"):
    """What has been settled before."""

    subject: Col[str]
    portfolio_id: Col[str]
    product_id: Col[str]
    activation_id: Col[str | None]
    period_start: Col[datetime]
    period_end: Col[datetime]


class Terms(Keyed, key=("topic", "entry", "valid_from")):
    """A version of a contract, product or rule as it was settled with."""

    topic: Col[str]
    entry: Col[str]
    valid_from: Col[datetime]
    content: Col[str]


STATE = (Cleared, Offered, Weighed, Called, Delivered, Open, Settled, Terms)
