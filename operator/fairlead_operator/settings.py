"""The operator's settings: flags win over ``FAIRLEAD_*`` variables, those over a YAML file, that over defaults."""

from __future__ import annotations

import argparse
import os
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fairlead_operator.api import names
from fairlead_operator.state import bounds, directory

ENVIRONMENT_PREFIX = "FAIRLEAD_"
POLL_S = 0.25
"""How soon a model is looked at again while something of it is on its way."""
PUBLIC_URL_MAX = 1024


class SettingsError(Exception):
    """A setting is wrong: the message names it and says what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that is decided before the start. ``namespaces`` is empty where all are served."""

    namespaces: tuple[str, ...]
    kubeconfig: Path | None
    clusters: Mapping[str, tuple[directory.Cluster, ...]]
    ray_token_file: Path | None
    ray_head_url: str
    gateways: Mapping[str, tuple[directory.Gateway, ...]]
    lease_namespace: str
    monitoring_namespace: str | None
    listen: Listen
    workers: int
    resync_s: float
    sweep_s: float
    log_format: str
    log_level: str
    prometheus_urls: Mapping[str, str] = field(default_factory=dict)
    public_urls: Mapping[str, str] = field(default_factory=dict)
    bounds: bounds.Bounds = field(default_factory=bounds.Bounds)

    @property
    def is_cluster_mode(self) -> bool:
        """Whether the operator makes Ray clusters and gateways itself, as none are given."""
        return not self.clusters and not self.gateways


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    help: str
    default: Any = None
    is_list: bool = False
    is_switch: bool = False


