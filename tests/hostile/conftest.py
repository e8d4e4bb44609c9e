"""What these tests share with those of the API: a running service."""

from tests.api.conftest import api, service, start

__all__ = ["api", "service", "start"]
