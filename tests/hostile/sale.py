"""The sale that is attacked: one concert for buyers, one for the admin calls, and visits under way."""

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Self
from uuid import uuid4

import httpx

URL: Final = "HOSTILE_URL"
"""Environment variables tell the attacking process of the service, and the others what they say."""
KEY: Final = "HOSTILE_ADMIN_KEY"
SEED: Final = "HOSTILE_SEED"
ANSWERS: Final = "HOSTILE_ANSWERS"

BUYERS: Final = "BUYERS"
ADMINS: Final = "ADMINS"
SEATS: Final = 300
SHOW_DAY: Final = "2096-04-01"
SHOW_TIME: Final = "19:30"
PRICE: Final = 1_000

WITHIN_S: Final = 20.0
LOOK_EVERY_S: Final = 0.02


def put_on_sale(url: str, admin_key: str) -> None:
    """Announce both concerts, with one performance each, and open their sales, where that is not so."""
    headers = {"Authorization": f"Bearer {admin_key}"}
    with httpx.Client(base_url=f"{url}/api/v1/admin", headers=headers, timeout=WITHIN_S) as admin:
        for code in (BUYERS, ADMINS):
            policy = {
                "max_active": None, "admit_up_to_seats_left": False, "max_seats_per_user": 1_000,
                "admit_per_interval": None, "max_waiting": 1_000_000, "abandon_waiting_after_s": None,
                "active_ttl_s": 86_400, "hold_ttl_s": 86_400,
            }  # fmt: skip
            announced = {"code": code, "title": code, "category": "CONCERT", "venue": "V", "policy": policy}
            plan = [{"first": 1, "last": SEATS, "type": "STANDARD", "price": PRICE}]
            scheduled = {"date": SHOW_DAY, "start_time": SHOW_TIME, "seats": plan}
            for method, path, body in (
                ("POST", "/concerts", announced),
                ("POST", f"/concerts/{code}/performances", scheduled),
                ("PATCH", f"/concerts/{code}/policy", policy),
                ("POST", f"/concerts/{code}/sales/open", None),
                ("POST", f"/concerts/{code}/queue/resume", None),
            ):
                answer = admin.request(method, path, json=body)
                assert answer.is_success or answer.status_code == HTTPStatus.CONFLICT, answer.text


@dataclass
class Visit:
    """A user who has been let in."""

    user_id: str
    token: str
    reservation_id: str

    @classmethod
    def begin(cls, client: httpx.Client, number: int) -> list[Self]:
        """Let so many users come, and wait until all have been let in."""
        visits = [cls._joined(client) for _ in range(number)]
        deadline = time.monotonic() + WITHIN_S
        for visit in visits:
            while visit._status(client) != "ACTIVE":
                assert time.monotonic() < deadline, "not let in"
                time.sleep(LOOK_EVERY_S)
        return visits

    @classmethod
    def _joined(cls, client: httpx.Client) -> Self:
        user_id = str(uuid4())
        token: dict[str, Any] = {}
        for path, body in (
            ("/api/v1/users", {"user_id": user_id, "name": "Kim Minji"}),
            (f"/api/v1/users/{user_id}/wallet/charges", {"amount": 100 * PRICE}),
            (f"/api/v1/concerts/{BUYERS}/token", {"user_id": user_id}),
        ):
            answer = client.post(path, json=body)
            assert answer.status_code == HTTPStatus.CREATED, answer.text
            token = answer.json()
        return cls(user_id, token["token"], str(uuid4()))

    def _status(self, client: httpx.Client) -> str:
        headers = {"Authorization": f"Bearer {self.token}"}
        status: str = client.get(f"/api/v1/concerts/{BUYERS}/token", headers=headers).json()["status"]
        return status
