"""Who sends a request by a JSON Web Token, as parts of `rules.cfg`. Pure."""

import hashlib
import importlib.resources
import re
from collections.abc import Iterable, Iterator, Sequence

from fairlead_gateway import settings

_MAP = re.compile(r"jwks(-[0-9a-f]+)?[.]map")
"""Also as an earlier version named it."""

LUA_FILE = "tokens.lua"

TOKEN_BYTES_MAX = 8192
HEADER_CHARACTERS_MAX = 1024
"""The header is read before the signature is checked, so it is bounded more closely."""

_KIND = "must have the typ JWT or at+jwt, or none"
ERRORS = {
    "form": "the token is no JSON Web Token: it must have three parts in base64url, the first two of them JSON objects "
    "without a member twice",
    "size": f"the token is larger than {TOKEN_BYTES_MAX} bytes",
    "header": f"the header of the token is larger than {HEADER_CHARACTERS_MAX} characters",
    "algorithm": "the token must be signed, with an algorithm of its key and without crit in its header",
    "kind": "the header of the token " + _KIND,
    "kid": "the header of the token must name its key (kid)",
    "key": "the token is signed by an unknown key, or with another algorithm than that of the key",
    "signature": "the signature of the token is wrong",
    "dates": "the token must have exp, and exp and nbf must be numbers of seconds since 1970",
    "expired": "the token has expired",
    "early": "the token is not valid yet",
    "issuer": "the token is from another issuer",
    "audience": "the token is for another audience",
    "subject": "the token must name its client (sub) with 1 to 255 bytes without control characters",
    "claim": "the token lacks a claim or a scope that this gateway requires",
}
"""What is said of a token that is refused, by the code that the rules know it by."""


_NOT_ONE = "  http-request set-var(txn.token_error) str(form) if { var(txn.secret) -m found } is_bearer !is_token\n"
"""Where clients have no API keys: with those, what is no token is an unknown key."""


def key_file(name: str) -> str:
    """The file of a key by its name."""
    return f"token-key-{name}.pem"


def map_file(found: settings.Tokens) -> str:
    """The map from `ALGORITHM/KID` of a token to the name of its key, which begins with the algorithm.

    Its name has a digest of the rules. So what runs can be asked whether it judges tokens by these rules.
    """
    digest = hashlib.sha256(repr((sorted(found.algorithms), _rules(found))).encode()).hexdigest()
    return f"jwks-{digest[:16]}.map"


def find_map(files: Iterable[str]) -> str | None:
    """The map of keys among those of a configuration, whatever its rules; None where clients send no tokens."""
    return next((each for each in files if _MAP.fullmatch(each)), None)


def script() -> str:
    """What reads and judges the objects of a token, as Lua."""
    return importlib.resources.files(__package__).joinpath(LUA_FILE).read_text()


def load_line(found: settings.Tokens | None) -> str:
    """The line of the section `global`; none where clients send no tokens."""
    if found is None:
        return ""
    return f"  lua-load {LUA_FILE} {' '.join(map(_quote, _rules(found)))}\n"


def _rules(found: settings.Tokens) -> list[str]:
    """What the script is loaded with."""
    return [
        f"issuer={found.issuer}",
        f"skew={found.clock_skew_s}",
        *(f"audience={each}" for each in found.audiences),
        *(f"claim={each.name} {' '.join(each.values)}" for each in found.required_claims),
    ]


