"""`plan -f`: what `kubectl apply` of a manifest would do, from the operator's own pure code. Changes nothing.

The rules of the CRD in CEL are not run here: `kubectl apply --dry-run=server` does that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic

from fairlead_cli.plugin import applying, cluster, errors, model_view
from fairlead_operator.api import names, spec, strategies
from fairlead_operator.api import status as statuses
from fairlead_operator.desired import revision, scaling, strategy

NEVER_APPLIED = "It was not created by kubectl apply: fields that the manifest leaves out keep their values."


def describe(found: cluster.Cluster, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What applying it would do, as data; ``does`` says it in sentences."""
    name = manifest["metadata"]["name"]
    body = found.model(name)
    applied = applying.last_applied_spec(body) if body is not None else None
    desired = _validate(name, _build_spec(body, applied, manifest.get("spec")))
    model = model_view.parse(body) if body is not None else None
    hashed = None
    is_moved = model is not None and desired.cluster != model.spec.cluster
    if model is not None and not is_moved:
        hashed = revision.revision_of(model.uid, revision.template_of(desired), model_view.placement(model.status))
    rolls_out = hashed is None or hashed not in _placed_revisions(model)
    return {
        "name": name,
        "namespace": found.namespace,
        "revision": hashed,
        "newRevision": hashed is None or not _is_kept(found, name, hashed),
        "changes": sorted(_list_changes(model, desired)),
        "does": list(
            _describe_effects(model, hashed, desired, is_kept=hashed is not None and _is_kept(found, name, hashed))
        ),
        "steps": model_view.describe_steps(strategy.steps_of(desired.rollout, _count_replicas(model, desired)))
        if rolls_out and _serves(model)
        else [],
        "replicasAtMost": _count_replicas_max(model, desired, rolls_out=rolls_out),
        "notes": [
            *([NEVER_APPLIED] if body is not None and applied is None else []),
            *(_list_notes(model, desired) if rolls_out and _serves(model) and not desired.suspend else ()),
        ],
    }


def _build_spec(body: Mapping[str, Any] | None, applied: Mapping[str, Any] | None, given: Any) -> Any:
    """The spec that would be stored."""
    if body is None or not isinstance(given or {}, Mapping):
        return given
    return applying.merge({"spec": body["spec"]}, {"spec": applied or {}}, {"spec": given or {}})["spec"]


def _validate(name: str, desired: Any) -> spec.ModelDeploymentSpec:
    try:
        return spec.ModelDeploymentSpec.model_validate(desired)
    except pydantic.ValidationError as error:
        raise errors.PluginError(f"{name}: spec.{model_view.describe_first_error(error)}") from error


def _placed_revisions(model: model_view.Model | None) -> tuple[str | None, ...]:
    return (model.status.stable_revision, model.status.candidate_revision) if model is not None else ()


def _serves(model: model_view.Model | None) -> bool:
    return model is not None and model.status.stable_revision is not None


def _is_kept(found: cluster.Cluster, name: str, hashed: str) -> bool:
    return any(kept["metadata"]["labels"][names.LABEL_REVISION] == hashed for kept in found.revisions(name))


def _list_changes(model: model_view.Model | None, desired: spec.ModelDeploymentSpec) -> Iterator[str]:
    if model is None:
        return
    old, new = (
        _flatten(each.model_dump(mode="json", by_alias=True, exclude_none=True)) for each in (model.spec, desired)
    )
    for field in {*old, *new}:
        if old.get(field) != new.get(field):
            yield f"spec.{field}: {json.dumps(old.get(field))} -> {json.dumps(new.get(field))}"


