"""The waiting line: joining it, asking for one's place, leaving it."""

from datetime import datetime

import msgspec

from aggregates.ids import TokenId, UserId
from aggregates.queue import poll_after_ms
from aggregates.token import TokenStatus
from api.board import Board, Line
from api.call import Call, Completed, Headers, Rendered, Reply
from api.endpoint import Access, Operation
from api.views import JoinRequest, TokenView
from commands.fresh_ids import fresh_id
from commands.join_queue import JoinQueue, Standing
from commands.leave_queue import LeaveQueue
from infrastructure.tokens import Claims

WAY_IN_MS = 1_000
"""How soon to ask again once the token no longer waits."""

TOKEN_ERRORS = ("CONCERT_NOT_FOUND", "TOKEN_EXPIRED", "TOKEN_ENDED")


async def join(call: Call[JoinRequest, None]) -> Reply:
    """Stand in line; a user who already does is answered with the place they have."""
    code, user_id = call.code, UserId(call.body.user_id)
    line = call.services.board.line(code)

    def rendered(standing: Standing) -> Rendered:
        return Rendered(201 if standing.created else 200, _view_of_standing(standing, line))

    async def signed(view: TokenView, _: Standing | None) -> Completed[TokenView]:
        signer = call.services.signer
        issued_at = view.issued_at.timestamp()
        token_id = TokenId(view.token_id)
        claims = Claims(user_id, code, view.queue_number, token_id, issued_at, signer.epochs.current)
        with_token = msgspec.structs.replace(view, token=signer.sign(claims))
        return Completed(with_token, _retry_after(view))

    return await call.execute(
        JoinQueue(code, user_id, TokenId(fresh_id())),
        rendered,
        caller=user_id,
        complete=signed,
        view_type=TokenView,
    )


def _view_of_standing(standing: Standing, line: Line | None) -> TokenView:
    ahead = eta_seconds = None
    poll_ms = WAY_IN_MS
    if standing.status is TokenStatus.WAITING:
        left_early = line.left_before(standing.queue_number, standing.head) if line else 0
        ahead = max(0, standing.queue_number - standing.head - 1 - left_early)
        eta_seconds = line.eta_seconds(ahead) if line else None
        poll_ms = poll_after_ms(ahead, standing.issued - standing.head)
    return TokenView(
        token="",
        token_id=standing.token_id,
        user_id=standing.user_id,
        concert_code=standing.code,
        queue_number=standing.queue_number,
        status=standing.status,
        place=None if ahead is None else ahead + 1,
        ahead=ahead,
        eta_seconds=eta_seconds,
        sales="OPEN" if standing.sales_open else "CLOSED",
        sold_out=standing.sold_out,
        poll_after_ms=poll_ms,
        issued_at=standing.issued_at,
        expires_at=standing.expires_at,
    )


async def ask(call: Call[None, None]) -> Reply:
    """Answer where the token stands. While it waits this costs no query."""
    board, claims = await call.board(Board.QUEUE), call.claims
    line = await board.line_of(claims.concert)
    if line.waits(claims.queue_number):
        position = board.position_of(Board.QUEUE, claims.concert)
        return _token_reply(_waiting(claims, call.signed_token, line), position)
    found = await board.token(claims)
    return _token_reply(
        _not_waiting(claims, call.signed_token, line, found.status, found.ends_at), found.position
    )


def _waiting(claims: Claims, signed_token: str, line: Line) -> TokenView:
    ahead = line.ahead_of(claims.queue_number)
    return _view(
        claims,
        signed_token,
        line,
        TokenStatus.WAITING,
        ahead=ahead,
        poll_ms=poll_after_ms(ahead, line.waiting),
    )


def _not_waiting(
    claims: Claims, signed_token: str, line: Line, status: TokenStatus, ends_at: datetime | None
) -> TokenView:
    expires_at = ends_at if status is TokenStatus.ACTIVE else None
    return _view(claims, signed_token, line, status, expires_at=expires_at)


def _view(
    claims: Claims,
    signed_token: str,
    line: Line,
    status: TokenStatus,
    *,
    ahead: int | None = None,
    expires_at: datetime | None = None,
    poll_ms: int = WAY_IN_MS,
) -> TokenView:
    return TokenView(
        token=signed_token,
        token_id=claims.jti,
        user_id=claims.sub,
        concert_code=claims.concert,
        queue_number=claims.queue_number,
        status=status,
        place=None if ahead is None else ahead + 1,
        ahead=ahead,
        eta_seconds=None if ahead is None else line.eta_seconds(ahead),
        sales=line.sales,
        sold_out=line.sold_out,
        poll_after_ms=poll_ms,
        issued_at=claims.issued_at,
        expires_at=expires_at,
    )


def _token_reply(view: TokenView, position: int) -> Reply:
    return Reply(200, msgspec.json.encode(view), position, _retry_after(view))


def _retry_after(view: TokenView) -> Headers:
    """`poll_after_ms` in whole seconds."""
    return ((b"retry-after", b"%d" % -(-view.poll_after_ms // 1_000)),)


async def leave(call: Call[None, None]) -> Reply:
    """Leave the line, or the sale; what the token holds is released."""
    command = LeaveQueue(call.visit, call.claims.sub)
    return await call.execute(command, lambda _: Rendered(204), caller=call.claims.sub)


OPERATIONS = [
    Operation(
        "POST",
        "/api/v1/concerts/{code}/token",
        "Join the waiting line",
        join,
        {201: TokenView, 200: TokenView},
        body=JoinRequest,
        errors=("USER_NOT_FOUND", "CONCERT_NOT_FOUND", "SALES_NOT_OPEN", "QUEUE_FULL"),
        example={"user_id": "2ca587d1-670e-4066-a42e-cac8f6bc4a1a"},
        command=True,
    ),
    Operation(
        "GET",
        "/api/v1/concerts/{code}/token",
        "Ask for one's place in line",
        ask,
        {200: TokenView},
        access=Access.TOKEN,
        errors=("CONCERT_NOT_FOUND",),
    ),
    Operation(
        "DELETE",
        "/api/v1/concerts/{code}/token",
        "Leave the line or the sale",
        leave,
        {204: None},
        access=Access.TOKEN,
        errors=TOKEN_ERRORS,
        command=True,
    ),
]
