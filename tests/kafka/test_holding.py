"""What is held of a partition is what was consumed: the same records in the same order, each once."""

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.holding import Held

PLACE = ("telemetry.reading.v1", 3)


def message(offset: int, stamp: int) -> Message:
    return Message("telemetry.reading.v1", 3, offset, b"k%d" % offset, b"v%d" % offset, None, None, (1, stamp))


@st.composite
def arrivals(draw: st.DrawFn) -> list[list[tuple[int, int]]]:
    """Groups of (offset, stamp): offsets ascend with gaps, as control markers leave them; stamps may go back."""
    offset, groups = draw(st.integers(0, 5)), []
    for size in draw(st.lists(st.integers(1, 6), min_size=1, max_size=6)):
        group = []
        for _ in range(size):
            group.append((offset, 1_000 + draw(st.sampled_from([0, 0, 0, 1, 7, -3]))))
            offset += draw(st.sampled_from([1, 1, 1, 2, 5]))
        groups.append(group)
    return groups


@given(arrivals(), st.data())
def test_it_gives_back_any_part_as_a_plain_list_would(groups: list[list[tuple[int, int]]], data: st.DataObject) -> None:
    held = Held(0, 0)
    plain: list[tuple[int, int]] = []
    for group in groups:
        held.add([message(*one) for one in group], lambda one: f"from {one.offset()}")
        plain += group
        start = data.draw(st.integers(held.low, plain[-1][0] + 2), "start")
        held.drop_before(start)
        plain = [one for one in plain if one[0] >= start] or plain[-1:]
        if plain[0][0] < start:  # all was dropped
            assert held.count == 0
            plain = []
            break
        assert held.count == len(plain)
        stop = data.draw(st.integers(start, plain[-1][0] + 2), "stop")
        assert held.index(stop) == sum(offset < stop for offset, _ in plain)
        count = data.draw(st.integers(1, len(plain)), "count")
        slab = held.slab(PLACE, count, None)
        assert slab.offsets.tolist() == [offset for offset, _ in plain[:count]]
        assert slab.appended_at.tolist() == [stamp * 1_000 for _, stamp in plain[:count]]
        assert slab.keys == [b"k%d" % offset for offset, _ in plain[:count]]
        assert slab.values == [b"v%d" % offset for offset, _ in plain[:count]]
        assert slab.origins == [(1, f"from {offset}") for offset, _ in plain[:count]]
        assert slab.next_offset == plain[count - 1][0] + 1
        assert held.position == plain[-1][0] + 1


@pytest.mark.parametrize("stamps", [[5, 5, 9, 9, 5], [1, 2, 3, 4], [7], [7, 7, 7, 8]])
def test_append_times_are_those_of_the_messages(stamps: list[int]) -> None:
    held = Held(0, 0)
    held.add([message(at, stamp) for at, stamp in enumerate(stamps)], None)
    assert held.slab(PLACE, len(stamps), None).appended_at.tolist() == [stamp * 1_000 for stamp in stamps]


def test_nothing_at_hand_is_an_empty_slab_that_says_where_to_read_on() -> None:
    slab = Held(4, 9).slab(PLACE, 0, 9)
    assert (len(slab), slab.offsets.tolist(), slab.next_offset) == (0, [], 9)
