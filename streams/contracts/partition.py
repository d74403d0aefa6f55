"""Which partition a key belongs to: Kafka's murmur2, the same on every client.

The partitioner is part of the contract. Source: ``org.apache.kafka.common.utils.Utils.murmur2`` and
``BuiltInPartitioner.partitionForKey`` of the Java client.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_SEED = 0x9747B28C
_M = 0x5BD1E995
_R = 24
_MASK = 0xFFFFFFFF
_CACHED_KEYS = 1_000_000  # per partition count; a key costs about 100 bytes


def murmur2(key: bytes) -> int:
    """The 32-bit hash of a key, signed as Java has it."""
    length = len(key)
    h = _SEED ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        k = (int.from_bytes(key[at : at + 4], "little") * _M) & _MASK
        k = ((k ^ (k >> _R)) * _M) & _MASK
        h = ((h * _M) & _MASK) ^ k
    if length > whole:
        h = ((h ^ int.from_bytes(key[whole:], "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    h ^= h >> 15
    return h - (1 << 32) if h >> 31 else h


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key: ``toPositive(murmur2(key)) % partitions``."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def _murmur2_of(keys: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """The hashes of keys of one length: an array [keys, bytes]; uint32 arithmetic wraps as Java's does."""
    count, length = keys.shape
    multiplier = np.uint32(_M)
    h = np.full(count, _SEED ^ length, np.uint32)
    whole = length & ~3
    words = np.ascontiguousarray(keys[:, :whole]).view("<u4").reshape(count, whole // 4)
    for at in range(whole // 4):
        k = words[:, at] * multiplier
        k ^= k >> np.uint32(_R)
        h = h * multiplier ^ k * multiplier
    if length > whole:
        for at in range(whole, length):
            h ^= keys[:, at].astype(np.uint32) << np.uint32(8 * (at - whole))
        h *= multiplier
    h ^= h >> np.uint32(13)
    h *= multiplier
    return h ^ (h >> np.uint32(15))


class _Known(dict[bytes, int]):
    """The partitions of keys met so far, for one partition count."""

    def __init__(self, partitions: int) -> None:
        super().__init__()
        self.partitions = partitions

    def __missing__(self, key: bytes) -> int:
        self[key] = found = partition_of(key, self.partitions)
        return found

    def learn(self, keys: Sequence[bytes]) -> None:
        """Work out many new keys at once, by length."""
        if len(self) > _CACHED_KEYS:
            self.clear()
        by_length: dict[int, list[bytes]] = {}
        for key in set(keys).difference(self):
            by_length.setdefault(len(key), []).append(key)
        for length, same in by_length.items():
            table = np.frombuffer(b"".join(same), np.uint8).reshape(len(same), length)
            hashes = _murmur2_of(table) & np.uint32(0x7FFFFFFF)
            self.update(zip(same, (hashes % np.uint32(self.partitions)).tolist(), strict=True))


_KNOWN: dict[int, _Known] = {}
_FEW = 64  # below this many keys one by one is quicker


def partitions_of(keys: Sequence[bytes], partitions: int) -> npt.NDArray[np.int32]:
    """The partition of every key, int32 of shape [keys]."""
    if partitions == 1:
        return np.zeros(len(keys), np.int32)
    known = _KNOWN.get(partitions)
    if known is None:
        known = _KNOWN[partitions] = _Known(partitions)
    if len(keys) > _FEW:
        known.learn(keys)
    return np.fromiter(map(known.__getitem__, keys), np.int32, len(keys))
