"""Having the service audit its log after a rush, by the admin API's calls."""

import asyncio
from typing import Final, Literal
from uuid import UUID

import msgspec

from audit import Report
from cli.crowd.calls import Problem, Service

POLL_S: Final = 0.2

AUDIT_S_MAX: Final = 600
"""An hour's worth of selling is replayed within a minute."""

AUDITS_MAX: Final = 3
"""An audit that ran already does not reach the end of the rush; the next one does."""


class AuditFailed(Exception):
    """The service did not bring an audit to its end."""


class _Started(msgspec.Struct):
    audit_id: UUID


class _Audit(msgspec.Struct):
    status: Literal["RUNNING", "DONE", "FAILED"]
    report: Report | None


async def audit(service: Service, admin_key: str, position: int) -> Report:
    """Have the log audited at least up to `position`. Raises AuditFailed, and what `Service.call` does."""
    try:
        async with asyncio.timeout(AUDIT_S_MAX):
            for _ in range(AUDITS_MAX):
                report = await _one_audit(service, admin_key)
                if report.position >= position:
                    return report
    except TimeoutError:
        raise AuditFailed(f"it did not end within {AUDIT_S_MAX} s") from None
    except Problem as problem:
        raise AuditFailed(problem.code) from None
    raise AuditFailed("it does not reach the end of the rush")


async def _one_audit(service: Service, admin_key: str) -> Report:
    headers = {"Authorization": f"Bearer {admin_key}"}
    reply = await service.call("audit", "POST", "/admin/audits", body={}, headers=headers)
    path = f"/admin/audits/{reply.read(_Started).audit_id}"
    while True:
        found = (await service.call("audit", "GET", path, headers=headers)).read(_Audit)
        if found.status == "FAILED" or (found.status == "DONE" and found.report is None):
            raise AuditFailed("the auditing process died")
        if found.report is not None:
            return found.report
        await asyncio.sleep(POLL_S)
