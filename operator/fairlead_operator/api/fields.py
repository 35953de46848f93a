"""The texts and quantities of the spec: the form of each, and the error for any other."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from fairlead_operator.api import quantities
from fairlead_operator.api.rules import INT_OR_STRING, rule, rules, text


def _number_as_text(value: object) -> object:
    """``cpu: 2`` is as good as ``cpu: "2"``."""
    return str(int(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value


_PORT = "0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[^]/?#:@[]+)"
_HTTP_URL = f"^https?://([^/?#]*@)?{_HOST}(:{_PORT})?([/?#]|$)"

_HUB_URL = "^hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9._-]*(/|$)"
_REGISTRY_URI = "^models:/[^/@?#]+(/[A-Za-z0-9._-]+|@[A-Za-z0-9._-]+)$"
_ARTIFACT_URI = (
    f"^oci://([^/?#]*@)?{_HOST}(:{_PORT})?/[a-z0-9][a-z0-9/._-]*(:[A-Za-z0-9_][A-Za-z0-9._-]*|@sha256:[0-9a-f]{{64}})$"
)
_BUCKET_URL = "^(s3|gs|az)://([^/?#]*@)?[A-Za-z0-9][A-Za-z0-9._-]*(/|$)"

Uri = Annotated[
    str,
    text(
        r"^((file|https?|s3|gs|az|hf|oci|pvc)://.+|models:/.+)",
        "must begin with file://, http://, https://, s3://, gs://, az://, hf://, oci://, pvc:// or models:/ and name a "
        "file or folder, as in s3://models/digits/1",
        rule(
            r"!self.startsWith('file://') || self.startsWith('file:///')",
            "a file URI takes three slashes and an absolute path, as in file:///models/digits/1",
        ),
        rule(
            f"!self.matches('^https?://') || self.matches(r'{_HTTP_URL}')",
            "must be a valid URL with a host, and a port from 1 to 65535 if any, as in https://models.example.org/2.keras",
        ),
        rule(
            f"!self.matches('^(s3|gs|az)://') || self.matches('{_BUCKET_URL}')",
            "must name a bucket (for az:// a container) and what is in it, as in s3://models/digits/1",
        ),
        rule(
            f"!self.startsWith('hf:') || self.matches('{_HUB_URL}')",
            "must name an organization, a repository and a revision, as in hf://example-org/digits@main/digits.keras",
        ),
        rule(
            f"!self.startsWith('models:') || self.matches('{_REGISTRY_URI}')",
            "must name a registered model and its version, alias or stage, as in models:/digits/3 or "
            "models:/digits@champion",
        ),
        rule(
            f"!self.startsWith('oci:') || self.matches(r'{_ARTIFACT_URI}')",
            "must name a registry, a repository and a tag or a digest, as in oci://registry.example.org/models/digits:3",
        ),
        rule(
            "!self.startsWith('pvc:') || self.matches('^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/|$)')",
            "must name a PersistentVolumeClaim and a path on it, as in pvc://models/digits/1",
        ),
        rule(
            r"!self.matches('^[a-z0-9]+://[^/?#]*@')",
            "must not carry a user name or password: everyone who can read the object would see it",
        ),
        rule(
            r"!self.matches('(/|%2[fF])([.]|%2[eE]){1,2}(/|%2[fF]|[?#]|$)')",
            "must not contain the path segments . or .., write the path that is meant",
        ),
        rule(
            r"!self.contains('#') && (self.matches('^https?:') || !self.contains('?'))",
            "must not contain a fragment (#), nor a query (?) unless it is an http or https URI: percent-encode what "
            "belongs to a name",
        ),
        rule(
            r"""self.matches(r"^([A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*$") && !self.contains('%00')""",
            "must hold only the characters of a URI: percent-encode every other one, a space as %20",
        ),
        rule(
            r"!self.lowerAscii().matches('[.](h5|hdf5)([?]|$)')",
            "HDF5 (.h5) is not loaded, as opening it can run code that it carries: save it as .keras or SavedModel",
        ),
        max_length=2048,
    ),
]

SERVICE_URL: Final = rf"^https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:{_PORT})?(/[A-Za-z0-9._~/-]*)?$"
"""A pattern: a host, a port from 1 to 65535 if any, and a path if any; no user, password, query or fragment."""

Endpoint = Annotated[
    str,
    text(
        SERVICE_URL,
        "must be the URL of a service, with a host, a port from 1 to 65535 if any, and nothing behind the path, as in "
        "https://minio.example.org:9000",
        max_length=512,
    ),
]

SinkUrl = Annotated[
    str,
    text(
        SERVICE_URL,
        "must be an http or https URL with a host, a port from 1 to 65535 if any, no user or password, and nothing "
        "behind the path, as in https://events.example.org/predictions",
        rule(
            "!self.contains('[') || (isIP(self.find('[[][^]]*').substring(1)) && "
            "ip(self.find('[[][^]]*').substring(1)).family() == 6)",
            "must have an IPv6 address in its brackets, as in http://[fd00::1]:8080/predictions",
        ),
        max_length=512,
    ),
]


def _object_name(kind: str, example: str) -> Any:
    return text(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        f"must be the name of a {kind}: lower-case letters, digits, '-' and '.', as in {example}",
        max_length=253,
    )


CredentialsSecretName = Annotated[str, _object_name("Secret", "bucket-reader")]
PullSecretName = Annotated[str, _object_name("Secret", "registry-credentials")]
ApiKeysSecretName = Annotated[str, _object_name("Secret", "api-keys")]
TlsSecretName = Annotated[str, _object_name("Secret", "gateway-certificate")]
JwksConfigMapName = Annotated[str, _object_name("ConfigMap", "issuer-keys")]
CaConfigMapName = Annotated[str, _object_name("ConfigMap", "collector-ca")]
RedisSecretName = Annotated[str, _object_name("Secret", "ray-redis")]
ClaimName = Annotated[str, _object_name("PersistentVolumeClaim", "models")]
PriorityClassName = Annotated[str, _object_name("PriorityClass", "model-serving")]

Digest = Annotated[
    str,
    text(
        r"^sha256:[0-9a-f]{64}$",
        "must be sha256: and 64 lower-case hex digits, for a file as printed by sha256sum",
        max_length=128,
    ),
]

Version = Annotated[
    str,
    text(
        r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        "must be letters, digits, '.', '_' and '-' that begin and end with a letter or digit, as in v2 or 2026-11-24",
        rule(
            "!self.matches('^[0-9]+$')",
            "must not be digits alone, which name a revision by its number: write v2 rather than 2",
        ),
        rule(
            "!self.matches('^[0-9a-f]{10}$')",
            "must not be 10 hex digits, which name a revision: begin it with another letter, as in v0123456789",
        ),
        max_length=63,
    ),
]

_NOT_OURS = rule(
    "!self.lowerAscii().startsWith('x-fairlead-')",
    "must not begin with x-fairlead-, which are the gateway's own headers: choose another, as in x-user",
)

# A gateway removes both from a gRPC call before it chooses the revision; and the value of a match is not secret.
_NO_KEY = rule(
    "!(self.lowerAscii() in ['authorization', 'x-api-key'])",
    "must not be authorization or x-api-key, which have the API key of a client and are removed from gRPC calls:"
    " choose another, as in x-user",
)

HeaderName = Annotated[
    str,
    text(
        r"^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$",
        "must be letters, digits, '_' and '-' that begin and end with a letter or digit, as in x-user",
        _NOT_OURS,
        _NO_KEY,
        max_length=64,
    ),
]

CookieName = Annotated[
    str,
    text(
        r"^[A-Za-z0-9_][A-Za-z0-9._-]*$",
        "must be letters, digits, '.', '_' and '-' that begin with a letter, a digit or '_', as in canary",
        max_length=64,
    ),
]

# Source: RFC 6265, section 4.1.1, cookie-octet
MatchValue = Annotated[
    str,
    text(
        r"^[!#-+\--:<-\[\]-~]+$",
        "must be ASCII characters but no space, '\"', ',', ';' or '\\', as in beta",
        max_length=128,
    ),
]

Cpu = Annotated[
    str,
    BeforeValidator(_number_as_text),
    Field(
        pattern=quantities.CPU,
        json_schema_extra={INT_OR_STRING: True}
        | rules(
            rule(
                f"""type(self) == int ? (self >= 1 && self <= 1024)
                : (string(self).matches('{quantities.CPU}')
                && quantity(string(self)).compareTo(quantity('0')) > 0
                && quantity(string(self)).compareTo(quantity('1024')) <= 0)""",
                "must be a CPU quantity from 1m to 1024 in steps of 1m, such as 500m, 2 or '0.5' (in quotes)",
            )
        ),
    ),
]

_COUNT = "^(0|[1-9][0-9]{0,2}|1000|(0|[1-9][0-9]?|100)%)$"

CountOrPercent = Annotated[
    str,
    BeforeValidator(_number_as_text),
    Field(
        pattern=_COUNT,
        json_schema_extra={INT_OR_STRING: True}
        | rules(
            rule(
                f"""type(self) == int ? (self >= 0 && self <= 1000) : string(self).matches('{_COUNT}')""",
                "must be a number of replicas from 0 to 1000 or a percentage from 0% to 100%, as in 1 or 25%",
            )
        ),
    ),
]

Memory = Annotated[
    str,
    BeforeValidator(_number_as_text),
    Field(
        pattern=quantities.MEMORY,
        json_schema_extra={INT_OR_STRING: True}
        | rules(
            rule(
                f"""type(self) == int ? (self >= 16777216 && self <= 17592186044416)
                : (string(self).matches('{quantities.MEMORY}')
                && quantity(string(self)).compareTo(quantity('16Mi')) >= 0
                && quantity(string(self)).compareTo(quantity('16Ti')) <= 0)""",
                "must be a memory quantity from 16Mi to 16Ti: a whole number of bytes, or with the unit Ki, Mi, Gi, "
                "Ti, k, M, G or T, such as 512Mi",
            )
        ),
    ),
]
