"""Who may send what to the gateway, as parts of `rules.cfg`. Pure."""

from collections.abc import Mapping

from fairlead_gateway import settings
from fairlead_gateway.haproxy import tokens

TLS_FILE = "tls.pem"
"""The certificate of the data port with its chain and its key."""

INTERNAL_HANDOVER_SOCKET = "handover-internal.sock"

KEY_MAP = "keys.map"
"""From the SHA-256 of an API key, in upper-case hexadecimal digits, to the name of its client."""

_KEY_NEEDED = "exactly one known API key: send the header authorization: Bearer KEY, or x-api-key: KEY"
_JWT_NEEDED = "exactly one token: send the header authorization: Bearer TOKEN, and no x-api-key"
_EITHER_NEEDED = (
    "exactly one token or known API key: send the header authorization: Bearer TOKEN or KEY, or x-api-key: KEY"
)
_OPEN = (
    "/v2/health/live /v2/health/ready /inference.GRPCInferenceService/ServerLive"
    " /inference.GRPCInferenceService/ServerReady /grpc.health.v1.Health/Check"
)
"""Paths that need no credential: what probes and load balancers ask."""

CLIENTS_MAX = 100_000
"""Clients whose rate is kept at a time; beyond that the one that was idle longest starts afresh."""

_SHARE = 100
"""Each request counts as so many, so that HAProxy's estimate of a rate is exact to a hundredth of a request."""

_TOO_MANY = '{"error":"the client sends more requests than it may; send fewer, or try again after retry-after seconds"}'

GUESSES_PER_S = 20
"""Requests with unknown keys of one address that get 401 in a second; more get 429."""

HEALTH_CALLS_PER_S = 200
"""Calls of gRPC health of one address that are answered in a second: they need no key, and the agent answers them.

HAProxy can't answer them itself: after a message gRPC needs trailers, and `http-request return` sends none. So the
limit is far above what probes send.
"""

_ADDRESS = "src,ipmask(32,64)"
"""Who has no key. An address of IPv6 counts by its network of 64 bits, which one host may have whole."""

_NOT_FOR_CLIENTS = '{"error":"this port is for the operator and for replicas; clients use the data port"}'


def internal_texts(address: str | None) -> Mapping[str, str]:
    """The port of the operator and of replicas, at `HOST:PORT`; nothing where there is none.

    Proofs and reads take no input of a client, and a replica refuses a copy that no replica sent. The second listener
    gets the requests of a worker that a reload has replaced.
    """
    if address is None:
        return dict.fromkeys(
            (
                "INTERNAL_BINDS",
                "INTERNAL_CALLS",
                "INTERNAL_PATHS",
                "INTERNAL_RULES",
                "INTERNAL_HANDOVER",
                "INTERNAL_BACKEND",
            ),
            "",
        )
    refusal = f"  http-request return status 403 content-type application/json string '{_NOT_FOR_CLIENTS}'"
    return {
        "INTERNAL_BINDS": (
            f"  bind {address} name internal\n"
            f"  bind unix@{INTERNAL_HANDOVER_SOCKET} mode 600 accept-proxy name internal\n"
        ),
        "INTERNAL_CALLS": f"{refusal} if is_rpc {{ so_name internal }}\n",
        "INTERNAL_PATHS": f"{refusal} if {{ so_name internal }} of_repository\n",
        # A copy is a prediction. The candidate checks its mark.
        "INTERNAL_RULES": (
            f"{refusal} if {{ so_name internal }} !of_proof !is_copy !METH_GET\n"
            f"{refusal} if {{ so_name internal }} is_copy !METH_POST\n"
            f"{refusal} if {{ so_name internal }} of_feedback\n"
        ),
        "INTERNAL_HANDOVER": "  use_backend internal_handover if is_replaced { so_name internal }\n",
        "INTERNAL_BACKEND": f"""backend internal_handover from base
  http-reuse never
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response
  timeout server 1d
  server self unix@{INTERNAL_HANDOVER_SOCKET} send-proxy-v2

""",
    }


