"""A Ray cluster without an operator, which all files of this folder share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from tests.support import leftovers, made_once, nightly, per_folder
from tests.support.served_on_ray import Ray

from fairlead_cli.local import cluster, options


@pytest.fixture(scope="module")
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ray:
    """The cluster with the small models; with two nodes in a nightly run."""

    @contextlib.contextmanager
    def made() -> Iterator[Ray]:
        models = made_once.models(tmp_path_factory)
        chosen = options.Options(ray_nodes=2 if nightly.is_chosen() else 1)
        local = cluster.LocalCluster("runtime", tmp_path_factory.mktemp("local") / "cluster", chosen=chosen)
        with leftovers.owned(local):
            local.up(("ray",))
            yield Ray(local, local.ray_address, local.ray_token_file.read_text().strip(), models)

    return per_folder.shared(request, made)
