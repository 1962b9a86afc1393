#!/usr/bin/env python3
"""Verifies signed tokens as an application would: with a library that knows nothing of usher, and the key set that usher publishes.

Reads a JSON list of {"token", "jwks", "issuer", "audience", "now"} from standard input and prints a JSON list of {"claims"} or {"refused"}.
"""

import json
import sys
import warnings

from joserfc import jwt
from joserfc.jwk import KeySet

# RFC 9864 gives the algorithm a second name; RFC 8037's is what verifiers in use understand.
warnings.simplefilter("ignore")


def verify(token, jwks, issuer, audience, now):
    decoded = jwt.decode(token, KeySet.import_key_set(jwks), algorithms=["EdDSA"])
    if decoded.header.get("typ") != "at+jwt":
        raise ValueError("another type of token")
    registry = jwt.JWTClaimsRegistry(
        now=now,
        leeway=0,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": audience},
        exp={"essential": True},
        nbf={"essential": True},
    )
    registry.validate(decoded.claims)
    return decoded.claims


def outcome(case):
    try:
        return {"claims": verify(**case)}
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    json.dump([outcome(case) for case in json.load(sys.stdin)], sys.stdout)