def authentication_texts(*, has_api_keys: bool, by_token: str | None) -> Mapping[str, str]:
    """Who sends a request, and the refusal of those who don't say it; nothing where nobody has to.

    A request is judged before its body has come, and the body of one that is refused is not waited for. A gRPC call is
    judged on its first way through the frontend, and refused on the second one, as all calls are. The key stays in a
    request that goes to another worker, which judges it by itself. A lookup of the key's digest takes no longer for a
    key that is nearly right. `by_token` is `tokens.lookup_text`.

    Unknown keys count for the address that they come from, which can be that of many clients, as of a load balancer. So
    a known key is never refused for them.
    """
    if not has_api_keys and by_token is None:
        return {
            "BODY_WAIT": "unless is_stream",
            **dict.fromkeys(("CLIENT", "CALLER", "REFUSED_CALLS", "REFUSED", "CREDENTIALS"), ""),
        }
    has_tokens = by_token is not None
    what = "unknown API keys" if not has_tokens else "unknown API keys or tokens" if has_api_keys else "unknown tokens"
    words = f"too many requests with {what} come from this address; try again after retry-after seconds"
    guessing = _refusal_text(429, "retry-after 1", words)
    needed = _KEY_NEEDED if not has_tokens else _EITHER_NEEDED if has_api_keys else _JWT_NEEDED
    refusal = _refusal_text(401, "www-authenticate 'Bearer realm=\"fairlead\"'", f"the request needs {needed}")
    is_refused_call = "is_call { path_beg /rpc/unauthenticated }"
    bad_call = tokens.refusal_lines(is_refused_call) if has_tokens else ""
    bad_token = tokens.error_text() + tokens.refusal_lines("!is_exempt !is_known") if has_tokens else ""
    return {
        "CLIENT": _lookup_text(has_api_keys=has_api_keys, by_token=by_token),
        "BODY_WAIT": "if is_replaced !is_stream or !is_stream !is_refused",
        "CALLER": """  http-request set-var-fmt(txn.rpc_path) /rpc/%[var(txn.refused)] if is_rpc is_refused
  http-request del-header authorization if is_rpc
  http-request del-header x-api-key if is_rpc
""",
        "REFUSED_CALLS": (
            f"{bad_call}{refusal} if {is_refused_call}\n{guessing} if is_call {{ path /rpc/guessing }}\n"
        ),
        "REFUSED": f"{guessing} if is_guessing !is_known\n{bad_token}{refusal} if !is_exempt !is_known\n",
        "CREDENTIALS": """  # No replica gets a key or a token.
  http-request del-header authorization if !is_replaced
  http-request del-header x-api-key if !is_replaced
""",
    }


def _refusal_text(status: int, header: str, words: str) -> str:
    """An answer that says why a request is refused, without its condition."""
    answer = f"return status {status} content-type application/json hdr {header}"
    return f'  http-request {answer} string \'{{"error":"{words}"}}\''


def _lookup_text(*, has_api_keys: bool, by_token: str | None) -> str:
    """How the client of a request is found by its key or its token."""
    digest = f"var(txn.secret),sha2(256),hex,map_str({KEY_MAP})"
    by_key = f"  http-request set-var(txn.client) {digest} if {{ var(txn.secret) -m found }}\n" if has_api_keys else ""
    is_bad = "{ var(txn.token_error) -m found }"
    code = "unauthenticated/%[var(txn.token_error)]"
    reason = "" if by_token is None else f"  http-request set-var-fmt(txn.refused) {code} if {is_bad}\n"
    return f"""  # The client, by its key.
  http-request set-var(txn.credentials) req.fhdr_cnt(x-api-key) if !is_exempt !is_open
  http-request set-var(txn.credentials) req.fhdr_cnt(authorization),add(txn.credentials) if !is_exempt !is_open
  http-request set-var(txn.secret) req.fhdr(x-api-key) if {{ var(txn.credentials) -m int 1 }}
  acl is_bearer req.fhdr(authorization) -m reg -i ^bearer\\x20+[!-~]+\\x20*$
  http-request set-var(txn.secret) req.fhdr(authorization),word(2,\\ ) if {{ var(txn.credentials) -m int 1 }} is_bearer
{by_key}  acl is_known var(txn.client) -m found
{by_token or ""}  # How many keys that nobody has come from an address.
  http-request track-sc4 {_ADDRESS},sha2(256) table addresses if {{ var(txn.secret) -m found }} !is_known
  http-request set-var(txn.guesses) sc_gpc_rate(0,4) if {{ var(txn.secret) -m found }} !is_known
  acl is_guessing var(txn.guesses) -m int ge {GUESSES_PER_S * _SHARE}
  http-request sc-add-gpc(0,4) {_SHARE} if {{ var(txn.secret) -m found }} !is_known
  http-request unset-var(txn.secret)
  http-request set-var(txn.refused) str(unauthenticated) if !is_exempt !is_open !is_known
{reason}  http-request set-var(txn.refused) str(guessing) if is_guessing
  acl is_refused var(txn.refused) -m found
"""


