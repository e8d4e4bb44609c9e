"""`ticketing migrate`: creates or upgrades the schema, and with Kafka the topic."""

from typing import TYPE_CHECKING

from cli.console import out

if TYPE_CHECKING:
    from infrastructure.settings import Settings

HELP = """Create or upgrade the schema of the database in DATABASE_URL.

`ticketing up` does it by itself. The processes for production (api, relay, project, timer) refuse to start \
on a schema that is not theirs. With TICKETING_KAFKA it also makes the topic, and the first time gives the \
log its partitions, which stay. Migrating again changes nothing, and several may do it at once.

\b
Example:
  DATABASE_URL=postgresql://ticketing@db/ticketing ticketing migrate
"""


def command() -> None:
    """Migrate, and say what was done."""
    from cli.environment import database_failures, database_url, settings_or_fail, settle_epoch
    from infrastructure import schema

    settings = settings_or_fail()
    with database_failures(settings):
        dsn = database_url(settings)
        applied = schema.migrate(dsn)
        settle_epoch(dsn)
        unbuilt = schema.unbuilt(dsn)
    if not applied:
        out.print("The schema is up to date.")
    for name in applied:
        out.print(f"applied {name}", markup=False)
    if unbuilt:
        out.print(f"{schema.ReadModelsNotBuilt(unbuilt)}", markup=False)
    if settings.kafka is not None:
        _make_topic(settings, dsn)


def _make_topic(settings: "Settings", dsn: str) -> None:
    from cli.environment import database_failures, topic_failures
    from infrastructure import cluster, topic

    with database_failures(settings), topic_failures():
        registered = topic.register(dsn, settings)
        if registered:
            out.print(f"registered topic {settings.kafka_topic}: {settings.kafka_partitions} partitions")
        if cluster.ensure_topic(settings):
            out.print(f"created topic {settings.kafka_topic}", markup=False)
        elif not registered:
            out.print("The topic is up to date.")
