"""The ceiling: what HTTP in Python can do here. The same server on a bare route that returns a constant."""

import socket
import sys

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ANSWER = b"x" * 620
"""As long as a TOKEN."""


async def constant(request: Request) -> Response:
    """Read the body, and answer with a constant."""
    await request.body()
    return Response(ANSWER, media_type="application/json")


def serve(fd: int) -> None:
    """Serve on an inherited socket."""
    app = Starlette(routes=[Route("/constant", constant, methods=["GET", "POST"])])
    config = uvicorn.Config(
        app, http="httptools", loop="none", lifespan="off", log_config=None, access_log=False
    )
    uvloop.run(uvicorn.Server(config).serve([socket.socket(fileno=fd)]))


if __name__ == "__main__":
    serve(int(sys.argv[1]))
