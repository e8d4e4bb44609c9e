"""The OpenAPI document, written from the operations themselves."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from api import examples, problems
from api.call import POSITION_MAX
from api.endpoint import Access, Operation

REF_TEMPLATE = "#/components/schemas/{name}"

DESCRIPTION = """\
Tickets for concerts where far more people come than there are seats: a fair line, seats held for a few
minutes, payment from a prepaid wallet. Every command's answer carries `Log-Position`; a read that sends it
back as `Min-Log-Position` sees what the command did. Any command may carry an `Idempotency-Key`.

Errors are problem documents (RFC 9457), each with a stable `code`; what is not listed here is 404 `NOT_FOUND`
or 405 `METHOD_NOT_ALLOWED`.
"""

ERRORS_OF_EVERY_CALL = ("INTERNAL_ERROR",)
ERRORS_OF_BODIES = ("BAD_REQUEST", "BODY_TOO_LARGE", "VALIDATION_FAILED")
ERRORS_OF_TOKENS = ("TOKEN_MISSING", "TOKEN_INVALID", "TOKEN_LOST")
ERRORS_OF_ADMINS = ("ADMIN_KEY_REQUIRED", "NOT_FOUND")
ERRORS_OF_COMMANDS = (
    "IDEMPOTENCY_KEY_REUSED",
    "VALIDATION_FAILED",
    "OVERLOADED",
    "TRY_AGAIN",
    "STORE_UNAVAILABLE",
)
ERRORS_OF_READS = ("VALIDATION_FAILED", "POSITION_NOT_IN_LOG", "READ_MODEL_BEHIND", "STORE_UNAVAILABLE")

NAMES_IN_PATHS = {"concert_code": "code"}
"""What answers call otherwise than paths do."""
NOT_TOLD = {"name"}
"""What answers call like paths do, and mean something else by."""

ID_PARAMETER = {"type": "string", "format": "uuid"}
PATH_PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "code": {"type": "string", "pattern": "^[A-Z0-9][A-Z0-9-]{1,31}$", "example": examples.CODE},
    "user_id": {**ID_PARAMETER, "example": str(examples.USER_ID)},
    "reservation_id": {**ID_PARAMETER, "example": str(examples.RESERVATION_ID)},
    "payment_id": {**ID_PARAMETER, "example": str(examples.PAYMENT_ID)},
    "audit_id": {**ID_PARAMETER, "example": str(examples.AUDIT_ID)},
    "name": {"type": "string", "example": f"queue/{examples.CODE}"},
}

PROBLEM = {
    "type": "object",
    "description": "A problem document (RFC 9457). Some codes have more members.",
    "required": ["type", "title", "status", "detail", "instance", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "enum": sorted(problems.STATUS)},
    },
    "additionalProperties": True,
}

POSITION_HEADER = {
    "description": "The position in the log that this answer reflects.",
    "schema": {"type": "integer"},
}
RETRY_HEADER = {"description": "Try again after so many seconds.", "schema": {"type": "integer"}}


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """Describe all operations."""
    types = list(_types(operations))
    schemas, components = msgspec.json.schema_components(types, ref_template=REF_TEMPLATE)
    by_type = dict(zip(map(repr, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for operation in operations:
        described = _described(operation, by_type)
        _link(described["responses"], operation, operations)
        paths[_path(operation)][operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ticketing", "version": version, "description": DESCRIPTION},
        "paths": dict(paths),
        "components": {
            "schemas": {**components, "Problem": PROBLEM},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "admin": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def error_codes(operation: Operation) -> list[str]:
    """The codes of every error that an operation can answer with."""
    codes = set(operation.errors) | set(ERRORS_OF_EVERY_CALL)
    if operation.body is not None:
        codes |= set(ERRORS_OF_BODIES)
    if operation.query is not None or "_id}" in operation.path:
        codes.add("VALIDATION_FAILED")
    if operation.access is Access.TOKEN:
        codes |= set(ERRORS_OF_TOKENS)
        if "{code}" in operation.path:
            codes |= {"TOKEN_MISMATCH", "CONCERT_NOT_FOUND"}
    if operation.access is Access.ADMIN:
        codes |= set(ERRORS_OF_ADMINS)
    if operation.path.startswith("/api/"):
        codes |= set(ERRORS_OF_COMMANDS if operation.command else ERRORS_OF_READS)
    return sorted(codes)


def _path(operation: Operation) -> str:
    """The path without what only routing needs to know."""
    return operation.path.replace(":path}", "}")


def _types(operations: Iterable[Operation]) -> Iterable[Any]:
    for operation in operations:
        if operation.body is not None:
            yield _body_type(operation)
        yield from (answer for answer in operation.answers.values() if answer is not None)


def _described(operation: Operation, by_type: Mapping[str, Any]) -> dict[str, Any]:
    summary = (operation.handle.__doc__ or operation.summary).strip()
    described: dict[str, Any] = {
        "operationId": _operation_id(operation),
        "summary": operation.summary,
        "description": summary,
        "tags": [operation.handle.__module__.split(".")[-1]],
        "parameters": list(_parameters(operation)),
        "responses": {**_answers(operation, by_type), **_problems(operation)},
    }
    if operation.access is not Access.PUBLIC:
        described["security"] = [{operation.access.value: []}]
    if operation.body is not None:
        content = {"schema": by_type[repr(_body_type(operation))], "example": operation.example}
        described["requestBody"] = {
            "required": operation.needs_body,
            "content": {"application/json": content},
        }
    return described


def _operation_id(operation: Operation) -> str:
    return f"{operation.handle.__module__.split('.')[-1]}_{operation.handle.__name__}"


def _link(responses: Mapping[str, Any], operation: Operation, operations: Sequence[Operation]) -> None:
    """Say to which calls of the same caller an answer leads that tells of something new."""
    for status in {HTTPStatus.CREATED, HTTPStatus.ACCEPTED} & operation.answers.keys():
        fields: tuple[str, ...] = operation.answers[status].__struct_fields__
        told = {NAMES_IN_PATHS.get(name, name): name for name in fields}
        responses[str(status)]["links"] = {
            _operation_id(follower): _linked(follower, told)
            for follower in operations
            if follower is not operation
            and (follower.access is Access.ADMIN) == (operation.access is Access.ADMIN)
            and (names := set(_names(follower)) - NOT_TOLD)
            and names <= told.keys()
        }


def _linked(follower: Operation, told: Mapping[str, str]) -> dict[str, Any]:
    linked: dict[str, Any] = {
        "operationId": _operation_id(follower),
        "parameters": {name: f"$response.body#/{told[name]}" for name in _names(follower)},
    }
    if follower.body is not None and follower.needs_body:
        linked["requestBody"] = {
            name: f"$response.body#/{told[name]}" if name in told and name not in follower.path else value
            for name, value in follower.example.items()
        }
    return linked


def _names(operation: Operation) -> Sequence[str]:
    """Of what its path is made."""
    return re.findall(r"{(\w+)", operation.path)


def _body_type(operation: Operation) -> Any:
    return operation.body_schema or operation.body


def _parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    for name in _names(operation):
        yield {"name": name, "in": "path", "required": True, "schema": PATH_PARAMETERS[name]}
    if operation.query is not None:
        yield from _query_parameters(operation.query)
    if operation.command:
        yield _header(
            "Idempotency-Key",
            "Repeats with the same key get the first answer and change nothing.",
            {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"},
        )
    elif operation.path.startswith("/api/") and operation.method == "GET":
        yield _header(
            "Min-Log-Position",
            "Wait until the read model has reached this position.",
            {"type": "integer", "minimum": 0, "maximum": POSITION_MAX},
        )
    if HTTPStatus.NOT_MODIFIED in operation.answers:
        yield _header("If-None-Match", "The ETag of what you have.", {"type": "string"})


def _query_parameters(query: Any) -> Iterable[dict[str, Any]]:
    schema = msgspec.json.schema(query)
    (described,) = schema["$defs"].values()
    for name, property_schema in described["properties"].items():
        required = name in described.get("required", ())
        yield {"name": name, "in": "query", "required": required, "schema": property_schema}


def _header(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": schema,
    }


def _answers(operation: Operation, by_type: Mapping[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status, answer in operation.answers.items():
        described: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if operation.path.startswith("/api/"):
            described["headers"] = {"Log-Position": POSITION_HEADER}
        if answer is not None:
            content_type = operation.content_type.decode().partition(";")[0]
            example = msgspec.to_builtins(examples.ANSWERS[answer])
            described["content"] = {content_type: {"schema": by_type[repr(answer)], "example": example}}
        answers[str(status)] = described
    return answers


def _problems(operation: Operation) -> dict[str, Any]:
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in error_codes(operation):
        by_status[problems.STATUS[code]].append(code)
    path = _path(operation).format(**{name: shown["example"] for name, shown in PATH_PARAMETERS.items()})
    return {str(status): _problem(codes, path) for status, codes in sorted(by_status.items())}


def _problem(codes: Sequence[str], path: str) -> dict[str, Any]:
    errors = [examples.ERRORS[code] for code in codes]
    content = {
        "schema": {"$ref": REF_TEMPLATE.format(name="Problem")},
        "examples": {
            error.code: {"value": msgspec.to_builtins(problems.problem(error, path))} for error in errors
        },
    }
    described: dict[str, Any] = {
        "description": ", ".join(f"`{code}`" for code in codes),
        "content": {problems.PROBLEM_TYPE.decode(): content},
    }
    if any(error.retry_after_s is not None for error in errors):
        described["headers"] = {"Retry-After": RETRY_HEADER}
    return described
