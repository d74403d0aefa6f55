# Made by `flexlog contracts stubs` of avro/ and topics/. Do not edit.
"""The event types."""

from datetime import date as date
from datetime import datetime as datetime
from typing import Any, Literal, TypeAlias

from streams.columns import Col
from streams.contracts import Contracts, Record

CONTRACTS: Contracts
ActivationRequestedKind: TypeAlias = Literal["SCHEDULED", "DIRECT", "SETPOINT", "TEST", "CAMPAIGN"]
ActivationRequestedStatus: TypeAlias = Literal["ORDERED", "CANCELLED"]
BaselineEstimatedPurpose: TypeAlias = Literal["SETTLEMENT", "OPERATION"]
BidClearedStatus: TypeAlias = Literal["ACCEPTED", "PARTIAL", "REJECTED"]
BidSubmittedGroupKind: TypeAlias = Literal["EXCLUSIVE", "MULTIPART", "INCLUSIVE", "BLOCK"]
BidSubmittedStatus: TypeAlias = Literal["SUBMITTED", "WITHDRAWN"]
Commodity: TypeAlias = Literal["ELECTRICITY", "HEAT", "COOLING", "GAS", "HYDROGEN", "OIL"]
ContractChangedKind: TypeAlias = Literal["FLEXIBILITY", "SUPPLY", "PACKAGE"]
ContractChangedStatus: TypeAlias = Literal["OFFERED", "COUNTERED", "ACCEPTED", "ACTIVE", "SUSPENDED", "ENDED", "REJECTED", "WITHDRAWN"]
DecidedBy: TypeAlias = Literal["WATERMARK", "DEADLINE"]
Direction: TypeAlias = Literal["UP", "DOWN", "SYMMETRIC", "BUY", "SELL"]
FlexibilityOfferedStatus: TypeAlias = Literal["AVAILABLE", "WITHDRAWN"]
GateScheduledStatus: TypeAlias = Literal["SCHEDULED", "OPEN", "CLOSED", "CLEARED", "CANCELLED"]
InstructionIssuedAction: TypeAlias = Literal["FOLLOW", "REVOKE"]
InstructionIssuedCause: TypeAlias = Literal["ACTIVATION", "SCHEDULE", "LIMIT", "TEST"]
InstructionIssuedFallback: TypeAlias = Literal["LOCAL", "HOLD", "LIMIT"]
InstructionIssuedForm: TypeAlias = Literal["POWER", "ENVELOPE", "MODE", "SEQUENCE", "INTERRUPT", "RESUME", "LEVEL"]
InstructionReportedDecidedBy: TypeAlias = Literal["DEVICE", "PERSON", "EDGE"]
InstructionReportedStatus: TypeAlias = Literal["SENT", "ACCEPTED", "REJECTED", "REVOKED", "STARTED", "SUCCEEDED", "ABORTED", "OVERRIDDEN", "UNREACHABLE"]
LineSettledKind: TypeAlias = Literal["CAPACITY", "ENERGY", "PENALTY", "IMBALANCE", "SHARE", "FEE"]
LineSettledRunKind: TypeAlias = Literal["PRELIMINARY", "FIXING", "CORRECTION"]
PreferenceSetAutomation: TypeAlias = Literal["AUTOMATIC", "ASK", "OFF"]
PreferenceSetGoal: TypeAlias = Literal["COST", "SELF_CONSUMPTION", "CARBON", "PEAK", "COMFORT"]
PricePublishedKind: TypeAlias = Literal["CLEARING", "INDEX", "RETAIL", "IMBALANCE_SHORT", "IMBALANCE_LONG"]
PricePublishedStatus: TypeAlias = Literal["PRELIMINARY", "FINAL"]
ProductDefinedActivation: TypeAlias = Literal["NONE", "ORDER", "SETPOINT", "FREQUENCY"]
ProductDefinedKind: TypeAlias = Literal["ENERGY", "CAPACITY", "BALANCING_ENERGY", "LOCAL"]
ProductDefinedPricing: TypeAlias = Literal["PAY_AS_BID", "MARGINAL"]
Quality: TypeAlias = Literal["MEASURED", "CALCULATED", "ESTIMATED", "MISSING"]
RegistryStatus: TypeAlias = Literal["ACTIVE", "SUSPENDED", "CLOSED", "WITHDRAWN"]
ResourceRegisteredControlType: TypeAlias = Literal["NONE", "PEBC", "PPBC", "OMBC", "FRBC", "DDBC"]
ResourceRegisteredRole: TypeAlias = Literal["CONSUMER", "PRODUCER", "STORAGE"]
RuntimeDeclaredKind: TypeAlias = Literal["CODE", "CONFIG", "ENVIRONMENT"]
Utilisation: TypeAlias = Literal["ANY_LEVEL", "ABOVE_MINIMUM", "ALL_OR_NOTHING"]

class ActivationRequested(Record):
    """The market calls energy of a portfolio for one period."""
    portfolio_id: Col[str]
    """Portfolio: all that is bid together. The Kafka key."""
    activation_id: Col[str]
    """Activation, composed of market, portfolio, product and start."""
    revision: Col[int]
    """Number of this statement of the fact: 0 is the first, a higher one replaces the whole of it."""
    status: Col[ActivationRequestedStatus]
    """ORDERED, or CANCELLED: called off."""
    kind: Col[ActivationRequestedKind]
    """How it is called. SCHEDULED: at the start of a period; DIRECT: at once; SETPOINT: a signal that is followed; TEST: to see whether it works; CAMPAIGN: announced to people."""
    product_id: Col[str]
    """Product that is called."""
    bid_id: Col[str | None]
    """Bid that it rests on; null if it rests on none."""
    zone: Col[str]
    """Bidding zone, EIC code where there is one."""
    grid_node_id: Col[str | None]
    """Place of the grid limit that it is for."""
    direction: Col[Direction]
    """UP: less consumption or more production than the baseline; DOWN: the reverse."""
    period_start: Col[datetime]
    """Start of the time of delivery, inclusive, UTC."""
    period_end: Col[datetime]
    """End of the period, exclusive, UTC; its length is the resolution."""
    quantity_w: Col[int]
    """Power that is called, in W, a magnitude against the baseline."""
    reply_by: Col[datetime | None]
    """Until when the market wants an answer, UTC."""
    price_micros_per_mwh: Col[int | None]
    """Price paid for the energy called, in millionths of the currency per MWh; may be negative. Null if energy has no price here."""
    price_micros_per_mw_h: Col[int | None]
    """Price paid for its capacity, in millionths of the currency per MW kept for one hour; may be negative. Null if capacity has no price here."""
    price_micros: Col[int | None]
    """Price paid for the call as a whole, in millionths of the currency; may be negative. Null if there is none."""
    currency: Col[str]
    """Currency of all amounts here, ISO 4217."""
    reason_code: Col[str | None]
    """Why, as a code of the platform's one list, which maps to CIM, UFTP and S2; null if no reason was given."""
    reason_text: Col[str | None]
    """The reason in words of a system, for people to read; never text written by a person."""
    origin: Col[str]
    """Who outside said it, as the edge knows the sender: a device, a market, a file, a person's pseudonym."""
    origin_id: Col[str]
    """The sender's message id, else a hash of the content. The same id with the same content is a duplicate and dropped, with other content it is rejected as DUPLICATE_ID."""
    cause_topic: Col[str | None]
    """Topic of the event of ours that this answers; null if it answers none."""
    cause_partition: Col[int | None]
    """Partition of that event."""
    cause_offset: Col[int | None]
    """Offset of that event in its partition."""
    def __init__(
        self,
        *,
        portfolio_id: str,
        activation_id: str,
        revision: int,
        status: ActivationRequestedStatus,
        kind: ActivationRequestedKind,
        product_id: str,
        bid_id: str | None = ...,
        zone: str,
        grid_node_id: str | None = ...,
        direction: Direction,
        period_start: datetime,
        period_end: datetime,
        quantity_w: int,
        reply_by: datetime | None = ...,
        price_micros_per_mwh: int | None = ...,
        price_micros_per_mw_h: int | None = ...,
        price_micros: int | None = ...,
        currency: str,
        reason_code: str | None = ...,
        reason_text: str | None = ...,
        origin: str,
        origin_id: str,
        cause_topic: str | None = ...,
        cause_partition: int | None = ...,
        cause_offset: int | None = ...,
    ) -> None: ...

class BaselineEstimated(Record):
    """What a resource would have consumed in one period without the activation, by a stated method."""
    site_id: Col[str]
    """Site: all that lies behind one grid connection. The Kafka key; a pseudonym."""
    resource_id: Col[str]
    """Resource: the smallest thing measured or controlled, unique in the deployment; the site's meter is one too."""
    commodity: Col[Commodity]
    """What is measured or forecast; all commodities count in W and Wh."""
    method: Col[str]
    """Method, for instance high_5_of_10: the mean of the 5 highest of the last 10 eligible days."""
    method_version: Col[int]
    """Version of the method; it rises when the same input would give another baseline."""
    activation_id: Col[str]
    """Activation that it is for; empty = none in particular."""
    period_start: Col[datetime]
    """Start of the period, inclusive, UTC."""
    period_end: Col[datetime]
    """End of the period, exclusive, UTC; its length is the resolution."""
    revision: Col[int]
    """Number of this statement of the fact: 0 is the first, a higher one replaces the whole of it."""
    purpose: Col[BaselineEstimatedPurpose]
    """What it may be used for. SETTLEMENT: money rests on it; OPERATION: for planning and display."""
    energy_wh: Col[float]
    """The baseline after the same-day adjustment, in Wh, positive = consumption; 0 and of no meaning where quality is MISSING."""
    unadjusted_wh: Col[float]
    """The baseline before it, in Wh, positive = consumption."""
    adjustment_ratio: Col[float]
    """Factor of the same-day adjustment, energy_wh = unadjusted_wh times it; 1 = none. A rule caps it, often at 0.8 to 1.2."""
    days_used: Col[int]
    """Days whose energy entered it."""
    known_until: Col[datetime]
    """Up to when what happened was in when it was worked out, UTC."""
    quality: Col[Quality]
    """CALCULATED from measured days, ESTIMATED where days or values were lacking, MISSING if there was too little."""
    def __init__(
        self,
        *,
        site_id: str,
        resource_id: str,
        commodity: Commodity,
        method: str,
        method_version: int,
        activation_id: str,
        period_start: datetime,
        period_end: datetime,
        revision: int,
        purpose: BaselineEstimatedPurpose,
        energy_wh: float,
        unadjusted_wh: float,
        adjustment_ratio: float,
        days_used: int,
        known_until: datetime,
        quality: Quality,
    ) -> None: ...

