"""Where a command finds what it works with: settings and the database; and what is said where it does not."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from cli.console import ExitCode, Failure
from infrastructure import schema
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
