"""The flags of who may send what: the certificate, API keys, tokens, rates and the internal port."""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fairlead_gateway import settings

_Value = TypeVar("_Value")


def explained(parse: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """Let an error say what the parser says: of a ValueError argparse shows only the name of the function."""

    @functools.wraps(parse)
    def read(text: str) -> _Value:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--tls-certificate",
        type=Path,
        metavar="FILE",
        help="the certificate of --listen with its chain (PEM): clients must use TLS then. A changed file is applied "
        "without a restart",
    )
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="the private key of --tls-certificate (PEM)")
    parser.add_argument(
        "--api-keys",
        type=Path,
        metavar="FOLDER",
        help="require an API key of each request: the folder has a file for each client, named after it, with a key on "
        "each line. A changed file is applied without a restart",
    )
    parser.add_argument(
        "--rate-limit",
        type=explained(settings.parse_rate_limit),
        metavar="RATE[:BURST]",
        help="how many requests a client may send: RATE per second, and BURST at once after a pause; default of BURST: "
        "RATE. A client is the owner of an API key, the sub of a token or, without --api-keys and --jwks, a source "
        "address",
    )
    parser.add_argument(
        "--internal-port",
        type=explained(settings.parse_port),
        metavar="PORT",
        help="the port at the host of --listen for proofs of the operator and copies of replicas, without TLS; nothing "
        "else is answered there but reads. Keep clients away from it",
    )
    _add_tokens(parser)


def build_tokens(options: argparse.Namespace) -> settings.Tokens | None:
    """Which tokens are accepted, by the flags; None where clients send none.

    Raises:
        ValueError: when flags don't fit together.
    """
    given = {
        "--jwt-issuer": options.jwt_issuer,
        "--jwt-audience": options.jwt_audience,
        "--jwt-algorithm": options.jwt_algorithm,
        "--jwt-clock-skew": options.jwt_clock_skew,
        "--jwt-claim": options.jwt_claim,
    }
    if options.jwks is None:
        lone = next((flag for flag, value in given.items() if value not in (None, [])), None)
        if lone is not None:
            raise ValueError(f"{lone} requires --jwks, the file with the keys that sign tokens")
        return None
    if options.jwt_issuer is None or not options.jwt_audience:
        raise ValueError("--jwks requires --jwt-issuer and --jwt-audience, which each token must name")
    if options.internal_port is None:
        raise ValueError(
            "--jwks requires --internal-port, where the operator and replicas send requests without a token"
        )
    if len(options.jwt_audience) > settings.AUDIENCES_MAX:
        raise ValueError(f"--jwt-audience may be given {settings.AUDIENCES_MAX} times at most")
    if len(options.jwt_claim) > settings.CLAIMS_MAX:
        raise ValueError(f"--jwt-claim may be given {settings.CLAIMS_MAX} times at most")
    return settings.Tokens(
        jwks=options.jwks,
        issuer=options.jwt_issuer,
        audiences=tuple(dict.fromkeys(options.jwt_audience)),
        algorithms=tuple(dict.fromkeys(options.jwt_algorithm)) or settings.ALGORITHMS,
        clock_skew_s=settings.CLOCK_SKEW_S if options.jwt_clock_skew is None else options.jwt_clock_skew,
        required_claims=tuple(options.jwt_claim),
    )


def _add_tokens(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jwks",
        type=Path,
        metavar="FILE",
        help="accept JSON Web Tokens that a key of this JSON Web Key Set signed: each request needs one, or an API key "
        "where --api-keys is given too. A changed file is applied without a restart",
    )
    parser.add_argument(
        "--jwt-issuer",
        type=explained(settings.parse_token_text),
        metavar="ISSUER",
        help="what a token must have as iss",
    )
    parser.add_argument(
        "--jwt-audience",
        type=explained(settings.parse_token_text),
        action="append",
        default=[],
        metavar="AUDIENCE",
        help="what a token must have as aud, or in a list; repeatable, one of them is enough",
    )
    parser.add_argument(
        "--jwt-algorithm",
        choices=settings.ALGORITHMS,
        action="append",
        default=[],
        help="an algorithm that keys of --jwks may have; repeatable; default: all of them",
    )
    parser.add_argument(
        "--jwt-clock-skew",
        type=explained(settings.parse_clock_skew),
        metavar="SECONDS",
        help=f"how far the clocks of issuer and gateway may differ; default: {settings.CLOCK_SKEW_S}",
    )
    parser.add_argument(
        "--jwt-claim",
        type=explained(settings.parse_required_claim),
        action="append",
        default=[],
        metavar="'NAME VALUE…'",
        help="a claim that a token must have, and its values: the claim must be one of them, or a list with one; the "
        "words of scope count one by one; repeatable, all of them must hold",
    )