class BidCleared(Record):
    """The market's answer to a bid: how much of it was accepted and at which price."""
    portfolio_id: Col[str]
    """Portfolio: all that is bid together. The Kafka key."""
    bid_id: Col[str]
    """Bid that is answered."""
    trade_id: Col[str]
    """Trade, where a market makes several out of one bid (intraday); empty = the bid's one result."""
    revision: Col[int]
    """Number of this statement of the fact: 0 is the first, a higher one replaces the whole of it."""
    status: Col[BidClearedStatus]
    """ACCEPTED: all of it; PARTIAL: a part; REJECTED: nothing."""
    gate_id: Col[str]
    """Gate that it was handed in at."""
    product_id: Col[str]
    """Product that was bid for."""
    zone: Col[str]
    """Bidding zone, EIC code where there is one."""
    direction: Col[Direction]
    """Direction of the bid."""
    period_start: Col[datetime]
    """Start of the period of delivery, inclusive, UTC."""
    period_end: Col[datetime]
    """End of the period, exclusive, UTC; its length is the resolution."""
    quantity_w: Col[int]
    """Power that was accepted, in W, a magnitude; 0 if rejected."""
    price_micros_per_mwh: Col[int | None]
    """Price paid for energy, in millionths of the currency per MWh; may be negative. Null if energy has no price here."""
    price_micros_per_mw_h: Col[int | None]
    """Price paid for capacity, in millionths of the currency per MW kept for one hour; may be negative. Null if capacity has no price here."""
    price_micros: Col[int | None]
    """Price paid for the whole, in millionths of the currency; may be negative. Null if there is none."""
    currency: Col[str]
    """Currency of all amounts here, ISO 4217."""
    reason_code: Col[str | None]
    """Why, as a code of the platform's one list, which maps to CIM, UFTP and S2; null if no reason was given."""
    reason_text: Col[str | None]
    """The reason in words of a system, for people to read; never text written by a person."""
    origin: Col[str]
    """Who outside said it, as the edge knows the sender: a device, a market, a file, a person's pseudonym."""
    origin_id: Col[str]
    """The sender's message id, else a hash of the content. The same id with the same content is a duplicate and dropped, with other content it is rejected as DUPLICATE_ID."""
    cause_topic: Col[str | None]
    """Topic of the event of ours that this answers; null if it answers none."""
    cause_partition: Col[int | None]
    """Partition of that event."""
    cause_offset: Col[int | None]
    """Offset of that event in its partition."""
    def __init__(
        self,
        *,
        portfolio_id: str,
        bid_id: str,
        trade_id: str,
        revision: int,
        status: BidClearedStatus,
        gate_id: str,
        product_id: str,
        zone: str,
        direction: Direction,
        period_start: datetime,
        period_end: datetime,
        quantity_w: int,
        price_micros_per_mwh: int | None = ...,
        price_micros_per_mw_h: int | None = ...,
        price_micros: int | None = ...,
        currency: str,
        reason_code: str | None = ...,
        reason_text: str | None = ...,
        origin: str,
        origin_id: str,
        cause_topic: str | None = ...,
        cause_partition: int | None = ...,
        cause_offset: int | None = ...,
    ) -> None: ...

class BidSubmitted(Record):
    """One step of a bid for one period, as the portfolio hands it to a market. What is linked or grouped is several of them."""
    portfolio_id: Col[str]
    """Portfolio: all that is bid together. The Kafka key."""
    bid_id: Col[str]
    """One step in one period (a bid time series of CIM), composed of portfolio, product, zone, direction, period and step."""
    revision: Col[int]
    """Number of this statement of the fact: 0 is the first, a higher one replaces the whole of it."""
    set_id: Col[str]
    """Submission that the bids make up; they go to the market together."""
    set_no: Col[int]
    """Number of this bid in the submission, from 1."""
    set_size: Col[int]
    """Number of bids in the submission."""
    status: Col[BidSubmittedStatus]
    """SUBMITTED, or WITHDRAWN: taken back as long as the gate is open."""
    gate_id: Col[str]
    """Gate that it is handed in at."""
    product_id: Col[str]
    """Product that is bid for."""
    zone: Col[str]
    """Bidding zone, EIC code where there is one."""
    grid_node_id: Col[str | None]
    """Place of the grid limit (congestion point), where the product asks for it."""
    pool_id: Col[str | None]
    """Pool of resources qualified together (service providing group), where the market asks for it."""
    request_id: Col[str | None]
    """Request of the market that it answers (UFTP FlexRequest)."""
    direction: Col[Direction]
    """UP, DOWN or SYMMETRIC for flexibility; BUY or SELL for energy."""
    period_start: Col[datetime]
    """Start of the period of delivery, inclusive, UTC."""
    period_end: Col[datetime]
    """End of the period, exclusive, UTC; its length is the resolution."""
    step: Col[int]
    """Place in the merit order of the same period, from 0: a lower step is called before a higher one."""
    quantity_w: Col[int]
    """Power that is bid, in W, a magnitude."""
    min_quantity_w: Col[int]
    """Least of it that may be accepted, in W; equal to the quantity = indivisible."""
    group_id: Col[str | None]
    """Group of bids that it belongs to: a curve, a block, the options of an offer."""
    group_kind: Col[BidSubmittedGroupKind | None]
    """How the group counts. EXCLUSIVE: one of it at most; MULTIPART: a dearer one only with all cheaper ones; INCLUSIVE: all or none; BLOCK: all periods or none."""
    technical_link_id: Col[str | None]
    """Link to the bids of the same resources in the periods before and after, so that they are not called twice (CIM technical link)."""
    conditions: Col[list[dict[str, Any]]]
    """Conditions under which the bid is available, each on a bid of an earlier period; empty = none."""
    direct: Col[bool]
    """True if it may be called at any time of the period and not only at its start (direct activation)."""
    max_duration_s: Col[int | None]
    """Seconds that a call may last, at most."""
    rest_s: Col[int | None]
    """Seconds of rest between two calls, at least."""
    expires_at: Col[datetime | None]
    """Until when the market may accept it, UTC; null = as the gate says."""
    price_micros_per_mwh: Col[int | None]
    """Price asked for energy, in millionths of the currency per MWh; may be negative. Null if energy has no price here."""
    price_micros_per_mw_h: Col[int | None]
    """Price asked for capacity, in millionths of the currency per MW kept for one hour; may be negative. Null if capacity has no price here."""
    price_micros: Col[int | None]
    """Price asked for the whole, where a market prices a total (an option of a UFTP FlexOffer), in millionths of the currency; may be negative. Null if there is none."""
    currency: Col[str]
    """Currency of all amounts here, ISO 4217."""
    known_until: Col[datetime]
    """Everything that happened before this was in when the decision fell, UTC."""
    coverage: Col[float]
    """How complete the input was, 0 to 1: the share of what was expected that was there."""
    decided_by: Col[DecidedBy]
    """Whether the decision fell because all input was in (WATERMARK) or because time was up (DEADLINE)."""
    def __init__(
        self,
        *,
        portfolio_id: str,
        bid_id: str,
        revision: int,
        set_id: str,
        set_no: int,
        set_size: int,
        status: BidSubmittedStatus,
        gate_id: str,
        product_id: str,
        zone: str,
        grid_node_id: str | None = ...,
        pool_id: str | None = ...,
        request_id: str | None = ...,
        direction: Direction,
        period_start: datetime,
        period_end: datetime,
        step: int,
        quantity_w: int,
        min_quantity_w: int,
        group_id: str | None = ...,
        group_kind: BidSubmittedGroupKind | None = ...,
        technical_link_id: str | None = ...,
        conditions: list[dict[str, Any]],
        direct: bool,
        max_duration_s: int | None = ...,
        rest_s: int | None = ...,
        expires_at: datetime | None = ...,
        price_micros_per_mwh: int | None = ...,
        price_micros_per_mw_h: int | None = ...,
        price_micros: int | None = ...,
        currency: str,
        known_until: datetime,
        coverage: float,
        decided_by: DecidedBy,
    ) -> None: ...

class Committed(Record):
    """One commit of a task: what it consumed, what it made of it, and what it ran on. The lineage, and the recipe for replay."""
    task: Col[str]
    """Task: processor, version and partition, as processor.vN.partition. The Kafka key."""
    commit_no: Col[int]
    """Number of the commit of this task, one more than that of the commit before: there is no gap."""
    processor: Col[str]
    """Processor of the task."""
    version: Col[int]
    """Version of the processor."""
    code_fingerprint: Col[str]
    """Fingerprint of its code; the values are in audit.runtime."""
    config_fingerprint: Col[str]
    """Fingerprint of its configuration; the values are in audit.runtime."""
    environment_fingerprint: Col[str]
    """Fingerprint of what it ran in; the values are in audit.runtime."""
    now: Col[datetime]
    """Newest tick of the task at the commit, UTC."""
    inputs: Col[list[dict[str, Any]]]
    """What the commit consumed. The ranges of a task's commits lie end to end."""
    outputs: Col[list[dict[str, Any]]]
    """What the commit wrote, without this event, progress and changelogs."""
    watermarks: Col[list[dict[str, Any]]]
    """The watermarks that the handlers saw."""
    history: Col[list[dict[str, Any]]]
    """The cut of the history that was read; empty if none was."""
    state_digest: Col[str | None]
    """SHA-256, in hex, of the task's whole state after the commit; null if it was not taken."""
    rejected: Col[int]
    """Records of this commit that were refused."""
    def __init__(
        self,
        *,
        task: str,
        commit_no: int,
        processor: str,
        version: int,
        code_fingerprint: str,
        config_fingerprint: str,
        environment_fingerprint: str,
        now: datetime,
        inputs: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
        watermarks: list[dict[str, Any]],
        history: list[dict[str, Any]],
        state_digest: str | None = ...,
        rejected: int,
    ) -> None: ...

