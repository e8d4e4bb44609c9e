"""The API as an ASGI application: every operation, its document, and what becomes of all other requests."""

from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version

from fastapi import FastAPI
from starlette.routing import Route

from api import admin, concerts, documentation, openapi, payments, queue, reservations, status, users, wallets
from api.endpoint import Endpoint, Operation
from api.routing import Router
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


def create_app(services: Services) -> Router:
    """Put the operations at their paths; FastAPI serves what people read of them, and all other requests."""
    document = openapi.document(OPERATIONS, version("ticketing"))
    read_by_people = FastAPI(title="Ticketing", openapi_url=None, redirect_slashes=False)
    read_by_people.router.routes[:] = [
        Route(path, endpoint)
        for path, endpoint in _endpoints(documentation.operations(document), services).items()
    ]
    read_by_people.router.default = Endpoint({}, services)
    return Router(_endpoints(OPERATIONS, services), otherwise=read_by_people.router)


def _endpoints(operations: Sequence[Operation], services: Services) -> dict[str, Endpoint]:
    by_path: dict[str, dict[str, Operation]] = defaultdict(dict)
    for operation in operations:
        by_path[operation.path][operation.method] = operation
    return {path: Endpoint(served, services) for path, served in by_path.items()}
