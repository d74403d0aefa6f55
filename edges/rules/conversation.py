"""What is published, and that it is published once."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from edges.chance import EPOCH
from energy.ids import composed, stamp
from energy.rules import SHIPPED, load, rows
from streams import Conversation, Emit, Session
from topics import Direction, ProductDefined, RulePublished

_DAY = timedelta(days=1)


class Config(BaseModel):
    """What is published.

    Attributes:
        folder: The files with the rules; empty for those that come with flexlog.
        valid_from: From when the product exists.
        product_id, market_id, direction, currency: The product.
        min_quantity_w, step_w, resolution_s: What it is traded in.
        full_activation_s: Within which it must be delivered in full.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str = ""
    valid_from: datetime = datetime(2023, 4, 10, 7, tzinfo=UTC)
    product_id: str = "local-up"
    market_id: str = "local-market"
    direction: Direction = "UP"
    currency: str = "USD"
    min_quantity_w: int = Field(default=5_000, ge=0)
    step_w: int = Field(default=1_000, ge=1)
    resolution_s: int = Field(default=900, ge=1)
    full_activation_s: float = Field(default=900.0, ge=0)


class Publisher(Session):
    """What was sent, as hashes by name; when to look again."""

    sent: dict[str, str] = Field(default_factory=dict)
    next_at: datetime | None = None

    def wake_at(self) -> datetime | None:
        """A day after the last look."""
        return self.next_at or EPOCH


Talk = Conversation[Publisher, Config]


def on_wake(talk: Talk) -> Iterator[Emit[RulePublished | ProductDefined]]:
    """Send what was not sent before."""
    session, config = talk.session, talk.config
    session.next_at = talk.now + _DAY
    held = load(Path(config.folder) if config.folder else SHIPPED)
    rules = []
    for row in rows(held):
        name = composed(row["rule_id"], row["scope"], stamp(row["valid_from"]))
        if _is_new(session, f"rule/{name}", row):
            rules.append(RulePublished(**row, origin="rules", origin_id=_digest(row)))
    if rules:
        yield Emit(RulePublished, rules)
    product = _product(config)
    if _is_new(session, composed("product", config.product_id, stamp(config.valid_from)), product):
        yield Emit(ProductDefined, [ProductDefined(**product, origin="rules", origin_id=_digest(product))])


def _product(config: Config) -> dict[str, Any]:
    return {
        "product_id": config.product_id,
        "valid_from": config.valid_from,
        "status": "ACTIVE",
        "market_id": config.market_id,
        "kind": "LOCAL",
        "commodity": "ELECTRICITY",
        "direction": config.direction,
        "pricing": "PAY_AS_BID",
        "activation": "ORDER",
        "resolution_s": config.resolution_s,
        "min_quantity_w": config.min_quantity_w,
        "step_w": config.step_w,
        "currency": config.currency,
        "full_activation_s": config.full_activation_s,
        "simulated": True,
    }


def _digest(row: dict[str, Any]) -> str:
    return hashlib.sha256(repr(sorted(row.items())).encode()).hexdigest()


def _is_new(session: Publisher, name: str, row: dict[str, Any]) -> bool:
    digest = _digest(row)
    if session.sent.get(name) == digest:
        return False
    session.sent[name] = digest
    return True
