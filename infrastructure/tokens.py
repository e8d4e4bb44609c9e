"""Signed tokens: what a buyer carries to show who they are and where they stand in line.

A JWT (RFC 7519) signed with HS256, in one fixed header per key, so that checking one is an HMAC over its
bytes and nothing in the token chooses how it is checked. It has no `exp`: when it ends is decided in line.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from aggregates.errors import TokenInvalid
from aggregates.ids import ConcertCode, TokenId, UserId
from infrastructure.epochs import Epochs

SIGNED_TOKEN_BYTES_MAX = 1_024
"""Ours are about 400 bytes long; what is longer is not worth an HMAC."""


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
        keys = [(_header(secret), secret) for secret in secrets]
        self._signing_header, self._signing_secret = keys[0]
        self._secrets = dict(keys)
        self.epochs = epochs
        """Of the log that the tokens speak of."""
        self._decode = msgspec.json.Decoder(Claims).decode

    def sign(self, claims: Claims) -> str:
        """Return the signed token; the same claims give the same token."""
        signed = self._signing_header + b"." + _base64(msgspec.json.encode(claims))
        return (signed + b"." + _signature(self._signing_secret, signed)).decode()

    def verify(self, signed_token: str) -> Claims:
        """Return the claims of a token that one of our secrets signed, and whose issuing is in the log.

        Raises TokenInvalid and TokenLost.
        """
        if len(signed_token) > SIGNED_TOKEN_BYTES_MAX or not signed_token.isascii():
            raise TokenInvalid
        signed, _, signature = signed_token.encode().rpartition(b".")
        header, _, payload = signed.partition(b".")
        secret = self._secrets.get(header)
        if secret is None or not hmac.compare_digest(signature, _signature(secret, signed)):
            raise TokenInvalid
        try:
            claims = self._decode(urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
        except ValueError:  # not base64, not UTF-8, not JSON, or not these claims
            raise TokenInvalid from None
        if claims.epoch != self.epochs.current:
            self.epochs.require_kept(claims.epoch, claims.iat)
        return claims


def _header(secret: bytes) -> bytes:
    key_id = hashlib.sha256(b"kid" + secret).hexdigest()[:8]
    return _base64(msgspec.json.encode({"alg": "HS256", "kid": key_id, "typ": "JWT"}))


def _signature(secret: bytes, signed: bytes) -> bytes:
    return _base64(hmac.digest(secret, signed, "sha256"))


def _base64(value: bytes) -> bytes:
    return urlsafe_b64encode(value).rstrip(b"=")