class ContractChanged(Record):
    """A contract of a site's owner as it stands from a date on: with whom, for what, and who gets which share."""
    site_id: Col[str]
    """Site: all that lies behind one grid connection. The Kafka key; a pseudonym."""
    contract_id: Col[str]
    """Contract, unique in the deployment."""
    valid_from: Col[datetime]
    """From when this entry holds. The event carries the whole state, and the last one appended for the same id and valid_from counts."""
    valid_to: Col[datetime | None]
    """Until when it holds, exclusive; null while open. An entry is ended by sending it again with this set."""
    status: Col[ContractChangedStatus]
    """Standing from valid_from on. OFFERED, COUNTERED, ACCEPTED and REJECTED are the steps of its making; ACTIVE: in force; SUSPENDED: not for now; ENDED: over; WITHDRAWN: this entry was a mistake."""
    kind: Col[ContractChangedKind]
    """What it is for. FLEXIBILITY: the site's flexibility is bid; SUPPLY: energy is sold to it; PACKAGE: both in one."""
    account_id: Col[str]
    """Account of the site's owner, which receives the shares; a pseudonym."""
    counterparty_id: Col[str]
    """Account of the other side; for a flexibility contract also the account of the portfolio."""
    portfolio_id: Col[str]
    """Portfolio that the resources join while the contract is active; empty if it brings none into one."""
    resource_id: Col[str | None]
    """The one resource that it is about; null if all of the site."""
    product_id: Col[str | None]
    """The one product that it is about; null if all."""
    terms_id: Col[str | None]
    """Terms that were agreed to, as a versioned document."""
    currency: Col[str]
    """Currency of all its amounts, ISO 4217."""
    capacity_share_ppm: Col[int | None]
    """Share of the capacity payment that goes to account_id, in millionths."""
    energy_share_ppm: Col[int | None]
    """Share of the energy payment that goes to account_id, in millionths."""
    penalty_share_ppm: Col[int | None]
    """Share of a penalty that account_id bears, in millionths."""
    fee_micros_per_month: Col[int | None]
    """Fixed fee in millionths of the currency per local month; positive = account_id receives."""
    min_price_micros_per_mwh: Col[int | None]
    """Least price at which the flexibility may be sold, in millionths of the currency per MWh."""
    max_activations_per_day: Col[int | None]
    """Most activations in one local day; null if there is no limit."""
    notice_s: Col[int | None]
    """Seconds between an instruction and its start, at least."""
    origin: Col[str]
    """Who outside said it, as the edge knows the sender: a device, a market, a file, a person's pseudonym."""
    origin_id: Col[str]
    """The sender's message id, else a hash of the content. The same id with the same content is a duplicate and dropped, with other content it is rejected as DUPLICATE_ID."""
    cause_topic: Col[str | None]
    """Topic of the event of ours that this answers; null if it answers none."""
    cause_partition: Col[int | None]
    """Partition of that event."""
    cause_offset: Col[int | None]
    """Offset of that event in its partition."""
    def __init__(
        self,
        *,
        site_id: str,
        contract_id: str,
        valid_from: datetime,
        valid_to: datetime | None = ...,
        status: ContractChangedStatus,
        kind: ContractChangedKind,
        account_id: str,
        counterparty_id: str,
        portfolio_id: str,
        resource_id: str | None = ...,
        product_id: str | None = ...,
        terms_id: str | None = ...,
        currency: str,
        capacity_share_ppm: int | None = ...,
        energy_share_ppm: int | None = ...,
        penalty_share_ppm: int | None = ...,
        fee_micros_per_month: int | None = ...,
        min_price_micros_per_mwh: int | None = ...,
        max_activations_per_day: int | None = ...,
        notice_s: int | None = ...,
        origin: str,
        origin_id: str,
        cause_topic: str | None = ...,
        cause_partition: int | None = ...,
        cause_offset: int | None = ...,
    ) -> None: ...

class DeliveryMeasured(Record):
    """What a site delivered of an activation in one period: its baseline against what was measured, in whole Wh."""
    portfolio_id: Col[str]
    """Portfolio: all that is bid together. The Kafka key."""
    activation_id: Col[str]
    """Activation that was delivered."""
    resource_id: Col[str]
    """Resource where delivery is measured: the site's meter."""
    period_start: Col[datetime]
    """Start of the period, inclusive, UTC."""
    period_end: Col[datetime]
    """End of the period, exclusive, UTC; its length is the resolution."""
    revision: Col[int]
    """Number of this statement of the fact: 0 is the first, a higher one replaces the whole of it."""
    site_id: Col[str]
    """Site that delivered; a pseudonym."""
    product_id: Col[str]
    """Product that was called."""
    direction: Col[Direction]
    """UP: less consumption or more production than the baseline counts; DOWN: the reverse."""
    baseline_wh: Col[int]
    """Baseline of the period, in whole Wh, rounded half-even once, positive = consumption."""
    measured_wh: Col[int]
    """What was measured, in whole Wh, rounded half-even once, positive = consumption."""
    requested_wh: Col[int]
    """Sum of what the site's instructions asked for in the period, in Wh, a magnitude in the direction given."""
    delivered_wh: Col[int]
    """What counts as delivered, in Wh, positive = in the direction asked, negative = against it. UP: baseline_wh less measured_wh; DOWN: measured_wh less baseline_wh."""
    method: Col[str]
    """Method of the baseline."""
    method_version: Col[int]
    """Version of that method."""
    quality: Col[Quality]
    """The worse of the baseline's and the measurement's quality."""
    coverage: Col[float]
    """Share of the period that readings cover, 0 to 1."""
    def __init__(
        self,
        *,
        portfolio_id: str,
        activation_id: str,
        resource_id: str,
        period_start: datetime,
        period_end: datetime,
        revision: int,
        site_id: str,
        product_id: str,
        direction: Direction,
        baseline_wh: int,
        measured_wh: int,
        requested_wh: int,
        delivered_wh: int,
        method: str,
        method_version: int,
        quality: Quality,
        coverage: float,
    ) -> None: ...

class FlexibilityOffered(Record):
    """What a resource would do in one period against its forecast, and at which cost."""
    portfolio_id: Col[str]
    """Portfolio: all that is bid together. The Kafka key."""
    resource_id: Col[str]
    """Resource: the smallest thing measured or controlled, unique in the deployment; the site's meter is one too."""
    product_id: Col[str]
    """Product that it is offered for."""
    direction: Col[Direction]
    """UP: less consumption or more production than forecast; DOWN: the reverse."""
    period_start: Col[datetime]
    """Start of the period of delivery, inclusive, UTC."""
    period_end: Col[datetime]
    """End of the period, exclusive, UTC; its length is the resolution."""
    step: Col[int]
    """Place in the merit order of the same period, from 0: a lower step is called before a higher one."""
    revision: Col[int]
    """Number of this statement of the fact: 0 is the first, a higher one replaces the whole of it."""
    site_id: Col[str]
    """Site of the resource; a pseudonym."""
    status: Col[FlexibilityOfferedStatus]
    """AVAILABLE, or WITHDRAWN: no longer on offer, whatever the quantity."""
    quantity_w: Col[int]
    """Power that could change, in W, a magnitude in the direction given."""
    min_quantity_w: Col[int]
    """Least of it that can be called, in W."""
    utilisation: Col[Utilisation]
    """How much of it may be called: ANY_LEVEL, ABOVE_MINIMUM from min_quantity_w on, or ALL_OR_NOTHING."""
    limit_group: Col[str | None]
    """Group of offers, over steps and periods, that share one energy limit; null if this one stands alone."""
    energy_limit_wh: Col[int | None]
    """Most energy that the group can give in all, in Wh; null if the power alone limits it."""
    response_s: Col[float | None]
    """Seconds from the call to full effect."""
    max_duration_s: Col[float | None]
    """Seconds that it can be kept up without a rest."""
    rest_s: Col[float | None]
    """Seconds of rest after a call before the next."""
    rebound_ratio: Col[float | None]
    """Energy that comes back later as a share of the energy given, 0 = nothing comes back."""
    reliability: Col[float | None]
    """Share of past calls that it followed, 0 to 1."""
    price_micros_per_mwh: Col[int | None]
    """What a call costs the owner per energy, in millionths of the currency per MWh; may be negative. Null if energy has no price here."""
    price_micros_per_mw_h: Col[int | None]
    """What keeping it ready costs, in millionths of the currency per MW kept for one hour; may be negative. Null if capacity has no price here."""
    price_micros: Col[int | None]
    """What a call costs in all, where it does not follow the energy, in millionths of the currency; may be negative. Null if there is none."""
    currency: Col[str]
    """Currency of all amounts here, ISO 4217."""
    def __init__(
        self,
        *,
        portfolio_id: str,
        resource_id: str,
        product_id: str,
        direction: Direction,
        period_start: datetime,
        period_end: datetime,
        step: int,
        revision: int,
        site_id: str,
        status: FlexibilityOfferedStatus,
        quantity_w: int,
        min_quantity_w: int,
        utilisation: Utilisation,
        limit_group: str | None = ...,
        energy_limit_wh: int | None = ...,
        response_s: float | None = ...,
        max_duration_s: float | None = ...,
        rest_s: float | None = ...,
        rebound_ratio: float | None = ...,
        reliability: float | None = ...,
        price_micros_per_mwh: int | None = ...,
        price_micros_per_mw_h: int | None = ...,
        price_micros: int | None = ...,
        currency: str,
    ) -> None: ...

class GateScheduled(Record):
    """A gate of a market: until when it takes bids for which time of delivery."""
    gate_id: Col[str]
    """Gate, unique in the deployment. The Kafka key."""
    revision: Col[int]
    """Number of this statement of the fact: 0 is the first, a higher one replaces the whole of it."""
    product_id: Col[str]
    """Product that is bid for."""
    zone: Col[str]
    """Bidding zone, EIC code where there is one."""
    period_start: Col[datetime]
    """Start of the time of delivery that the gate is for, inclusive, UTC."""
    period_end: Col[datetime]
    """End of the period, exclusive, UTC; its length is the resolution."""
    delivery_date: Col[date | None]
    """Local market day of delivery, where the market thinks in days."""
    opens_at: Col[datetime | None]
    """From when bids are taken, UTC; null if not known."""
    inputs_until: Col[datetime | None]
    """Up to when a bid should know what happened; bidding waits until that is in. Null: as much as there is."""
    closes_at: Col[datetime]
    """Until when bids are taken, exclusive, UTC."""
    results_at: Col[datetime | None]
    """When the market means to answer, UTC."""
    status: Col[GateScheduledStatus]
    """How far it is. SCHEDULED: not open yet; OPEN: takes bids; CLOSED: takes none; CLEARED: answered; CANCELLED: does not take place."""
    origin: Col[str]
    """Who outside said it, as the edge knows the sender: a device, a market, a file, a person's pseudonym."""
    origin_id: Col[str]
    """The sender's message id, else a hash of the content. The same id with the same content is a duplicate and dropped, with other content it is rejected as DUPLICATE_ID."""
    cause_topic: Col[str | None]
    """Topic of the event of ours that this answers; null if it answers none."""
    cause_partition: Col[int | None]
    """Partition of that event."""
    cause_offset: Col[int | None]
    """Offset of that event in its partition."""
    def __init__(
        self,
        *,
        gate_id: str,
        revision: int,
        product_id: str,
        zone: str,
        period_start: datetime,
        period_end: datetime,
        delivery_date: date | None = ...,
        opens_at: datetime | None = ...,
        inputs_until: datetime | None = ...,
        closes_at: datetime,
        results_at: datetime | None = ...,
        status: GateScheduledStatus,
        origin: str,
        origin_id: str,
        cause_topic: str | None = ...,
        cause_partition: int | None = ...,
        cause_offset: int | None = ...,
    ) -> None: ...

