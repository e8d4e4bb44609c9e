"""Serves on a listening socket that it inherits, as one process: `python -m bench.plain FD`."""

import os
import socket
import sys

import uvicorn
import uvloop

from bench.plain.app import create_app
from bench.plain.database import create_tables


def main(fd: int) -> None:
    """Make the tables, and serve."""
    dsn = os.environ["DATABASE_URL"]
    create_tables(dsn)
    app = create_app(
        dsn, secret=os.environ["TICKETING_TOKEN_SECRET"], admin_key=os.environ["TICKETING_ADMIN_KEY"]
    )
    config = uvicorn.Config(app, http="httptools", loop="none", log_level="warning", access_log=False)
    uvloop.run(uvicorn.Server(config).serve([socket.socket(fileno=fd)]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
