"""`ticketing migrate`: creates or upgrades the schema, and with Kafka the topic."""

from cli.console import out

HELP = """Create or upgrade the schema of the database in DATABASE_URL.

`ticketing up` does it by itself. The processes for production (api, relay, project, timer) refuse to start \
on a schema that is not theirs. With TICKETING_KAFKA it also makes the topic, and the first time gives the \
log its partitions, which stay; after that time it leaves the topic to the relay where no broker answers. \
Migrating again changes nothing, and several may do it at once.

\b
Example:
  DATABASE_URL=postgresql://ticketing@db/ticketing ticketing migrate
"""


def command() -> None:
    """Migrate, and say what was done."""
    from cli.environment import (
        database_failures,
        database_url,
        make_topic_or_go_on,
        settings_or_fail,
        settle_epoch,
    )
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
        with database_failures(settings):
            made = make_topic_or_go_on(settings, dsn)
        for line in made:
            out.print(line, markup=False)