class InstructionIssued(Record):
    """What a resource is told to do in one period, within which limits, and what to fall back to when nothing more is heard."""
    site_id: Col[str]
    """Site: all that lies behind one grid connection. The Kafka key; a pseudonym."""
    instruction_id: Col[str]
    """Instruction, composed of what caused it, the resource and the round of dispatch."""
    set_no: Col[int]
    """Number of this period in the instruction, from 1."""
    set_id: Col[str]
    """Set of events that counts only together: a profile of several periods is one set."""
    set_size: Col[int]
    """Number of events in the set."""
    resource_id: Col[str]
    """Resource that is told."""
    actuator_id: Col[str | None]
    """Actuator of the resource (S2); null = the resource as a whole."""
    activation_id: Col[str | None]
    """Activation that it serves."""
    limit_id: Col[str | None]
    """Limit of the grid that it serves."""
    cause: Col[InstructionIssuedCause]
    """Why it is told. ACTIVATION: the market called; SCHEDULE: the plan says so; LIMIT: a limit of the grid; TEST: to see whether it works."""
    action: Col[InstructionIssuedAction]
    """FOLLOW: do it; REVOKE: take back the instruction named in supersedes_id from period_start on, form and values repeated."""
    supersedes_id: Col[str | None]
    """Instruction that this one replaces or takes back."""
    form: Col[InstructionIssuedForm]
    """What is told. POWER: a power; ENVELOPE: a range of power; MODE: an operation mode with its factor; SEQUENCE: start of a power sequence; INTERRUPT and RESUME: pause of one; LEVEL: a simple level (OpenADR)."""
    period_start: Col[datetime]
    """Start of the time in which it holds, inclusive, UTC."""
    period_end: Col[datetime]
    """End of the period, exclusive, UTC; its length is the resolution."""
    respond_by: Col[datetime | None]
    """Until when an answer is waited for before someone else is told, UTC."""
    power_w: Col[float | None]
    """Power to have, in W, positive = consumption."""
    power_min_w: Col[float | None]
    """Lower limit of the envelope, in W, positive = consumption."""
    power_max_w: Col[float | None]
    """Upper limit of the envelope, in W, positive = consumption."""
    model_id: Col[str | None]
    """Description of the device that ids of modes and sequences are of (S2)."""
    operation_mode_id: Col[str | None]
    """Operation mode to take (S2)."""
    operation_mode_factor: Col[float | None]
    """Where in the mode's range to run, 0 to 1 (S2)."""
    sequence_container_id: Col[str | None]
    """Container of the power sequence (S2 PPBC)."""
    sequence_id: Col[str | None]
    """Power sequence to start, pause or go on with (S2 PPBC)."""
    level: Col[int | None]
    """Level to take, 0 = normal operation (OpenADR simple levels)."""
    abnormal: Col[bool]
    """True in an abnormal condition of the grid, in which limits for emergencies may be used (S2)."""
    direction: Col[Direction | None]
    """Direction of quantity_w against the baseline: UP = less consumption or more production; null if nothing is allotted."""
    quantity_w: Col[int | None]
    """Share of the activation that is allotted to the resource, in W, a magnitude; what is requested of it later in delivery."""
    fallback: Col[InstructionIssuedFallback]
    """What to do when nothing more is heard. LOCAL: back to its own control; HOLD: go on as told until period_end; LIMIT: keep to fallback_power_w."""
    fallback_power_w: Col[float | None]
    """Power to keep to as the fallback LIMIT, in W, positive = consumption."""
    def __init__(
        self,
        *,
        site_id: str,
        instruction_id: str,
        set_no: int,
        set_id: str,
        set_size: int,
        resource_id: str,
        actuator_id: str | None = ...,
        activation_id: str | None = ...,
        limit_id: str | None = ...,
        cause: InstructionIssuedCause,
        action: InstructionIssuedAction,
        supersedes_id: str | None = ...,
        form: InstructionIssuedForm,
        period_start: datetime,
        period_end: datetime,
        respond_by: datetime | None = ...,
        power_w: float | None = ...,
        power_min_w: float | None = ...,
        power_max_w: float | None = ...,
        model_id: str | None = ...,
        operation_mode_id: str | None = ...,
        operation_mode_factor: float | None = ...,
        sequence_container_id: str | None = ...,
        sequence_id: str | None = ...,
        level: int | None = ...,
        abnormal: bool,
        direction: Direction | None = ...,
        quantity_w: int | None = ...,
        fallback: InstructionIssuedFallback,
        fallback_power_w: float | None = ...,
    ) -> None: ...

class InstructionReported(Record):
    """What became of an instruction: sent, accepted, refused, done, overridden, or no answer at all."""
    site_id: Col[str]
    """Site: all that lies behind one grid connection. The Kafka key; a pseudonym."""
    instruction_id: Col[str]
    """Instruction that it is about."""
    status: Col[InstructionReportedStatus]
    """What happened, in the words of S2 (its NEW is SENT), and two of our own: OVERRIDDEN: someone at the site took over; UNREACHABLE: no answer came in time."""
    occurred_at: Col[datetime]
    """When it happened, UTC."""
    resource_id: Col[str]
    """Resource that was told."""
    decided_by: Col[InstructionReportedDecidedBy]
    """Who brought it about: the DEVICE itself, a PERSON at the site, or the EDGE that speaks to it (no connection, no answer)."""
    power_w: Col[float | None]
    """Power that the resource had then, in W, positive = consumption; null if not said."""
    reason_code: Col[str | None]
    """Why, as a code of the platform's one list, which maps to CIM, UFTP and S2; null if no reason was given."""
    reason_text: Col[str | None]
    """The reason in words of a system, for people to read; never text written by a person."""
    origin: Col[str]
    """Who outside said it, as the edge knows the sender: a device, a market, a file, a person's pseudonym."""
    origin_id: Col[str]
    """The sender's message id, else a hash of the content. The same id with the same content is a duplicate and dropped, with other content it is rejected as DUPLICATE_ID."""
    cause_topic: Col[str | None]
    """Topic of the event of ours that this answers; null if it answers none."""
    cause_partition: Col[int | None]
    """Partition of that event."""
    cause_offset: Col[int | None]
    """Offset of that event in its partition."""
    def __init__(
        self,
        *,
        site_id: str,
        instruction_id: str,
        status: InstructionReportedStatus,
        occurred_at: datetime,
        resource_id: str,
        decided_by: InstructionReportedDecidedBy,
        power_w: float | None = ...,
        reason_code: str | None = ...,
        reason_text: str | None = ...,
        origin: str,
        origin_id: str,
        cause_topic: str | None = ...,
        cause_partition: int | None = ...,
        cause_offset: int | None = ...,
    ) -> None: ...

class IntervalMeasured(Record):
    """The energy of a resource in one quarter-hour, worked out from its readings."""
    site_id: Col[str]
    """Site: all that lies behind one grid connection. The Kafka key; a pseudonym."""
    resource_id: Col[str]
    """Resource: the smallest thing measured or controlled, unique in the deployment; the site's meter is one too."""
    commodity: Col[Commodity]
    """What is measured or forecast; all commodities count in W and Wh."""
    period_start: Col[datetime]
    """Start of the period, inclusive, UTC."""
    period_end: Col[datetime]
    """End of the period, exclusive, UTC; its length is the resolution."""
    revision: Col[int]
    """Number of this statement of the fact: 0 is the first, a higher one replaces the whole of it."""
    energy_wh: Col[float | None]
    """Net energy of the period, in Wh, positive = consumption; null if it is not known."""
    energy_import_wh: Col[float | None]
    """Energy consumed in the period, in Wh, a magnitude."""
    energy_export_wh: Col[float | None]
    """Energy given off in the period, in Wh, a magnitude."""
    power_min_w: Col[float | None]
    """Lowest power read in the period, in W, positive = consumption."""
    power_max_w: Col[float | None]
    """Highest power read in the period, in W, positive = consumption."""
    quality: Col[Quality]
    """MEASURED from readings, CALCULATED, ESTIMATED where a gap was interpolated, or MISSING where the gap was too long."""
    coverage: Col[float]
    """Share of the period that readings cover without interpolation, 0 to 1."""
    samples: Col[int]
    """Readings that fell into the period, each counted once."""
    method: Col[str]
    """How energy was worked out: time-weighted power or difference of registers, with the method's version."""
    def __init__(
        self,
        *,
        site_id: str,
        resource_id: str,
        commodity: Commodity,
        period_start: datetime,
        period_end: datetime,
        revision: int,
        energy_wh: float | None = ...,
        energy_import_wh: float | None = ...,
        energy_export_wh: float | None = ...,
        power_min_w: float | None = ...,
        power_max_w: float | None = ...,
        quality: Quality,
        coverage: float,
        samples: int,
        method: str,
    ) -> None: ...