_OPTIONS: Mapping[str, _Option] = {
    "kubeconfig": _Option(help="kubeconfig file; by default the pod's service account"),
    "namespace": _Option(help="a namespace to serve (repeatable)", is_list=True),
    "all-namespaces": _Option(help="serve all namespaces", is_switch=True, default=False),
    "ray": _Option(
        help="NS[/CLUSTER]=URL of a Ray head's dashboard (repeatable); a model runs on the one that its "
        "spec.cluster.class names, without a class on its namespace's first one. "
        "Without --ray and --gateway, RayClusters, ServingClasses and EndpointSlices say what there is",
        is_list=True,
    ),
    "ray-head-url": _Option(
        help="URL of the head's dashboard of a RayCluster, with {namespace} and {cluster} for its names",
        default="http://{cluster}-head-svc.{namespace}.svc:8265",
    ),
    "ray-token-file": _Option(help="file with Ray's authentication token; read again when Ray refuses it"),
    "gateway": _Option(
        help="NS=DATA_URL,ADMIN_URL of a gateway (repeatable, also for one namespace)",
        is_list=True,
    ),
    "public-url": _Option(
        help="NS=URL under which clients reach the gateways, for status.endpoints (repeatable)", is_list=True
    ),
    "prometheus": _Option(
        help="NS=URL of the Prometheus for the queries of analyses and for drift (repeatable)", is_list=True
    ),
    "monitoring-namespace": _Option(
        help="the namespace of the Prometheus that may scrape gateways and Ray; without it none may"
    ),
    "lease-namespace": _Option(help="the namespace of the Lease", default="fairlead-system"),
    "listen": _Option(help="HOST:PORT of /healthz, /readyz and /metrics", default="127.0.0.1:8080"),
    "workers": _Option(help="passes that run at the same time", default="32"),
    "resync-seconds": _Option(help="how often all objects are listed, in addition to the watches", default="300"),
    "sweep-seconds": _Option(help="how often idle models are compared with Ray and the gateways", default="5"),
    "log-format": _Option(help="text or json", default="text"),
    "log-level": _Option(help="debug, info, warning or error", default="info"),
}


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from flags, environment and the file named by ``--config`` or ``FAIRLEAD_CONFIG``.

    Raises:
        SettingsError: With a sentence that names the setting.
    """
    flags = vars(_parser().parse_args(arguments))
    config = flags.pop("config") or environment.get(f"{ENVIRONMENT_PREFIX}CONFIG")
    layers = [{name.replace("_", "-"): value for name, value in flags.items()}, _from_environment(environment)]
    layers.append(_from_file(Path(config)) if config else {})
    values = {name: _first(name, option, layers) for name, option in _OPTIONS.items()}
    return _build(values)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fairlead-operator", description="Turns ModelDeployments into served models.")
    parser.add_argument("--config", help="YAML file with the same names, without the dashes in front")
    for name, option in _OPTIONS.items():
        text = option.help + (f" (default {option.default})" if option.default else "")
        if option.is_switch:
            parser.add_argument(f"--{name}", action="store_const", const=True, help=text)
        else:
            parser.add_argument(f"--{name}", action="append" if option.is_list else "store", help=text)
    return parser


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, option in _OPTIONS.items():
        text = environment.get(ENVIRONMENT_PREFIX + name.upper().replace("-", "_"))
        if text is None:
            continue
        values[name] = text.split() if option.is_list else _switch(name, text) if option.is_switch else text
    return values


def _from_file(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise SettingsError(f"config: cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"config: {path} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise SettingsError(f"config: {path} must hold a mapping of settings")
    unknown = sorted(set(document) - set(_OPTIONS))
    if unknown:
        raise SettingsError(f"config: {path}: unknown setting {unknown[0]!r}; known: {', '.join(_OPTIONS)}")
    values: dict[str, Any] = {}
    for name, value in document.items():
        option = _OPTIONS[name]
        if option.is_list:
            values[name] = [str(item) for item in value] if isinstance(value, list) else str(value).split()
        else:
            values[name] = _switch(name, str(value)) if option.is_switch else str(value)
    return values


def _switch(name: str, text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise SettingsError(f"{name}: {text!r} is neither true nor false")
    return words[text.lower()]


def _first(name: str, option: _Option, layers: Sequence[Mapping[str, Any]]) -> Any:
    for layer in layers:
        if layer.get(name) is not None:
            return layer[name]
    return [] if option.is_list else option.default


def _build(values: Mapping[str, Any]) -> Settings:
    namespaces = tuple(dict.fromkeys(values["namespace"]))
    if bool(namespaces) == bool(values["all-namespaces"]):
        raise SettingsError("namespace: name at least one --namespace, or --all-namespaces, and not both")
    resync_s = _number("resync-seconds", values["resync-seconds"], float, lowest=1)
    return Settings(
        namespaces=namespaces,
        kubeconfig=_file("kubeconfig", values["kubeconfig"]),
        clusters=_clusters(values["ray"]),
        ray_head_url=_head_url(values["ray-head-url"]),
        ray_token_file=_file("ray-token-file", values["ray-token-file"]),
        gateways=_gateways(values["gateway"]),
        public_urls=dict(_public(text) for text in values["public-url"]),
        prometheus_urls=dict(_assigned("prometheus", text) for text in values["prometheus"]),
        lease_namespace=values["lease-namespace"],
        monitoring_namespace=values["monitoring-namespace"],
        listen=_listen(values["listen"]),
        workers=_number("workers", values["workers"], int, lowest=1),
        resync_s=resync_s,
        sweep_s=_number("sweep-seconds", values["sweep-seconds"], float, lowest=0.1),
        log_format=_word("log-format", values["log-format"], ("text", "json")),
        log_level=_word("log-level", values["log-level"], ("debug", "info", "warning", "error")),
        bounds=bounds.Bounds(poll_s=POLL_S, resync_s=resync_s),
    )


def _assigned(name: str, text: str) -> tuple[str, str]:
    namespace, sign, value = text.partition("=")
    if not (namespace and sign and value.startswith(("http://", "https://"))):
        raise SettingsError(f"{name}: {text!r} must look like NAMESPACE=http://HOST:PORT")
    return namespace, value


def _public(text: str) -> tuple[str, str]:
    """It is shown to everybody who may read a model, and paths are put behind it."""
    namespace, url = _assigned("public-url", text)
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise SettingsError(f"public-url: that of {namespace} is no URL: {error}") from error
    if parts.username is not None or parts.query or parts.fragment or len(url) > PUBLIC_URL_MAX:
        raise SettingsError(
            f"public-url: that of {namespace} must have no user, query or fragment, nor over {PUBLIC_URL_MAX} letters"
        )
    return namespace, url.rstrip("/")


def _clusters(texts: Sequence[str]) -> dict[str, tuple[directory.Cluster, ...]]:
    """Two names for one Ray cluster would write its Serve config in turn, each without what the other knows."""
    found: dict[str, tuple[directory.Cluster, ...]] = {}
    flags: dict[str, str] = {}
    for text in texts:
        place, url = _assigned("ray", text)
        namespace, slash, name = place.partition("/")
        name = name if slash else names.DEFAULT_CLUSTER
        if not namespace or not re.fullmatch(names.CLUSTER_PATTERN, name) or len(name) > names.CLUSTER_MAX:
            raise SettingsError(f"ray: {text!r} must look like NAMESPACE/CLUSTER=http://HOST:PORT, CLUSTER a DNS label")
        if any(cluster.name == name for cluster in found.get(namespace, ())):
            raise SettingsError(f"ray: {text!r} gives cluster {name} of namespace {namespace} a second time")
        address = _address("ray", url)
        if address in flags:
            raise SettingsError(f"ray: {flags[address]!r} and {text!r} are the same Ray cluster: give each its own")
        flags[address] = text
        found[namespace] = (*found.get(namespace, ()), directory.Cluster(name=name, url=url))
    return found


def _head_url(text: str) -> str:
    """Two clusters must never have the same address."""
    rest = text.replace("{namespace}", "").replace("{cluster}", "")
    is_whole = "{namespace}" in text and "{cluster}" in text and not {"{", "}"} & set(rest)
    if not is_whole or not text.startswith(("http://", "https://")):
        raise SettingsError(f"ray-head-url: {text!r} must be a URL with {{namespace}} and {{cluster}} in it")
    return text


def _address(name: str, url: str) -> str:
    """Equal for two spellings of one address."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise SettingsError(f"{name}: {url!r} is no URL: {error}") from error
    host = {"localhost": "127.0.0.1"}.get(parts.hostname or "", parts.hostname)
    return f"{host}:{port}{parts.path.rstrip('/')}"


