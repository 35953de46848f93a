"""What goes wrong in the virtual world: in one pass, or for a while."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """What goes wrong in one pass."""

    NONE = "none"
    CRASH_BEFORE_WRITE = "crash before the write"
    CRASH_AFTER_WRITE = "crash after the write"
    LOST_ANSWER = "the write happened, the answer was lost"
    REFUSED = "the write was refused"
    CONFLICT = "the write came too late: 409"
    STATUS_CONFLICT = "the status was not written"
    STATUS_ANSWER_LOST = "the status was written, the answer was lost"
    RAY_UNREAD = "Ray can't be read"
    RAY_EMPTY = "Ray answers 200 with nothing, though everything runs"
    GATEWAY_UNREAD = "a gateway can't be read"
    ROUTE_UNREAD = "the route table can't be read"
    MEASUREMENTS_UNREAD = "the measurements can't be read"


class Outage(StrEnum):
    """What goes wrong for a while, until ``VirtualWorld.end_outages``."""

    RAY = "no Ray cluster can be read"
    GATEWAY = "one gateway can't be read"
    GATEWAYS = "no gateway can be read"
    STORE = "no model can be fetched"
    PUTS = "Ray refuses every configuration"
    REACH = "no gateway reaches any replica"
    CLASS = "no serving class says where a revision goes"
    PLACE = "the Ray cluster of new revisions is not up yet"
    RAY_STALE = "Ray hangs: what was read of it before grows old"
    GATEWAYS_STALE = "the gateways hang: what was read of them before grows old"
