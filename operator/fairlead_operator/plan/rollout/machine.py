"""The rollout as a transition table: (phase, trigger) -> phase. None as a phase is Idle."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.plan.triggers import Trigger

_AWAY = {Trigger.SUPERSEDED, Trigger.REVERTED, Trigger.FAILED, Trigger.ABORTED}
_UNSEEN = (Phase.STARTING,)  # no gateway has heard of the candidate
_CONNECTED = (Phase.CONNECTING, Phase.PROVING, Phase.WIDENING, Phase.SHIFTING)
_LEAVING = (Phase.RESTORING, Phase.PROMOTING, Phase.WATCHING, Phase.WITHDRAWING, Phase.DRAINING, Phase.REMOVING)

Table = Mapping[tuple[Phase | None, Trigger], Phase | None]

TRANSITIONS: Table = {
    (None, Trigger.BEGIN): Phase.STARTING,
    (None, Trigger.RECREATE): Phase.WITHDRAWING,
    # Forward, one confirmed phase after the other.
    (Phase.STARTING, Trigger.READY): Phase.CONNECTING,
    (Phase.CONNECTING, Trigger.READY): Phase.PROVING,
    (Phase.PROVING, Trigger.READY): Phase.WIDENING,
    (Phase.WIDENING, Trigger.READY): Phase.SHIFTING,
    (Phase.SHIFTING, Trigger.STEP): Phase.SHIFTING,
    (Phase.SHIFTING, Trigger.READY): Phase.PROMOTING,
    (Phase.SHIFTING, Trigger.RESTORE): Phase.RESTORING,
    (Phase.RESTORING, Trigger.STEP): Phase.RESTORING,
    **{(Phase.RESTORING, trigger): Phase.WITHDRAWING for trigger in (Trigger.READY, Trigger.FAILED, Trigger.ABORTED)},
    (Phase.PROMOTING, Trigger.READY): Phase.DRAINING,
    (Phase.PROMOTING, Trigger.DONE): None,
    (Phase.PROMOTING, Trigger.WATCH): Phase.WATCHING,
    (Phase.WATCHING, Trigger.READY): Phase.DRAINING,
    (Phase.WITHDRAWING, Trigger.READY): Phase.DRAINING,
    (Phase.DRAINING, Trigger.READY): Phase.REMOVING,
    (Phase.REMOVING, Trigger.READY): None,
    # The candidate goes: without traffic at once, with traffic by way of weight 0 on every gateway.
    **{(phase, trigger): Phase.REMOVING for phase in _UNSEEN for trigger in _AWAY},
    **{(phase, trigger): Phase.WITHDRAWING for phase in _CONNECTED for trigger in _AWAY},
    # The one that leaves is wished again: it is still warm, so it only has to be proved again.
    **{
        (phase, Trigger.RETURNED): Phase.CONNECTING
        for phase in (Phase.PROMOTING, Phase.WATCHING, Phase.DRAINING, Phase.REMOVING)
    },
    # The warm one changes places with the stable one: what was promoted is withdrawn.
    **{(Phase.WATCHING, trigger): Phase.WITHDRAWING for trigger in (Trigger.TAKEN_BACK, Trigger.STABLE_FAILED)},
    # Every replica is gone: the candidate starts again; once traffic moves it stays where it is until they are back.
    **{(phase, Trigger.RAY_RESTARTED): Phase.STARTING for phase in (*_UNSEEN, *_CONNECTED)},
    **{(phase, Trigger.RAY_RESTARTED): phase for phase in (Phase.SHIFTING, Phase.WATCHING)},
    # Suspension takes over from anywhere and, once begun, is finished.
    **{(phase, Trigger.SUSPEND): Phase.RETIRING for phase in (None, *_UNSEEN, *_CONNECTED, *_LEAVING)},
    (Phase.RETIRING, Trigger.READY): Phase.RETIRED,
    (Phase.RETIRED, Trigger.RESUME): None,
    # What a person asks for: steps once traffic moves, a hold while there is a candidate, another wish at any time.
    (Phase.SHIFTING, Trigger.PROMOTE): Phase.SHIFTING,
    (Phase.SHIFTING, Trigger.PROMOTE_FULL): Phase.SHIFTING,
    **{(phase, trigger): phase for phase in (*_UNSEEN, *_CONNECTED) for trigger in (Trigger.HOLD, Trigger.RELEASE)},
    (None, Trigger.RETRY): None,
    **{(phase, Trigger.ROLLBACK): phase for phase in (None, *_UNSEEN, *_CONNECTED, *_LEAVING)},
}

_STEPS = {Trigger.STEP, Trigger.PROMOTE, Trigger.PROMOTE_FULL}
_HOLDS = {Trigger.HOLD, Trigger.RELEASE}
_CANDIDATE_ONLY = {*_AWAY, *_STEPS, *_HOLDS, Trigger.RAY_RESTARTED, Trigger.RESTORE}
_WISHES = {Trigger.RETRY, Trigger.ROLLBACK}
_STARTS = {Trigger.BEGIN, Trigger.RECREATE}
_WATCHED = {Trigger.WATCH, Trigger.TAKEN_BACK, Trigger.STABLE_FAILED}
_NEVER_OF_A_CANDIDATE = {Trigger.DONE, Trigger.RETURNED, Trigger.RESUME, Trigger.RETRY, *_STARTS, *_WATCHED}

IGNORED: Mapping[Phase | None, frozenset[Trigger]] = {
    None: frozenset({Trigger.READY, Trigger.DONE, Trigger.RETURNED, Trigger.RESUME, *_CANDIDATE_ONLY, *_WATCHED}),
    **{
        phase: frozenset({*_NEVER_OF_A_CANDIDATE, *_STEPS, Trigger.RESTORE})
        for phase in (Phase.STARTING, Phase.CONNECTING, Phase.PROVING, Phase.WIDENING)
    },
    Phase.SHIFTING: frozenset(_NEVER_OF_A_CANDIDATE),
    Phase.RESTORING: frozenset(
        {*_NEVER_OF_A_CANDIDATE, *_CANDIDATE_ONLY} - {Trigger.STEP, Trigger.FAILED, Trigger.ABORTED}
    ),
    Phase.PROMOTING: frozenset(
        {Trigger.RESUME, Trigger.RETRY, Trigger.TAKEN_BACK, Trigger.STABLE_FAILED, *_CANDIDATE_ONLY, *_STARTS}
    ),
    Phase.WATCHING: frozenset(
        {Trigger.DONE, Trigger.RESUME, Trigger.RETRY, Trigger.WATCH, *_STARTS, *_CANDIDATE_ONLY}
        - {Trigger.RAY_RESTARTED}
    ),
    **{
        phase: frozenset({Trigger.DONE, Trigger.RESUME, Trigger.RETRY, *_CANDIDATE_ONLY, *_STARTS, *_WATCHED})
        for phase in (Phase.DRAINING, Phase.REMOVING)
    },
    Phase.WITHDRAWING: frozenset({*_NEVER_OF_A_CANDIDATE, *_CANDIDATE_ONLY}),
    Phase.RETIRING: frozenset({*_NEVER_OF_A_CANDIDATE, *_CANDIDATE_ONLY, *_WISHES, Trigger.SUSPEND}),
    Phase.RETIRED: frozenset(
        {*_NEVER_OF_A_CANDIDATE, *_CANDIDATE_ONLY, *_WISHES, Trigger.READY, Trigger.SUSPEND} - {Trigger.RESUME}
    ),
}
"""Triggers that change nothing in a phase: it finishes what it began, and the next phase looks again.

What a person asked for waits as well: ``plan.requests`` refuses what can come true in no later phase.
"""


def move(phase: Phase | None, trigger: Trigger) -> Phase | None:
    """The phase that follows; an ignored trigger leaves it."""
    if trigger in IGNORED[phase]:
        return phase
    return TRANSITIONS[phase, trigger]


def is_heeded(phase: Phase | None, trigger: Trigger) -> bool:
    return (phase, trigger) in TRANSITIONS
