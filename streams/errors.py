"""One family of errors: what a person got wrong is one clear line, never a traceback."""


class StreamsError(Exception):
    """Base of all errors that say what is wrong, where, and what to do."""


class ContractError(StreamsError):
    """A schema or topic file that cannot be used."""


class WiringError(StreamsError):
    """Processors, edges and topics that do not fit together."""


class EmitError(StreamsError):
    """A processor or edge made an event that breaks its contract."""


class StateError(StreamsError):
    """Wrong use of state: a duplicate key in one put, a null key, an unknown column."""


class RejectLimitError(StreamsError):
    """More than the allowed share of a processor's input could not be used."""


class FencedError(StreamsError):
    """Another owner has taken this task; nothing of this one may be committed."""


class AbortedError(StreamsError):
    """A transaction was aborted: nothing of it counts, and it may be tried again."""


class HistoryError(StreamsError):
    """The history cannot be opened or read."""


class HistoryAwayError(HistoryError):
    """The history's server does not answer: it is waited for."""


class ReplayError(StreamsError):
    """A replay cannot be run: the log lacks what a recorded cut needs."""
