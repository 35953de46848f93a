"""The objects that the plugin reads, and the two writes that it does.

A request goes to the status subresource with the ``resourceVersion`` that was read. Source: docs/contracts.md,
"People → operator: requests". A restart is a change of the spec.
"""

from __future__ import annotations

import datetime
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import kubernetes
import urllib3
import yaml
from typing_extensions import override

from fairlead_cli.plugin import errors
from fairlead_operator.api import names

TIMEOUT_S = 10
MESSAGE_MAX = 400
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT = 401, 403, 404, 409
NOT_INSTALLED = "This cluster has no ModelDeployments: Fairlead is not installed there (docs/install.md)."
CHECK = "Check that the cluster runs, and the server's address in the kubeconfig (kubectl cluster-info)."

T = TypeVar("T")


class Cluster(Protocol):
    """One namespace of a cluster."""

    namespace: str

    def model(self, name: str) -> Mapping[str, Any] | None:
        """The ModelDeployment; None where there is none."""
        ...

    def revisions(self, name: str) -> list[Mapping[str, Any]]:
        """The model's ControllerRevisions."""
        ...

    def ask(self, name: str, request: Mapping[str, Any], *, resource_version: str | None) -> None:
        """Writes ``status.request``, of exactly this version where one is given.

        Raises:
            errors.ConflictError: it changed since.
        """
        ...

    def restart(self, name: str, at: datetime.datetime, *, resource_version: str) -> None:
        """Writes ``spec.serving.restartedAt``, of exactly this version. Raises as `ask` does."""
        ...


class KubernetesCluster(Cluster):
    def __init__(self, *, namespace: str | None, context: str | None, kubeconfig: pathlib.Path | None) -> None:
        file = str(kubeconfig) if kubeconfig is not None else None
        try:
            client = kubernetes.config.new_client_from_config(config_file=file, context=context, persist_config=False)
            contexts, active = kubernetes.config.list_kube_config_contexts(config_file=file)
        except (kubernetes.config.ConfigException, OSError) as error:
            raise errors.PluginError(f"The kubeconfig can't be used: {error}") from error
        except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError) as error:
            # The library reads the file as it comes, and fails on its content in these ways.
            raise errors.PluginError(
                f"The kubeconfig{f' {file}' if file else ''} can't be used: it is not a kubeconfig in YAML "
                f"({type(error).__name__})"
            ) from error
        chosen = next((each for each in contexts if each["name"] == context), active)
        self.namespace = namespace or chosen["context"].get("namespace") or "default"
        self._objects = kubernetes.client.CustomObjectsApi(client)
        self._apps = kubernetes.client.AppsV1Api(client)
        self._client = client
        self._address = client.configuration.host

    def close(self) -> None:
        self._client.close()

    @override
    def model(self, name: str) -> Mapping[str, Any] | None:
        def read() -> Any:
            return self._objects.get_namespaced_custom_object(*self._place(), name, _request_timeout=TIMEOUT_S)

        try:
            found = self._call(read, f"read ModelDeployment {name}")
        except LookupError:
            return None
        if not isinstance(found, Mapping):
            raise errors.PluginError(f"{self._address} is no Kubernetes API: it did not answer with JSON. {CHECK}")
        return dict(found)

    @override
    def revisions(self, name: str) -> list[Mapping[str, Any]]:
        def read() -> Any:
            found = self._apps.list_namespaced_controller_revision(
                self.namespace, label_selector=f"{names.LABEL_MODEL}={name}", _request_timeout=TIMEOUT_S
            )
            return self._client.sanitize_for_serialization(found)

        return list(self._call(read, f"list the revisions of {name}")["items"])

    @override
    def ask(self, name: str, request: Mapping[str, Any], *, resource_version: str | None) -> None:
        # The keys that are absent have to be null: a merge patch would leave those of an earlier request.
        whole = {"step": None, "number": None, **request}
        metadata = {"resourceVersion": resource_version} if resource_version is not None else {}
        body = {"metadata": metadata, "status": {"request": whole}}

        def write() -> Any:
            return self._objects.patch_namespaced_custom_object_status(
                *self._place(), name, body, _content_type="application/merge-patch+json", _request_timeout=TIMEOUT_S
            )

        try:
            self._call(write, f"send the request to ModelDeployment {name}", role="fairlead-rollouts")
        except LookupError as error:
            raise unknown_model(self.namespace, name) from error

    @override
    def restart(self, name: str, at: datetime.datetime, *, resource_version: str) -> None:
        time = at.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {"metadata": {"resourceVersion": resource_version}, "spec": {"serving": {"restartedAt": time}}}

        def write() -> Any:
            return self._objects.patch_namespaced_custom_object(
                *self._place(), name, body, _content_type="application/merge-patch+json", _request_timeout=TIMEOUT_S
            )

        try:
            self._call(write, f"restart ModelDeployment {name}", role="edit")
        except LookupError as error:
            raise unknown_model(self.namespace, name) from error

    def _place(self) -> tuple[str, str, str, str]:
        return names.GROUP, names.VERSION, self.namespace, names.PLURAL

    def _call(self, call: Callable[[], T], what: str, *, role: str = "fairlead-view") -> T:
        """The answer, or the server's refusal in one line; a 404 is a LookupError. ``role`` allows the call."""
        try:
            return call()
        except kubernetes.client.ApiException as error:
            if error.status == NOT_FOUND:
                if not _is_of_an_object(error):
                    raise errors.PluginError(NOT_INSTALLED) from error
                raise LookupError(what) from error
            if not error.status:  # no answer of a server: the library's own words on the certificate
                raise self._unreachable(error.reason) from error
            raise _to_plugin_error(error, what, self.namespace, role) from error
        except urllib3.exceptions.MaxRetryError as error:
            raise self._unreachable(error.reason) from error
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, reason: object) -> errors.PluginError:
        return errors.PluginError(f"The API server {self._address} can't be reached: {reason}. {CHECK}")


def _message(error: Any) -> str:
    """The server's own sentence, where the answer holds one."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def _is_of_an_object(error: Any) -> bool:
    """Whether a 404 is about an object. Without the CRD the whole path is unknown, which is no Status of an object."""
    try:
        return bool(json.loads(error.body)["details"]["name"])
    except (TypeError, ValueError, LookupError):
        return False


def _to_plugin_error(error: Any, what: str, namespace: str, role: str) -> errors.PluginError:
    if error.status == UNAUTHORIZED:
        return errors.PluginError("The API server does not accept the credentials of the kubeconfig.")
    if error.status == FORBIDDEN:
        return errors.PluginError(f"Not allowed to {what} in namespace {namespace}: this needs the role {role}.")
    if error.status == CONFLICT:
        return errors.ConflictError(f"The object changed at the same time, so this could not {what}; try again.")
    reason = " ".join(_message(error).split())[:MESSAGE_MAX]
    return errors.PluginError(f"Could not {what}: {error.status} {reason}")


def unknown_model(namespace: str, name: str) -> errors.PluginError:
    return errors.PluginError(f"There is no ModelDeployment {name} in namespace {namespace}.")


def connect(*, namespace: str | None, context: str | None, kubeconfig: pathlib.Path | None) -> Cluster:
    """The cluster of the kubeconfig, as kubectl would choose it."""
    return KubernetesCluster(namespace=namespace, context=context, kubeconfig=kubeconfig)