def _flatten(body: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in body.items():
        flat |= _flatten(value, f"{path}{key}.") if isinstance(value, Mapping) else {f"{path}{key}": value}
    return flat


def _describe_effects(
    model: model_view.Model | None, hashed: str | None, desired: spec.ModelDeploymentSpec, *, is_kept: bool
) -> Iterator[str]:
    if model is None:
        yield "The model is created. Its first revision takes all traffic after its test prediction."
        return
    status = model.status
    if desired.suspend:
        yield "The model is suspended: nothing runs."
    if hashed is None:
        yield (
            f"spec.cluster changes. If that is another Ray cluster, a new revision is rolled out there by "
            f"{desired.rollout.strategy.value}."
        )
        yield from _describe_routing(desired.rollout)
        return
    if hashed == status.stable_revision:
        yield f"No new revision: {model.describe_revision(hashed)} is stable and stays so."
        if status.candidate_revision is not None:
            yield f"The candidate, {model.describe_revision(status.candidate_revision)}, is withdrawn."
        return
    if hashed == status.candidate_revision:
        yield f"No new revision: {model.describe_revision(hashed)} is the candidate and stays so."
        return
    if (failed := next((entry for entry in status.quarantine if entry.revision == hashed), None)) is not None:
        by_request = failed.reason in ("Aborted", "RolledBack")
        if hashed == model.desired or not by_request:
            quarantined = _capitalize(model.describe_revision(hashed))
            yield f"{quarantined} is quarantined ({failed.reason}) and is not rolled out; see kubectl fairlead retry."
            return
    if status.candidate_revision is not None:
        yield f"The candidate, {model.describe_revision(status.candidate_revision)}, is withdrawn first."
    yield (
        f"{_capitalize(model.describe_revision(hashed))} exists already and is rolled out again."
        if is_kept
        else (f"A new revision ({hashed}) is rolled out by {desired.rollout.strategy.value}.")
    )
    yield from _describe_routing(desired.rollout)


def _describe_routing(rollout: spec.Rollout) -> Iterator[str]:
    for sentence in model_view.describe_routing(strategy.routing_of(rollout)):
        yield f"During the rollout: {sentence}."
    if rollout.paused:
        yield "spec.rollout.paused stops it before any traffic."


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]


def _count_replicas(model: model_view.Model | None, desired: spec.ModelDeploymentSpec) -> int:
    """What a rollout works with."""
    return scaling.replicas_of(desired, model.status if model is not None else statuses.ModelDeploymentStatus())


def _count_replicas_max(model: model_view.Model | None, desired: spec.ModelDeploymentSpec, *, rolls_out: bool) -> int:
    """Replicas at once, at the most: beside a stable revision the candidate runs with as many."""
    beside = rolls_out and _serves(model) and desired.rollout.strategy is not spec.Strategy.RECREATE
    automatic = scaling.autoscaling_of(desired)
    if automatic is not None and not desired.suspend:
        return 2 * automatic.most if beside else automatic.most
    count = 0 if desired.suspend else desired.scaling.replicas
    return count + strategy.limits(desired.rollout, count).surge if beside else count


def _list_notes(model: model_view.Model | None, desired: spec.ModelDeploymentSpec) -> Iterator[str]:
    """What is looked at before and after the traffic moves; what only the cluster knows is not guessed."""
    rollout, count, size = desired.rollout, _count_replicas(model, desired), desired.serving.resources
    stable = model.describe_revision(str(model.status.stable_revision)) if model is not None else "the stable revision"
    if (required := rollout.require_evaluation) is not None:
        yield f"Evaluation: {required.metric} of the model's record must be at least {required.min:g} (lower bound)."
    if rollout.strategy is spec.Strategy.RECREATE:
        until = "until the new revision has passed its test prediction"
        yield f"{_capitalize(stable)} stops first. Requests get 503 {until}."
        yield "Signature: not compared, because the two revisions never run at the same time."
        return
    count = strategy.limits(rollout, count).surge
    cpu, memory = count * size.cpu_cores, count * size.memory_bytes / 2**20
    without = (
        "the rollout waits"
        if rollout.on_insufficient_capacity is strategies.OnInsufficientCapacity.WAIT
        else f"{stable} stops first"
    )
    yield f"Surge: {count} more replicas need {cpu:g} CPU and {memory:g} MiB. If Ray has no room for them, {without}."
    if rollout.allow_signature_change:
        yield "Signature: not compared, because spec.rollout.allowSignatureChange is set."
    else:
        yield f"Signature: compared with that of {stable} before any traffic. A breaking change stops the rollout."
    if warm_s := strategy.warm_s(rollout):
        yield f"Afterwards {stable} stays warm for {warm_s} s."


def lines(plan: Mapping[str, Any]) -> list[str]:
    """The same in words."""
    sentences = [f"{plan['name']} ({plan['namespace']})"]
    sentences += [f"  {sentence}" for sentence in plan["does"]]
    sentences += [f"  step {number}: {step}" for number, step in enumerate(plan["steps"], start=1)]
    sentences.append(f"  most replicas at the same time: {plan['replicasAtMost']}")
    sentences += [f"  {note}" for note in plan["notes"]]
    return sentences + [f"  {change}" for change in plan["changes"]]
