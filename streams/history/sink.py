"""From the log to the history: every record once, whatever was killed before."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from streams.contracts import Topic
from streams.contracts.codec import Codec
from streams.history.shelf import BLOCK, PLACE_DTYPES, UNDECODABLE_DTYPES
from streams.history.store import History
from streams.hosts.log import Log, Slab


class Sink:
    """Brings topics into a history.

    It keeps no position of its own: the history says up to where it holds a topic. Two sinks at once do no harm.

    Args:
        log: where the records are.
        history: where they go.
        codec: decodes them; what it rejects goes to the table ``_undecodable``.
        name: of the sink, for the log's people.
    """

    def __init__(self, log: Log, history: History, codec: Codec, name: str = "history") -> None:
        self.name = name
        self._log = log
        self._history = history
        self._codec = codec
        self._checked: set[str] = set()

    def advance(self, topic: Topic, ends: Mapping[int, int]) -> int:
        """Let the history hold everything before these offsets, as far as the log is stable.

        Args:
            topic: the topic.
            ends: by partition, the first offset that is not asked for.

        Returns:
            How many rows it did not hold before.

        Raises:
            HistoryError: the history belongs to another log, or an insert failed.
            RegistryAway: a schema cannot be fetched now; what was read before is held.
        """
        behind = {}
        for partition, end in ends.items():
            at = self._history.held(topic, partition)
            if at < end:
                behind[partition] = (at, end)
        if behind and topic.name not in self._checked:
            count = self._log.partitions(topic.name)
            log_ends = {partition: self._log.end(topic.name, partition, committed=False) for partition in range(count)}
            self._history.check(topic, self._log.uuid(topic.name), log_ends)
            self._checked.add(topic.name)
        written = 0
        while behind:
            slabs = self._read(topic, behind)
            written += self._write(topic, slabs)
            for slab in slabs:
                at, end = behind.pop(slab.partition)
                if at < slab.next_offset < end:
                    behind[slab.partition] = (slab.next_offset, end)
        return written

    def _read(self, topic: Topic, behind: Mapping[int, tuple[int, int]]) -> list[Slab]:
        """Of each partition as much as lies in one block; of some of them, where that is a lot."""
        slabs: list[Slab] = []
        rows = 0
        for partition, (at, end) in behind.items():
            stop = min(end, (at // BLOCK + 1) * BLOCK)
            slabs.append(self._log.read(topic.name, partition, at, stop=stop, limit=BLOCK))
            rows += len(slabs[-1])
            if rows >= BLOCK:
                break
        return slabs

    def _write(self, topic: Topic, slabs: list[Slab]) -> int:
        """Decode what was read of all partitions at once, and hand it on."""
        keys = [key for slab in slabs for key in slab.keys]
        values = [value for slab in slabs for value in slab.values]
        partition = np.repeat([slab.partition for slab in slabs], [len(slab) for slab in slabs]).astype(np.uint32)
        offset = np.concatenate([slab.offsets for slab in slabs]).astype(np.uint64)
        appended = np.concatenate([slab.appended_at for slab in slabs])
        decoded = self._codec.decode(topic, keys, values)
        rows = decoded.rows
        frame = decoded.frame.hstack(
            [
                pl.Series("_partition", partition[rows]),
                pl.Series("_offset", offset[rows]),
                pl.Series("_appended_at", appended[rows]).cast(PLACE_DTYPES["_appended_at"]),
                pl.Series("_schema_id", decoded.schema_ids.astype(np.uint32)),
            ]
        )
        undecodable = pl.DataFrame(schema=UNDECODABLE_DTYPES)
        if decoded.rejected:
            bad = [fault.row for fault in decoded.rejected]
            undecodable = pl.DataFrame(
                {
                    "topic": [topic.name] * len(bad),
                    "partition": partition[bad],
                    "offset": offset[bad],
                    "appended_at": pl.Series(appended[bad]).cast(PLACE_DTYPES["_appended_at"]),
                    "reason_code": [fault.code for fault in decoded.rejected],
                    "reason_text": [fault.text for fault in decoded.rejected],
                    "key": [keys[row] for row in bad],
                    "value": [values[row] for row in bad],
                },
                schema=UNDECODABLE_DTYPES,
            )
        upto = {slab.partition: slab.next_offset for slab in slabs}
        return self._history.write(topic, self._log.uuid(topic.name), upto, frame, undecodable)
