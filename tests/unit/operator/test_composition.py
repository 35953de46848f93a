"""A cluster's Serve config is composed only once every model of its namespace is known, or known to be unknown."""

from __future__ import annotations

from fairlead_operator import composition
from fairlead_operator.state import keys, serve

KEY = keys.RayKey("ns", "default")


def model(name: str) -> keys.ModelKey:
    return keys.ModelKey("ns", name)


def part(name: str) -> serve.ServeConfig:
    body = {"name": name}
    config = serve.ApplicationConfig(name=name, revision="r", replicas=1, body=body)
    return serve.ServeConfig(namespace="ns", applications=(config,), has_models=True)


def test_a_composition_is_complete_after_the_listing_and_a_pass_of_each_model() -> None:
    composed = composition.Composition()
    assert not composed.is_complete("ns")
    composed.expect(model("a"))
    composed.expect(model("b"))
    composed.note_listed("ns")
    composed.put(model("a"), {"default": part("a")})
    assert not composed.is_complete("ns")
    composed.note_unknown(model("b"))
    assert composed.is_complete("ns")
    assert composed.parts_on(KEY) == ([part("a")], ["b"])
    assert not composed.is_complete("other")
    composed.note_listed(None)
    assert composed.is_complete("other")


def test_a_failed_pass_keeps_the_result_of_the_earlier_one() -> None:
    composed = composition.Composition()
    composed.put(model("a"), {"default": part("a")})
    composed.note_unknown(model("a"))
    assert composed.parts_on(KEY) == ([part("a")], [])


def test_a_composition_reports_the_clusters_that_changed() -> None:
    composed = composition.Composition()
    assert composed.put(model("a"), {"default": part("a"), "gpu": part("a")}) == {"default", "gpu"}
    assert composed.put(model("a"), {"default": part("a"), "gpu": part("b")}) == {"gpu"}
    assert composed.put(model("a"), {"default": part("a")}) == {"gpu"}
    assert composed.remove(model("a")) == {"default"}
    assert composed.remove(model("a")) == frozenset()
    assert not composed.has_models("ns")