def _gateways(texts: Sequence[str]) -> dict[str, tuple[directory.Gateway, ...]]:
    found: dict[str, tuple[directory.Gateway, ...]] = {}
    flags: dict[str, str] = {}
    for text in texts:
        namespace, urls = _assigned("gateway", text)
        data_url, comma, admin_url = urls.partition(",")
        if not comma or not admin_url.startswith(("http://", "https://")):
            raise SettingsError(f"gateway: {text!r} must look like NAMESPACE=http://HOST:DATA,http://HOST:ADMIN")
        address = _address("gateway", admin_url)
        if address in flags:
            raise SettingsError(f"gateway: {flags[address]!r} and {text!r} are the same gateway")
        flags[address] = text
        known = found.get(namespace, ())
        name = f"gateway-{len(known)}"
        found[namespace] = (*known, directory.Gateway(name=name, data_url=data_url, admin_url=admin_url))
    return found


def _listen(text: str) -> Listen:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdigit() and int(port) <= 65535):
        raise SettingsError(f"listen: {text!r} must look like 127.0.0.1:8080")
    return Listen(host=host.strip("[]"), port=int(port))


def _number(name: str, text: str, kind: Callable[[str], Any], *, lowest: float) -> Any:
    try:
        number = kind(text)
    except ValueError:
        raise SettingsError(f"{name}: {text!r} is not a number") from None
    if number < lowest:
        raise SettingsError(f"{name}: {text} is less than {lowest}")
    return number


def _word(name: str, text: str, allowed: Sequence[str]) -> str:
    if text not in allowed:
        raise SettingsError(f"{name}: {text!r} must be one of {', '.join(allowed)}")
    return text


def _file(name: str, text: str | None) -> Path | None:
    if text is None:
        return None
    path = Path(text).expanduser()
    if not os.access(path, os.R_OK):
        raise SettingsError(f"{name}: cannot read {path}")
    return path
