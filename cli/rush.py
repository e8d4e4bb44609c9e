"""`ticketing rush`: simulated buyers go the whole way over HTTP, and then the log is audited."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from cli.console import ExitCode, Failure, out

if TYPE_CHECKING:
    from cli.crowd.report import RushReport
    from infrastructure.settings import Settings

HELP = """Let a crowd of simulated buyers go the whole way over HTTP, then audit the log.

Each buyer registers, charges a wallet, stands in line, polls as the service says, chooses seats, reserves, \
tries again when others were faster, pays, and goes home when all is sold out. Exits 1 if a rule was broken.

The service itself audits its log, where the admin key is known: from TICKETING_ADMIN_KEY, or from the data \
folder of the service on this machine. Or else the log in DATABASE_URL is replayed.

\b
Examples:
  ticketing rush --buyers 1000 --concert FIVE-NIGHTS
  ticketing rush --buyers 5000 --concert THEATRE --arrival even --over 60
  ticketing rush --buyers 300 --concert THEATRE --arrival arrivals.csv
"""

SEAT_PRICE_GUESS = 250_000
"""More than most seats cost; who finds a dearer one charges the rest then."""


INTERRUPTED = 130
"""What shells say of a program that Ctrl-C ended."""

EVEN_OVER_S = 10.0
"""How long `even` arrivals take where `--over` does not say it."""


def command(
    buyers: Annotated[int, typer.Option(min=1, max=100_000, help="How many buyers.")],
    concert: Annotated[str, typer.Option(help="The concert's code.", metavar="CODE")],
    url: Annotated[
        str | None, typer.Option(help="Where the service is; left out: the one on this machine.")
    ] = None,
    arrival: Annotated[
        str,
        typer.Option(
            help="`burst`: all at once. `even`: one after another. Or a file, each line of which begins with "
            "a number of seconds or an RFC 3339 time.",
            metavar="burst|even|FILE",
        ),
    ] = "burst",
    over: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=86_400, help="Seconds over which `even` or a file's arrivals are spread."
        ),
    ] = None,
    seats_per_buyer: Annotated[int, typer.Option(min=1, max=100, help="Seats that each buyer wants.")] = 1,
    charge: Annotated[
        int | None,
        typer.Option(min=1, help="Won that each wallet is charged with; left out: 250,000 a seat."),
    ] = None,
    patience: Annotated[
        float, typer.Option(min=1, max=86_400, help="Seconds after which a buyer gives up waiting.")
    ] = 600,
    poll_every: Annotated[
        int | None,
        typer.Option(min=10, help="Poll every so many milliseconds, rather than as the service says."),
    ] = None,
    connections: Annotated[int, typer.Option(min=1, max=4_096, help="Sockets that all buyers share.")] = 128,
    json: Annotated[
        Path | None,
        typer.Option(help="Write the whole report, with each buyer, to this file.", metavar="FILE"),
    ] = None,
    audited: Annotated[bool, typer.Option("--audit/--no-audit", help="Audit the log afterwards.")] = True,
) -> None:
    """Run the crowd, print the report, keep it, and end as the audit says."""
    import msgspec

    from cli.audit_report import show
    from cli.crowd.arrivals import WrongArrivals, arrivals
    from cli.crowd.display import show_report
    from cli.crowd.rush import Rush, audit, run
    from cli.crowd.visit import Wish
    from cli.environment import settings_or_fail

    settings = settings_or_fail()
    if over is not None and arrival == "burst":
        raise Failure(
            "--over goes with --arrival even or a file: a burst has no length", ExitCode.WRONG_INPUT
        )
    try:
        coming = arrivals(arrival, buyers, EVEN_OVER_S if over is None and arrival == "even" else over)
    except WrongArrivals as error:
        raise Failure(f"--arrival: {error}", ExitCode.WRONG_INPUT) from None
    if json is not None:
        _require_writable(json)
    wish = Wish(concert, seats_per_buyer, charge or SEAT_PRICE_GUESS * seats_per_buyer, patience, poll_every)
    rush = Rush(_checked_url(url, settings), arrival, coming, connections, wish)
    report = run(rush)
    show_report(report, out)
    if json is not None:
        _write(json, report)
    if report.interrupted:
        raise typer.Exit(INTERRUPTED)
    found = audit(rush, settings, report.position) if audited else None
    if found is not None:
        show(found, out)
        if json is not None:
            _write(json, msgspec.structs.replace(report, audit=found))
    if report.contradictions or (found is not None and not found.ok):
        raise typer.Exit(ExitCode.RULE_BROKEN)


def _checked_url(url: str | None, settings: "Settings") -> str:
    if url is None:
        scheme = "http" if settings.tls_cert is None else "https"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return f"{scheme}://{host}:{settings.port}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise Failure(f"--url: {url} is not an address like http://127.0.0.1:8000", ExitCode.WRONG_INPUT)
    return url.rstrip("/")


def _require_writable(path: Path) -> None:
    """Find out before the rush, not after it."""
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Failure(f"--json: {path}: {reason}", ExitCode.WRONG_INPUT) from None


def _write(path: Path, report: "RushReport") -> None:
    import msgspec

    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
