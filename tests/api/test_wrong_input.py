"""Wrong input at every call: always a documented problem document, never a defect of ours.

Each operation has a request that is good but for what it is about. The sweeps spoil one thing of it at a
time. That every answer is documented, and none is a 500, `tests.api.grammar` sees to.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from msgspec import inspect

from api.app import OPERATIONS
from api.endpoint import BODY_BYTES_MAX, Access, Operation
from api.problems import STATUS
from tests.api.grammar import ABSENT, SHOW_DAY, Api, Then, someone
from tests.api.service import ADMIN_KEY

NOT_JSON: Final = (
    b"not JSON",
    b"{",
    b"{'a': 1}",
    b"NaN",
    b"\x00",
    b'{"\xff": 1}',
    b'{"a": "\xed\xa0\x80"}',
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    "{}".encode("utf-16"),
)
NOT_AN_OBJECT: Final = (
    b'{"a":' * 10_000, b"null", b"true", b"1", b"1e999", b'"text"', b'"\x00"', b'"\\ud800"', b"[]", b"[{}]",
    b"[" * 60_000, b"[" * 500 + b"]" * 500,
)  # fmt: skip

WRONG_VALUES: Final = tuple(
    msgspec.Raw(value)
    for value in (
        b"null", b"true", b"0", b"-1", b"51", b"1.5", b"1.0", b"1e3", b"1e999", b"-0", b"2147483648",
        b"9007199254740993", b"9223372036854775808", b"-9223372036854775809", b"1" + b"0" * 30,
        b"1" + b"0" * 400, b"9" * 4_290, b"9" * 5_000, b'""', b'"x"', b'"1"', b'"\\u0000"', b'"a\\u0000b"',
        b'"a\\u0001"', b'"a\\n"', b'"\\u007f"', b'"\\ud800"', b'"\\u202e\\ufeff"',
        b'"' + b"x" * 10_000 + b'"', b'"2096-02-30"', b'"2096-04-01\\n"', b'"19:00\\n"',
        b'"0001-01-01T00:00:00+09:00"', b'"9999-12-31T23:59:59-09:00"', b'"AB\\n"', b'"' + b"\xff" + b'"',
        b"[]", b"[null]", b"[1,1]", b"[7,7]", b"[1.5]", b"[true]", b'["1"]', b"[-1]", b"[51]",
        b"[2147483648]", b"[" + b"1" + b"0" * 30 + b"]",
        b"[" + b",".join(b"%d" % number for number in range(200)) + b"]", b"{}", b'{"a":1}',
        b"[" * 800 + b"]" * 800, b'{"a":' * 800 + b"1" + b"}" * 800,
    )
)  # fmt: skip

WRONG_QUERIES: Final = (
    "", "&&&", "=", "%", "%00", "%ff=%ff", "limit", "limit=", "limit=0", "limit=201", "limit=-1",
    "limit=1.5", "limit=x", "limit=%00", f"limit={'9' * 30}", f"limit={'9' * 5_000}", "limit=1&limit=2",
    "limit=[]", "after=", "after=-1", "after=x", "after=%00", "after=%0a", "after=%ff", f"after={'9' * 30}",
    f"after={'9' * 100}", f"after={'x' * 5_000}", "category=", "category=%00", "category=a%0a",
    "category=%ff", "date=", "date=2096-04-31", "date=2096-04-01%0a", "date=20960401", "date=%00",
    "date=0001-01-01", "date=9999-12-31", "date=2096-04-01&start_time=", "date=2096-04-01&start_time=25:00",
    "date=2096-04-01&start_time=19:30%0a", "all=", "all=perhaps", "all=2", "user_id=", "user_id=%00",
    "user_id=x", "payment_id=x", "at=", "at=now", "at=0001-01-01T00:00:00%2B09:00", "token=x",
    "q=" + "x" * 9_000,
)  # fmt: skip

WEIRD_SEGMENTS: Final = (
    "%00", "%0a", "%0d%0aX-Evil:%201", "%ff", "%ED%A0%80", "%2e%2e", "..", "%2F", "a%2Fb", "%25", "%5c",
    "'", '%22', "%3Cscript%3E", "*", "~", "%20", "NOWHERE%0a", "%F0%9F%8E%AB", "x" * 5_000, "%C0%AF", "-",
    "null",
)  # fmt: skip

UNKNOWN_PATHS: Final = (
    "/", "//", "/api", "/api/", "/api/v1", "/api/v1/", "/api/v2/concerts", "/api/v1/concerts/",
    "/API/V1/CONCERTS", "/healthz/", "/healthz%0a", "/favicon.ico", "/%00", "/%ff", "/%",
    "/..%2f..%2fetc%2fpasswd", "/api/v1/concerts/A1/token/extra", "/api/v1/admin", "/api/v1/admin/audits/",
    "/" + "x" * 30_000, "/" + "/".join("x" * 1_000), "/docs/", "/docs/oauth2-redirect", "/openapi.json/",
    "/redoc",
)  # fmt: skip


class Good(NamedTuple):
    """A request that nothing is wrong with."""

    operation: Operation
    path: str
    body: Mapping[str, Any] | None
    token: str | None

    def when(self, api: Api, **changed: Any) -> Then:
        """Ask for it, with something changed."""
        body = ABSENT if self.body is None else self.body
        wanted = {"path": self.path, "body": body, "token": self.token, **changed}
        return api.when(self.operation.method, **wanted)


class Known:
    """Things that exist, for requests to be about; none of them is used up by a request that is refused."""

    def __init__(self, api: Api) -> None:
        sale = api.given_sale(max_seats_per_user=50)
        self.ann = sale.given_holding(7, balance=1)
        self.owner = sale.given_owner(8)
        self.ben = sale.given_inside()

    def good(self, operation: Operation) -> Good:
        """A good request for the operation."""
        path = operation.path.replace(":path}", "}").format(
            code=self.ann.sale.code,
            user_id=self.ann.user_id,
            reservation_id=self.ann.reservation_id,
            payment_id=self.owner.payment_id,
            audit_id=someone(),
            name=f"wallet/{self.ann.user_id}",
        )
        token = {Access.PUBLIC: None, Access.TOKEN: self.ben.token, Access.ADMIN: ADMIN_KEY}[operation.access]
        if operation.path.endswith("/seats"):
            path += f"?date={SHOW_DAY}"
        if operation.path.endswith("/audit/payments"):
            path += f"?user_id={self.ann.user_id}"
        body = None if operation.body is None else self._body(operation)
        return Good(operation, path, body, token)

    def _body(self, operation: Operation) -> Mapping[str, Any]:
        return {
            **operation.example,
            **{
                name: value
                for name, value in {
                    "user_id": self.owner.user_id,
                    "reservation_id": self.ann.reservation_id,
                    "date": SHOW_DAY,
                }.items()
                if name in operation.example
            },
        }


@pytest.fixture(scope="module")
def known(service: Any) -> Iterator[Known]:
    api = Api(service)
    yield Known(api)
    api.close()


every_operation = pytest.mark.parametrize(
    "operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}"
)
every_operation_with_a_body = pytest.mark.parametrize(
    "operation",
    [operation for operation in OPERATIONS if operation.body is not None],
    ids=lambda operation: f"{operation.method} {operation.path}",
)


def fields(operation: Operation) -> list[str]:
    """The fields of an operation's body."""
    info = inspect.type_info(operation.body_schema or operation.body)
    assert isinstance(info, inspect.StructType)
    return [field.name for field in info.fields]


