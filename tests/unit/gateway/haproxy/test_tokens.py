"""Which JSON Web Tokens a real HAProxy takes, without an agent: right ones of each algorithm, and hostile ones."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives import hashes, hmac
from tests.support import bare_haproxy, lua_calls, web_tokens
from tests.support.until import until
from tests.support.web_tokens import Key, claims, encode, make_key

from fairlead_gateway import settings
from fairlead_gateway.haproxy import access, config, jwks, tokens
from fairlead_gateway.haproxy.wanted import map_text

LET_THROUGH = 404
"""HAProxy has no route."""

METADATA = "/inference.GRPCInferenceService/ModelMetadata"
KEYS = {each: make_key(f"{each}-key", each) for each in settings.ALGORITHMS}
RSA, EC = KEYS["RS256"], KEYS["ES256"]


@dataclass(frozen=True)
class Answer:
    """What became of a request: the error, and what the header www-authenticate says."""

    status: int
    error: str
    header: str | None


@dataclass
class Asked:
    """A HAProxy that takes the tokens of `KEYS`."""

    port: int
    requirements: list[str] = field(default_factory=list)

    def ask(self, *headers: tuple[str, str], path: str = "/v2/models/digits/infer") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest("POST", path)
            for name, value in (*headers, ("content-length", "2")):
                connection.putheader(name, value)
            connection.endheaders(b"{}")
            answer = connection.getresponse()
            return Answer(answer.status, json.loads(answer.read())["error"], answer.getheader("www-authenticate"))
        finally:
            connection.close()

    def send(self, token: str) -> Answer:
        return self.ask(("authorization", f"Bearer {token}"))

    def call(self, *metadata: tuple[str, str]) -> tuple[grpc.StatusCode, str]:
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(METADATA)(b"\x0a\x06digits", timeout=60, metadata=metadata)
            return refused.value.code(), str(refused.value.details())


def options(*requirements: settings.RequiredClaim, **more: object) -> tuple[config.Options, dict[str, str]]:
    found = jwks.parse(web_tokens.key_set(KEYS.values()).encode(), settings.ALGORITHMS)
    assert (len(found.pems), found.refused) == (len(KEYS), {})
    accepted = settings.Tokens(
        jwks=Path("jwks.json"),
        issuer=web_tokens.ISSUER,
        audiences=("other", web_tokens.AUDIENCE),
        clock_skew_s=30,
        required_claims=requirements,
    )
    made = config.Options(
        version="0.1.0", max_connections=100, tokens=accepted, token_keys=tuple(sorted(found.pems)), **more
    )  # type: ignore[arg-type]
    files = {tokens.map_file(accepted): map_text(found.names or {}), access.KEY_MAP: ""}
    return made, files | {tokens.key_file(name): pem for name, pem in found.pems.items()}


@pytest.fixture(scope="module", autouse=True)
def _patient() -> Iterator[None]:
    """So many bad tokens of one address are not what these tests are about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(access, "GUESSES_PER_S", 100_000)
        yield


