"""Transactions on a cluster."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from streams.errors import AbortedError, FencedError, StreamsError
from streams.hosts.log import Fence
from streams.hosts.log import TopicPartition as Place
from streams.kafka.membership import Membership
from streams.kafka.patience import PAUSE_S, STALE, ClusterRefusedError, denied, known, lacking, nothing, patiently

if TYPE_CHECKING:
    from streams.kafka.log import KafkaLog

ORIGIN = "flexlog.origin"
"""The header of a derived record: which commit wrote it."""
_ANSWER_S = 10.0


class KafkaTransaction:
    """A transaction of `KafkaLog`. Where it has a fence it holds off rebalances from its begin to its end."""

    def __init__(self, log: "KafkaLog", producer: Producer, fence: Fence | None) -> None:
        self._log = log
        self._producer = producer
        self._fence = fence
        self._ranges: dict[Place, tuple[int, int]] = {}
        self._error: KafkaError | None = None
        self._denied = ""
        self._held: Membership | None = None
        self._metadata: Any = None
        self.open = False
        if fence is not None:
            self._held = log.member(fence.group)
            self._metadata = self._held.hold(fence)
        try:
            self._do(producer.begin_transaction, "begin")
            self.open = True
        except BaseException:
            self._let_go()
            raise

    def append(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        *,
        origin: str = "",
    ) -> None:
        """Add records to a partition."""
        self._require_open()
        if len(keys) != len(values):
            raise StreamsError(f"{topic}: {len(keys)} keys for {len(values)} values")
        if not values:
            return
        self._log.reach("append")
        name, place = self._log.settings.topic(topic), (topic, partition)
        headers: list[tuple[str, str | bytes | None]] | None = [(ORIGIN, origin.encode())] if origin else None
        produce, last = self._producer.produce, len(values) - 1

        def delivered(error: KafkaError | None, message: Message) -> None:
            self._delivered(place, error, message)

        for row, (key, value) in enumerate(zip(keys, values, strict=True)):
            told = delivered if row in (0, last) else None
            while True:
                try:
                    if headers is None:
                        produce(name, value, key, partition, told)
                    else:
                        produce(name, value, key, partition, told, None, 0, headers)
                    break
                except BufferError:
                    self._producer.poll(PAUSE_S)
                except KafkaException as error:
                    self._refused(place, value, known(error))

    def _refused(self, place: Place, value: bytes | None, error: KafkaError) -> None:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            raise StreamsError(
                f"{place[0]}[{place[1]}]: a record of {len(value or b''):,} bytes is larger than what the client sends "
                "(message.max.bytes); make it smaller, or raise the limit of client and topic"
            )
        self._failed(error)

    def _delivered(self, place: Place, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._error = self._error or error
            if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                self._error, self._denied = error, self._log.settings.topic(place[0])
            return
        offset = message.offset() or 0
        low, high = self._ranges.get(place, (offset, offset))
        self._ranges[place] = (min(low, offset), max(high, offset + 1))

    def flush(self) -> dict[Place, tuple[int, int]]:
        """The offsets taken so far."""
        self._require_open()
        self._log.reach("flush")
        while self._unsent():
            self._log.check()
        if self._error is not None:
            self._failed(self._error)
        return dict(self._ranges)

    def _unsent(self) -> int:
        try:
            return self._log.meanwhile(lambda: self._producer.flush(1.0))
        except KafkaException as error:
            self._failed(known(error))
        except SystemError:  # what the client makes of a producer that was fenced
            self._failed(KafkaError(KafkaError._FENCED))  # noqa: SLF001
        return 0

    def commit(self, positions: Mapping[Place, int]) -> None:
        """Make all readable."""
        self._require_open()
        self._log.reach("before_commit")
        if self._fence is not None:
            offsets = [TopicPartition(self._log.settings.topic(t), p, o) for (t, p), o in positions.items()]
            self._do(
                lambda: self._producer.send_offsets_to_transaction(offsets, self._metadata, _ANSWER_S), "send offsets"
            )
        self._do(lambda: self._producer.commit_transaction(_ANSWER_S), "commit")
        self._log.committed_up_to(self._ranges)
        self._end()
        self._log.reach("after_commit")

    def abort(self) -> None:
        """Drop all; the offsets stay taken."""
        if not self.open:
            return
        try:
            with suppress(StreamsError):
                self._do(lambda: self._producer.abort_transaction(_ANSWER_S), "abort")
        finally:
            self._end()

    def is_of(self, producer: Producer) -> bool:
        """Whether a producer writes it."""
        return self._producer is producer

    def _end(self) -> None:
        self.open = False
        self._let_go()
        self._log.closed(self)

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.release()
            self._held = None

    def _require_open(self) -> None:
        if not self.open:
            raise StreamsError("this transaction is over")

    def _do(self, act: Callable[[], Any], what: str) -> None:
        try:
            patiently(lambda: self._log.meanwhile(act), what, nothing)
        except KafkaException as error:
            self._failed(known(error))
        except ClusterRefusedError as refused:
            if refused.error is None:
                self._end()
                raise
            self._failed(refused.error)

    def _failed(self, error: KafkaError) -> None:
        """End the transaction and say what may be done now."""
        if (lack := lacking(error)) is not None:
            with suppress(KafkaException):
                self._producer.abort_transaction(_ANSWER_S)
            self._end()
            raise self._refusal(lack)
        if error.fatal() or error.code() in STALE:
            fatal = error.fatal()
            if not fatal:
                with suppress(KafkaException):
                    self._producer.abort_transaction(_ANSWER_S)
            self._end()
            self._log.lost_producer(self._producer, fatal=fatal)
            raise FencedError(f"another owner has taken over: {error.str()}")
        with suppress(KafkaException):
            patiently(lambda: self._producer.abort_transaction(_ANSWER_S), "abort", nothing)
        self._end()
        raise AbortedError(f"the transaction was aborted: {error.str()}")

    def _refusal(self, error: KafkaError) -> ClusterRefusedError:
        """Which right is lacking on what."""
        settings = self._log.settings
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return denied(error, self._denied or f"an output of {settings.prefix}", "Write")
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED and self._fence is not None:
            return denied(error, settings.topic(self._fence.group))
        return denied(error, f"a producer of {settings.prefix}")