@every_operation_with_a_body
def test_what_is_not_json_is_a_bad_request(api: Api, known: Known, operation: Operation) -> None:
    good = known.good(operation)
    for body in NOT_JSON:
        good.when(api, body=body).then_refused("BAD_REQUEST")
    for body in NOT_AN_OBJECT:
        assert good.when(api, body=body).json["code"] in ("VALIDATION_FAILED", "BAD_REQUEST")


@every_operation_with_a_body
def test_an_empty_body_says_nothing(api: Api, known: Known, operation: Operation) -> None:
    """Where all members may be left out the whole body may be; where one may not, nothing is no JSON."""
    good = known.good(operation)
    for body in (b"", ABSENT):
        answer = good.when(api, body=body)
        if operation.needs_body:
            answer.then_refused("BAD_REQUEST")
        else:
            assert answer.status == good.when(api, body={}).status
            assert answer.status not in (STATUS["BAD_REQUEST"], STATUS["VALIDATION_FAILED"])


@every_operation_with_a_body
def test_every_field_is_checked(api: Api, known: Known, operation: Operation) -> None:
    """With a key, so that each body is also written down for its fingerprint."""
    good = known.good(operation)
    assert good.body is not None
    for field in fields(operation):
        for value in WRONG_VALUES:
            answer = good.when(api, body=msgspec.json.encode({**good.body, field: value}), key=someone())
            assert b"regex" not in answer.answer.content


