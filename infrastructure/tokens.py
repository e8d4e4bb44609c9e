"""Signed tokens: what a buyer carries to show who they are and where they stand in line.

A JWT (RFC 7519) signed with HS256, in one fixed header per key, so that checking one is an HMAC over its
bytes and nothing in the token chooses how it is checked. It has no `exp`: when it ends is decided in line.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from aggregates.errors import TokenInvalid
from aggregates.ids import ConcertCode, TokenId, UserId
from infrastructure.epochs import Epochs

TO_STANDARD = bytes.maketrans(b"-_", b"+/")
"""Base64 as it stands in a token, made the one that is decoded faster; padding follows in any case."""

SIGNED_TOKEN_BYTES_MAX = 1_024
"""Ours are about 400 bytes long; what is longer is not worth an HMAC."""


VERIFIED_MAX = 32_768
"""Signed tokens remembered, those shown last: about 1 KiB each."""


class Claims(msgspec.Struct, frozen=True):
    """What a signed token says."""

    sub: UserId
    concert: ConcertCode
    queue_number: int
    jti: TokenId
    iat: float
    """When the token was issued, in seconds since 1970, with microseconds."""
    epoch: str = ""
    """Of the log in which it was issued; tokens from before there were several do not say it."""

    @property
    def issued_at(self) -> datetime:
        """The instant of `iat`."""
        return datetime.fromtimestamp(self.iat, UTC)


class TokenSigner:
    """Signs with the first secret, accepts all: so that a secret can be changed while tokens are out."""

    def __init__(self, secrets: Sequence[bytes], epochs: Epochs) -> None:
        keys = [(_header(secret), hmac.new(secret, digestmod="sha256")) for secret in secrets]
        self._signing_header, self._signing_key = keys[0]
        self._keys = dict(keys)
        self.epochs = epochs
        """Of the log that the tokens speak of."""
        self._decode = msgspec.json.Decoder(Claims).decode
        self.verify = lru_cache(VERIFIED_MAX)(self._verify)
        """Return the claims of a token that one of our secrets signed, and whose issuing is in the log.

        What a token says never changes, nor do a process's secrets and epochs: so who asks again and again is
        checked once. Refusals are not remembered. Raises TokenInvalid and TokenLost.
        """

    def sign(self, claims: Claims) -> str:
        """Return the signed token; the same claims give the same token."""
        signed = self._signing_header + b"." + _base64(msgspec.json.encode(claims))
        return (signed + b"." + _signature(self._signing_key, signed)).decode()

    def _verify(self, signed_token: str) -> Claims:
        if len(signed_token) > SIGNED_TOKEN_BYTES_MAX or not signed_token.isascii():
            raise TokenInvalid
        signed, _, signature = signed_token.encode().rpartition(b".")
        header, _, payload = signed.partition(b".")
        key = self._keys.get(header)
        if key is None or not hmac.compare_digest(signature, _signature(key, signed)):
            raise TokenInvalid
        try:
            claims = self._decode(a2b_base64(payload.translate(TO_STANDARD) + b"=="))
        except ValueError:  # not base64, not UTF-8, not JSON, or not these claims
            raise TokenInvalid from None
        if claims.epoch != self.epochs.current:
            self.epochs.require_kept(claims.epoch, claims.iat)
        return claims


def _header(secret: bytes) -> bytes:
    key_id = hashlib.sha256(b"kid" + secret).hexdigest()[:8]
    return _base64(msgspec.json.encode({"alg": "HS256", "kid": key_id, "typ": "JWT"}))


def _signature(key: hmac.HMAC, signed: bytes) -> bytes:
    keyed = key.copy()
    keyed.update(signed)
    return _base64(keyed.digest())


def _base64(value: bytes) -> bytes:
    return urlsafe_b64encode(value).rstrip(b"=")
