"""Tokens that were forged, changed, taken from elsewhere, or shown again after their end."""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import jwt
import pytest

from aggregates.errors import TokenInvalid
from infrastructure.tokens import SIGNED_TOKEN_BYTES_MAX
from tests.api.grammar import ABSENT, SHOW_DAY, Api, Buyer, Then, someone
from tests.api.service import ADMIN_KEY, SECRET

OTHER_SECRET: Final = (
    "a secret that the service does not have, of more than sixty-four bytes: so HS512 takes it"
)

Forge = Callable[[Mapping[str, Any], Mapping[str, Any], str], str]


def part(content: Any) -> str:
    """JSON, or bytes, as a part of a token."""
    encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
    return urlsafe_b64encode(encoded).rstrip(b"=").decode()


def resigned(header: Mapping[str, Any], claims: Mapping[str, Any], secret: str) -> str:
    """Another program's token, its header in the order of ours."""
    algorithm = header["alg"] if header["alg"] in ("HS384", "HS512") else "HS256"
    return jwt.encode(dict(claims), secret, algorithm, headers=dict(header), sort_headers=True)


FORGERIES: Final[Mapping[str, Forge]] = {
    "no algorithm": lambda header, claims, _: f"{part({**header, 'alg': 'none'})}.{part(claims)}.",
    "no algorithm, signed": lambda h, c, signature: f"{part({**h, 'alg': 'none'})}.{part(c)}.{signature}",
    "NoNe": lambda header, claims, _: f"{part({**header, 'alg': 'NoNe'})}.{part(claims)}.",
    "algorithm of a list": lambda h, c, signature: f"{part({**h, 'alg': ['HS256']})}.{part(c)}.{signature}",
    "another secret": lambda header, claims, _: resigned(header, claims, OTHER_SECRET),
    "the empty secret": lambda header, claims, _: _signed_with_nothing(header, claims),
    "the admin key as a secret": lambda header, claims, _: resigned(header, claims, ADMIN_KEY * 3),
    "HS512": lambda header, claims, _: resigned({**header, "alg": "HS512"}, claims, SECRET * 2),
    "HS384": lambda header, claims, _: resigned({**header, "alg": "HS384"}, claims, SECRET * 2),
    "another key id": lambda header, claims, _: resigned({**header, "kid": "00000000"}, claims, SECRET),
    "a path as key id": lambda header, claims, _: resigned({**header, "kid": "/dev/null"}, claims, SECRET),
    "an injection as key id": lambda h, c, _: resigned({**h, "kid": "' OR '1'='1"}, c, SECRET),
    "no key id": lambda h, c, _: resigned({n: h[n] for n in h if n != "kid"}, c, SECRET),
    "a key of its own": lambda h, c, _: resigned({**h, "jwk": {"kty": "oct", "k": "AA"}}, c, SECRET),
    "another user": lambda h, c, signature: f"{part(h)}.{part({**c, 'sub': someone()})}.{signature}",
    "an earlier place": lambda h, c, signature: f"{part(h)}.{part({**c, 'queue_number': 1})}.{signature}",
    "more claims": lambda h, c, signature: f"{part(h)}.{part({**c, 'admin': True})}.{signature}",
    "a claim twice": lambda h, c, signature: f"{part(h)}.{part(_twice(c))}.{signature}",
    "no signature": lambda header, claims, _: f"{part(header)}.{part(claims)}.",
    "two parts": lambda header, claims, _: f"{part(header)}.{part(claims)}",
    "five parts": lambda h, c, signature: f"{part(h)}.{part(c)}.{signature}.{signature}.{signature}",
    "only dots": lambda *_: "..",
    "padded": lambda h, c, signature: f"{part(h)}.{part(c)}.{signature}=",
    "huge": lambda h, c, signature: f"{part(h)}.{part({**c, 'x': 'x' * 20_000})}.{signature}",
    "one byte too long": lambda *_: "x" * (SIGNED_TOKEN_BYTES_MAX + 1),
    "control characters in claims": lambda h, c, s: f"{part(h)}.{part({**c, 'sub': chr(0) + chr(10)})}.{s}",
    "the admin key": lambda *_: ADMIN_KEY,
    "an injection": lambda *_: "' OR '1'='1' --",
}


