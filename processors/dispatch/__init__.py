"""Splits activations over resources at least cost, and again over others where one refuses or is not heard.

An activation is served from the newest offers of `flexibility.offer`. `energy.dispatch` states and solves the split:

    minimise   cost of the resources + `dispatch.shortfall_price` x shortfall, over all quarter-hours left
    such that  each resource keeps to what it offered, less what it has been told for other activations;
               resources of one limit group keep to its energy, less what was told since it was offered;
               resources of one grid node keep to `dispatch.node_limit`.

An instruction is a set of one POWER row a quarter-hour. It says until when an answer is waited for
(`dispatch.reply_by`) and what the home does when it hears nothing more (`dispatch.fallback`).

At every tick, as long as an activation is open, those who answered REJECTED, ABORTED, OVERRIDDEN or UNREACHABLE, and
those who did not answer in time, are sent a REVOKE: from then on nothing is asked of them, they are asked for no other
activation of the same time, and what is missing is split over the others, in a quarter-hour that has begun from the
tick on. A cancelled activation revokes all; of one that is reduced or moved, what goes beyond it is revoked, the newest
first, and the rest asked for anew.

What nobody can give stays a shortfall, and is asked for again when offers change; requested power never exceeds the
activation's. A tick at which nothing has changed costs next to nothing.

Source: least-cost activation of merit orders (energy.dispatch); statuses of EN 50491-12-2 (S2).
"""

from datetime import timedelta

from processors.dispatch.logic import Activation, Offered, Order, Part, on_batch, on_tick
from streams import Processor, records
from topics import (
    ActivationRequested,
    FlexibilityOffered,
    InstructionIssued,
    InstructionReported,
    RulePublished,
    SiteRegistered,
)

SPEC = Processor(
    name="dispatch",
    version=1,
    reads=records(ActivationRequested, FlexibilityOffered),
    writes=records(InstructionIssued),
    tables=records(InstructionReported, SiteRegistered, RulePublished),
    keep={InstructionReported: timedelta(days=1)},
    state=(Offered, Activation, Order, Part),
    on_batch=on_batch,
    on_tick=on_tick,
    every=timedelta(minutes=1),
)
