"""Holds messages against the AsyncAPI document of the topic, as anyone can who has nothing else."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from jsonschema_rs import Draft202012Validator

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "asyncapi.json"
DOCUMENT: Final[dict[str, Any]] = json.loads(PAGE.read_text(encoding="utf-8"))
MESSAGES: Final[Mapping[str, Any]] = DOCUMENT["components"]["messages"]

OPAQUE: Final = "application/octet-stream"
UNREADABLE: Final = "unreadable"


def complaints(headers: Mapping[str, str], value: bytes) -> Iterator[str]:
    """Tell what about a message is not as the document says."""
    kind = UNREADABLE if headers.get("content-type") == OPAQUE else headers.get("ce_type", "")
    if kind not in MESSAGES:
        yield f"the document knows no message {kind!r}"
        return
    yield from _complaints(f"{kind}/headers", headers)
    if kind != UNREADABLE:
        yield from _complaints(f"{kind}/payload", json.loads(value))
    described = DOCUMENT["components"]["schemas"]["UnreadableHeaders" if kind == UNREADABLE else "Headers"]
    if undescribed := headers.keys() - described["properties"].keys():
        yield f"the document does not describe {sorted(undescribed)}"


def _complaints(place: str, said: Any) -> Iterator[str]:
    for error in _validator(place).iter_errors(said):
        yield f"{place}: {error.instance_path}: {error.message}"


@cache
def _validator(place: str) -> Draft202012Validator:
    schema = {**DOCUMENT, "$ref": f"#/components/messages/{place}"}
    return Draft202012Validator(schema, validate_formats=True)
