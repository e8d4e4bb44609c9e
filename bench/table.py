"""How the results are shown."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from bench.results import Figures, Row


def table(rows: Sequence[Row]) -> Table:
    """Each operation beside the ceiling and the plain service; green where the targets are reached."""
    shown = Table(
        "operation", "requests/s", "p50 ms", "p95 ms", "p99 ms", "ceiling/s", "× ceiling", "plain/s",
        "× plain", "client CPU", "reached",
    )  # fmt: skip
    for one in rows:
        target = one.operation.target
        shown.add_row(
            one.operation.shown,
            *_figures(one.product),
            _rate(one.ceiling),
            _ratio(one.of_ceiling, None if target is None else target.of_ceiling),
            _rate(one.plain),
            _ratio(one.times_plain, None if target is None else target.times_plain),
            f"{one.client_cpu_max:.0%}",
            {True: "[green]yes", False: "[red]no", None: ""}[one.reached],
        )
    return _aligned(shown)


def table_over_kafka(rows: Sequence[Row], embedded: Mapping[str, float]) -> Table:
    """Each operation beside the last run without Kafka."""
    shown = Table("operation", "requests/s", "p50 ms", "p95 ms", "p99 ms", "embedded/s", "× embedded")
    for one in rows:
        rate = embedded.get(one.operation.name)
        before = ("", "") if rate is None else (f"{rate:,.0f}", f"{one.product.per_s / rate:.2f}")
        shown.add_row(one.operation.shown, *_figures(one.product), *before)
    return _aligned(shown)


def _figures(of: Figures) -> list[str]:
    return [f"{of.per_s:,.0f}", *(f"{latency:.1f}" for latency in (of.p50_ms, of.p95_ms, of.p99_ms))]


def _rate(of: Figures | None) -> str:
    return "" if of is None else f"{of.per_s:,.0f}"


def _ratio(ratio: float | None, target: float | None) -> str:
    """The ratio, and in brackets what it has to be at least."""
    if ratio is None:
        return ""
    return f"{ratio:.2f}" if target is None else f"{ratio:.2f} (≥ {target:g})"


def _aligned(shown: Table) -> Table:
    for column in shown.columns:
        column.no_wrap = True
    for column in shown.columns[1:]:
        column.justify = "right"
    return shown
