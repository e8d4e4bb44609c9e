"""Operations of the API, and how each is served: one ASGI application per path, no middleware.

An operation says what it needs and answers; from the same words the request is checked and the OpenAPI
document is written.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import msgspec
import structlog
from starlette.types import Receive, Scope, Send

from aggregates.errors import DomainError, TokenMismatch, ValidationFailed
from api import problems
from api.call import Call, Reply, read_query
from api.services import Services
from api.views import not_valid

BODY_BYTES_MAX = 65_536
"""The largest body that any call needs is a plan of seats, a few KiB."""

DIGITS_MAX = 18
"""Of a content-length that is worth reading as a number."""

ONCE = ("Authorization", "Idempotency-Key", "Min-Log-Position")
"""Headers that decide how a request is answered."""

NOTHING_SAID = b"{}"
"""What an empty body stands for, where all members of the body may be left out."""

WITHOUT_CONTENT = (204, 304)
"""RFC 9110 (8.6): these do not say how long their content is."""

log = structlog.get_logger(__name__)


class Access(Enum):
    """Who may call an operation."""

    PUBLIC = "public"
    TOKEN = "token"
    ADMIN = "admin"


class Operation(NamedTuple):
    """One call of the API."""

    method: str
    path: str
    summary: str
    handle: Callable[[Call[Any, Any]], Awaitable[Reply]]
    answers: Mapping[int, Any]
    """The type of each good answer's body, None for an empty one."""
    access: Access = Access.PUBLIC
    body: Any = None
    """The type of the request's body, None where it has none."""
    body_schema: Any = None
    """What the document shows as the body, where that says more than `body`."""
    query: Any = None
    errors: Sequence[str] = ()
    """The codes of the errors that are its own; those that any call of its kind can meet come on top."""
    example: Any = None
    """A request body, for the document and its readers."""
    command: bool = False
    """Whether it may carry an Idempotency-Key, and answers with a Log-Position."""
    content_type: bytes = b"application/json"
    cache_control: bytes = b"no-store"
    """Whether caches may keep a good answer; of a refusal they may not."""

    @property
    def needs_body(self) -> bool:
        """Whether its body says something that it cannot do without."""
        if not issubclass(self.body, msgspec.Struct):
            return True
        return any(field.required for field in msgspec.structs.fields(self.body))


class Endpoint:
    """Serves the operations of one path; without any, it is what stands at every other path."""

    def __init__(self, operations: Mapping[str, Operation], services: Services) -> None:
        self._operations = operations
        self._services = services
        self._log = log.bind()  # what stands behind `log` would be looked up anew for each request
        self._decoders = {
            method: msgspec.json.Decoder(operation.body).decode
            for method, operation in operations.items()
            if operation.body is not None
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong becomes a problem document."""
        started = time.perf_counter()
        call: Call[Any, Any] = Call(self._services, scope)
        operation = self._operations.get(call.method)
        try:
            reply = await self._answer(operation, call, scope, receive)
        except _ClientGone:
            return
        except DomainError as error:
            reply = call.refusal(error, call.position)
        except Exception:
            path = problems.quoted(call.path)
            log.exception("request_failed", request_id=call.request_id, method=call.method, path=path)
            reply = call.refusal(problems.InternalError(call.request_id))
        await _send(send, reply, call, operation)
        route, method = ("other", "other") if operation is None else (operation.path, operation.method)
        seconds = time.perf_counter() - started
        self._services.http_metrics.answered(route, method, reply.status, seconds)
        self._log.debug(
            "request", request_id=call.request_id, method=method, route=route, status=reply.status
        )

    async def _answer(
        self, operation: Operation | None, call: Call[Any, Any], scope: Scope, receive: Receive
    ) -> Reply:
        """Check in the order of domain.md, shape first, then who asks; then do it.

        Only of admin calls nobody learns the shape who does not know the key.
        """
        if not self._operations or call.path.endswith("\n"):  # which the end of a route's pattern passes over
            raise problems.NotFound
        if operation is None:
            raise problems.MethodNotAllowed(", ".join(sorted(self._operations)))
        if operation.access is Access.ADMIN:
            call.require_admin()
        if len(call.headers) < len(scope["headers"]) and operation.path.startswith("/api/"):
            _require_once(scope["headers"])
        decode = self._decoders.get(operation.method)
        if decode is not None:
            body = await _read_body(receive, call.headers)
            call.body = _decoded(decode, body if body or operation.needs_body else NOTHING_SAID)
        if operation.query is not None:
            call.query = read_query(scope["query_string"], operation.query)
        call.read_ids()
        if operation.command:
            call.read_idempotency_key()
        else:
            call.read_min_log_position()
        if operation.access is Access.TOKEN:
            call.shown = call.require_claims()
            if "code" in call.path_params and call.claims.concert != call.code:
                raise TokenMismatch
        elif operation.access is Access.PUBLIC:
            call.overhear()
        return await operation.handle(call)


class _ClientGone(Exception):
    """The client closed the connection before its request was whole; nobody waits for an answer."""


def _require_once(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Raise ValidationFailed where what decides is said twice: a gateway may go by the other one."""
    for decisive in ONCE:
        if sum(name == decisive.lower().encode() for name, _ in headers) > 1:
            raise ValidationFailed("send this header once", decisive)


def _decoded(decode: Callable[[bytes], Any], body: bytes) -> Any:
    try:
        body.decode()  # msgspec passes over fields that it was not told of, whatever they are made of
        return decode(body)
    except msgspec.ValidationError as error:
        raise not_valid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise problems.BadRequest from None


async def _read_body(receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and (len(announced) > DIGITS_MAX or int(announced) > BODY_BYTES_MAX):
        raise problems.BodyTooLarge(BODY_BYTES_MAX)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            raise problems.BodyTooLarge(BODY_BYTES_MAX)
        if not message.get("more_body", False):
            return bytes(body)


async def _send(send: Send, reply: Reply, call: Call[Any, Any], operation: Operation | None) -> None:
    status, body = reply.status, reply.body
    cache_control, content_type = b"no-store", problems.PROBLEM_TYPE
    if operation is not None and status < problems.STATUS["BAD_REQUEST"]:
        cache_control, content_type = operation.cache_control, operation.content_type
    headers = [
        (b"x-request-id", call.request_id.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", cache_control),
        *reply.headers,
    ]
    if status not in WITHOUT_CONTENT:
        headers.append((b"content-length", b"%d" % len(body)))
    if status == problems.STATUS["TOKEN_INVALID"]:
        headers.append((b"www-authenticate", b"Bearer"))
    if body:
        headers.append((b"content-type", content_type))
    position = _log_position(reply, call, operation)
    if position is not None:
        headers.append((b"log-position", b"%d" % position))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _log_position(reply: Reply, call: Call[Any, Any], operation: Operation | None) -> int | None:
    """Every command's answer has one, also where it was refused before it came to the log."""
    if reply.position:
        return reply.position
    return call.services.board.reached if operation is not None and operation.command else None
