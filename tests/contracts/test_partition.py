import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contracts.partition import _KNOWN, murmur2, partition_of, partitions_of

# From the Java client's own test, org.apache.kafka.common.utils.UtilsTest.testMurmur2.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "expected"), JAVA.items())
def test_murmur2_gives_what_the_java_client_gives(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected


def test_a_partition_is_the_positive_hash_modulo_the_count() -> None:
    # toPositive clears the sign bit: -973932308 & 0x7fffffff = 1173551340, and 1173551340 % 64 = 44.
    assert partition_of(b"21", 64) == 44
    assert partition_of(b"abc", 64) == 479470107 % 64


@given(st.lists(st.binary(max_size=40), max_size=200), st.integers(1, 100))
def test_many_keys_at_once_go_where_each_goes_alone(keys: list[bytes], partitions: int) -> None:
    _KNOWN.clear()
    assert partitions_of(keys, partitions).tolist() == [partition_of(key, partitions) for key in keys]
    assert partitions_of(keys, partitions).dtype == np.int32


def test_a_hundred_thousand_new_keys_take_less_than_a_second() -> None:
    keys = [f"site-{i}".encode() for i in range(100_000)]
    _KNOWN.clear()
    start = time.perf_counter()
    found = partitions_of(keys, 64)
    assert time.perf_counter() - start < 1
    assert found.tolist()[::997] == [partition_of(key, 64) for key in keys[::997]]