class LineSettled(Record):
    """One amount that one account owes or gets, for one reason and period. A transfer is two lines of opposite sign, one an account."""
    account_id: Col[str]
    """Account that the amount belongs to, a pseudonym where it is a household's. The Kafka key."""
    line_id: Col[str]
    """Line, composed of the account, the kind, what it is about, the period and, in a correction, its number; unique, for a line is never restated."""
    counterparty_id: Col[str]
    """Account of the other side, which has the line of opposite sign; a market's is its market_id, a portfolio's the counterparty of its contracts."""
    kind: Col[LineSettledKind]
    """What it is for. CAPACITY: readiness; ENERGY: energy delivered; PENALTY: a shortfall; IMBALANCE: deviation from a schedule; SHARE: a part of another amount, by contract; FEE: a fixed charge."""
    portfolio_id: Col[str]
    """Portfolio that it comes from; empty if from none."""
    product_id: Col[str]
    """Product that it comes from; empty if from none."""
    period_start: Col[datetime]
    """Start of the period that it is for, inclusive, UTC."""
    period_end: Col[datetime]
    """End of the period, exclusive, UTC; its length is the resolution."""
    site_id: Col[str | None]
    """Site that it comes from; a pseudonym."""
    contract_id: Col[str | None]
    """Contract that it rests on."""
    bid_id: Col[str | None]
    """Bid that it rests on."""
    activation_id: Col[str | None]
    """Activation that it rests on."""
    energy_wh: Col[int | None]
    """Energy that is paid for, in Wh: delivered, short or deviating, as the kind says; in a correction the difference, which may be negative."""
    capacity_w: Col[int | None]
    """Capacity that is paid for, in W; in a correction the difference, which may be negative."""
    basis_micros: Col[int | None]
    """The pot that is shared, in millionths of the currency; in a correction the difference. The same on both lines of a transfer."""
    share_ppm: Col[int | None]
    """Which share of the pot account_id or its counterparty gets by the contract, in millionths."""
    amount_micros: Col[int]
    """The amount, in millionths of the currency, positive = account_id receives. All lines together sum to zero."""
    run_id: Col[str]
    """Settlement run that made it."""
    run_kind: Col[LineSettledRunKind]
    """Kind of that run. PRELIMINARY: first figures; FIXING: the figures that are paid; CORRECTION: what changed after."""
    correction_no: Col[int]
    """0 = a first line; above, the number of the correction. The truth is a line plus all that correct it."""
    corrects_line_id: Col[str | None]
    """First line that this one corrects, by a difference; null in a first line."""
    rule_id: Col[str | None]
    """Rule that gave the amount, where one did: a penalty, a tolerance."""
    price_micros_per_mwh: Col[int | None]
    """Price that energy_wh was paid at, in millionths of the currency per MWh; may be negative. Null if energy has no price here."""
    price_micros_per_mw_h: Col[int | None]
    """Price that capacity_w was paid at, in millionths of the currency per MW kept for one hour; may be negative. Null if capacity has no price here."""
    price_micros: Col[int | None]
    """Price of the whole, where the market prices a total, in millionths of the currency; may be negative. Null if there is none."""
    currency: Col[str]
    """Currency of all amounts here, ISO 4217."""
    reason_code: Col[str | None]
    """Why, as a code of the platform's one list, which maps to CIM, UFTP and S2; null if no reason was given."""
    reason_text: Col[str | None]
    """The reason in words of a system, for people to read; never text written by a person."""
    def __init__(
        self,
        *,
        account_id: str,
        line_id: str,
        counterparty_id: str,
        kind: LineSettledKind,
        portfolio_id: str,
        product_id: str,
        period_start: datetime,
        period_end: datetime,
        site_id: str | None = ...,
        contract_id: str | None = ...,
        bid_id: str | None = ...,
        activation_id: str | None = ...,
        energy_wh: int | None = ...,
        capacity_w: int | None = ...,
        basis_micros: int | None = ...,
        share_ppm: int | None = ...,
        amount_micros: int,
        run_id: str,
        run_kind: LineSettledRunKind,
        correction_no: int,
        corrects_line_id: str | None = ...,
        rule_id: str | None = ...,
        price_micros_per_mwh: int | None = ...,
        price_micros_per_mw_h: int | None = ...,
        price_micros: int | None = ...,
        currency: str,
        reason_code: str | None = ...,
        reason_text: str | None = ...,
    ) -> None: ...

class LoadPredicted(Record):
    """What a resource is expected to consume in one period, as a distribution. Production is negative consumption."""
    site_id: Col[str]
    """Site: all that lies behind one grid connection. The Kafka key; a pseudonym."""
    resource_id: Col[str]
    """Resource: the smallest thing measured or controlled, unique in the deployment; the site's meter is one too."""
    commodity: Col[Commodity]
    """What is measured or forecast; all commodities count in W and Wh."""
    issued_at: Col[datetime]
    """When the forecast was made: the tick it fell on, UTC."""
    period_start: Col[datetime]
    """Start of the period that is forecast, inclusive, UTC."""
    period_end: Col[datetime]
    """End of the period, exclusive, UTC; its length is the resolution."""
    q05_w: Col[float]
    """5 % quantile of the mean power, in W, positive = consumption: with this probability in % it is at most this."""
    q10_w: Col[float]
    """10 % quantile of the mean power, in W, positive = consumption: with this probability in % it is at most this."""
    q25_w: Col[float]
    """25 % quantile of the mean power, in W, positive = consumption: with this probability in % it is at most this."""
    q50_w: Col[float]
    """Median of the mean power, in W, positive = consumption."""
    q75_w: Col[float]
    """75 % quantile of the mean power, in W, positive = consumption: with this probability in % it is at most this."""
    q90_w: Col[float]
    """90 % quantile of the mean power, in W, positive = consumption: with this probability in % it is at most this."""
    q95_w: Col[float]
    """95 % quantile of the mean power, in W, positive = consumption: with this probability in % it is at most this."""
    mean_w: Col[float | None]
    """Expected value of the mean power, in W, positive = consumption; null if only quantiles are forecast."""
    model_id: Col[str]
    """Model that made it, as in forecast.model."""
    model_fingerprint: Col[str]
    """Fingerprint of that model's bytes, SHA-256 in hex."""
    def __init__(
        self,
        *,
        site_id: str,
        resource_id: str,
        commodity: Commodity,
        issued_at: datetime,
        period_start: datetime,
        period_end: datetime,
        q05_w: float,
        q10_w: float,
        q25_w: float,
        q50_w: float,
        q75_w: float,
        q90_w: float,
        q95_w: float,
        mean_w: float | None = ...,
        model_id: str,
        model_fingerprint: str,
    ) -> None: ...

class ModelTrained(Record):
    """A trained model, whole or in chunks: its bytes are in the log, so that a replay forecasts the same."""
    model_id: Col[str]
    """One training of a model, composed of purpose, scope and the end of its data. The Kafka key."""
    set_no: Col[int]
    """Number of this chunk, from 1."""
    set_id: Col[str]
    """Set that the chunks make up; a reader waits for all of them."""
    set_size: Col[int]
    """Number of chunks in the set."""
    purpose: Col[str]
    """What it is for, for instance load."""
    scope: Col[str]
    """What it was trained on: a resource, a zone, or empty for all."""
    algorithm: Col[str]
    """Algorithm with its version, for instance lightgbm 4.7."""
    format: Col[str]
    """How the payload is written, for instance lightgbm-text."""
    feature_set: Col[str]
    """Features that it expects, a name with a version."""
    fingerprint: Col[str]
    """SHA-256 of the whole payload, all chunks in order, in hex."""
    payload: Col[bytes]
    """This chunk's bytes."""
    trained_from: Col[datetime]
    """Start of the data it learned from, inclusive, UTC."""
    trained_to: Col[datetime]
    """End of the data it learned from, exclusive, UTC."""
    valid_from: Col[datetime]
    """From when forecasts use it, UTC."""
    seed: Col[int]
    """Seed of the training; with the same data it gives the same bytes."""
    def __init__(
        self,
        *,
        model_id: str,
        set_no: int,
        set_id: str,
        set_size: int,
        purpose: str,
        scope: str,
        algorithm: str,
        format: str,
        feature_set: str,
        fingerprint: str,
        payload: bytes,
        trained_from: datetime,
        trained_to: datetime,
        valid_from: datetime,
        seed: int,
    ) -> None: ...

class PortfolioAggregated(Record):
    """One step of a portfolio's curve: what its resources offer together for a product, in a place and period, at one price."""
    portfolio_id: Col[str]
    """Portfolio: all that is bid together. The Kafka key."""
    zone: Col[str]
    """Bidding zone of the resources, EIC code where there is one."""
    grid_node_id: Col[str]
    """Place of the grid limit that the resources count against; empty = all of the zone."""
    product_id: Col[str]
    """Product that it is for."""
    direction: Col[Direction]
    """UP: less consumption or more production than forecast; DOWN: the reverse."""
    period_start: Col[datetime]
    """Start of the period of delivery, inclusive, UTC."""
    period_end: Col[datetime]
    """End of the period, exclusive, UTC; its length is the resolution."""
    step: Col[int]
    """Place in the merit order of the same period, from 0: a lower step is called before a higher one."""
    revision: Col[int]
    """Number of this statement of the fact: 0 is the first, a higher one replaces the whole of it."""
    quantity_w: Col[int]
    """Power that the step adds, in W, a magnitude."""
    firm_quantity_w: Col[int | None]
    """Part of it that can be counted on by the reliability of the resources, in W."""
    min_quantity_w: Col[int]
    """Least of the step that can be called, in W."""
    utilisation: Col[Utilisation]
    """How much of it may be called: ANY_LEVEL, ABOVE_MINIMUM from min_quantity_w on, or ALL_OR_NOTHING."""
    baseline_w: Col[float | None]
    """Power that the resources are forecast to have, in W, positive = consumption."""
    resources: Col[int]
    """Number of resources in the step."""
    price_micros_per_mwh: Col[int | None]
    """Price of the step's energy, in millionths of the currency per MWh; may be negative. Null if energy has no price here."""
    price_micros_per_mw_h: Col[int | None]
    """Price of keeping the step ready, in millionths of the currency per MW kept for one hour; may be negative. Null if capacity has no price here."""
    price_micros: Col[int | None]
    """Price of the step as a whole, in millionths of the currency; may be negative. Null if there is none."""
    currency: Col[str]
    """Currency of all amounts here, ISO 4217."""
    known_until: Col[datetime]
    """Everything that happened before this was in when the decision fell, UTC."""
    coverage: Col[float]
    """How complete the input was, 0 to 1: the share of what was expected that was there."""
    decided_by: Col[DecidedBy]
    """Whether the decision fell because all input was in (WATERMARK) or because time was up (DEADLINE)."""
    def __init__(
        self,
        *,
        portfolio_id: str,
        zone: str,
        grid_node_id: str,
        product_id: str,
        direction: Direction,
        period_start: datetime,
        period_end: datetime,
        step: int,
        revision: int,
        quantity_w: int,
        firm_quantity_w: int | None = ...,
        min_quantity_w: int,
        utilisation: Utilisation,
        baseline_w: float | None = ...,
        resources: int,
        price_micros_per_mwh: int | None = ...,
        price_micros_per_mw_h: int | None = ...,
        price_micros: int | None = ...,
        currency: str,
        known_until: datetime,
        coverage: float,
        decided_by: DecidedBy,
    ) -> None: ...

