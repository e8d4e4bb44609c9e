"""Signed tokens: who is asking, and where they stand in line."""

from datetime import datetime
from typing import Annotated, NamedTuple
from uuid import UUID

import jwt
from fastapi import Depends, Header, Request

from aggregates.errors import TokenInvalid, TokenMismatch, TokenMissing
from api.problems import AdminKeyRequired

ALGORITHM = "HS256"
BEARER = "Bearer "


class Claims(NamedTuple):
    """What a signed token says, and the token."""

    user_id: UUID
    concert: str
    queue_number: int
    token_id: UUID
    signed: str


def sign(
    secret: str, *, user_id: UUID, concert: str, queue_number: int, token_id: UUID, issued_at: datetime
) -> str:
    """Return the signed token; the same claims give the same token."""
    claims = {
        "sub": str(user_id),
        "concert": concert,
        "queue_number": queue_number,
        "jti": str(token_id),
        "iat": issued_at.timestamp(),
    }
    return jwt.encode(claims, secret, ALGORITHM)


async def shown_claims(request: Request, authorization: Annotated[str | None, Header()] = None) -> Claims:
    """Check the signature. Raises TokenMissing and TokenInvalid."""
    if authorization is None:
        raise TokenMissing
    signed = authorization.removeprefix(BEARER)
    try:
        claims = jwt.decode(signed, request.app.state.secret, [ALGORITHM])
    except jwt.InvalidTokenError:
        raise TokenInvalid from None
    return Claims(UUID(claims["sub"]), claims["concert"], claims["queue_number"], UUID(claims["jti"]), signed)


async def claims_of_concert(code: str, claims: Annotated[Claims, Depends(shown_claims)]) -> Claims:
    """See that the token is for the concert in the path. Raises TokenMismatch besides."""
    if claims.concert != code:
        raise TokenMismatch
    return claims


async def require_admin(request: Request, authorization: Annotated[str, Header()] = "") -> None:
    """Raise AdminKeyRequired without the key."""
    if authorization != BEARER + request.app.state.admin_key:
        raise AdminKeyRequired


Bearer = Annotated[Claims, Depends(shown_claims)]
BearerOfConcert = Annotated[Claims, Depends(claims_of_concert)]
