from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edges.chance import seconds
from edges.clock import Config, spec
from edges.clock.conversation import Clock, _following, on_event, on_wake
from edges.conftest import Drive
from streams import Message
from streams.testing import assert_rows, utc
from topics import ActivationRequested, Ticked

START = utc("2023-05-08 07:00")
STEP, FINE = timedelta(minutes=15), timedelta(minutes=1)


@dataclass
class Talk:
    session: Clock
    config: Config
    now: datetime = START
    key: str = "clock"

    def id(self, label: str, /) -> str:
        return label

    def reject(self, message: Message, why: str, /) -> None:
        raise AssertionError(why)

    def wake(self, now: datetime) -> list[Ticked]:
        self.now = now
        ticks: list[Any] = [tick for emit in on_wake(self) for tick in emit.rows]
        self.session = Clock.model_validate_json(self.session.model_dump_json())
        return ticks

    def hear(self, now: datetime, event: ActivationRequested) -> None:
        self.now = now
        on_event(self, event)


def activation(start: datetime, end: datetime, number: int = 0, **other: Any) -> ActivationRequested:
    values: dict[str, Any] = {
        "portfolio_id": "p", "activation_id": f"a{number}", "revision": 0, "status": "ORDERED", "kind": "SCHEDULED",
        "product_id": "local-up", "zone": "z", "direction": "UP", "quantity_w": 5000, "currency": "USD",
        "period_start": start, "period_end": end, "origin": "market", "origin_id": f"a{number}",
    }  # fmt: skip
    return ActivationRequested(**values | other)


def test_it_ticks_every_quarter_hour_and_every_minute_from_a_call_to_its_end(drive: Drive) -> None:
    driver = drive(spec(Config(start=START)), at="2023-05-08 06:50")
    driver.host.run(utc("2023-05-08 07:15"))
    driver.pipe(ActivationRequested, [activation(utc("2023-05-08 07:16"), utc("2023-05-08 07:18"))])
    driver.host.run(utc("2023-05-08 07:45"))
    assert_rows(
        driver.read(Ticked),
        Ticked,
        """
        clock_id | tick_at          | sequence | missed | simulated
        clock    | 2023-05-08 07:00 | 0        | 0      | true
        clock    | 2023-05-08 07:15 | 1        | 0      | true
        clock    | 2023-05-08 07:16 | 2        | 0      | true
        clock    | 2023-05-08 07:17 | 3        | 0      | true
        clock    | 2023-05-08 07:18 | 4        | 0      | true
        clock    | 2023-05-08 07:30 | 5        | 0      | true
        clock    | 2023-05-08 07:45 | 6        | 0      | true
    """,
    )


def test_a_cancelled_activation_needs_no_close_ticks() -> None:
    talk = Talk(Clock(), Config(start=START))
    talk.wake(START)
    talk.hear(START, activation(START, START + STEP))
    assert talk.session.wake_at() == START + FINE
    talk.hear(START, activation(START, START + STEP, status="CANCELLED", revision=1))
    assert talk.session.wake_at() == START + STEP


def test_woken_too_early_it_says_nothing() -> None:
    talk = Talk(Clock(), Config(start=START))
    talk.wake(START)
    assert talk.wake(START + STEP - timedelta(seconds=1)) == []
    assert [tick.tick_at for tick in talk.wake(START + STEP)] == [START + STEP]


def test_it_ends_where_it_is_told() -> None:
    talk = Talk(Clock(), Config(start=START, end=START + STEP))
    assert [len(talk.wake(START + STEP * number)) for number in range(3)] == [1, 1, 0]
    assert talk.session.wake_at() is None


def test_time_that_jumps_forward_gives_one_tick_and_counts_the_others() -> None:
    talk = Talk(Clock(), Config(start=START))
    talk.wake(START)
    (tick,) = talk.wake(START + timedelta(hours=1, minutes=7))
    assert (tick.tick_at, tick.missed, tick.sequence) == (START + timedelta(hours=1), 3, 1)
    assert talk.wake(START) == []
    assert talk.wake(START + timedelta(hours=1, minutes=7)) == []


jumps = st.lists(st.integers(-4000, 4000), min_size=1, max_size=40)


@given(jumps, st.lists(st.tuples(st.integers(0, 39), st.integers(0, 40), st.integers(1, 60)), max_size=5))
def test_no_tick_comes_twice_or_goes_back_however_time_jumps(
    jumps: list[int], calls: list[tuple[int, int, int]]
) -> None:
    talk, now, ticks = Talk(Clock(), Config(start=START)), START, list[Ticked]()
    for number, jump in enumerate(jumps):
        for call, (at, wait, length) in enumerate(calls):
            if at == number:
                begin = now + FINE * wait
                talk.hear(now, activation(begin, begin + FINE * length, call))
        now = max(now + timedelta(seconds=jump), datetime(2023, 1, 1, tzinfo=UTC))
        new = talk.wake(now)
        assert all(tick.tick_at <= now for tick in new)
        ticks += new
    times = [tick.tick_at for tick in ticks]
    assert times == sorted(set(times))
    assert [tick.sequence for tick in ticks] == list(range(len(ticks)))
    assert all((at - START) % FINE == timedelta(0) for at in times)
    if not calls:
        assert all((at - START) % STEP == timedelta(0) for at in times)
        # Every step between the first and the last tick was sent or counted.
        assert len(ticks[1:]) + sum(tick.missed for tick in ticks[1:]) == (times[-1] - times[0]) // STEP if times else 1


def test_where_nothing_is_traded_it_ticks_once_an_hour() -> None:
    config = Config(start=START, quiet_until=START + timedelta(hours=2), quiet_from=START + timedelta(hours=3))
    ticks, at = [], seconds(START) - 1
    for _ in range(8):
        at = _following(Clock(), config, at)
        ticks.append((at - seconds(START)) // 60)
    assert ticks == [0, 60, 120, 135, 150, 165, 180, 240]
