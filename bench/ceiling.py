"""The ceiling: what HTTP in Python can do here. The same server on bare routes that return constants.

`python -m bench.ceiling FD METHOD:PATH:STATUS:BYTES …` serves on a listening socket that it inherits.
"""

import socket
import sys

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def route(described: str) -> Route:
    """A route that reads the body, and answers with a constant as long as the answer that it stands for."""
    method, path, status, length_bytes = described.split(":")
    answer = b"x" * int(length_bytes)

    async def constant(request: Request) -> Response:
        await request.body()
        return Response(answer, int(status), media_type="application/json")

    return Route(path, constant, methods=[method])


def serve(fd: int, routes: list[str]) -> None:
    """Serve on an inherited socket."""
    app = Starlette(routes=[route(described) for described in routes])
    config = uvicorn.Config(
        app, http="httptools", loop="none", lifespan="off", log_config=None, access_log=False
    )
    uvloop.run(uvicorn.Server(config).serve([socket.socket(fileno=fd)]))


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2:])
