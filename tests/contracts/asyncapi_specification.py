"""What the AsyncAPI specification, 3.0.0, says of the parts that our document has, as a JSON Schema.

Written by hand from its text, since no package of the registry carries its own schema: each object has the
fields that the specification lists for it, and no others, and those that it demands.
"""

from typing import Any, Final

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string", "minLength": 1}
REFERENCE: Final[Schema] = {
    "type": "object",
    "properties": {"$ref": {"type": "string", "pattern": "^#/"}},
    "required": ["$ref"],
    "additionalProperties": False,
}


def fields(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def named(values: Schema) -> Schema:
    """An object whose names are free, as far as the specification lets them be."""
    return {
        "type": "object",
        "patternProperties": {r"^[A-Za-z0-9_.-]+$": values},
        "additionalProperties": False,
    }


def list_of(items: Schema) -> Schema:
    """A list that is not empty."""
    return {"type": "array", "items": items, "minItems": 1}


DRAFT_7: Final[Schema] = {"$ref": "http://json-schema.org/draft-07/schema#"}

SERVER: Final = fields(
    {"host": TEXT, "protocol": {"enum": ["kafka", "kafka-secure"]}},
    {
        "protocolVersion": TEXT,
        "pathname": TEXT,
        "title": TEXT,
        "summary": TEXT,
        "description": TEXT,
        "variables": named(
            fields(
                {}, {"enum": list_of(TEXT), "default": TEXT, "description": TEXT, "examples": list_of(TEXT)}
            )
        ),
        "security": list_of(REFERENCE),
    },
)

SECURITY_SCHEME: Final = fields(
    {"type": {"enum": ["plain", "scramSha256", "scramSha512", "gssapi", "X509", "userPassword"]}},
    {"description": TEXT},
)

KAFKA_CHANNEL: Final = fields(
    {},
    {
        "topic": TEXT,
        "partitions": {"type": "integer", "minimum": 1},
        "replicas": {"type": "integer", "minimum": 1},
        "topicConfiguration": {
            "type": "object",
            "properties": {
                "cleanup.policy": list_of({"enum": ["delete", "compact"]}),
                "retention.ms": {"type": "integer", "minimum": -1},
            },
        },
        "bindingVersion": TEXT,
    },
)

CHANNEL: Final = fields(
    {"address": TEXT, "messages": named(REFERENCE)},
    {
        "title": TEXT,
        "summary": TEXT,
        "description": TEXT,
        "servers": list_of(REFERENCE),
        "bindings": fields({"kafka": KAFKA_CHANNEL}),
    },
)

OPERATION: Final = fields(
    {"action": {"enum": ["send", "receive"]}, "channel": REFERENCE},
    {"title": TEXT, "summary": TEXT, "description": TEXT, "messages": list_of(REFERENCE)},
)

MESSAGE: Final = fields(
    {"headers": DRAFT_7, "payload": DRAFT_7},
    {
        "name": TEXT,
        "title": TEXT,
        "summary": TEXT,
        "description": TEXT,
        "contentType": TEXT,
        "correlationId": fields(
            {"location": {"type": "string", "pattern": r"^\$message\.(header|payload)#/"}},
            {"description": TEXT},
        ),
        "bindings": fields({"kafka": fields({"key": DRAFT_7}, {"bindingVersion": TEXT})}),
        "examples": list_of(
            fields({}, {"name": TEXT, "summary": TEXT, "headers": {"type": "object"}, "payload": {}})
        ),
    },
)

SPECIFICATION: Final = fields(
    {
        "asyncapi": {"const": "3.0.0"},
        "info": fields({"title": TEXT, "version": TEXT}, {"description": TEXT}),
    },
    {
        "defaultContentType": TEXT,
        "servers": named(SERVER),
        "channels": named(CHANNEL),
        "operations": named(OPERATION),
        "components": fields(
            {},
            {
                "messages": named(MESSAGE),
                "schemas": named(DRAFT_7),
                "securitySchemes": named(SECURITY_SCHEME),
            },
        ),
    },
)
