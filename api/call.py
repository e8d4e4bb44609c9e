"""One request being answered: what came in, read and checked, and what goes out."""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar, cast
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from starlette.types import Scope

from aggregates.errors import (
    ConcertNotFound,
    DomainError,
    TokenInvalid,
    TokenMissing,
    ValidationFailed,
)
from aggregates.ids import ConcertCode, UserId
from api import problems
from api.board import Board
from api.services import Services
from api.views import not_valid
from commands.batch import Keyed
from commands.command import Command
from commands.errors import StoreUnavailable
from commands.fresh_ids import fresh_id
from commands.ports import KeyOfCaller
from commands.unit_of_work import Visit
from infrastructure.tokens import Claims
from projections.projection import Projection
from projections.reading import Found

P = ParamSpec("P")
T = TypeVar("T")
Body = TypeVar("Body")
Query = TypeVar("Query")
View = TypeVar("View")

CONCERT_CODE = re.compile(r"[A-Z0-9][A-Z0-9-]{1,31}\Z")
IDEMPOTENCY_KEY = re.compile(rb"[\x21-\x7e]{1,255}\Z")
POSITION = re.compile(rb"[0-9]{1,18}\Z")
POSITION_MAX = 10**18 - 1
"""No log is so long, and every database can count so far."""

QUERIES_MAX = 256
"""So many are remembered of those read last: what one means never changes, and none is longer than a head."""

Headers = tuple[tuple[bytes, bytes], ...]


class Reply(NamedTuple):
    """What goes out."""

    status: int
    body: bytes = b""
    position: int = 0
    """The log's position that the answer reflects, 0 for none."""
    headers: Headers = ()


class Rendered(NamedTuple):
    """A command's answer, before it is bytes."""

    status: int
    view: Any = None


class Completed(NamedTuple, Generic[View]):
    """A command's answer with what is never stored put in, and the headers that go with it."""

    view: View
    headers: Headers = ()


class CommandFailed(Exception):
    """A command met a defect of ours, its cause."""


