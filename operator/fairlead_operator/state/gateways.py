"""A namespace's gateways as one pass read them: which of them confirmed something, and which could not be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.route import GatewayView

SILENT_MAX_S = 180.0
"""A gateway that is neither ready nor readable for so long has no client left: it gets no new one, and the kubelet has
killed its container by then. That takes 60 s of failed liveness probes and the 85 s in which a container may end."""


class MemberState(StrEnum):
    READY = "Ready"
    """It takes requests."""
    TERMINATING = "Terminating"
    """It gets no new clients; those that it has may still send requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySeen:
    """One member of the directory and what it answered."""

    name: str
    state: MemberState = MemberState.READY
    view: Known[GatewayView] | Unknown

    @property
    def called(self) -> str:
        """The name that the gateway gave itself, else the directory's."""
        return self.view.value.id if isinstance(self.view, Known) else self.name

    def refusal(self, model: str) -> str | None:
        """Why it does not take the model's route, in its own words."""
        return self.view.value.errors.get(model) or self.view.value.failure if isinstance(self.view, Known) else None

    @property
    def is_idle(self) -> bool:
        """Whether it is known to have no client left, and gets no new one."""
        is_leaving = self.state is MemberState.TERMINATING
        return is_leaving and isinstance(self.view, Known) and self.view.value.connections == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """Who has confirmed, and who has not: ``missing`` say something else, ``unread`` could not be asked."""

    confirmed: tuple[GatewaySeen, ...]
    missing: tuple[GatewaySeen, ...]
    unread: tuple[GatewaySeen, ...]

    @property
    def is_complete(self) -> bool:
        return not self.missing and not self.unread


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateways:
    """Every member that may still take requests. One that isn't listed is gone, and has nothing to confirm."""

    members: tuple[GatewaySeen, ...]

    def confirmation(self, is_confirmed: Callable[[GatewayView], bool]) -> Confirmation:
        """What each member says; a Terminating one without a client has nothing to confirm."""
        asked = [member for member in self.members if not member.is_idle]
        return Confirmation(
            confirmed=tuple(m for m in asked if isinstance(m.view, Known) and is_confirmed(m.view.value)),
            missing=tuple(m for m in asked if isinstance(m.view, Known) and not is_confirmed(m.view.value)),
            unread=tuple(m for m in asked if isinstance(m.view, Unknown)),
        )

    @property
    def ready(self) -> tuple[GatewayView, ...] | None:
        """The answers of the Ready members; None while one of them could not be read."""
        return self._views(member for member in self.members if member.state is MemberState.READY)

    @property
    def answering(self) -> tuple[GatewayView, ...]:
        """The answers of the Ready members that could be read."""
        ready = (member.view for member in self.members if member.state is MemberState.READY)
        return tuple(view.value for view in ready if isinstance(view, Known))

    @property
    def everyone(self) -> tuple[GatewayView, ...] | None:
        """The answers of all members; None while one of them could not be read."""
        return self._views(self.members)

    @staticmethod
    def _views(members: Iterable[GatewaySeen]) -> tuple[GatewayView, ...] | None:
        views = [member.view for member in members]
        known = tuple(view.value for view in views if isinstance(view, Known))
        return known if len(known) == len(views) else None
