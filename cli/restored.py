"""`ticketing restored`: has the log go on in a new epoch after a restore that the database does not show."""

HELP = """Say that the database was restored from a backup, so that its log goes on in a new epoch.

A restored dump, a restored base backup or a failover is noticed without it, whenever a process starts. What \
looks just like the original is not: a copied data folder, a snapshot of a disk or of a machine. Then say so \
before anything else starts, or with `ticketing up --restored`; processes that run begin anew by themselves.

\b
Example:
  DATABASE_URL=postgresql://ticketing@db/ticketing ticketing restored
"""


def command() -> None:
    """Begin a new epoch, and say behind which boundary."""
    from cli.environment import database_failures, database_url, settings_or_fail, settle_epoch
    from infrastructure import schema

    settings = settings_or_fail()
    with database_failures(settings):
        dsn = database_url(settings)
        schema.check(dsn)
        settle_epoch(dsn, restored=True)
