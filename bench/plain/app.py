"""The application: its routes, its errors, and what it keeps open."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from aggregates.errors import DomainError, ValidationFailed
from api import problems
from bench.plain import admin, queue, reading, sale, users
from bench.plain.caretaker import take_care
from bench.plain.database import pool


def create_app(dsn: str, *, secret: str, admin_key: str) -> FastAPI:
    """Put it together."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with pool(dsn) as connections:
            app.state.pool = connections
            caretaker = asyncio.create_task(take_care(connections))
            yield
            caretaker.cancel()

    app = FastAPI(title="Plain", lifespan=lifespan)
    app.state.secret = secret
    app.state.admin_key = admin_key
    for part in (queue, reading, sale, users, admin):
        app.include_router(part.router, prefix="/api/v1")
    app.add_exception_handler(DomainError, _refused)
    app.add_exception_handler(RequestValidationError, _not_valid)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    """Answer with a problem document, in the product's words."""
    if not isinstance(error, DomainError):
        raise error
    headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
    return Response(
        problems.encoded(error, request.url.path),
        problems.STATUS[error.code],
        headers,
        media_type=problems.PROBLEM_TYPE.decode(),
    )


async def _not_valid(request: Request, error: Exception) -> Response:
    return await _refused(request, ValidationFailed(str(error)))
