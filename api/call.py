"""One request being answered: what came in, read and checked, and what goes out."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar, cast
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from aggregates.errors import (
    ConcertNotFound,
    DomainError,
    TokenInvalid,
    TokenMissing,
    ValidationFailed,
)
from aggregates.ids import ConcertCode, UserId
from api import problems
from api.services import Services
from commands.batch import Keyed
from commands.command import Command
from commands.ports import KeyOfCaller
from commands.unit_of_work import Visit
from infrastructure.tokens import Claims
from projections.projection import Projection

P = ParamSpec("P")
T = TypeVar("T")
Body = TypeVar("Body")
Query = TypeVar("Query")
View = TypeVar("View")

CONCERT_CODE = re.compile(r"[A-Z0-9][A-Z0-9-]{1,31}\Z")
IDEMPOTENCY_KEY = re.compile(rb"[\x21-\x7e]{1,255}\Z")
POSITION = re.compile(rb"[0-9]{1,18}\Z")


class Reply(NamedTuple):
    """What goes out."""

    status: int
    body: bytes = b""
    position: int = 0
    """The log's position that the answer reflects, 0 for none."""
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Rendered(NamedTuple):
    """A command's answer, before it is bytes."""

    status: int
    view: Any = None


class Call(Generic[Body, Query]):
    """A request, as its handler sees it."""

    def __init__(
        self,
        services: Services,
        request_id: UUID,
        method: str,
        path: str,
        path_params: Mapping[str, str],
        headers: Mapping[bytes, bytes],
    ) -> None:
        self.services = services
        self.request_id = request_id
        self.method = method
        self.path = path
        self.path_params = path_params
        self.headers = headers
        self.body: Body = cast("Body", None)
        self.query: Query = cast("Query", None)
        self.claims: Claims = cast("Claims", None)
        """Who is asking, where the operation needs a token."""

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
        """What the Authorization header bears, None without one."""
        authorization = self.headers.get(b"authorization")
        if authorization is None:
            return None
        scheme, _, credentials = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not credentials.isascii():
            raise TokenInvalid("Send the credentials as `Authorization: Bearer …`.")
        return credentials.strip().decode()

    def require_claims(self) -> Claims:
        """Check the signed token, and remember that its owner was heard from (rule Q8)."""
        signed_token = self.bearer()
        if signed_token is None:
            raise TokenMissing
        claims = self.services.signer.verify(signed_token)
        self.services.hearing.heard(claims.jti)
        return claims

    def min_log_position(self) -> int:
        """What the client has seen, 0 where it does not say. Raises ValidationFailed."""
        value = self.headers.get(b"min-log-position")
        if value is None:
            return 0
        if POSITION.match(value) is None:
            raise ValidationFailed("this is not a log position", "Min-Log-Position")
        return int(value)

    def read_query(self, query_string: bytes, query_type: type[Query]) -> Query:
        """Read the query string. Raises ValidationFailed."""
        pairs = dict(parse_qsl(query_string.decode("ascii", "replace"), keep_blank_values=True))
        try:
            return msgspec.convert(pairs, query_type, strict=False)
        except msgspec.ValidationError as error:
            raise validation_failed(error) from None

    async def read(
        self,
        projection: Projection[Any],
        query: Callable[Concatenate[AsyncConnection[Any], P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Ask a read model that has reached what the client has seen. Raises ReadModelBehind."""
        await self.services.board.wait_for(projection.name, self.min_log_position())
        return await self.services.read_models.read(query, *args, **kwargs)

    async def execute(
        self,
        command: Command,
        render: Callable[[Any], Rendered],
        *,
        caller: object,
        complete: Callable[[View], Awaitable[View]] | None = None,
        view_type: type[View] | None = None,
    ) -> Reply:
        """Run a command and answer with what `render` makes of its result.

        With an Idempotency-Key the answer is recorded as rendered (rule I1). What must not be stored, a
        signed token or a name, `complete` puts in anew, each time.
        """
        keyed = self._keyed(caller, render)
        answer = await self.services.bus.execute(command, causation_id=self.request_id, keyed=keyed)
        outcome = answer.outcome
        if isinstance(outcome, DomainError):
            return self.refusal(outcome, answer.position)
        if isinstance(outcome, Exception):
            raise outcome
        if answer.recorded is None:
            status, view = render(outcome)
        else:
            status, raw = msgspec.json.decode(answer.recorded, type=tuple[int, msgspec.Raw])
            if status >= problems.STATUS["BAD_REQUEST"] or view_type is None:
                return Reply(status, b"" if raw == b"null" else bytes(raw), answer.position)
            view = msgspec.json.decode(raw, type=view_type)
        if complete is not None:
            view = await complete(view)
        return Reply(status, b"" if view is None else msgspec.json.encode(view), answer.position)

    def refusal(self, error: DomainError, position: int = 0) -> Reply:
        """Answer with the error's problem document."""
        headers: list[tuple[bytes, bytes]] = []
        if error.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % error.retry_after_s))
        if isinstance(error, problems.MethodNotAllowed):
            headers.append((b"allow", error.allowed.encode()))
        if problems.STATUS[error.code] == problems.STATUS["TOKEN_INVALID"]:
            headers.append((b"www-authenticate", b"Bearer"))
        body = problems.encoded(error, self.path)
        return Reply(problems.STATUS[error.code], body, position, tuple(headers))

    def _keyed(self, caller: object, render: Callable[[Any], Rendered]) -> Keyed | None:
        key = self.headers.get(b"idempotency-key")
        if key is None:
            return None
        if IDEMPOTENCY_KEY.match(key) is None:
            raise ValidationFailed("1 to 255 visible ASCII characters", "Idempotency-Key")
        body = msgspec.json.encode(self.body)
        request = hashlib.sha256(b"\n".join([self.method.encode(), self.path.encode(), body])).digest()

        def reply(outcome: Any) -> bytes:
            if isinstance(outcome, DomainError):
                return msgspec.json.encode(
                    (problems.STATUS[outcome.code], problems.problem(outcome, self.path))
                )
            return msgspec.json.encode(tuple(render(outcome)))

        return Keyed(KeyOfCaller(str(caller), key.decode()), request, reply)


def json_reply(status: int, view: Any, position: int = 0) -> Reply:
    """Answer with a JSON body."""
    return Reply(status, msgspec.json.encode(view), position)


def validation_failed(error: msgspec.ValidationError) -> ValidationFailed:
    """Turn msgspec's `… - at `$.seats[0].price`` into an error that names the field."""
    message, _, path = str(error).partition(" - at `")
    field = path.rstrip("`").removeprefix("$").removeprefix(".")
    return ValidationFailed(message, field or None)