@every_operation_with_a_body
def test_every_field_that_is_needed_is_missed(api: Api, known: Known, operation: Operation) -> None:
    good = known.good(operation)
    assert good.body is not None
    info = inspect.type_info(operation.body_schema or operation.body)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        if field.required:
            without = {name: value for name, value in good.body.items() if name != field.name}
            missed = good.when(api, body=without)
            assert missed.json["errors"] == [{"message": f"Object missing required field `{field.name}`"}], (
                missed.answer
            )


@every_operation_with_a_body
def test_a_body_is_at_most_64_kib_long(api: Api, known: Known, operation: Operation) -> None:
    good = known.good(operation)
    for length in (BODY_BYTES_MAX + 1, 10 * BODY_BYTES_MAX):
        good.when(api, body=b" " * length).then_refused("BODY_TOO_LARGE")
    good.when(api, body=b" " * BODY_BYTES_MAX).then_refused("BAD_REQUEST")


@every_operation
def test_every_query_is_checked(api: Api, known: Known, operation: Operation) -> None:
    good = known.good(operation)
    path = good.path.partition("?")[0]
    for query in WRONG_QUERIES if operation.query is not None else WRONG_QUERIES[:6]:
        assert b"regex" not in good.when(api, path=f"{path}?{query}").answer.content


@every_operation
def test_every_segment_of_a_path_is_checked(api: Api, known: Known, operation: Operation) -> None:
    if "{" not in operation.path:
        return
    good = known.good(operation)
    start, _, rest = operation.path.partition("{")
    end = rest.partition("}")[2].format(code="A1", user_id=someone())
    for segment in WEIRD_SEGMENTS:
        good.when(api, path=f"{start}{segment}{end}")


@every_operation
def test_an_id_that_is_no_uuid_is_refused_before_the_token_is_asked_for(
    api: Api, known: Known, operation: Operation
) -> None:
    if "_id}" not in operation.path:
        return
    good = known.good(operation)
    (name,) = (part.partition("}")[0] for part in operation.path.split("{")[1:])
    path = operation.path.replace(f"{{{name}}}", "42")
    token = ADMIN_KEY if operation.access is Access.ADMIN else None
    refused = good.when(api, path=path, token=token)
    assert refused.json["errors"] == [{"field": name, "message": "this is not a UUID"}]


@every_operation
def test_other_methods_are_refused(api: Api, known: Known, operation: Operation) -> None:
    good = known.good(operation)
    here = {each.method for each in OPERATIONS if each.path == operation.path}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} - here:
        refused = api.when(method, good.path).then_refused("METHOD_NOT_ALLOWED")
        assert set(refused.headers["allow"].split(", ")) == here


@every_operation
def test_every_authorization_is_checked(api: Api, known: Known, operation: Operation) -> None:
    good = known.good(operation)
    for authorization in ("", "Bearer", "bearer x", "Basic eA==", "Bearer a.b", "Bearer \xe9", "x" * 9_000):
        answer = good.when(api, token=None, headers={"authorization": authorization.encode("latin-1")})
        match operation.access:
            case Access.ADMIN:
                answer.then_refused("ADMIN_KEY_REQUIRED")
            case Access.TOKEN:
                answer.then_refused("TOKEN_INVALID")
            case Access.PUBLIC:
                assert answer.status != STATUS["TOKEN_INVALID"]


def test_what_is_nowhere_is_not_found(api: Api) -> None:
    for path in UNKNOWN_PATHS:
        for method in ("GET", "POST", "DELETE"):
            api.when(method, path).then_refused("NOT_FOUND")


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_the_documentation_is_only_read(api: Api, path: str) -> None:
    for method in ("POST", "PUT", "DELETE"):
        refused = api.when(method, path).then_refused("METHOD_NOT_ALLOWED")
        assert refused.headers["allow"] == "GET"


def test_naming_a_seat_twice_is_refused(api: Api, known: Known) -> None:
    refused = known.ben.when_reserving(1, 2, 1)
    refused.then_refused(
        "VALIDATION_FAILED", errors=[{"field": "seat_numbers", "message": "name each seat once"}]
    )


def test_a_validation_error_names_the_field(api: Api, known: Known) -> None:
    body = {"date": SHOW_DAY, "seat_numbers": [1, "2"]}
    refused = known.ben.when("POST", f"{known.ben.sale.path}/reservations", body)
    refused.then_refused(
        "VALIDATION_FAILED",
        errors=[{"field": "seat_numbers[1]", "message": "Expected `int`, got `str`"}],
    )