class PreferenceSet(Record):
    """What the owner of a resource wants and allows from a date on."""
    site_id: Col[str]
    """Site: all that lies behind one grid connection. The Kafka key; a pseudonym."""
    resource_id: Col[str]
    """Resource that the wish is about; empty for all of the site."""
    preference_id: Col[str]
    """The wish, so that several can stand beside each other (workdays, weekend, a holiday)."""
    valid_from: Col[datetime]
    """From when this entry holds. The event carries the whole state, and the last one appended for the same id and valid_from counts."""
    valid_to: Col[datetime | None]
    """Until when it holds, exclusive; null while open. An entry is ended by sending it again with this set."""
    status: Col[RegistryStatus]
    """Standing from valid_from on: ACTIVE, SUSPENDED for now, CLOSED for good, or WITHDRAWN, a mistake that counts as never made."""
    automation: Col[PreferenceSetAutomation]
    """How far the platform may go. AUTOMATIC: it may act by itself; ASK: a person agrees each time; OFF: not at all."""
    goal: Col[PreferenceSetGoal | None]
    """What matters most. COST: a low bill; SELF_CONSUMPTION: own production used at home; CARBON: low emissions; PEAK: a low peak; COMFORT: nothing felt."""
    available: Col[bool | None]
    """False = opted out for this time; null says nothing."""
    weekdays: Col[int | None]
    """Local weekdays that it holds on, as bits: 1 Monday, 2 Tuesday, 4 Wednesday to 64 Sunday; null = every day."""
    day_from_s: Col[int | None]
    """Second of the local day from which it holds; null = from midnight."""
    day_to_s: Col[int | None]
    """Second of the local day until which it holds, exclusive; less than day_from_s = over midnight; null = until midnight."""
    fill_level_min: Col[float | None]
    """Fill level that is kept for the owner, in the fill level's own unit."""
    fill_level_max: Col[float | None]
    """Fill level that is not exceeded, in the same unit."""
    ready_fill_level: Col[float | None]
    """Fill level to be reached by day_to_s, in the same unit: a car ready to leave."""
    temperature_min_c: Col[float | None]
    """Lowest temperature wanted, in degrees Celsius."""
    temperature_max_c: Col[float | None]
    """Highest temperature wanted, in degrees Celsius."""
    min_price_micros_per_mwh: Col[int | None]
    """Least price at which the owner wants to be called, in millionths of the contract's currency per MWh."""
    origin: Col[str]
    """Who outside said it, as the edge knows the sender: a device, a market, a file, a person's pseudonym."""
    origin_id: Col[str]
    """The sender's message id, else a hash of the content. The same id with the same content is a duplicate and dropped, with other content it is rejected as DUPLICATE_ID."""
    cause_topic: Col[str | None]
    """Topic of the event of ours that this answers; null if it answers none."""
    cause_partition: Col[int | None]
    """Partition of that event."""
    cause_offset: Col[int | None]
    """Offset of that event in its partition."""
    def __init__(
        self,
        *,
        site_id: str,
        resource_id: str,
        preference_id: str,
        valid_from: datetime,
        valid_to: datetime | None = ...,
        status: RegistryStatus,
        automation: PreferenceSetAutomation,
        goal: PreferenceSetGoal | None = ...,
        available: bool | None = ...,
        weekdays: int | None = ...,
        day_from_s: int | None = ...,
        day_to_s: int | None = ...,
        fill_level_min: float | None = ...,
        fill_level_max: float | None = ...,
        ready_fill_level: float | None = ...,
        temperature_min_c: float | None = ...,
        temperature_max_c: float | None = ...,
        min_price_micros_per_mwh: int | None = ...,
        origin: str,
        origin_id: str,
        cause_topic: str | None = ...,
        cause_partition: int | None = ...,
        cause_offset: int | None = ...,
    ) -> None: ...

class PricePublished(Record):
    """A price of a product in a zone for one period, as a market or supplier published it."""
    zone: Col[str]
    """Bidding zone, EIC code where there is one. The Kafka key."""
    product_id: Col[str]
    """Product that is priced."""
    kind: Col[PricePublishedKind]
    """What sort of price. CLEARING: of a cleared market; INDEX: a computed reference; RETAIL: what a site pays its supplier; IMBALANCE_SHORT and IMBALANCE_LONG: for energy missing from or left over against the schedule."""
    period_start: Col[datetime]
    """Start of the period of delivery, inclusive, UTC."""
    period_end: Col[datetime]
    """End of the period, exclusive, UTC; its length is the resolution."""
    revision: Col[int]
    """Number of this statement of the fact: 0 is the first, a higher one replaces the whole of it."""
    commodity: Col[Commodity]
    """What is priced; all commodities count in W and Wh."""
    status: Col[PricePublishedStatus]
    """PRELIMINARY: may still change; FINAL: what is settled with."""
    price_micros_per_mwh: Col[int | None]
    """Price of energy, in millionths of the currency per MWh; may be negative. Null if energy has no price here."""
    price_micros_per_mw_h: Col[int | None]
    """Price of capacity, in millionths of the currency per MW kept for one hour; may be negative. Null if capacity has no price here."""
    price_micros: Col[int | None]
    """Price as one total, where a market prices a whole (an option of a UFTP FlexOffer), in millionths of the currency; may be negative. Null if there is none."""
    currency: Col[str]
    """Currency of all amounts here, ISO 4217."""
    origin: Col[str]
    """Who outside said it, as the edge knows the sender: a device, a market, a file, a person's pseudonym."""
    origin_id: Col[str]
    """The sender's message id, else a hash of the content. The same id with the same content is a duplicate and dropped, with other content it is rejected as DUPLICATE_ID."""
    cause_topic: Col[str | None]
    """Topic of the event of ours that this answers; null if it answers none."""
    cause_partition: Col[int | None]
    """Partition of that event."""
    cause_offset: Col[int | None]
    """Offset of that event in its partition."""
    def __init__(
        self,
        *,
        zone: str,
        product_id: str,
        kind: PricePublishedKind,
        period_start: datetime,
        period_end: datetime,
        revision: int,
        commodity: Commodity,
        status: PricePublishedStatus,
        price_micros_per_mwh: int | None = ...,
        price_micros_per_mw_h: int | None = ...,
        price_micros: int | None = ...,
        currency: str,
        origin: str,
        origin_id: str,
        cause_topic: str | None = ...,
        cause_partition: int | None = ...,
        cause_offset: int | None = ...,
    ) -> None: ...

class ProductDefined(Record):
    """What a market buys, with its rules, as it stands from a date on."""
    product_id: Col[str]
    """Product, unique in the deployment. The Kafka key."""
    valid_from: Col[datetime]
    """From when this entry holds. The event carries the whole state, and the last one appended for the same id and valid_from counts."""
    valid_to: Col[datetime | None]
    """Until when it holds, exclusive; null while open. An entry is ended by sending it again with this set."""
    status: Col[RegistryStatus]
    """Standing from valid_from on: ACTIVE, SUSPENDED for now, CLOSED for good, or WITHDRAWN, a mistake that counts as never made."""
    market_id: Col[str]
    """Market that buys it; also its account in settlement."""
    kind: Col[ProductDefinedKind]
    """What is bought. ENERGY: energy itself; CAPACITY: readiness; BALANCING_ENERGY: energy called by a system operator for balance; LOCAL: flexibility for one place of the grid."""
    commodity: Col[Commodity]
    """What is traded; all commodities count in W and Wh."""
    direction: Col[Direction]
    """Which way it goes: UP = less consumption or more production; DOWN the reverse; SYMMETRIC both; BUY and SELL for energy."""
    pricing: Col[ProductDefinedPricing]
    """What an accepted bid is paid. PAY_AS_BID: its own price; MARGINAL: the price of the last one accepted."""
    activation: Col[ProductDefinedActivation]
    """How it is called. NONE: never, it follows from the schedule; ORDER: a message per call; SETPOINT: a signal that is followed; FREQUENCY: by the grid's frequency itself."""
    resolution_s: Col[int]
    """Length of its period of delivery, in seconds."""
    min_quantity_w: Col[int]
    """Least quantity of a bid, in W."""
    step_w: Col[int]
    """Step in which a quantity may grow, in W."""
    currency: Col[str]
    """Currency that it is paid in, ISO 4217."""
    full_activation_s: Col[float | None]
    """Seconds from the call to full delivery, at most."""
    simulated: Col[bool]
    """True if its market is played by a simulation; shown wherever the product is shown."""
    origin: Col[str]
    """Who outside said it, as the edge knows the sender: a device, a market, a file, a person's pseudonym."""
    origin_id: Col[str]
    """The sender's message id, else a hash of the content. The same id with the same content is a duplicate and dropped, with other content it is rejected as DUPLICATE_ID."""
    cause_topic: Col[str | None]
    """Topic of the event of ours that this answers; null if it answers none."""
    cause_partition: Col[int | None]
    """Partition of that event."""
    cause_offset: Col[int | None]
    """Offset of that event in its partition."""
    def __init__(
        self,
        *,
        product_id: str,
        valid_from: datetime,
        valid_to: datetime | None = ...,
        status: RegistryStatus,
        market_id: str,
        kind: ProductDefinedKind,
        commodity: Commodity,
        direction: Direction,
        pricing: ProductDefinedPricing,
        activation: ProductDefinedActivation,
        resolution_s: int,
        min_quantity_w: int,
        step_w: int,
        currency: str,
        full_activation_s: float | None = ...,
        simulated: bool,
        origin: str,
        origin_id: str,
        cause_topic: str | None = ...,
        cause_partition: int | None = ...,
        cause_offset: int | None = ...,
    ) -> None: ...

class Progressed(Record):
    """A task has finished a tick: readers downstream know how far to read and how far time has come."""
    task: Col[str]
    """Task: processor, version and partition, as processor.vN.partition. The Kafka key."""
    tick_at: Col[datetime]
    """Tick that is finished, UTC."""
    processor: Col[str]
    """Processor of the task."""
    watermark: Col[datetime]
    """All effects of what happened before this are in what the task has written, UTC."""
    outputs: Col[list[dict[str, Any]]]
    """For each partition that the task writes, where it stood at the tick."""
    def __init__(
        self,
        *,
        task: str,
        tick_at: datetime,
        processor: str,
        watermark: datetime,
        outputs: list[dict[str, Any]],
    ) -> None: ...

