"""The OpenAPI document and a page that shows it, served like all else: whatever goes wrong is a problem.

The page is made here, of the document alone. It loads nothing from anywhere and runs no script, so it is the
same without a network, tells nobody who reads it, and nobody can put anything into it.
"""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any, Final

import msgspec

from api.call import Call, Reply
from api.endpoint import Operation

DOCUMENT_PATH = "/openapi.json"

STYLE: Final = """\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
summary { cursor: pointer; padding: .3rem 0 } code, pre { font-family: ui-monospace, monospace }
pre { background: #8881; padding: .7rem; overflow-x: auto } details details { margin-left: 1rem }
"""

POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a browser may do with the page: show it in its own style, and nothing else."""


def operations(document: Mapping[str, Any]) -> Sequence[Operation]:
    """Say how the document and its page are asked for; it does not describe itself."""
    encoded = msgspec.json.encode(document)
    page = "".join(_page(document)).encode()
    headers = ((b"content-security-policy", POLICY.encode()), (b"referrer-policy", b"no-referrer"))

    async def describe(_call: Call[None, None]) -> Reply:
        """Answer with the document."""
        return Reply(200, encoded)

    async def show(_call: Call[None, None]) -> Reply:
        """Answer with a page that shows it."""
        return Reply(200, page, headers=headers)

    return [
        Operation("GET", DOCUMENT_PATH, "The OpenAPI document", describe, {200: dict}),
        Operation(
            "GET",
            "/docs",
            "What can be asked for",
            show,
            {200: str},
            content_type=b"text/html; charset=utf-8",
            cache_control=b"no-cache",
        ),
    ]


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    title = escape(document["info"]["title"])
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    yield f"<h1>{title} {escape(document['info']['version'])}</h1>"
    for paragraph in document["info"]["description"].split("\n\n"):
        yield f"<p>{escape(paragraph)}</p>"
    yield f'<p>All of this as an OpenAPI document: <a href="{DOCUMENT_PATH}">{DOCUMENT_PATH}</a></p>'
    tag = None
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            if described["tags"] != tag:
                tag = described["tags"]
                yield f"<h2>{escape(tag[0].capitalize())}</h2>"
            yield from _operation(method, path, described)
    yield "<h2>Shapes</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<details id="{escape(name)}"><summary>{escape(name)}</summary>{_json(schema)}</details>'
    yield "</html>"


def _operation(method: str, path: str, described: Mapping[str, Any]) -> Iterator[str]:
    call = f"{method.upper()} {path}"
    yield f"<details><summary><code>{escape(call)}</code> {escape(described['summary'])}</summary>"
    needs = [f"Needs: {name}." for each in described.get("security", ()) for name in each]
    yield f"<p>{escape(' '.join([described['description'], *needs]))}</p>"
    for parameter in described["parameters"]:
        yield f"<p><code>{escape(parameter['name'])}</code> ({escape(parameter['in'])})</p>"
        yield _json(parameter["schema"])
    for media_type, content in described.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body, {escape(media_type)}:</p>{_json(content['example'])}{_json(content['schema'])}"
    for status, answer in described["responses"].items():
        yield f"<details><summary>{escape(status)} {escape(answer['description'])}</summary>"
        for content in answer.get("content", {}).values():
            yield _json(content.get("example", content.get("examples")))
        yield "</details>"
    yield "</details>"


def _json(shown: Any) -> str:
    return f"<pre>{escape(json.dumps(shown, indent=2, ensure_ascii=False))}</pre>"
