"""The API as an ASGI application: every operation, its document, and what becomes of all other requests."""

from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version

from fastapi import FastAPI
from starlette.routing import Route

from api import admin, concerts, documentation, openapi, payments, queue, reservations, status, users, wallets
from api.endpoint import Endpoint, Operation
from api.services import Services

OPERATIONS: Sequence[Operation] = (
    *queue.OPERATIONS,
    *concerts.OPERATIONS,
    *reservations.OPERATIONS,
    *payments.OPERATIONS,
    *wallets.OPERATIONS,
    *users.OPERATIONS,
    *admin.OPERATIONS,
    *status.OPERATIONS,
)
"""In the order in which paths are tried, those that are asked most first."""


def create_app(services: Services) -> FastAPI:
    """Put the operations at their paths, and describe them at `/openapi.json` and `/docs`."""
    document = openapi.document(OPERATIONS, version("ticketing"))
    by_path: dict[str, dict[str, Operation]] = defaultdict(dict)
    for operation in (*OPERATIONS, *documentation.operations(document)):
        by_path[operation.path][operation.method] = operation
    app = FastAPI(title="Ticketing", openapi_url=None, redirect_slashes=False)
    app.router.routes[:] = [Route(path, Endpoint(served, services)) for path, served in by_path.items()]
    app.router.default = Endpoint({}, services)
    return app