class ReadingTaken(Record):
    """What a meter or device measured at an instant, or as the mean of the time before it."""
    site_id: Col[str]
    """Site: all that lies behind one grid connection. The Kafka key; a pseudonym."""
    resource_id: Col[str]
    """Resource: the smallest thing measured or controlled, unique in the deployment; the site's meter is one too."""
    commodity: Col[Commodity]
    """What is measured or forecast; all commodities count in W and Wh."""
    occurred_at: Col[datetime]
    """Instant of the measurement, UTC; the end of the time that it covers where duration_s is given."""
    duration_s: Col[float | None]
    """Seconds before occurred_at that power is the mean of; null = the power at that instant."""
    power_w: Col[float | None]
    """Active power over all phases, in W, positive = consumption."""
    power_l1_w: Col[float | None]
    """Active power of phase L1, in W, positive = consumption."""
    power_l2_w: Col[float | None]
    """Active power of phase L2, in W, positive = consumption."""
    power_l3_w: Col[float | None]
    """Active power of phase L3, in W, positive = consumption."""
    energy_import_wh: Col[float | None]
    """Register of the energy consumed so far, in Wh; only ever grows but for a change of meter."""
    energy_export_wh: Col[float | None]
    """Register of the energy given off so far, in Wh; only ever grows but for a change of meter."""
    quality: Col[Quality]
    """How the value came to be: MEASURED, CALCULATED by the device, or ESTIMATED by it."""
    def __init__(
        self,
        *,
        site_id: str,
        resource_id: str,
        commodity: Commodity,
        occurred_at: datetime,
        duration_s: float | None = ...,
        power_w: float | None = ...,
        power_l1_w: float | None = ...,
        power_l2_w: float | None = ...,
        power_l3_w: float | None = ...,
        energy_import_wh: float | None = ...,
        energy_export_wh: float | None = ...,
        quality: Quality,
    ) -> None: ...

class RecordRejected(Record):
    """A record that could not be used, as it was, with the reason and its place. Every topic has a <topic>.rejected of these."""
    processor: Col[str]
    """Processor that refused it."""
    topic: Col[str]
    """Topic that it was read from."""
    partition: Col[int]
    """Partition that it was read from."""
    offset: Col[int]
    """Its offset there."""
    reason_code: Col[str]
    """Why, as a code, for instance UNKNOWN_SCHEMA, TRUNCATED or CHECK_FAILED."""
    reason_text: Col[str]
    """The reason in words, with the field or the check that failed."""
    key: Col[bytes | None]
    """The record's key, byte for byte; null if it had none."""
    value: Col[bytes]
    """The record's value, byte for byte."""
    def __init__(
        self,
        *,
        processor: str,
        topic: str,
        partition: int,
        offset: int,
        reason_code: str,
        reason_text: str,
        key: bytes | None = ...,
        value: bytes,
    ) -> None: ...

class ResourceRegistered(Record):
    """A resource of a site as it stands from a date on: what it does, how it can be controlled and within which limits."""
    site_id: Col[str]
    """Site: all that lies behind one grid connection. The Kafka key; a pseudonym."""
    resource_id: Col[str]
    """Resource: the smallest thing measured or controlled, unique in the deployment; the site's meter is one too."""
    valid_from: Col[datetime]
    """From when this entry holds. The event carries the whole state, and the last one appended for the same id and valid_from counts."""
    valid_to: Col[datetime | None]
    """Until when it holds, exclusive; null while open. An entry is ended by sending it again with this set."""
    status: Col[RegistryStatus]
    """Standing from valid_from on: ACTIVE, SUSPENDED for now, CLOSED for good, or WITHDRAWN, a mistake that counts as never made."""
    kind: Col[str]
    """What sort of thing it is, for instance meter, load, pv, battery, ev-charger or heat-pump."""
    role: Col[ResourceRegisteredRole]
    """What it does with energy: CONSUMER takes it, PRODUCER gives it, STORAGE does both in turn."""
    commodity: Col[Commodity]
    """What it consumes, gives or stores; all commodities count in W and Wh."""
    control_type: Col[ResourceRegisteredControlType]
    """Control type of EN 50491-12-2 (S2). NONE: only measured; PEBC: kept within a power envelope; PPBC: a task that can be shifted; OMBC: operation modes; FRBC: a storage with a fill level; DDBC: a demand met in several ways."""
    power_min_w: Col[float]
    """Least power that it can have, in W, positive = consumption: for a producer or a battery the full output as a negative number."""
    power_max_w: Col[float]
    """Most power that it can have, in W, positive = consumption."""
    storage_wh: Col[float | None]
    """Energy between fill_level_min and fill_level_max, in Wh; null if it stores nothing."""
    fill_level_min: Col[float | None]
    """Lowest fill level that its technique allows, in the fill level's own unit (for a battery a ratio, 0 = empty)."""
    fill_level_max: Col[float | None]
    """Highest fill level that its technique allows, in the same unit (for a battery a ratio, 1 = full)."""
    charge_efficiency: Col[float | None]
    """Share of the energy drawn that is stored, above 0 up to 1."""
    discharge_efficiency: Col[float | None]
    """Share of the energy taken out of the storage that is given off, above 0 up to 1."""
    response_s: Col[float | None]
    """Seconds from an instruction to full effect."""
    parent_resource_id: Col[str | None]
    """Resource that this one is a part of, at the same site: for instance the meter that measures it too."""
    metering_point_id: Col[str | None]
    """Metering point where it is measured."""
    provider_id: Col[str | None]
    """Sub-aggregator through which it is reached; null if it is ours to reach."""
    origin: Col[str]
    """Who outside said it, as the edge knows the sender: a device, a market, a file, a person's pseudonym."""
    origin_id: Col[str]
    """The sender's message id, else a hash of the content. The same id with the same content is a duplicate and dropped, with other content it is rejected as DUPLICATE_ID."""
    cause_topic: Col[str | None]
    """Topic of the event of ours that this answers; null if it answers none."""
    cause_partition: Col[int | None]
    """Partition of that event."""
    cause_offset: Col[int | None]
    """Offset of that event in its partition."""
    def __init__(
        self,
        *,
        site_id: str,
        resource_id: str,
        valid_from: datetime,
        valid_to: datetime | None = ...,
        status: RegistryStatus,
        kind: str,
        role: ResourceRegisteredRole,
        commodity: Commodity,
        control_type: ResourceRegisteredControlType,
        power_min_w: float,
        power_max_w: float,
        storage_wh: float | None = ...,
        fill_level_min: float | None = ...,
        fill_level_max: float | None = ...,
        charge_efficiency: float | None = ...,
        discharge_efficiency: float | None = ...,
        response_s: float | None = ...,
        parent_resource_id: str | None = ...,
        metering_point_id: str | None = ...,
        provider_id: str | None = ...,
        origin: str,
        origin_id: str,
        cause_topic: str | None = ...,
        cause_partition: int | None = ...,
        cause_offset: int | None = ...,
    ) -> None: ...

class RulePublished(Record):
    """One rule's value as it stands from a date on, with its source: a limit, a method's parameter, a regulated figure."""
    rule_id: Col[str]
    """Rule, a dotted name. The Kafka key."""
    scope: Col[str]
    """Where it holds: an area or a product; empty = everywhere that has no value of its own."""
    valid_from: Col[datetime]
    """From when this entry holds. The event carries the whole state, and the last one appended for the same id and valid_from counts."""
    valid_to: Col[datetime | None]
    """Until when it holds, exclusive; null while open. An entry is ended by sending it again with this set."""
    status: Col[RegistryStatus]
    """Standing from valid_from on: ACTIVE, SUSPENDED for now, CLOSED for good, or WITHDRAWN, a mistake that counts as never made."""
    value_long: Col[int | None]
    """The value as a whole number, in unit; for counts, money and limits that must be exact."""
    value_double: Col[float | None]
    """The value as a real number, in unit."""
    value_text: Col[str | None]
    """The value as a text, for instance the name of a method."""
    unit: Col[str]
    """Unit of the value: W, s, ratio, USD micros per MWh; text where it is a name."""
    source: Col[str]
    """Where the value is laid down: document, version and place, or address."""
    source_date: Col[date | None]
    """Date of that document; null if it bears none."""
    origin: Col[str]
    """Who outside said it, as the edge knows the sender: a device, a market, a file, a person's pseudonym."""
    origin_id: Col[str]
    """The sender's message id, else a hash of the content. The same id with the same content is a duplicate and dropped, with other content it is rejected as DUPLICATE_ID."""
    cause_topic: Col[str | None]
    """Topic of the event of ours that this answers; null if it answers none."""
    cause_partition: Col[int | None]
    """Partition of that event."""
    cause_offset: Col[int | None]
    """Offset of that event in its partition."""
    def __init__(
        self,
        *,
        rule_id: str,
        scope: str,
        valid_from: datetime,
        valid_to: datetime | None = ...,
        status: RegistryStatus,
        value_long: int | None = ...,
        value_double: float | None = ...,
        value_text: str | None = ...,
        unit: str,
        source: str,
        source_date: date | None = ...,
        origin: str,
        origin_id: str,
        cause_topic: str | None = ...,
        cause_partition: int | None = ...,
        cause_offset: int | None = ...,
    ) -> None: ...

class RuntimeDeclared(Record):
    """What a fingerprint in a commit stands for: code, configuration or environment, said once where it is new."""
    fingerprint: Col[str]
    """SHA-256 of values_json, in hex. The Kafka key."""
    kind: Col[RuntimeDeclaredKind]
    """What it is the fingerprint of. CODE: the processor's code; CONFIG: its configuration; ENVIRONMENT: versions, threads and what else a result may depend on."""
    values_json: Col[str]
    """The values as JSON with sorted keys and no spaces; never a secret."""
    def __init__(
        self,
        *,
        fingerprint: str,
        kind: RuntimeDeclaredKind,
        values_json: str,
    ) -> None: ...

