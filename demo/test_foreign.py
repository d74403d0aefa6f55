"""What a client of another make has read beside what there is; `tests/kafka/test_foreign_clients.py` lets it read."""

from decimal import Decimal

from demo.comparing import Compared, Source
from demo.conftest import World
from demo.foreign import Sum, Told, sums
from demo.on_kafka import MONEY, Outcome
from topics import LineSettled


def test_lines_are_summed_by_currency_and_account(world: World) -> None:
    log = Source("embedded", world.driver.host.log, world.driver.host.codec)
    found = sums(LineSettled.__topic__, log)
    assert found == {
        ("USD", "aggregator"): Sum(7, Decimal("0.0745")),  # 7500 - 5000 + 500000 - 30000 - 400000 + 10000 - 8000
        ("USD", "market"): Sum(3, Decimal("-0.4775")),  # -7500 - 500000 + 30000
        ("USD", "account-01"): Sum(3, Decimal("0.413")),  # 5000 + 400000 + 8000
        ("USD", "account-02"): Sum(1, Decimal("-0.01")),
    }


def test_a_line_more_or_less_and_another_amount_are_told() -> None:
    held = {("USD", "a"): Sum(2, Decimal("1.500000")), ("USD", "b"): Sum(1, Decimal("-1.5"))}
    assert Told(held, held).problem == ""
    assert str(Told(held, held)) == (
        "A Java client with the registry reads 3 lines of 2 accounts, of which the receivers get USD 1.50: "
        "the same, to the last digit."
    )
    less = held | {("USD", "a"): Sum(1, Decimal("1.500000"))}
    assert Told(less, held).problem == (
        "a Java client reads USD 1.500000 on 1 lines of a, the embedded run has 1.500000 on 2"
    )
    assert "not the same" in str(Told(less, held))
    assert "lines of c" in Told(held | {("EUR", "c"): Sum(1, Decimal(0))}, held).problem
    assert "of b, the embedded run has -1.5 on 1" in Told({("USD", "a"): held["USD", "a"]}, held).problem
    assert Told({}, {}).problem == "a Java client reads no settlement line"


def test_another_sum_is_a_problem_of_the_run() -> None:
    good = [Compared(name, (3, 3), 0) for name in MONEY]
    held = {("USD", "a"): Sum(1, Decimal(1))}
    assert Outcome(compared=good, told=Told(held, held)).problems == []
    (problem,) = Outcome(compared=good, told=Told({("USD", "a"): Sum(1, Decimal(2))}, held)).problems
    assert problem.startswith("a Java client reads USD 2 on 1 lines of a")
