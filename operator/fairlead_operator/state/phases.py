"""The phases of a rollout: one row for each says what holds in it and where it leads.

A row is read by everybody who treats a phase in its own way: the planner, the route, the number of replicas, the
progress deadline, the status, the analysis. So a new phase is a word in ``api.status.RolloutPhase``, a row here, and
what it waits for in ``plan.rollout.behaviour``. Each phase is entered in the status before it is acted on.

A trigger that a row doesn't name in ``on`` changes nothing: the phase finishes what it began, and the next phase looks
again. A person's request waits likewise, unless no later phase can react to it: then ``plan.requests`` refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.triggers import Trigger


class Place(StrEnum):
    """What a revision is to the model while it is not just kept."""

    STABLE = "stable"
    CANDIDATE = "candidate"
    LEAVING = "leaving"


ALL = frozenset(Place)
NONE: frozenset[Place] = frozenset()


class Evidence(StrEnum):
    """What has to be in order before a second counts towards the progress deadline."""

    RAY = "ray"  # Ray took the configuration
    GATEWAYS = "gateways"  # the same, and the gateways can be read
    ROUTE = "route"  # the same, and every gateway has the route


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How the progress deadline counts in a phase: by the replicas of ``place``, once ``needs`` is in order."""

    needs: Evidence
    place: Place = Place.CANDIDATE


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRules:
    """What holds in one phase.

    ``on`` leads to the next phase; None there is no rollout. ``reason`` is that of a pass that waits in the phase.
    ``routed`` are the places that the gateways know, ``running`` those that have replicas. ``progress`` is None where
    the deadline doesn't count.
    """

    on: Mapping[Trigger, Phase | None]
    reason: Reason
    routed: frozenset[Place] = ALL
    running: frozenset[Place] = ALL
    progress: Progress | None = None
    moves_traffic: bool = False
    """Both revisions take requests, as the steps say; the routing rules of the spec hold."""
    keeps_warm: bool = False
    """The change is made, and the revision that leaves could still take all traffic back."""
    gives_back: bool = False
    """The traffic of a withdrawn revision goes back to the stable one."""
    is_suspension: bool = False
    """All traffic is taken away, as the object is suspended or deleted."""

    @property
    def is_measured(self) -> bool:
        """Whether the revision that moved last takes requests, and its answers and its readiness are judged."""
        return self.moves_traffic or self.keeps_warm

    def reacts_to(self, trigger: Trigger) -> bool:
        return trigger in self.on


def _all_lead_to(phase: Phase, *triggers: Trigger) -> dict[Trigger, Phase | None]:
    return dict.fromkeys(triggers, phase)


_GIVEN_UP = (Trigger.SUPERSEDED, Trigger.REVERTED, Trigger.FAILED, Trigger.ABORTED)


def _with_candidate(phase: Phase, *, way_out: Phase, ready: Phase) -> dict[Trigger, Phase | None]:
    """What every phase with a candidate reacts to. ``way_out`` is where the candidate goes when it is given up."""
    return {
        Trigger.READY: ready,
        **_all_lead_to(way_out, *_GIVEN_UP),
        Trigger.RAY_RESTARTED: Phase.STARTING,
        Trigger.SUSPEND: Phase.RETIRING,
        **_all_lead_to(phase, Trigger.HOLD, Trigger.RELEASE, Trigger.ROLLBACK),
    }


def _with_leaving(phase: Phase) -> dict[Trigger, Phase | None]:
    """What every phase reacts to in which a revision leaves. A desired rollback waits until there is no rollout."""
    return {Trigger.SUSPEND: Phase.RETIRING, Trigger.ROLLBACK: phase}


def _returns() -> dict[Trigger, Phase | None]:
    """A revision that leaves after a promotion and is desired again is still warm: it only has to be proved again."""
    return {Trigger.RETURNED: Phase.CONNECTING}


IDLE = PhaseRules(
    reason=Reason.SCALING,
    on={
        Trigger.BEGIN: Phase.STARTING,
        Trigger.RECREATE: Phase.WITHDRAWING,
        Trigger.SUSPEND: Phase.RETIRING,
        Trigger.RETRY: None,
        Trigger.ROLLBACK: None,
    },
)
"""No rollout."""