def lookup_text(found: settings.Tokens | None, keys: Sequence[str], *, has_api_keys: bool) -> str | None:
    """How the client of a request is found by its token, with the names of the keys; None where clients send none.

    The signature comes first: a token without a right one costs no Lua, which reads only the issuer's words. Before it,
    HAProxy itself takes `alg` and `kid` to find the key; Lua then says whether a strict reader finds the same ones.

    The key decides the algorithm. `txn.token_error` has the code of `ERRORS` where a token was sent and is no good.
    """
    if found is None:
        return None
    one = "{ var(txn.token) -m found }"
    named = f"{one} has_algorithm has_kid"
    right = "{ var(txn.signed) -m int 1 }"
    not_one = "" if has_api_keys else _NOT_ONE
    return f"""  # The client, by its token.
  acl is_token var(txn.secret) -m reg ^[A-Za-z0-9_-]+[.][A-Za-z0-9_-]+[.][A-Za-z0-9_-]*$
  acl is_small_token var(txn.secret) -m len 1:{TOKEN_BYTES_MAX}
  acl is_small_header var(txn.secret),field(1,.) -m len 1:{HEADER_CHARACTERS_MAX}
  http-request set-var(txn.token) var(txn.secret) if is_bearer is_token is_small_token is_small_header !is_known
  http-request set-var(txn.token_error) str(size) if is_bearer is_token !is_small_token !is_known
  http-request set-var(txn.token_error) str(header) if is_bearer is_token is_small_token !is_small_header !is_known
{not_one}  http-request set-var(txn.token_alg) var(txn.token),jwt_header_query('$.alg') if {one}
  http-request set-var(txn.token_kid) var(txn.token),jwt_header_query('$.kid') if {one}
  acl is_object var(txn.token_alg) -m found
  acl is_object var(txn.token_kid) -m found
  acl has_algorithm var(txn.token_alg) -m reg ^[EPR]S[0-9]{{3}}$
  acl has_kid var(txn.token_kid) -m reg ^[A-Za-z0-9._~:/+=@-]{{1,128}}$
  http-request set-var(txn.token_error) str(form) if {one}
  http-request set-var(txn.token_error) str(algorithm) if {one} is_object !has_algorithm
  http-request set-var(txn.token_error) str(kid) if {one} has_algorithm !has_kid
  http-request set-var(txn.token_error) str(key) if {named}
  http-request set-var-fmt(txn.token_id) %[var(txn.token_alg)]/%[var(txn.token_kid)] if {named}
  http-request set-var(txn.token_key) var(txn.token_id),map_str({map_file(found)},none) if {named}
{"".join(_verify_lines(keys))}  http-request set-var(txn.token_error) str(signature) if {{ var(txn.signed) -m found }}
  http-request set-var(txn.token_error) str(form) if {right}
  http-request set-var(txn.claims) lua.token if {right}
  http-request set-var(txn.token_error) var(txn.claims) if {{ var(txn.claims) -m found }}
  http-request set-var(txn.client) var(txn.claims) if {{ var(txn.claims) -m beg sub: }}
  http-request unset-var(txn.token_error) if is_known
  http-request unset-var(txn.token)
"""


def error_text() -> str:
    """What is said of a token that is refused, on both ways of a call and on the one of a request."""
    lines = ["  http-request set-var(txn.token_error) path,field(4,/) if is_call { path_beg /rpc/unauthenticated/ }\n"]
    for code, words in ERRORS.items():
        asked = f"{{ var(txn.token_error) -m str {code} }}"
        lines.append(f"""  http-request set-var(txn.token_words) 'str("{words}")' if {asked}\n""")
    return "".join(lines)


def refusal_lines(condition: str) -> str:
    """The answer to a request with a token that is no good. One that lacks a claim is of a known client.

    Source: https://www.rfc-editor.org/rfc/rfc6750#section-3
    """
    answers = (("403", "insufficient_scope", "-m str claim"), ("401", "invalid_token", "-m found"))
    words = 'error_description="%[var(txn.token_words)]"'
    return "".join(
        f"  http-request return status {status} content-type application/json"
        f""" hdr www-authenticate 'Bearer realm="fairlead", error="{error}", {words}'"""
        f""" lf-string '{{"error":"%[var(txn.token_words)]"}}' if {condition} {{ var(txn.token_error) {match} }}\n"""
        for status, error, match in answers
    )


def _verify_lines(keys: Sequence[str]) -> Iterator[str]:
    """One rule a key, with the algorithm of the key. A token without a key is not checked."""
    for name in keys:
        algorithm = name.partition("-")[0]
        yield (
            f"  http-request set-var(txn.signed) var(txn.token),jwt_verify({algorithm},{key_file(name)})"
            f" if {{ var(txn.token_key) -m str {name} }}\n"
        )


def _quote(text: str) -> str:
    """One word of the configuration. What `settings.Tokens` allows has no quotation mark."""
    return f"'{text}'"
