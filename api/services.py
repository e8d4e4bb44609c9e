"""What the handlers of one API process share."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from api.board import Board
from api.readiness import Readiness
from commands.bus import CommandBus
from infrastructure.audits import Audits
from infrastructure.hearing import Hearing
from infrastructure.read_models import ReadModels
from infrastructure.settings import Settings
from infrastructure.telemetry import HttpMetrics, SaleMetrics
from infrastructure.tokens import TokenSigner


@dataclass(frozen=True, slots=True)
class Services:
    """Wired once per process, in `api.server`."""

    settings: Settings
    dsn: str
    bus: CommandBus
    signer: TokenSigner
    read_models: ReadModels
    board: Board
    hearing: Hearing
    registry: CollectorRegistry
    http_metrics: HttpMetrics
    sale_metrics: SaleMetrics
    readiness: Readiness
    audits: Audits
