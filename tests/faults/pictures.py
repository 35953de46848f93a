"""What a story's set-up leaves, taken once and made again in another namespace by a dozen writes.

The set-up of a story is most of a run's work, and is the same in every run. The second calm run of each story begins
with the picture of the first, and has to end as the first did: so a picture that lacks something is found out.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.faults.place import Place

from fairlead_operator.desired import revision as revisions_of
from fairlead_operator.state import revision_data, route

Body = dict[str, Any]

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """As JSON, with the names and times of the run that it was taken of."""

    taken_at: datetime.datetime
    namespace: str
    session: str
    model: Body | None
    revisions: tuple[Body, ...]
    routes: tuple[Body, ...]
    applications: tuple[Body, ...]


def take(place: Place) -> Picture:
    return Picture(
        taken_at=datetime.datetime.now(datetime.UTC),
        namespace=place.namespace,
        session=place.ray.session,
        model=place.model(),
        revisions=tuple(place.revisions()),
        routes=tuple(place.route_objects()),
        applications=tuple(place.ray.applications().values()),
    )


def restore(place: Place, picture: Picture) -> None:
    """Make it again, with names and times as they would be here. No operator runs in the place yet."""
    if picture.model is None:
        return
    uid = _create(place, picture.model)
    words = _words(place, picture, uid)
    passed = datetime.datetime.now(datetime.UTC) - picture.taken_at
    for body in picture.revisions:
        place.add_revision(_moved(_bare(body), words))
    place.ray.deploy_all([_moved(config, words) for config in picture.applications])
    for body in picture.routes:
        moved = _moved(_bare(body), words)
        place.apply_route({**moved, "spec": {**moved["spec"], "version": route.version_of(moved["spec"])}})
    place.set_status(later(_moved(picture.model["status"], words), passed))


def _create(place: Place, model: Body) -> str:
    """At the same generation: each but the first is one change of the spec."""
    metadata = model["metadata"]
    finalizers = tuple(metadata.get("finalizers", ()))
    numbers = [*range(1, metadata["generation"]), None]
    source = model["spec"]["model"]
    for number in numbers:
        uri = source["uri"] if number is None else f"file:///generations/{number}"
        spec = {**model["spec"], "model": {**source, "uri": uri}}
        if number == numbers[0]:
            uid = place.create(spec, finalizers=finalizers)
        else:
            place.change(spec)
    return uid


def _words(place: Place, picture: Picture, uid: str) -> Mapping[str, str]:
    """What the picture's own names are called here."""
    assert picture.model is not None
    words = {
        picture.namespace: place.namespace,
        picture.model["metadata"]["uid"]: uid,
        picture.session: place.ray.session,
    }
    for body in picture.revisions:
        name, data = body["metadata"]["labels"]["fairlead.dev/revision"], body["data"]
        template = revision_data.template_from_json(data["template"])
        words[name] = revisions_of.revision_of(uid, template, data["cluster"])
    return words


def _moved(body: Mapping[str, Any], words: Mapping[str, str]) -> Body:
    text = json.dumps(body)
    for word, here in words.items():
        text = text.replace(word, here)
    return dict(json.loads(text))


def later(body: Mapping[str, Any], by: datetime.timedelta) -> Body:
    """Move every date by as much: what waits for one waits as long as it did when the picture was taken."""

    def moved(found: re.Match[str]) -> str:
        time = datetime.datetime.fromisoformat(found.group()) + by
        return time.strftime("%Y-%m-%dT%H:%M:%S") + (time.strftime(".%f") if "." in found.group() else "") + "Z"

    return dict(json.loads(_TIME.sub(moved, json.dumps(body))))


def _bare(body: Body) -> Body:
    """Without what the API server fills in."""
    kept = ("name", "namespace", "labels", "annotations", "ownerReferences")
    metadata = {key: body["metadata"][key] for key in kept if key in body["metadata"]}
    return {**body, "metadata": metadata}
