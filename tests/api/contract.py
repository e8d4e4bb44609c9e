"""Holds every answer against the OpenAPI document, and against what api/problems.py says of its errors."""

from collections.abc import Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import unquote
from uuid import UUID

import msgspec
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012
from starlette.routing import compile_path

from api import examples, openapi, problems
from api.app import OPERATIONS
from api.endpoint import Operation

DOCUMENT: Final[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(openapi.document(OPERATIONS, "0")))
"""As it is served."""

DOCUMENTATION: Final = ("/openapi.json", "/docs")
"""The document does not describe itself."""

NOWHERE: Final = ("NOT_FOUND", "METHOD_NOT_ALLOWED")
"""What is answered where no operation is."""

_NAME: Final = "urn:ticketing:openapi"
_REGISTRY: Final[Registry[Any]] = Registry().with_resource(_NAME, DRAFT202012.create_resource(DOCUMENT))
_PATHS: Final = [(compile_path(operation.path)[0], operation) for operation in OPERATIONS]


class Answer(NamedTuple):
    """What came back, and what was asked for."""

    method: str
    target: str
    """The path as it was sent, with its query."""
    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    content: bytes

    @property
    def path(self) -> str:
        """The path as the server reads it."""
        return unquote(self.target.partition("?")[0])

    @property
    def json(self) -> Any:
        """The body, read."""
        return msgspec.json.decode(self.content)


def check(answer: Answer) -> None:
    """See that the answer is one that the document allows."""
    UUID(answer.headers["x-request-id"])
    operation = operation_of(answer.method, answer.path)
    if answer.target in DOCUMENTATION and answer.status == HTTPStatus.OK:
        return
    if answer.status >= problems.STATUS["BAD_REQUEST"]:
        _check_problem(answer, NOWHERE if operation is None else openapi.error_codes(operation))
    if operation is None:
        assert answer.status >= problems.STATUS["BAD_REQUEST"], answer
        return
    if operation.command:
        assert answer.headers["log-position"].isdigit(), answer
    described = _responses(operation)[str(answer.status)]
    content = described.get("content")
    if content is None:
        assert answer.content == b"", answer
        assert "content-length" not in answer.headers, answer
        assert "content-type" not in answer.headers, answer
        return
    content_type = answer.headers["content-type"].partition(";")[0]
    assert list(content) == [content_type], answer
    read = answer.json if content_type.endswith("json") else answer.content.decode()
    path, method = operation.path.replace(":path}", "}"), operation.method.lower()
    place = ("paths", path, method, "responses", str(answer.status), "content", content_type, "schema")
    validator_at(*place).validate(read)


def _check_problem(answer: Answer, codes: Sequence[str]) -> None:
    """See that it is a problem document of one of these codes, with the headers that go with it."""
    assert answer.headers["content-type"] == problems.PROBLEM_TYPE.decode(), answer
    problem = answer.json
    code = problem["code"]
    assert code in codes, answer
    assert (problem["status"], answer.status) == (problems.STATUS[code],) * 2, answer
    assert problem["type"] == f"urn:ticketing:error:{code}"
    assert problem["instance"].isascii(), answer
    assert unquote(problem["instance"]) == answer.path, answer
    assert set(problem) >= set(problems.problem(examples.ERRORS[code], "")), answer
    wants_retry = examples.ERRORS[code].retry_after_s is not None
    if problem.get("outcome") != "UNKNOWN":
        assert ("retry-after" in answer.headers) == wants_retry, answer
    assert ("www-authenticate" in answer.headers) == (answer.status == problems.STATUS["TOKEN_INVALID"])
    assert ("allow" in answer.headers) == (code == "METHOD_NOT_ALLOWED")


def operation_of(method: str, path: str) -> Operation | None:
    """The operation that a request is for."""
    here = (operation for pattern, operation in _PATHS if pattern.match(path) and not path.endswith("\n"))
    return next((operation for operation in here if operation.method == method), None)


def _responses(operation: Operation) -> Mapping[str, Any]:
    path = operation.path.replace(":path}", "}")
    responses: Mapping[str, Any] = DOCUMENT["paths"][path][operation.method.lower()]["responses"]
    return responses


@cache
def validator_at(*steps: str) -> Draft202012Validator:
    """What holds a value against the schema at this place of the document."""
    pointer = "/".join(step.replace("~", "~0").replace("/", "~1") for step in steps)
    return Draft202012Validator(
        {"$ref": f"{_NAME}#/{pointer}"},
        registry=_REGISTRY,
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )
