"""Tests of the API over HTTP: the real thing on a socket, with a projector, on a real PostgreSQL."""
