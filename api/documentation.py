"""The OpenAPI document and the pages that show it, served like all else: whatever goes wrong is a problem."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi.openapi.docs import get_swagger_ui_html

from api.call import Call, Reply
from api.endpoint import Operation

DOCUMENT_PATH = "/openapi.json"


def operations(document: Mapping[str, Any]) -> Sequence[Operation]:
    """Say how the document and its pages are asked for; it does not describe itself."""
    encoded = msgspec.json.encode(document)
    page = bytes(get_swagger_ui_html(openapi_url=DOCUMENT_PATH, title=document["info"]["title"]).body)

    async def describe(_call: Call[None, None]) -> Reply:
        """Answer with the document."""
        return Reply(200, encoded)

    async def show(_call: Call[None, None]) -> Reply:
        """Answer with a page that shows it."""
        return Reply(200, page)

    return [
        Operation("GET", DOCUMENT_PATH, "The OpenAPI document", describe, {200: dict}),
        Operation(
            "GET",
            "/docs",
            "What can be asked for",
            show,
            {200: str},
            content_type=b"text/html; charset=utf-8",
        ),
    ]
