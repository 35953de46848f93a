"""A ModelDeployment as the plugin sees it: the operator's own types, read from what the API server gave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pydantic

from fairlead_cli.plugin import cluster, errors
from fairlead_operator.api import names
from fairlead_operator.api import spec as specs
from fairlead_operator.api import status as statuses
from fairlead_operator.api.revision_status import RevisionStatus
from fairlead_operator.desired import revision, scaling, strategy
from fairlead_operator.state.desired import Analyse, Batch, MinSamples, Pause, SetReplicas, SetWeight, Step
from fairlead_operator.state.route import BY_WEIGHT, FULL_WEIGHT, Routing


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """``desired`` is the revision that the spec hashes to."""

    name: str
    namespace: str
    uid: str
    resource_version: str
    spec: specs.ModelDeploymentSpec
    status: statuses.ModelDeploymentStatus
    desired: str

    def describe_revision(self, name: str) -> str:
        """A revision by its number and its hash, as the operator's messages name it."""
        row = self.row(name)
        return f"revision {row.number} ({name})" if row is not None else f"revision {name}"

    def row(self, name: str) -> RevisionStatus | None:
        return next((row for row in self.status.revisions if row.name == name), None)

    @property
    def steps(self) -> tuple[Step, ...]:
        return strategy.steps_of(self.spec.rollout, scaling.replicas_of(self.spec, self.status))

    @property
    def routing(self) -> Routing:
        """What decides besides the weight now: nothing before traffic moves, and nothing on a way back."""
        status = self.status
        is_way_back = status.rollback is not None and status.rollback.revision == status.candidate_revision
        is_compared = status.rollout is not None and status.rollout.phase is statuses.RolloutPhase.SHIFTING
        return strategy.routing_of(self.spec.rollout) if is_compared and not is_way_back else BY_WEIGHT

    @property
    def pending(self) -> statuses.Request | None:
        request, handled = self.status.request, self.status.handled_request
        return request if request is not None and (handled is None or handled.id != request.id) else None


def read(found: cluster.Cluster, name: str) -> Model:
    """The model of this name.

    Raises:
        errors.PluginError: there is none, or it can't be read by this version.
    """
    body = found.model(name)
    if body is None:
        raise cluster.unknown_model(found.namespace, name)
    return parse(body)


def parse(body: Mapping[str, Any]) -> Model:
    """The model of an object that the API server gave. Raises errors.PluginError where it can't be read."""
    metadata = body["metadata"]
    try:
        spec = specs.ModelDeploymentSpec.model_validate(body["spec"])
        status = statuses.ModelDeploymentStatus.model_validate(body.get("status") or {})
    except pydantic.ValidationError as error:
        raise errors.PluginError(
            f"ModelDeployment {metadata['name']} can't be read by this version: {describe_first_error(error)}"
        ) from error
    return Model(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        spec=spec,
        status=status,
        desired=revision.revision_of(metadata["uid"], revision.template_of(spec), placement(status)),
    )


def placement(status: statuses.ModelDeploymentStatus) -> str:
    """The Ray cluster where a new revision goes, as far as the status knows: where the last one went."""
    newest = max(status.revisions, key=lambda row: row.number, default=None)
    return newest.cluster if newest is not None else names.DEFAULT_CLUSTER


def describe_first_error(error: pydantic.ValidationError) -> str:
    """The first mistake, with its field."""
    mistake = error.errors()[0]
    return f"{'.'.join(str(part) for part in mistake['loc'])}: {mistake['msg']}"


def describe_step(step: Step) -> str:
    match step:
        case SetWeight(weight=weight):
            return f"set weight {weight / 100:g} %"
        case Batch(candidate=candidate, weight=weight, stable=stable):
            return f"{candidate} new replicas, weight {weight / 100:g} %, then {stable} old ones"
        case SetReplicas(count=count):
            return f"up to {count} replicas"
        case Pause(duration_s=None):
            return "pause until a person promotes"
        case Pause(duration_s=duration_s):
            return f"pause for {duration_s} s"
        case Analyse():
            return "analysis"
        case MinSamples(requests=requests):
            return f"wait for {requests:,} requests to the candidate"


def describe_steps(steps: Iterable[Step]) -> list[str]:
    return [describe_step(step) for step in steps]


def describe_routing(routing: Routing) -> list[str]:
    """What decides besides the weight, one sentence each."""
    sentences = [f"{match.kind.value} {match.name}={match.value} selects the candidate" for match in routing.matches]
    if routing.sticky_header is not None:
        sentences.append(f"header {routing.sticky_header} keeps a client on its revision")
    if routing.shadow:
        sentences.append(
            f"the candidate gets copies of {routing.shadow * 100 / FULL_WEIGHT:g} % of the stable revision's requests"
        )
    return sentences