PHASES: Mapping[Phase, PhaseRules] = {
    # The candidate on its way. No gateway knows it before it runs, so it leaves without a withdrawal.
    Phase.STARTING: PhaseRules(
        reason=Reason.STARTING,
        routed=ALL - {Place.CANDIDATE},
        progress=Progress(needs=Evidence.RAY),
        on=_with_candidate(Phase.STARTING, way_out=Phase.REMOVING, ready=Phase.CONNECTING),
    ),
    Phase.CONNECTING: PhaseRules(
        reason=Reason.CONNECTING,
        progress=Progress(needs=Evidence.ROUTE),
        on=_with_candidate(Phase.CONNECTING, way_out=Phase.WITHDRAWING, ready=Phase.PROVING),
    ),
    Phase.PROVING: PhaseRules(
        reason=Reason.PROVING,
        progress=Progress(needs=Evidence.ROUTE),
        on=_with_candidate(Phase.PROVING, way_out=Phase.WITHDRAWING, ready=Phase.WIDENING),
    ),
    Phase.WIDENING: PhaseRules(
        reason=Reason.SCALING_UP_CANDIDATE,
        progress=Progress(needs=Evidence.ROUTE),
        on=_with_candidate(Phase.WIDENING, way_out=Phase.WITHDRAWING, ready=Phase.SHIFTING),
    ),
    # A step that grows writes its route only once the replicas are there, so the deadline doesn't need the route.
    # Traffic that has moved stays where it is while Ray brings lost replicas back.
    Phase.SHIFTING: PhaseRules(
        reason=Reason.SHIFTING,
        moves_traffic=True,
        progress=Progress(needs=Evidence.GATEWAYS),
        on={
            **_with_candidate(Phase.SHIFTING, way_out=Phase.WITHDRAWING, ready=Phase.PROMOTING),
            **_all_lead_to(Phase.SHIFTING, Trigger.STEP, Trigger.PROMOTE, Trigger.PROMOTE_FULL, Trigger.RAY_RESTARTED),
            Trigger.RESTORE: Phase.RESTORING,
        },
    ),
    # The candidate on its way back.
    Phase.RESTORING: PhaseRules(
        reason=Reason.RESTORING,
        progress=Progress(needs=Evidence.GATEWAYS, place=Place.STABLE),
        on={
            **_with_leaving(Phase.RESTORING),
            Trigger.STEP: Phase.RESTORING,
            **_all_lead_to(Phase.WITHDRAWING, Trigger.READY, Trigger.FAILED, Trigger.ABORTED),
        },
    ),
    Phase.WITHDRAWING: PhaseRules(
        reason=Reason.WITHDRAWING,
        gives_back=True,
        on={**_with_leaving(Phase.WITHDRAWING), Trigger.READY: Phase.DRAINING},
    ),
    # The candidate is stable.
    Phase.PROMOTING: PhaseRules(
        reason=Reason.PROMOTING,
        on={
            **_with_leaving(Phase.PROMOTING),
            **_returns(),
            Trigger.READY: Phase.DRAINING,
            Trigger.DONE: None,
            Trigger.WATCH: Phase.WATCHING,
        },
    ),
    Phase.WATCHING: PhaseRules(
        reason=Reason.SCALING,
        keeps_warm=True,
        on={
            **_with_leaving(Phase.WATCHING),
            **_returns(),
            Trigger.READY: Phase.DRAINING,
            Trigger.RAY_RESTARTED: Phase.WATCHING,
            **_all_lead_to(Phase.WITHDRAWING, Trigger.TAKEN_BACK, Trigger.STABLE_FAILED),
        },
    ),
    # A revision leaves.
    Phase.DRAINING: PhaseRules(
        reason=Reason.DRAINING,
        on={**_with_leaving(Phase.DRAINING), **_returns(), Trigger.READY: Phase.REMOVING},
    ),
    Phase.REMOVING: PhaseRules(
        reason=Reason.REMOVING,
        routed=ALL - {Place.LEAVING},
        on={**_with_leaving(Phase.REMOVING), **_returns(), Trigger.READY: None},
    ),
    # A suspension. Once begun, it is finished.
    Phase.RETIRING: PhaseRules(
        reason=Reason.SUSPENDED, routed=NONE, is_suspension=True, on={Trigger.READY: Phase.RETIRED}
    ),
    Phase.RETIRED: PhaseRules(
        reason=Reason.SUSPENDED, routed=NONE, running=NONE, is_suspension=True, on={Trigger.RESUME: None}
    ),
}


def rules_of(phase: Phase | None) -> PhaseRules:
    """The rules of a phase; None is no rollout."""
    return PHASES[phase] if phase is not None else IDLE


def next_phase(phase: Phase | None, trigger: Trigger) -> Phase | None:
    """The phase that follows; a trigger that the phase doesn't react to leaves it."""
    return rules_of(phase).on.get(trigger, phase)