class SiteRegistered(Record):
    """A site as it stands from a date on: where it is connected, who serves it, what its connection allows."""
    site_id: Col[str]
    """Site: all that lies behind one grid connection. The Kafka key; a pseudonym."""
    valid_from: Col[datetime]
    """From when this entry holds. The event carries the whole state, and the last one appended for the same id and valid_from counts."""
    valid_to: Col[datetime | None]
    """Until when it holds, exclusive; null while open. An entry is ended by sending it again with this set."""
    status: Col[RegistryStatus]
    """Standing from valid_from on: ACTIVE, SUSPENDED for now, CLOSED for good, or WITHDRAWN, a mistake that counts as never made."""
    kind: Col[str]
    """What sort of place it is, for instance home, building, factory or charging-park."""
    country: Col[str]
    """Country, ISO 3166-1 alpha-2."""
    timezone: Col[str]
    """Time zone of the local day and of the owner's times, a name of the IANA database."""
    simulated: Col[bool]
    """True if the site is played by a simulation; shown wherever the site is shown."""
    accounting_point_id: Col[str | None]
    """Accounting point where its energy is balanced and billed (Harmonised Electricity Market Role Model), for instance an EAN or a MaLo id."""
    zone: Col[str | None]
    """Bidding zone that it lies in: the EIC code where there is one."""
    grid_node_id: Col[str | None]
    """Place of the grid limit that it counts against (congestion point)."""
    system_operator_id: Col[str | None]
    """System operator of its connection, a DSO or TSO."""
    supplier_id: Col[str | None]
    """Supplier that sells it energy."""
    balance_party_id: Col[str | None]
    """Party that answers for its imbalance (balance responsible party)."""
    import_limit_w: Col[float | None]
    """Most power that it may draw from the grid, in W, a magnitude; null if no limit is known."""
    export_limit_w: Col[float | None]
    """Most power that it may feed into the grid, in W, a magnitude; null if no limit is known."""
    weather_cell: Col[str | None]
    """Cell of the weather forecast that it lies in; the finest location that is kept."""
    parent_site_id: Col[str | None]
    """Site that this one is a part of, behind the same connection."""
    origin: Col[str]
    """Who outside said it, as the edge knows the sender: a device, a market, a file, a person's pseudonym."""
    origin_id: Col[str]
    """The sender's message id, else a hash of the content. The same id with the same content is a duplicate and dropped, with other content it is rejected as DUPLICATE_ID."""
    cause_topic: Col[str | None]
    """Topic of the event of ours that this answers; null if it answers none."""
    cause_partition: Col[int | None]
    """Partition of that event."""
    cause_offset: Col[int | None]
    """Offset of that event in its partition."""
    def __init__(
        self,
        *,
        site_id: str,
        valid_from: datetime,
        valid_to: datetime | None = ...,
        status: RegistryStatus,
        kind: str,
        country: str,
        timezone: str,
        simulated: bool,
        accounting_point_id: str | None = ...,
        zone: str | None = ...,
        grid_node_id: str | None = ...,
        system_operator_id: str | None = ...,
        supplier_id: str | None = ...,
        balance_party_id: str | None = ...,
        import_limit_w: float | None = ...,
        export_limit_w: float | None = ...,
        weather_cell: str | None = ...,
        parent_site_id: str | None = ...,
        origin: str,
        origin_id: str,
        cause_topic: str | None = ...,
        cause_partition: int | None = ...,
        cause_offset: int | None = ...,
    ) -> None: ...

class StateReported(Record):
    """What a device said of its state: fill level, operation mode, timers, sequence, faults."""
    site_id: Col[str]
    """Site: all that lies behind one grid connection. The Kafka key; a pseudonym."""
    resource_id: Col[str]
    """Resource: the smallest thing measured or controlled, unique in the deployment; the site's meter is one too."""
    actuator_id: Col[str]
    """Actuator of the resource that the state is of (S2); empty = the resource as a whole."""
    occurred_at: Col[datetime]
    """Instant of the state, UTC."""
    fill_level: Col[float | None]
    """Content of the storage, in the fill level's own unit (for a battery a ratio, 1 = full)."""
    stored_wh: Col[float | None]
    """Energy stored above empty, in Wh."""
    demand_rate: Col[float | None]
    """Rate at which a demand must be met now (S2 DDBC), in the device's own unit per second."""
    operation_mode_id: Col[str | None]
    """Operation mode that is active (S2)."""
    operation_mode_factor: Col[float | None]
    """Where in the mode's range it runs, 0 to 1 (S2)."""
    previous_mode_id: Col[str | None]
    """Operation mode that it came from."""
    transition_at: Col[datetime | None]
    """When the change of mode began, UTC."""
    timer_id: Col[str | None]
    """Timer that blocks a transition (S2)."""
    timer_ends_at: Col[datetime | None]
    """When that timer ends, UTC."""
    sequence_id: Col[str | None]
    """Power sequence that runs or is chosen (S2 PPBC)."""
    sequence_status: Col[str | None]
    """State of that sequence in S2's words, for instance EXECUTING or FINISHED."""
    available: Col[bool | None]
    """False = it cannot or may not be instructed now; null says nothing."""
    overridden: Col[bool | None]
    """True = someone at the site has taken over; local safety and people come before instructions."""
    fault_code: Col[str | None]
    """Fault that it reports, as a code of its maker; null if none is reported."""
    def __init__(
        self,
        *,
        site_id: str,
        resource_id: str,
        actuator_id: str,
        occurred_at: datetime,
        fill_level: float | None = ...,
        stored_wh: float | None = ...,
        demand_rate: float | None = ...,
        operation_mode_id: str | None = ...,
        operation_mode_factor: float | None = ...,
        previous_mode_id: str | None = ...,
        transition_at: datetime | None = ...,
        timer_id: str | None = ...,
        timer_ends_at: datetime | None = ...,
        sequence_id: str | None = ...,
        sequence_status: str | None = ...,
        available: bool | None = ...,
        overridden: bool | None = ...,
        fault_code: str | None = ...,
    ) -> None: ...

class StatementIssued(Record):
    """The lines of an account with one counterparty for one time, as one sum."""
    account_id: Col[str]
    """Account that the amount belongs to, a pseudonym where it is a household's. The Kafka key."""
    statement_id: Col[str]
    """Statement, composed of the two accounts, the currency, the time and its number."""
    counterparty_id: Col[str]
    """Account of the other side."""
    period_start: Col[datetime]
    """Start of the time of delivery that it covers, inclusive, UTC."""
    period_end: Col[datetime]
    """End of the period, exclusive, UTC; its length is the resolution."""
    currency: Col[str]
    """Currency of the sum, ISO 4217."""
    lines: Col[int]
    """Number of lines in it."""
    lines_digest: Col[str]
    """SHA-256, in hex, over the ids of its lines, sorted, each followed by a newline: proves which lines it sums."""
    amount_micros: Col[int]
    """Sum of the amounts of its lines, in millionths of the currency, positive = account_id receives."""
    corrects_statement_id: Col[str | None]
    """Statement that this one adds to, by differences; null in a first statement."""
    def __init__(
        self,
        *,
        account_id: str,
        statement_id: str,
        counterparty_id: str,
        period_start: datetime,
        period_end: datetime,
        currency: str,
        lines: int,
        lines_digest: str,
        amount_micros: int,
        corrects_statement_id: str | None = ...,
    ) -> None: ...

class Ticked(Record):
    """Time moved on: what the processors know of time, and the barrier up to which each of them has consumed its input."""
    clock_id: Col[str]
    """Clock that ticks; a deployment has one. The Kafka key."""
    tick_at: Col[datetime]
    """The instant that has been reached, UTC."""
    sequence: Col[int]
    """Number of this tick, one more than that of the tick before."""
    missed: Col[int]
    """Ticks that should have come since the one before and did not, because the clock was down or late; 0 in the normal case."""
    simulated: Col[bool]
    """True if this clock is run by a simulation and not by the wall clock."""
    def __init__(
        self,
        *,
        clock_id: str,
        tick_at: datetime,
        sequence: int,
        missed: int,
        simulated: bool,
    ) -> None: ...

class WeatherPredicted(Record):
    """The weather that a source expects in a cell for one period, as known at one time."""
    weather_cell: Col[str]
    """Cell of the forecast's grid, by name. The Kafka key."""
    source: Col[str]
    """Who forecasts, and with which model."""
    issued_at: Col[datetime]
    """When the forecast was issued, UTC."""
    period_start: Col[datetime]
    """Start of the period that is forecast, inclusive, UTC."""
    period_end: Col[datetime]
    """End of the period, exclusive, UTC; its length is the resolution."""
    temperature_c: Col[float | None]
    """Air temperature 2 m above ground, mean, in degrees Celsius."""
    irradiance_global_w_per_m2: Col[float | None]
    """Global horizontal irradiance, mean, in W per square metre."""
    irradiance_direct_w_per_m2: Col[float | None]
    """Direct normal irradiance, mean, in W per square metre."""
    irradiance_diffuse_w_per_m2: Col[float | None]
    """Diffuse horizontal irradiance, mean, in W per square metre."""
    wind_m_per_s: Col[float | None]
    """Wind speed 10 m above ground, mean, in metres per second."""
    cloud_ratio: Col[float | None]
    """Share of the sky under cloud, 0 to 1."""
    humidity_ratio: Col[float | None]
    """Relative humidity, 0 to 1."""
    precipitation_mm: Col[float | None]
    """Precipitation in the period, in mm."""
    origin: Col[str]
    """Who outside said it, as the edge knows the sender: a device, a market, a file, a person's pseudonym."""
    origin_id: Col[str]
    """The sender's message id, else a hash of the content. The same id with the same content is a duplicate and dropped, with other content it is rejected as DUPLICATE_ID."""
    cause_topic: Col[str | None]
    """Topic of the event of ours that this answers; null if it answers none."""
    cause_partition: Col[int | None]
    """Partition of that event."""
    cause_offset: Col[int | None]
    """Offset of that event in its partition."""
    def __init__(
        self,
        *,
        weather_cell: str,
        source: str,
        issued_at: datetime,
        period_start: datetime,
        period_end: datetime,
        temperature_c: float | None = ...,
        irradiance_global_w_per_m2: float | None = ...,
        irradiance_direct_w_per_m2: float | None = ...,
        irradiance_diffuse_w_per_m2: float | None = ...,
        wind_m_per_s: float | None = ...,
        cloud_ratio: float | None = ...,
        humidity_ratio: float | None = ...,
        precipitation_mm: float | None = ...,
        origin: str,
        origin_id: str,
        cause_topic: str | None = ...,
        cause_partition: int | None = ...,
        cause_offset: int | None = ...,
    ) -> None: ...
