"""Statements: what an account gets from or owes to one counterparty for one local day, as one sum of lines.

**Rule.** A day is the local day of the rule ``market.time_zone``. It is stated once the watermark of the lines
has passed its end, that is once all effects of what happened in it are in. A line for a day that has been stated
waits until the next day is stated and then goes into a correcting statement, which names the day's first statement.

**Formula.** ``amount_micros`` = sum of the lines' amounts; ``lines`` = their number; ``lines_digest`` = SHA-256, in
hex, over the lines' ids, sorted, each followed by a newline, so that anybody with the lines proves which ones are
summed (``sort ids | sha256sum``). Every line is in exactly one statement: the statements of an account sum to its
lines. A statement's id is composed of the two accounts, the currency, the day and its number, from 0.

**Source.** Monthly or daily settlement statements with later corrections as differences: Energinet's balance fixing
and correction settlements; USEF flexibility settlement.
"""

from datetime import timedelta

from processors.statement.logic import Line, Stated, on_batch, on_tick
from streams import Processor, records
from topics import LineSettled, RulePublished, StatementIssued

SPEC = Processor(
    name="statement",
    version=1,
    reads=records(LineSettled),
    writes=records(StatementIssued),
    tables=records(RulePublished),
    state=(Line, Stated),
    on_batch=on_batch,
    on_tick=on_tick,
    every=timedelta(hours=6),
)
