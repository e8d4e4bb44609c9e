"""What schemathesis is told of the sale that it attacks. It loads this module itself (`SCHEMATHESIS_HOOKS`).

Most of what it makes up is about things that do not exist. So in most requests what names something is put
in: a visit that is under way, its reservation, its payment. The admin calls are about a concert of their own.
"""

import atexit
import json
import os
import random
from collections import Counter
from http import HTTPMethod, HTTPStatus
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData

from api.problems import STATUS
from tests.api import contract
from tests.hostile.sale import (
    ADMINS,
    ANSWERS,
    BUYERS,
    KEY,
    SEATS,
    SEED,
    SHOW_DAY,
    SHOW_TIME,
    URL,
    Visit,
    put_on_sale,
)

PUT_IN: Final = 0.8
"""In so many of the requests."""

VISITS: Final = 10
"""Begin together: they wait for the timer together."""

POSITIONS_MAX: Final = 3
"""Beyond the log's end a read waits for two seconds: a few such waits show as much as many."""

REFUSED_BY_A_RULE: Final = ("AMOUNT_OUT_OF_RANGE", "PERFORMANCE_AMBIGUOUS", "IDEMPOTENCY_KEY_REUSED")

NOT_FOR_A_SCHEMA: Final = (
    "name either user_id or payment_id",
    "the blocks must number the seats from 1 on, without gap or overlap",
    "this date is out of range",
    "this is not an IANA time zone",
    "this time is out of range",
    "the venue's clock skips this time on that date",
)
"""What is wrong with input that has the right shape, and no JSON Schema can say."""


class Attack:
    """Who attacks: always in a visit to the sale, from which the requests take what they name."""

    def __init__(self) -> None:
        self.chance = random.Random(int(os.environ[SEED]))
        self.client = httpx.Client(base_url=os.environ[URL], timeout=30.0)
        self.visits: list[Visit] = []
        self.answers: Counter[str] = Counter()
        self.payment_id: str = str(uuid4())
        self.audit_id: str = str(uuid4())
        self.waits = 0

    @property
    def visit(self) -> Visit:
        """The visit under way."""
        if not self.visits:
            put_on_sale(os.environ[URL], os.environ[KEY])  # an attack may have closed it
            self.visits = Visit.begin(self.client, VISITS)
        return self.visits[-1]

    def learn(self, method: str, path: str, status: int, body: Any) -> None:
        """Remember what there is now, and begin another visit where this one has ended."""
        if isinstance(body, dict) and status < STATUS["BAD_REQUEST"]:
            self.payment_id = body.get("payment_id") or self.payment_id
            self.audit_id = body.get("audit_id") or self.audit_id
            if method == HTTPMethod.POST and path.endswith("/reservations"):
                self.visit.reservation_id = body["reservation_id"]
        paid = path == "/api/v1/payments" and status == HTTPStatus.CREATED
        left = method == HTTPMethod.DELETE and path.endswith("/token") and status == HTTPStatus.NO_CONTENT
        if self.visits and (paid or left):
            self.visits.pop()

    def put_in(self, case: Any) -> None:
        """Let the request be about something that exists."""
        known = self._known(case.path)
        for part in (case.path_parameters, case.query, case.body):
            if isinstance(part, dict):
                for name in known.keys() & part.keys():
                    if self.chance.random() < PUT_IN:
                        part[name] = known[name]

    def _known(self, path: str) -> dict[str, Any]:
        admin = path.startswith("/api/v1/admin/")
        known: dict[str, Any] = {
            "code": ADMINS if admin else BUYERS,
            "user_id": self.visit.user_id,
            "reservation_id": self.visit.reservation_id,
            "payment_id": self.payment_id,
            "audit_id": self.audit_id,
            "name": self.chance.choice((f"queue/{BUYERS}", f"wallet/{self.visit.user_id}")),
        }
        if path == "/api/v1/admin/concerts":
            del known["code"]
        if not admin:
            seat_numbers = self.chance.sample(range(1, SEATS + 1), 2)
            known |= {"date": SHOW_DAY, "start_time": SHOW_TIME, "seat_numbers": seat_numbers}
        if path == "/api/v1/payments":
            known["amount"] = None
        return known


attack = Attack()


@schemathesis.auth(refresh_interval=None)
class Bearer:
    """Shows what the operation asks for: the admin key, or the token of the visit under way."""

    def get(self, _case: Any, context: Any) -> str | None:
        """Choose it."""
        needed = {name for each in context.operation.definition.raw.get("security", ()) for name in each}
        if "admin" in needed:
            return os.environ[KEY]
        return attack.visit.token if "token" in needed else None

    def set(self, case: Any, shown: str, _context: Any) -> None:
        """Show it."""
        case.headers["Authorization"] = f"Bearer {shown}"


@schemathesis.hook
def before_call(_context: Any, case: Any, _options: dict[str, Any]) -> None:
    """Let most requests be about what exists, and few wait for what does not; spoil nothing that is wrong."""
    if case.meta is not None and case.meta.generation.mode.is_negative:
        return
    attack.put_in(case)
    position = case.headers.get("Min-Log-Position", "")
    if position.isdigit() and int(position) > 0 and attack.waits > POSITIONS_MAX:
        case.headers["Min-Log-Position"] = "1"
    attack.waits += position.isdigit() and int(position) > 0
    if "Idempotency-Key" in case.headers and attack.chance.random() < PUT_IN:
        case.headers["Idempotency-Key"] = str(UUID(int=attack.chance.getrandbits(128)))


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    """Count the answer, and learn from it."""
    attack.answers[f"{response.status_code} {case.method} {case.path}"] += 1
    body = None
    if response.content and response.headers.get("content-type", [""])[0].endswith("json"):
        body = json.loads(response.content)
    attack.learn(case.method, case.path, response.status_code, body)


@schemathesis.check
def keeps_the_contract(_context: Any, response: Any, case: Any) -> None:
    """Every answer is one that the document allows, to the letter; see `tests.api.contract`."""
    if case.method == HTTPMethod.HEAD:
        return
    headers = {name.lower(): values[0] for name, values in response.headers.items()}
    contract.check(
        contract.Answer(
            response.request.method,
            response.request.path_url,
            response.status_code,
            headers,
            response.content,
        )
    )


@schemathesis.hook
def filter_failure(_context: Any, failure: Any, _case: Any, response: Any) -> bool:
    """Drop what is no failure: input refused with 422 by a rule, or for what no schema can say."""
    is_refusal = isinstance(failure, RejectedPositiveData)
    if not is_refusal or response.status_code != HTTPStatus.UNPROCESSABLE_ENTITY:
        return True
    problem = json.loads(response.content)
    messages = [error["message"] for error in problem.get("errors", ())]
    if any(message.endswith(", got `float`") for message in messages):  # JSON Schema takes 1.0 for an integer
        return False
    return problem["code"] not in REFUSED_BY_A_RULE and not set(messages) & set(NOT_FOR_A_SCHEMA)


@atexit.register
def tell() -> None:
    """Leave the counts to whoever started this."""
    Path(os.environ[ANSWERS]).write_text(json.dumps(attack.answers))
