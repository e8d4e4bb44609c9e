"""Signed tokens: other readers take them, and ours takes nothing that was not signed with our secrets."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import jwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregates.errors import TokenInvalid
from aggregates.ids import ConcertCode, TokenId, UserId
from infrastructure.epochs import Epoch, Epochs
from infrastructure.tokens import SIGNED_TOKEN_BYTES_MAX, VERIFIED_MAX, Claims, TokenSigner
from tests.api.conftest import Start

SECRET: Final = b"a secret of more than sixty-four bytes, so that HS512 would take it, too"
OTHER: Final = b"another secret that is as long as this, and as good as any other that is"
EPOCHS: Final = Epochs([Epoch(1, UUID("6f1c8b9e-2f60-4a55-9d5c-0c8f2a7f5e11"), 0, None, 1)])
SIGNER: Final = TokenSigner([SECRET], EPOCHS)
CLAIMS: Final = Claims(
    UserId(UUID("2ca587d1-670e-4066-a42e-cac8f6bc4a1a")),
    ConcertCode("SPRING-27"),
    4_211,
    TokenId(UUID("0b7b6dc1-5b5c-4b0e-9e0e-4f6d2f6f8a55")),
    1_790_000_000.123456,
    EPOCHS.current,
)
SIGNED: Final = SIGNER.sign(CLAIMS)
HEADER: Final = jwt.get_unverified_header(SIGNED)

moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
claims = st.builds(
    Claims,
    sub=st.uuids(),
    concert=st.from_regex(r"[A-Z0-9][A-Z0-9-]{1,31}", fullmatch=True),
    queue_number=st.integers(1, 10**9),
    jti=st.uuids(),
    iat=moments.map(datetime.timestamp),
    epoch=st.sampled_from(["", EPOCHS.current]),
)


def foreign(payload: Any, *, secret: bytes = SECRET, **header: Any) -> str:
    """What another program would sign, with our key id and in our order unless said otherwise."""
    return jwt.encode(payload, secret, headers={**HEADER, **header}, sort_headers=True)


def without_padding(content: Any) -> str:
    """JSON as a part of a token."""
    return urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def refused(signed_token: str, signer: TokenSigner = SIGNER) -> None:
    """It is not one of ours."""
    with pytest.raises(TokenInvalid):
        signer.verify(signed_token)


@given(claims)
def test_another_reader_reads_what_we_sign(shown: Claims) -> None:
    signed = SIGNER.sign(shown)
    assert jwt.decode(signed, SECRET, algorithms=["HS256"], options={"verify_iat": False}) == {
        "sub": str(shown.sub),
        "concert": shown.concert,
        "queue_number": shown.queue_number,
        "jti": str(shown.jti),
        "iat": shown.iat,
        "epoch": shown.epoch,
    }
    assert len(signed) < SIGNED_TOKEN_BYTES_MAX / 2


@given(claims)
def test_we_read_what_we_and_others_sign(shown: Claims) -> None:
    assert SIGNER.verify(SIGNER.sign(shown)) == shown
    assert SIGNER.verify(foreign(msgspec.to_builtins(shown))) == shown


@given(moments)
def test_when_a_token_was_issued_is_kept_to_the_microsecond(issued_at: datetime) -> None:
    shown = msgspec.structs.replace(CLAIMS, iat=issued_at.timestamp())
    assert SIGNER.verify(SIGNER.sign(shown)).issued_at == issued_at


def test_the_header_says_how_it_is_signed_and_with_which_key() -> None:
    assert {"alg": "HS256", "typ": "JWT"}.items() <= HEADER.items()
    assert len(HEADER["kid"]) == 8
    assert jwt.get_unverified_header(TokenSigner([OTHER], EPOCHS).sign(CLAIMS))["kid"] != HEADER["kid"]


@given(st.integers(0, len(SIGNED) - 1), st.characters(codec="ascii"))
def test_a_token_that_was_changed_anywhere_is_refused(place: int, character: str) -> None:
    changed = SIGNED[:place] + character + SIGNED[place + 1 :]
    if changed != SIGNED:
        refused(changed)


@given(st.integers(0, len(SIGNED) - 1))
def test_a_token_that_was_cut_off_is_refused(length: int) -> None:
    refused(SIGNED[:length])


@given(st.text(max_size=2_000))
def test_any_text_is_refused(text: str) -> None:
    refused(text)


def test_a_token_signed_with_nothing_or_otherwise_is_refused() -> None:
    header, payload, signature = SIGNED.split(".")
    for other in ("none", "None", "NONE", "HS384", "HS512", "RS256", "hs256"):
        refused(f"{without_padding({**HEADER, 'alg': other})}.{payload}.")
        refused(f"{without_padding({**HEADER, 'alg': other})}.{payload}.{signature}")
    refused(f"{header}.{payload}.")
    refused(f"{header}.{payload}")
    refused(f".{payload}.{signature}")
    refused(f"{header}..{signature}")
    refused(f"{header}.{payload}.{signature}.{signature}")
    refused(f"{header}.{payload}.{signature}=")
    refused(f" {SIGNED}")
    refused(foreign(msgspec.to_builtins(CLAIMS), secret=OTHER))
    refused(foreign(msgspec.to_builtins(CLAIMS), alg="HS512"))


def test_a_token_of_another_key_id_is_refused() -> None:
    for other in ("", "00000000", "../../etc/passwd", f"{HEADER['kid']} "):
        refused(foreign(msgspec.to_builtins(CLAIMS), kid=other))


def test_a_token_with_other_claims_is_refused() -> None:
    whole = msgspec.to_builtins(CLAIMS)
    for name in whole.keys() - {"epoch"}:
        refused(foreign({other: value for other, value in whole.items() if other != name}))
    for wrong in (
        {"sub": "ann"},
        {"queue_number": "1"},
        {"queue_number": 1.5},
        {"concert": None},
        {"epoch": 1},
    ):
        refused(foreign({**whole, **wrong}))
    assert SIGNER.verify(foreign({**whole, "more": 1})) == CLAIMS


def test_a_token_without_end_is_refused_before_it_is_checked() -> None:
    whole = msgspec.to_builtins(CLAIMS)
    refused(foreign({**whole, "more": "x" * SIGNED_TOKEN_BYTES_MAX}))
    refused("x" * 10_000_000)


def test_of_two_secrets_the_first_signs_and_both_verify() -> None:
    changing = TokenSigner([OTHER, SECRET], EPOCHS)
    assert changing.verify(SIGNED) == CLAIMS
    fresh = changing.sign(CLAIMS)
    assert fresh == TokenSigner([OTHER], EPOCHS).sign(CLAIMS)
    assert changing.verify(fresh) == CLAIMS
    refused(fresh)
    refused(SIGNED, TokenSigner([OTHER], EPOCHS))


def test_tokens_that_are_out_stay_good_while_the_secret_is_changed(start: Start) -> None:
    before = start(token_secrets=(SECRET.decode(),))
    ann = before.given_sale().given_waiting()
    changing = start(token_secrets=(OTHER.decode(), SECRET.decode()), projects=False)
    path = f"{ann.sale.path}/token"
    changing.when("GET", path, token=ann.token).then(200, place=1, token=ann.token)
    fresh = changing.when("POST", path, {"user_id": ann.user_id}).then(200, place=1).json["token"]
    assert fresh != ann.token
    before.when("GET", path, token=fresh).then_refused("TOKEN_INVALID")
    after = start(token_secrets=(OTHER.decode(),), projects=False)
    after.when("GET", path, token=fresh).then(200, place=1)
    after.when("GET", path, token=ann.token).then_refused("TOKEN_INVALID")


def test_what_was_checked_once_is_remembered_for_that_very_token_and_signer() -> None:
    signer, strict = TokenSigner([SECRET], EPOCHS), TokenSigner([OTHER], EPOCHS)
    shown = [msgspec.structs.replace(CLAIMS, queue_number=number) for number in range(300)]
    signed = [signer.sign(claims) for claims in shown]
    for _ in range(2):
        assert [signer.verify(token) for token in signed] == shown
    assert signer.verify.cache_info().hits == len(signed)
    for token in signed:
        refused(token, strict)
        refused(token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB"), signer)
    remembered = signer.verify.cache_info()
    assert (remembered.currsize, remembered.maxsize) == (len(signed), VERIFIED_MAX), "refusals are not"
