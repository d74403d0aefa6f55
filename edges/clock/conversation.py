"""What the clock says and when: a function of the last tick and the activations it knows."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from edges.chance import EPOCH, instant, seconds
from streams import Conversation, Emit, Session
from topics import ActivationRequested, Ticked


class Config(BaseModel):
    """The clock's steps.

    Attributes:
        clock_id: Its name.
        start: No tick before this.
        end: No tick after this; None for never.
        step_s: Seconds between ticks.
        active_step_s: Seconds between ticks while something is activated.
        quiet_until, quiet_from: Before and from then on nothing is traded: ticks lie `quiet_step_s` apart.
        quiet_step_s: Seconds between ticks in those times.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    clock_id: str = "clock"
    start: datetime = datetime(2023, 4, 10, 7, tzinfo=UTC)
    end: datetime | None = None
    step_s: int = Field(default=900, ge=1)
    active_step_s: int = Field(default=60, ge=1)
    quiet_until: datetime | None = None
    quiet_from: datetime | None = None
    quiet_step_s: int = Field(default=3600, ge=1)

    def step_after(self, after_s: int) -> int:
        """Seconds between ticks at a time."""
        before = self.quiet_until is not None and after_s < seconds(self.quiet_until)
        behind = self.quiet_from is not None and after_s >= seconds(self.quiet_from)
        return self.quiet_step_s if before or behind else self.step_s


class Span(NamedTuple):
    """A time in which ticks are close, both ends included, in seconds since 1970."""

    from_s: int
    to_s: int


class Clock(Session):
    """The last tick, the next one, and the activations that are not over."""

    begun: bool = False
    last_s: int | None = None
    next_s: int | None = None
    sequence: int = 0
    active: dict[str, Span] = Field(default_factory=dict)

    def wake_at(self) -> datetime | None:
        """The next tick."""
        if not self.begun:
            return EPOCH
        return None if self.next_s is None else instant(self.next_s)


Talk = Conversation[Clock, Config]


def on_wake(talk: Talk) -> Iterator[Emit[Ticked]]:
    """Tick, if a tick is due that has not been."""
    session, config, now_s = talk.session, talk.config, seconds(talk.now)
    if not session.begun:
        session.begun = True
        # The first tick is the first step at or after both the start and now.
        first_s = max(seconds(config.start), now_s) - 1
        session.next_s = _within(config, _following(session, config, first_s))
    due_s = session.next_s
    if due_s is None or due_s > now_s:
        return
    missed = 0
    while (following_s := _within(config, _following(session, config, due_s))) is not None and following_s <= now_s:
        due_s, missed = following_s, missed + 1
    tick = Ticked(
        clock_id=config.clock_id, tick_at=instant(due_s), sequence=session.sequence, missed=missed, simulated=True
    )
    session.last_s = due_s
    session.next_s = following_s
    session.sequence += 1
    session.active = {key: span for key, span in session.active.items() if span.to_s > due_s}
    yield Emit(Ticked, [tick])


def on_event(talk: Talk, event: ActivationRequested) -> None:
    """Tick closely from now until the activation ends; no longer if it is cancelled."""
    session, config, now_s = talk.session, talk.config, seconds(talk.now)
    span = Span(now_s, seconds(event.period_end))
    if event.status == "CANCELLED":
        session.active.pop(event.activation_id, None)
    elif span.to_s > now_s:
        session.active[event.activation_id] = span
    if session.begun and session.last_s is not None:
        # Steps that are already over are none: the next tick lies after the last one and not before now.
        session.next_s = _within(config, _following(session, config, max(session.last_s, now_s - 1)))


def _following(session: Clock, config: Config, after_s: int) -> int:
    """Return the first tick after a time: on a step, or on a close step inside an activation."""
    step_s = config.step_after(after_s)
    coarse_s = (after_s // step_s + 1) * step_s
    fine_s = (after_s // config.active_step_s + 1) * config.active_step_s
    if any(span.from_s <= fine_s <= span.to_s for span in session.active.values()):
        return min(coarse_s, fine_s)
    starts = [
        -(-span.from_s // config.active_step_s) * config.active_step_s
        for span in session.active.values()
        if span.from_s > after_s
    ]
    return min([coarse_s, *starts])


def _within(config: Config, at_s: int) -> int | None:
    return at_s if config.end is None or at_s <= seconds(config.end) else None