class Call(Generic[Body, Query]):
    """A request, as its handler sees it."""

    body: Body = cast("Body", None)
    query: Query = cast("Query", None)
    shown: Claims | None = None
    """The token that the operation asked for; `signed_token` as it came."""
    signed_token = ""
    position = 0
    """Up to where the read models had come that this call has asked, 0 before it has."""
    _min_position = 0
    _idempotency_key: str | None = None

    def __init__(self, services: Services, scope: Scope) -> None:
        self.services = services
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.path_params: Mapping[str, str] = scope["path_params"]
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self.causation_id = _request_id(self.headers)
        self.request_id: str = msgspec.to_builtins(self.causation_id)

    @property
    def claims(self) -> Claims:
        """Who is asking. Raises TokenMissing."""
        if self.shown is None:
            raise TokenMissing
        return self.shown

    @property
    def code(self) -> ConcertCode:
        """The concert in the path. Raises ConcertNotFound for what cannot be a code."""
        code = self.path_params["code"]
        if CONCERT_CODE.match(code) is None:
            raise ConcertNotFound
        return ConcertCode(code)

    @property
    def visit(self) -> Visit:
        """The visit that the token belongs to."""
        return Visit(self.claims.concert, self.claims.jti)

    def uuid(self, name: str) -> UUID:
        """A UUID in the path. Raises ValidationFailed."""
        try:
            return msgspec.convert(self.path_params[name], UUID)
        except msgspec.ValidationError:
            raise ValidationFailed("this is not a UUID", name) from None

    @property
    def user_id(self) -> UserId:
        """The user in the path."""
        return UserId(self.uuid("user_id"))

    def bearer(self) -> str | None:
        """The token that the Authorization header bears, None without one. Raises TokenInvalid."""
        if b"authorization" not in self.headers:
            return None
        credentials = self._credentials()
        if credentials is None or not credentials.isascii():
            raise TokenInvalid("Send the token as `Authorization: Bearer …`.")
        return credentials.decode()

    def require_claims(self) -> Claims:
        """Check the signed token, and remember that its owner was heard from (rule Q8).

        Raises TokenMissing, TokenInvalid, and StoreUnavailable where being heard would not count.
        """
        signed_token = self.bearer()
        if signed_token is None:
            raise TokenMissing
        claims = self.services.signer.verify(signed_token)
        self.signed_token = signed_token
        self.services.hearing.heard(claims.jti)
        if not self.services.hearing.counts:
            raise StoreUnavailable("NONE")
        return claims

    def overhear(self) -> None:
        """Q8: any request that bears a token shows that its owner is there, also where none is needed."""
        if b"authorization" in self.headers:
            with suppress(DomainError):
                self.require_claims()

    def require_admin(self) -> None:
        """Compare the key in constant time. Raises AdminKeyRequired; NotFound where no key is set."""
        admin_key = self.services.settings.admin_key
        if admin_key is None:
            raise problems.NotFound
        shown = self._credentials() or b""
        if not hmac.compare_digest(shown, admin_key.get_secret_value().encode()):
            raise problems.AdminKeyRequired

    def _credentials(self) -> bytes | None:
        scheme, _, credentials = self.headers.get(b"authorization", b"").partition(b" ")
        return credentials.strip() if scheme.lower() == b"bearer" else None

    def read_ids(self) -> None:
        """See that every id in the path is a UUID. Raises ValidationFailed."""
        for name in self.path_params:
            if name.endswith("_id"):
                self.uuid(name)

    def read_min_log_position(self) -> None:
        """Read what the client has seen. Raises ValidationFailed."""
        value = self.headers.get(b"min-log-position")
        if value is None:
            return
        if POSITION.match(value) is None:
            raise ValidationFailed("this is not a log position", "Min-Log-Position")
        self._min_position = int(value)

    def read_idempotency_key(self) -> None:
        """Read under which key a repeat gets the same answer. Raises ValidationFailed."""
        key = self.headers.get(b"idempotency-key")
        if key is None:
            return
        if IDEMPOTENCY_KEY.match(key) is None:
            raise ValidationFailed("1 to 255 visible ASCII characters", "Idempotency-Key")
        self._idempotency_key = key.decode()

    async def board(self, *projections: str) -> Board:
        """The board, once it has seen of these read models what the client has. Raises ReadModelBehind."""
        board = self.services.board
        await board.wait_for(projections, self._min_position)
        self.position = min([board.positions[name] for name in projections])
        return board

    async def read(
        self,
        projection: Projection[Any],
        query: Callable[Concatenate[AsyncConnection[Any], P], Awaitable[Found[T]]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Found[T]:
        """Ask a read model that has reached what the client has seen. Raises ReadModelBehind."""
        if self._min_position:
            await self.services.board.wait_for([projection.name], self._min_position)
        found = await self.services.read_models.read(query, *args, **kwargs)
        self.position = found.position
        return found

    async def execute(
        self,
        command: Command,
        render: Callable[[Any], Rendered],
        *,
        caller: object,
        complete: Callable[[View, Any], Awaitable[Completed[View]]] | None = None,
        view_type: type[View] | None = None,
    ) -> Reply:
        """Run a command and answer with what `render` makes of its result.

        With an Idempotency-Key the answer is recorded as rendered (rule I1). What must not be stored, a
        signed token or a name, `complete` puts in anew, each time: into the view, knowing the command's
        result, None where a recorded answer is repeated.
        """
        keyed = self._keyed(caller, render)
        answer = await self.services.bus.execute(command, causation_id=self.causation_id, keyed=keyed)
        outcome = answer.outcome
        if isinstance(outcome, DomainError):
            return self.refusal(outcome, answer.position)
        if isinstance(outcome, Exception):
            raise CommandFailed from outcome
        if answer.recorded is None:
            status, view = render(outcome)
        else:
            status, raw = msgspec.json.decode(answer.recorded, type=tuple[int, msgspec.Raw])
            recorded = bytes(raw)  # a Raw is equal to no bytes
            if status >= problems.STATUS["BAD_REQUEST"] or view_type is None:
                return Reply(status, b"" if recorded == b"null" else recorded, answer.position)
            view = msgspec.json.decode(recorded, type=view_type)
        headers: Headers = ()
        if complete is not None:
            try:
                view, headers = await complete(view, outcome)
            except StoreUnavailable:  # it was recorded: nobody may be told that nothing was
                raise StoreUnavailable("UNKNOWN", repeatable=keyed is not None) from None
        return Reply(status, b"" if view is None else msgspec.json.encode(view), answer.position, headers)

    def refusal(self, error: DomainError, position: int = 0) -> Reply:
        """Answer with the error's problem document."""
        headers: list[tuple[bytes, bytes]] = []
        if error.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % error.retry_after_s))
        if isinstance(error, problems.MethodNotAllowed):
            headers.append((b"allow", error.allowed.encode()))
        body = problems.encoded(error, self.path)
        return Reply(problems.STATUS[error.code], body, position, tuple(headers))

    def _keyed(self, caller: object, render: Callable[[Any], Rendered]) -> Keyed | None:
        if self._idempotency_key is None:
            return None

        def reply(outcome: Any) -> bytes:
            if isinstance(outcome, DomainError):
                return msgspec.json.encode(
                    (problems.STATUS[outcome.code], problems.problem(outcome, self.path))
                )
            return msgspec.json.encode(tuple(render(outcome)))

        return Keyed(KeyOfCaller(str(caller), self._idempotency_key), self._fingerprint(), reply)

    def _fingerprint(self) -> bytes:
        """I2: what makes another request: method, path, body, and the visit that the token belongs to."""
        token_id = b"" if self.shown is None else self.shown.jti.bytes
        body = msgspec.json.encode(self.body, order="deterministic")
        parts = (self.method.encode(), self.path.encode(), token_id, body)
        return hashlib.sha256(b"\n".join(parts)).digest()


@lru_cache(QUERIES_MAX)
def read_query(query_string: bytes, query_type: type[Query]) -> Query:
    """Read a query string; many ask the same. Raises ValidationFailed."""
    pairs = dict(parse_qsl(query_string.decode("ascii", "replace"), keep_blank_values=True))
    try:
        return msgspec.convert(pairs, query_type, strict=False)
    except msgspec.ValidationError as error:
        raise not_valid(error) from None


def _request_id(headers: Mapping[bytes, bytes]) -> UUID:
    """What the client calls its request, if that is a UUID, else an id of our own."""
    sent = headers.get(b"x-request-id")
    if sent is not None:
        try:
            return UUID(sent.decode("ascii"))
        except ValueError:
            pass
    return fresh_id()


def json_reply(status: int, view: Any, position: int = 0) -> Reply:
    """Answer with a JSON body."""
    return Reply(status, msgspec.json.encode(view), position)