@pytest.fixture(scope="module")
def asked(_patient: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with bare_haproxy.running(tmp_path_factory.mktemp("tokens"), *options()) as port:
        yield Asked(port)


@pytest.mark.parametrize("algorithm", settings.ALGORITHMS)
def test_a_token_of_each_algorithm_is_accepted_and_one_with_another_signature_is_not(
    asked: Asked, algorithm: str
) -> None:
    key = KEYS[algorithm]
    assert asked.send(key.token()).status == LET_THROUGH
    assert asked.call(("authorization", f"Bearer {key.token()}"))[0] is grpc.StatusCode.NOT_FOUND
    stranger = make_key(key.kid, algorithm).token()
    assert asked.send(stranger) == refusal("signature")
    head, body, signature = key.token().split(".")
    other_body = encode(json.dumps(claims(sub="admin")).encode())
    assert asked.send(f"{head}.{other_body}.{signature}") == refusal("signature")
    assert asked.send(f"{head}.{body}.{signature[:-8]}") == refusal("signature")
    assert asked.send(f"{head}.{body}.{signature}{'A' * 400}") == refusal("signature")


def refusal(code: str) -> Answer:
    words = tokens.ERRORS[code]
    status, error = (403, "insufficient_scope") if code == "claim" else (401, "invalid_token")
    return Answer(status, words, f'Bearer realm="fairlead", error="{error}", error_description="{words}"')


def unsigned(algorithm: object, signature: str = "", **header: object) -> str:
    head = encode(json.dumps({"alg": algorithm, "kid": RSA.kid, "typ": "JWT", **header}).encode())
    return f"{head}.{encode(json.dumps(claims()).encode())}.{signature}"


def signed_with_the_public_key(algorithm: str) -> str:
    """As a library checks it that takes the algorithm from the token: the public key is then the secret of both."""
    text = unsigned(algorithm).rstrip(".")
    digest = hmac.HMAC(RSA.public_pem, hashes.SHA256())
    digest.update(text.encode())
    return f"{text}.{encode(digest.finalize())}"


def header(key: Key = RSA, **changed: object) -> dict[str, object]:
    made = {"alg": key.algorithm, "kid": key.kid, "typ": "JWT", **changed}
    return {name: value for name, value in made.items() if value is not None}


HEADERS: dict[str, tuple[Callable[[], str], str]] = {
    "none": (lambda: unsigned("none"), "algorithm"),
    "None": (lambda: unsigned("None"), "algorithm"),
    "none with a signature": (lambda: unsigned("none", "AAAA"), "algorithm"),
    "the public key as a secret": (lambda: signed_with_the_public_key("HS256"), "algorithm"),
    "no algorithm": (lambda: RSA.token(header=header(alg=None)), "algorithm"),
    "a list of algorithms": (lambda: RSA.token(header=header(alg=["RS256"])), "algorithm"),
    "another algorithm of the same key": (lambda: RSA.token(header=header(alg="RS512")), "key"),
    "PSS with a key of PKCS": (lambda: Key(RSA.kid, "PS256", RSA.private).token(), "key"),
    "an algorithm that nobody has": (lambda: RSA.token(header=header(alg="RS999")), "key"),
    "no kid": (lambda: RSA.token(header=header(kid=None)), "kid"),
    "a number as kid": (lambda: RSA.token(header=header(kid=1)), "key"),
    "an empty kid": (lambda: RSA.token(header=header(kid="")), "kid"),
    "a long kid": (lambda: RSA.token(header=header(kid="k" * 129)), "kid"),
    "a kid with a line break": (lambda: RSA.token(header=header(kid="a\nb")), "kid"),
    "a kid that is a path": (lambda: RSA.token(header=header(kid="../../dev/null")), "key"),
    "an unknown kid": (lambda: RSA.token(header=header(kid="nobody")), "key"),
    "the kid of another key": (lambda: RSA.token(header=header(kid=EC.kid)), "key"),
    "a key in the header": (lambda: make_key("own").token(header=header(EC, kid="own", jwk=EC.jwk())), "key"),
    "a critical extension": (lambda: RSA.token(header=header(crit=["exp"])), "algorithm"),
    "another kind": (lambda: RSA.token(header=header(typ="logout+jwt")), "kind"),
    "a long header": (lambda: RSA.token(header=header(x5c=["A" * 1000])), "header"),
    "a key that HAProxy reads in another way": (
        lambda: RSA.token(header='{"a":{},"alg":"RS256","kid":"RS256-key","\\u006bid":"x"}'),
        "form",
    ),
    "an object and more behind a nul character": (
        lambda: RSA.token(header=json.dumps(header()) + '\0,"crit":1}'),
        "form",
    ),
    "two algorithms": (lambda: RSA.token(header='{"alg":"RS256","alg":"none","kid":"RS256-key"}'), "form"),
    "a header that is a list": (lambda: RSA.token(header="[]"), "form"),
    "a header that is no JSON": (lambda: RSA.token(header="alg"), "form"),
    "no header": (lambda: "." + RSA.token().partition(".")[2], "form"),
    "four parts": (lambda: RSA.token() + ".AAAA", "form"),
    "two parts": (lambda: RSA.token().rpartition(".")[0], "form"),
    "padding": (lambda: RSA.token() + "=", "form"),
    "no token": (lambda: "an-api-key-0123456789", "form"),
    "a large one": (lambda: RSA.token(claims(more="x" * 6500)), "size"),
    "a very large signature": (lambda: EC.token().rpartition(".")[0] + "." + "A" * 22_000, "size"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_token_with_another_form_or_header_is_refused(asked: Asked, case: str) -> None:
    token, code = HEADERS[case]
    assert asked.send(token()) == refusal(code)


def body(text: str) -> str:
    """The text of claims with what changes in each test: NOW is the time, and REST what a token needs besides."""
    rest = f'"iss":"{web_tokens.ISSUER}","aud":"models","sub":"a"'
    return text.replace("REST", rest).replace("NOW", str(int(time.time())))


BODIES: dict[str, tuple[str, str]] = {
    "expired": ('{REST,"exp":1700000000}', "expired"),
    "no exp": ("{REST}", "dates"),
    "exp as text": ('{REST,"exp":"9999999999"}', "dates"),
    "exp is true": ('{REST,"exp":true}', "dates"),
    "exp is null": ('{REST,"exp":null}', "dates"),
    "exp in a list": ('{REST,"exp":[9999999999]}', "dates"),
    "exp in another object alone": ('{REST,"a":{"exp":9999999999}}', "dates"),
    "exp in another object first": ('{"a":{"exp":9999999999},REST,"exp":1700000000}', "expired"),
    "exp twice": ('{REST,"exp":9999999999,"exp":1700000000}', "form"),
    "exp twice, the other way": ('{REST,"exp":1700000000,"exp":9999999999}', "form"),
    "exp once more with an escape": ('{REST,"exp":1700000000,"\\u0065xp":9999999999}', "form"),
    "exp behind an escaped quotation mark": ('{REST,"x\\",\\"exp\\":9999999999,\\"y":1}', "dates"),
    "exp within a text": ('{REST,"a":"\\",\\"exp\\":9999999999"}', "dates"),
    "exp with a unit": ('{REST,"exp":9999999999s}', "form"),
    "exp as a hexadecimal number": ('{REST,"exp":0xffffffffff}', "form"),
    "exp far in the future": ('{REST,"exp":1e300}', "dates"),
    "exp below zero": ('{REST,"exp":-1}', "dates"),
    "a nul character behind exp": ('{REST,"exp\\u0000":9999999999}', "dates"),
    "a member twice in another object": ('{REST,"exp":9999999999,"a":{"b":1,"b":2}}', "form"),
    "not valid yet": ('{REST,"exp":9999999999,"nbf":4000000000}', "early"),
    "not valid yet, with an exponent": ('{REST,"exp":9999999999,"nbf":4e9}', "early"),
    "not valid yet, too large for 64 bits": ('{REST,"exp":9999999999,"nbf":99999999999999999999}', "dates"),
    "nbf as text": ('{REST,"exp":9999999999,"nbf":"1"}', "dates"),
    "another issuer": ('{"iss":"https://evil.example.org","aud":"models","sub":"a","exp":9999999999}', "issuer"),
    "an issuer with more": ('{"iss":"ISSUER/","aud":"models","sub":"a","exp":9999999999}', "issuer"),
    "a list of issuers": ('{"iss":["ISSUER"],"aud":"models","sub":"a","exp":9999999999}', "issuer"),
    "no issuer": ('{"aud":"models","sub":"a","exp":9999999999}', "issuer"),
    "another audience": ('{"iss":"ISSUER","aud":"model","sub":"a","exp":9999999999}', "audience"),
    "other audiences": ('{"iss":"ISSUER","aud":["a","b",["models"]],"sub":"a","exp":9999999999}', "audience"),
    "a list as text": ('{"iss":"ISSUER","aud":"[\\"models\\"]","sub":"a","exp":9999999999}', "audience"),
    "no audience": ('{"iss":"ISSUER","sub":"a","exp":9999999999}', "audience"),
    "an empty list": ('{"iss":"ISSUER","aud":[],"sub":"a","exp":9999999999}', "audience"),
    "no subject": ('{"iss":"ISSUER","aud":"models","exp":9999999999}', "subject"),
    "an empty subject": ('{"iss":"ISSUER","aud":"models","sub":"","exp":9999999999}', "subject"),
    "a subject with a line break": ('{"iss":"ISSUER","aud":"models","sub":"a\\nb","exp":9999999999}', "subject"),
    "more behind the object": ('{REST,"exp":9999999999} {}', "form"),
    "a nul character behind the object": ('{REST,"exp":9999999999}\0', "form"),
    "another object behind a nul character": ('{REST,"exp":9999999999}\0{"sub":"admin","exp":1}', "form"),
    "a comma at the end": ('{REST,"exp":9999999999,}', "form"),
    "half an object": ('{REST,"exp":9999999999', "form"),
    "a list": ('[{REST,"exp":9999999999}]', "form"),
    "a comment": ('{/**/REST,"exp":9999999999}', "form"),
    "one quotation mark": ("{REST,\"exp\":9999999999,'a':1}", "form"),
    "a lone surrogate": ('{REST,"exp":9999999999,"a":"\\ud800"}', "form"),
    "a deep list": ('{REST,"exp":9999999999,"a":' + "[" * 40 + "]" * 40 + "}", "form"),
    "nothing": ("", "form"),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_token_that_its_issuer_signed_with_other_claims_is_refused(asked: Asked, case: str) -> None:
    text, code = BODIES[case]
    assert asked.send(EC.token(body(text.replace("ISSUER", web_tokens.ISSUER)))) == refusal(code)


def test_bytes_that_are_no_utf_8_are_refused(asked: Asked) -> None:
    head = encode(json.dumps(header(EC)).encode())
    written = body('{REST,"exp":9999999999,"a":"X"}').encode().replace(b"X", bytes([0xFF]))
    text = f"{head}.{encode(written)}"
    assert asked.send(f"{text}.{encode(EC.sign(text))}") == refusal("form")


@pytest.mark.parametrize(
    "text",
    [
        '{REST,"exp":9999999999}',
        ' {\n"exp" : 9999999999.5 ,\tREST } ',
        '{REST,"exp":1e10,"nbf":1.5E+3}',
        '{"iss":"ISSUER","aud":["other one","models"],"sub":"\\u00e4\\ud83d\\ude00","exp":9999999999}',
        '{"iss":"ESCAPED","aud":"other","sub":"a","exp":9999999999}',
        '{REST,"exp":9999999999,"act":{"sub":"b","exp":1,"iss":"c"},"l":[{},[],null,true,-0.5],"e":"\\"\\\\\\/\\b"}',
    ],
)
def test_a_token_that_is_written_in_another_way_is_accepted(asked: Asked, text: str) -> None:
    """PHP escapes each slash."""
    escaped = web_tokens.ISSUER.replace("/", "\\/")
    written = body(text.replace("ISSUER", web_tokens.ISSUER).replace("ESCAPED", escaped))
    assert asked.send(EC.token(written)).status == LET_THROUGH


def test_a_token_reaches_lua_only_by_a_right_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lua takes milliseconds for a large text, in the one thread of all clients."""
    counted = lua_calls.COUNTING + tokens.script()
    monkeypatch.setattr(tokens, "script", lambda: counted)
    with bare_haproxy.running(tmp_path, *options()) as port:
        asked = Asked(port)
        assert asked.send(EC.token()).status == LET_THROUGH
        reached = (tmp_path / "reached").read_text()
        assert reached, "it counts"
        numbers = "[" + ",".join("1" * 2500) + "]"
        large = encode(f'{{"alg":"ES256","kid":"{EC.kid}","x":{numbers}}}'.encode())
        _, claimed, signature = EC.token().split(".")
        for token, code in (
            (f"{large}.{claimed}.{signature}", "header"),
            (f"{encode(b'[1,1,1,1]')}.{claimed}.{signature}", "form"),
            (EC.token(header=header(EC, kid="nobody")), "key"),
            (make_key(EC.kid).token(), "signature"),
            (unsigned("none"), "algorithm"),
        ):
            assert asked.send(token) == refusal(code)
        assert (tmp_path / "reached").read_text() == reached


def test_clocks_may_differ_by_half_a_minute(asked: Asked) -> None:
    now = int(time.time())
    for changed, code in (
        ({"exp": now - 5}, None),
        ({"exp": now - 31}, "expired"),
        ({"nbf": now + 20}, None),
        ({"nbf": now + 600}, "early"),
    ):
        answer = asked.send(EC.token(claims(**changed)))
        assert answer == refusal(code) if code is not None else answer.status == LET_THROUGH, changed


def test_a_token_is_one_header_alone(asked: Asked) -> None:
    token = RSA.token()
    right, key = ("authorization", f"Bearer {token}"), ("x-api-key", token)
    words = "the request needs exactly one token: send the header authorization: Bearer TOKEN, and no x-api-key"
    for headers in ((), (right, right), (right, key), (key,), (("authorization", token),)):
        answer = asked.ask(*headers)
        assert (answer.status, answer.error, answer.header) == (401, words, 'Bearer realm="fairlead"'), headers
    for name in ("access_token", "token", "authorization"):
        assert asked.ask(path=f"/v2/models/digits/infer?{name}={token}").status == 401
    assert asked.ask(("cookie", f"authorization=Bearer {token}")).status == 401
    assert asked.ask(("authorization", f"bearer   {token}")).status == LET_THROUGH


def test_a_call_is_refused_in_the_form_of_grpc(asked: Asked) -> None:
    late = EC.token(claims(exp=1))
    assert asked.call(("authorization", f"Bearer {late}")) == (grpc.StatusCode.UNAUTHENTICATED, "the token has expired")
    assert asked.call()[0] is grpc.StatusCode.UNAUTHENTICATED


def test_a_token_needs_each_claim_that_is_required(tmp_path: Path) -> None:
    scope = settings.RequiredClaim(name="scope", values=("models.read", "models.admin"))
    groups = settings.RequiredClaim(name="https://example.org/groups", values=("data science"[:4], "ml"))
    with bare_haproxy.running(tmp_path, *options(scope, groups)) as port:
        asked = Asked(port)
        name = "https://example.org/groups"
        for changed, is_enough in (
            ({"scope": "openid models.read", name: "ml"}, True),
            ({"scope": ["models.admin"], name: ["x", "data"]}, True),
            ({"scope": "models.read.not", name: "ml"}, False),
            ({"scope": "models.read"}, False),
            ({"scope": "models.read", name: "ml data"}, False),
            ({"scope": "models.read", name: {"ml": "ml"}}, False),
            ({"scope": True, name: "ml"}, False),
            ({"a": {"scope": "models.read", name: "ml"}}, False),
        ):
            token = EC.token(claims(**changed))
            answer = asked.send(token)
            assert answer.status == LET_THROUGH if is_enough else answer == refusal("claim"), changed
        code, words = asked.call(("authorization", f"Bearer {EC.token()}"))
        assert (code, words) == (grpc.StatusCode.PERMISSION_DENIED, tokens.ERRORS["claim"])


def test_a_rate_counts_by_the_subject_of_a_token_and_never_as_the_client_of_a_key(tmp_path: Path) -> None:
    made, files = options(rate_limit=settings.RateLimit(requests_per_second=1, burst=20), has_api_keys=True)
    key = "team-a-key-0123456789"
    with bare_haproxy.running(tmp_path, made, files | {access.KEY_MAP: f"{digest(key)} team-a\n"}) as port:
        asked = Asked(port)
        first, second = EC.token(claims(sub="team-a")), RSA.token(claims(sub="team-a", jti="1"))
        until(lambda: 429 in {asked.send(first).status for _ in range(40)}, "the limit of team-a")
        assert asked.send(second).status == 429, "another token of the same client"
        assert asked.send(EC.token(claims(sub="team-b"))).status == LET_THROUGH
        assert asked.ask(("x-api-key", key)).status == LET_THROUGH


def test_with_api_keys_either_one_is_enough(tmp_path: Path) -> None:
    made, files = options(has_api_keys=True)
    key = "team-a-key-0123456789"
    with bare_haproxy.running(tmp_path, made, files | {access.KEY_MAP: f"{digest(key)} team-a\n"}) as port:
        asked = Asked(port)
        assert asked.send(RSA.token()).status == LET_THROUGH
        assert asked.send(key).status == LET_THROUGH
        assert asked.ask(("x-api-key", key)).status == LET_THROUGH
        assert asked.ask(("authorization", f"Bearer {RSA.token()}"), ("x-api-key", key)).status == 401
        words = (
            "the request needs exactly one token or known API key: send the header authorization: Bearer TOKEN or KEY,"
            " or x-api-key: KEY"
        )
        assert asked.send("nobodys-key-0123456789") == Answer(401, words, 'Bearer realm="fairlead"')
        assert asked.send(RSA.token(claims(exp=1))) == refusal("expired")


def test_an_address_that_sends_many_bad_tokens_gets_429_for_them_and_no_other_client_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "GUESSES_PER_S", 2)
    with bare_haproxy.running(tmp_path, *options()) as port:
        asked = Asked(port)
        bad, words = RSA.token(claims(exp=1)), "too many requests with unknown tokens come from this address"
        until(lambda: asked.send(bad).error.startswith(words), "too many")
        assert asked.send(RSA.token()).status == LET_THROUGH


def digest(key: str) -> str:
    made = hashes.Hash(hashes.SHA256())
    made.update(key.encode())
    return made.finalize().hex().upper()