def rate_limit_texts(limit: settings.RateLimit | None, *, is_authenticated: bool) -> Mapping[str, str]:
    """The refusal of a client that sends too much; nothing where nobody is limited.

    The rate is that of the requests that were let through, so a client that sends too much gets its share all the same.
    What was held by a worker that a reload has replaced was let through there. Calls of health by gRPC have a limit of
    their own for each address.
    """
    if not is_authenticated and limit is None:
        return dict.fromkeys(("EXEMPTION", "HEALTH", "RATE", "LIMITED_CALLS", "LIMITED", "ADDRESSES", "CLIENTS"), "")
    refusal = f"  http-request return status 429 content-type application/json hdr retry-after 1 string '{_TOO_MANY}'"
    common = {
        # Who is never judged: calls on their second way, the operator and replicas; and what everybody may ask.
        "EXEMPTION": (
            "  acl is_exempt so_name rpc internal\n  acl is_exempt var(txn.direct) -m bool\n"
            f"  acl is_open path {_OPEN}\n"
        ),
        "HEALTH": f"""  # How often an address asks without a key.
  http-request track-sc4 {_ADDRESS},sha2(256) table addresses if is_rpc is_open
  http-request set-var(txn.health) sc_gpc_rate(1,4) if is_rpc is_open
  acl is_pressing var(txn.health) -m int ge {HEALTH_CALLS_PER_S * _SHARE}
  http-request sc-add-gpc(1,4) {_SHARE} if is_rpc is_open !is_pressing
  http-request set-var(txn.rpc_path) str(/rpc/limited) if is_rpc is_pressing
""",
        "LIMITED_CALLS": f"{refusal} if is_call {{ path /rpc/limited }}\n",
        "ADDRESSES": f"""backend addresses from base
  stick-table type binary len 32 size {CLIENTS_MAX} expire 10s store gpc(2),gpc_rate(2,1s)

""",
    }
    if limit is None:
        return {**common, **dict.fromkeys(("RATE", "LIMITED", "CLIENTS"), "")}
    who = "var(txn.client),sha2(256)" if is_authenticated else f"{_ADDRESS},sha2(256)"
    counted = "!is_exempt !is_open !is_passed_on" + (" is_known" if is_authenticated else "")
    excess = f"sc_gpc_rate(0,3),add({_SHARE}),sub({limit.burst * _SHARE})"
    kept_ms = max(limit.period_ms * 2, 10_000)
    table = f"type binary len 32 size {CLIENTS_MAX} expire {kept_ms}ms store gpc(1),gpc_rate(1,{limit.period_ms})"
    return {
        **common,
        "RATE": f"""  # How much the client has sent.
  http-request track-sc3 {who} table clients if {counted}
  http-request set-var(txn.over) {excess} if {counted}
  acl is_over var(txn.over) -m int gt 0
  http-request sc-add-gpc(0,3) {_SHARE} if {{ var(txn.over) -m found }} !is_over
  http-request set-var(txn.rpc_path) str(/rpc/limited) if is_rpc is_over
""",
        "LIMITED": f"{refusal} if is_over\n",
        "CLIENTS": f"backend clients from base\n  stick-table {table}\n\n",
    }
