"""Where a command finds what it works with: settings and the database; and what is said where it does not."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from cli.console import ExitCode, Failure, err
from infrastructure import epochs, schema
from infrastructure.data_folder import DataFolder
from infrastructure.embedded_postgres import EmbeddedPostgres
from infrastructure.schema import SchemaError
from infrastructure.settings import Settings, SettingsError, load_settings


@contextmanager
def settings_failures() -> Iterator[None]:
    """Turn a missing or wrong setting into a Failure that names it."""
    try:
        yield
    except SettingsError as error:
        raise Failure(str(error), ExitCode.WRONG_INPUT) from None


def settings_or_fail() -> Settings:
    """Read the settings, or fail."""
    with settings_failures():
        return load_settings()


def database_url(settings: Settings) -> str:
    """Return DATABASE_URL, or else where the PostgreSQL of the data folder listens while `up` runs."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    folder = DataFolder(settings.data_dir)
    return EmbeddedPostgres(folder.postgres, folder.postgres_log).dsn


def require_schema(settings: Settings) -> None:
    """Fail unless DATABASE_URL is set, and leads to a schema that is ours."""
    with settings_failures():
        dsn = settings.required_database_url
    with database_failures(settings):
        schema.check(dsn)
        settle_epoch(dsn)
        schema.check(dsn)


def require_topic(settings: Settings) -> None:
    """Fail unless the topic of the settings is the log's, and can be used; make it if it is not there.

    The schema is known to be ours.
    """
    from infrastructure import cluster, topic

    with database_failures(settings), topic_failures():
        topic.check(settings.required_database_url, settings)
        cluster.ensure_topic(settings)


def require_topic_if_any(settings: Settings) -> None:
    """Fail if the topic is another than the log's; say where it cannot be read at the moment.

    Whoever follows it has the log to read meanwhile.
    """
    if settings.kafka is None:
        return
    from infrastructure import cluster, topic

    with database_failures(settings), topic_failures():
        topic.check(settings.required_database_url, settings)
        try:
            cluster.check_topic(settings)
        except (cluster.ClusterOutOfReach, cluster.TopicMissing) as error:
            _say_log_is_read(error)


def make_topic_or_go_on(settings: Settings, dsn: str) -> Sequence[str]:
    """Give the log the partitions of its topic, and make it; where it had them, go on if that cannot be now.

    The relay will make it. So whatever waits for us does not wait for Kafka. Returns what was made, in words.
    """
    from infrastructure import cluster, topic

    name, made = settings.kafka_topic, []
    with topic_failures():
        registered = topic.register(dsn, settings)
        if registered:
            made.append(f"registered topic {name}: {settings.kafka_partitions} partitions")
        try:
            if cluster.ensure_topic(settings):
                made.append(f"created topic {name}")
        except (cluster.ClusterOutOfReach, cluster.TopicMissing) as error:
            if registered:
                raise
            _say_log_is_read(error)
        else:
            return made or ["The topic is up to date."]
    return made


def _say_log_is_read(error: Exception) -> None:
    err.print(f"{error}; until then the log is read in its place", markup=False)


@contextmanager
def topic_failures() -> Iterator[None]:
    """Turn what is wrong with the topic into a Failure."""
    from infrastructure.cluster import ClusterError
    from infrastructure.topic import NotRegistered

    with settings_failures():
        try:
            yield
        except (ClusterError, NotRegistered) as error:
            raise Failure(str(error)) from None


def settle_epoch(dsn: str, *, restored: bool = False) -> None:
    """Have the log go on in a new epoch if it was restored, or has failed over, and say so.

    `restored` says so where the database does not show it. What then has to be built anew, `schema.check`
    tells. Raises psycopg's errors and SchemaError.
    """
    epoch = epochs.settle(dsn, restored=restored)
    if epoch is None:
        return
    schema.migrate(dsn)
    recorded_at = epoch.after_recorded_at
    boundary = "which is empty" if recorded_at is None else f"which goes up to {recorded_at.isoformat()}"
    err.print(
        f"This log was restored or has failed over: epoch {epoch.number} begins "
        f"after position {epoch.after_position} of what is left, {boundary}.",
        markup=False,
    )


@contextmanager
def database_failures(settings: Settings) -> Iterator[None]:
    """Turn what goes wrong between us and the database into a Failure."""
    try:
        yield
    except SchemaError as error:
        raise Failure(str(error)) from None
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        raise Failure("the database has no schema of this service: run `ticketing migrate`") from None
    except psycopg.OperationalError as error:
        if settings.database_url is not None:
            raise Failure(f"DATABASE_URL: the database cannot be reached: {error}") from None
        raise Failure(
            f"no PostgreSQL runs in {settings.data_dir}: start `ticketing up`, "
            "or say in DATABASE_URL where another one is"
        ) from None
    except psycopg.Error as error:
        raise Failure(f"the database refused: {error}") from None
