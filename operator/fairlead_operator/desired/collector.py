"""What pods get for sending spans: the file with the authorities that are trusted for the collector."""

from __future__ import annotations

from typing import Any

from fairlead_operator.state.serving_class import Tracing

_NAME = "collector-ca"
_KEY = "ca.crt"
_FOLDER = "/etc/fairlead/collector-ca"
CA_FILE = f"{_FOLDER}/{_KEY}"


def volumes(chosen: Tracing | None) -> list[dict[str, Any]]:
    """A pod starts without a ConfigMap that does not exist: it serves without spans then."""
    if chosen is None or chosen.ca_config_map is None:
        return []
    items = [{"key": _KEY, "path": _KEY}]
    source = {"name": chosen.ca_config_map, "items": items, "optional": True, "defaultMode": 0o440}
    return [{"name": _NAME, "configMap": source}]


def mounts(chosen: Tracing | None) -> list[dict[str, Any]]:
    """Where the container has it."""
    return [{"name": each["name"], "mountPath": _FOLDER, "readOnly": True} for each in volumes(chosen)]


def write_percent(chosen: Tracing) -> str:
    """The same for 1 and 1.0: a default that is written out changes no pod."""
    return str(float(chosen.sample_percent)).removesuffix(".0")