def _signed_with_nothing(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    signed = f"{part(header)}.{part(claims)}"
    return f"{signed}.{part(hmac.digest(b'', signed.encode(), 'sha256'))}"


def _twice(claims: Mapping[str, Any]) -> bytes:
    return json.dumps(claims).encode()[:-1] + b', "sub": "%s"}' % someone().encode()


@pytest.fixture(scope="module")
def ann(service: Any) -> Iterator[Buyer]:
    api = Api(service)
    yield api.given_sale().given_holding(7)
    api.close()


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """What a token is made of."""
    header, claims, signature = token.split(".")
    read = [json.loads(urlsafe_b64decode(each + "=" * (-len(each) % 4))) for each in (header, claims)]
    return read[0], read[1], signature


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_token_is_no_token(ann: Buyer, forge: Forge) -> None:
    forged = forge(*parts_of(ann.token))
    assert forged != ann.token
    for method, path, body in (
        ("GET", f"{ann.sale.path}/token", None),
        ("GET", f"{ann.sale.path}/dates", None),
        ("GET", f"{ann.sale.path}/seats?date={SHOW_DAY}", None),
        ("POST", f"{ann.sale.path}/reservations", {"date": SHOW_DAY, "seat_numbers": [1]}),
        ("GET", f"/api/v1/reservations/{ann.reservation_id}", None),
        ("POST", "/api/v1/payments", {}),
        ("DELETE", f"{ann.sale.path}/token", None),
    ):
        refused = ann.sale.api.when(method, path, ABSENT if body is None else body, token=forged)
        refused.then_refused("TOKEN_INVALID")
    ann.when_asking().then(200, status="ACTIVE")


def test_no_bit_of_a_token_can_be_changed(ann: Buyer) -> None:
    signer = ann.sale.api.service.services.signer
    token = ann.token.encode()
    signer.verify(token.decode())
    for place in range(len(token)):
        for bit in range(8):
            changed = bytearray(token)
            changed[place] ^= 1 << bit
            with pytest.raises(TokenInvalid):
                signer.verify(changed.decode("latin-1"))
    for length in range(len(token)):
        with pytest.raises(TokenInvalid):
            signer.verify(token[:length].decode())


def test_a_token_opens_nothing_of_another_concert(ann: Buyer) -> None:
    elsewhere = ann.sale.api.given_sale()
    for method, path, body in (
        ("GET", "/token", None),
        ("DELETE", "/token", None),
        ("GET", "/dates", None),
        ("GET", f"/seats?date={SHOW_DAY}", None),
        ("POST", "/reservations", {"date": SHOW_DAY, "seat_numbers": [1]}),
    ):
        refused = ann.when(method, f"{elsewhere.path}{path}", ABSENT if body is None else body)
        refused.then_refused("TOKEN_MISMATCH")


def test_a_token_opens_nothing_of_another_user(ann: Buyer) -> None:
    owner = ann.sale.given_owner(9)
    ben = ann.sale.given_inside()
    for buyer in (ann, owner):
        path = f"/api/v1/reservations/{buyer.reservation_id}"
        ben.when("GET", path).then_refused("RESERVATION_NOT_FOUND")
        ben.when("DELETE", path).then_refused("RESERVATION_NOT_FOUND")
        paying = ben.when("POST", "/api/v1/payments", {"reservation_id": buyer.reservation_id})
        paying.then_refused("RESERVATION_NOT_FOUND")
    ben.when("GET", f"/api/v1/payments/{owner.payment_id}").then_refused("PAYMENT_NOT_FOUND")
    refund = f"/api/v1/payments/{owner.payment_id}/refund"
    ben.when("POST", refund, {"user_id": ben.user_id}).then_refused("PAYMENT_NOT_FOUND")
    owner.when_looking_at_payment().then(200, status="COMPLETED")


@pytest.mark.parametrize("end", [Buyer.when_leaving, Buyer.when_paying])
def test_a_token_that_has_ended_buys_nothing_more(api: Api, end: Callable[[Buyer], Then]) -> None:
    ann = api.given_sale().given_holding(7, balance=1_000_000)
    end(ann)
    ann.when_reserving(8).then_refused("TOKEN_ENDED")
    ann.when_paying().then_refused("TOKEN_ENDED")
    ann.when_listing_dates().then_refused("TOKEN_ENDED")
    ann.when_leaving().then_refused("TOKEN_ENDED")
    ann.when_asking().then(200, expires_at=None)


def test_a_token_is_no_admin_key(ann: Buyer) -> None:
    path = f"/api/v1/admin/concerts/{ann.sale.code}/stats"
    for shown in (ann.token, f"{ADMIN_KEY}.", ADMIN_KEY[:-1], ADMIN_KEY.upper(), "\xe9", ""):
        refused = ann.sale.api.when(
            "GET", path, headers={"authorization": f"Bearer {shown}".encode("latin-1")}
        )
        refused.then_refused("ADMIN_KEY_REQUIRED")
