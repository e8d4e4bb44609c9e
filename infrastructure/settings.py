"""The settings of a process, from its environment or from a file `.env` in its working folder.

A setting that is wrong stops the start with one line that names it.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from aggregates.wallet import ChargeLimits
from commands.unit_of_work import ServiceRules

PREFIX = "TICKETING_"

ADMIN_KEY = f"{PREFIX}ADMIN_KEY"
TOKEN_SECRET = f"{PREFIX}TOKEN_SECRET"
KAFKA_PASSWORD = f"{PREFIX}KAFKA_SASL_PASSWORD"

TOKEN_SECRET_BYTES_MIN = 32
"""RFC 7518 (3.2): a key for HMAC-SHA-256 has at least as many bits as the hash."""

TOKEN_SECRETS_MAX = 2
"""The one in use, and the one that it takes the place of."""

WON_MAX = 2**53 - 1
"""The largest integer that every JSON reader takes exactly (RFC 8259, 6)."""

KAFKA_PARTITIONS_MAX = 1_000
"""Each read model keeps a checkpoint for each of them."""

KAFKA_REPLICATION_MAX = 32_767
"""Kafka's protocol has 16 bits for it."""

KAFKA_RETENTION_HOURS_MAX = 24 * 366 * 100

KAFKA_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")

KAFKA_SERVER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):(\d{1,5})")

PORT_MAX = 65_535


class SettingsError(Exception):
    """A setting is missing or wrong; the text is one line for whoever started the process."""


class Settings(BaseSettings):
    """All settings. `docs/reference/settings.md` lists them as their descriptions say."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    host: str = Field(default="127.0.0.1", description="the address at which the API listens")
    port: int = Field(default=8000, ge=1, le=PORT_MAX, description="the port at which the API listens")
    data_dir: Path = Field(
        default=Path(".ticketing"),
        description="the folder of the embedded PostgreSQL, generated secrets and logs",
    )
    database_url: SecretStr | None = Field(
        default=None,
        validation_alias="DATABASE_URL",
        description="another PostgreSQL (14 or later) in place of the embedded one",
    )
    admin_key: SecretStr | None = Field(
        default=None,
        description="for admin calls; `up` generates one, shows it on a terminal, and keeps it in the "
        "data folder",
    )
    token_secrets: Annotated[tuple[SecretStr, ...], NoDecode] | None = Field(
        default=None,
        validation_alias=f"{PREFIX}TOKEN_SECRET",
        description="signs queue tokens, at least 32 bytes; the same for all API processes; two, "
        "comma-separated, while changing it: the first signs, both verify; `up` generates one and keeps it",
    )
    identity: Literal["trusted"] = Field(
        default="trusted", description="who vouches for user ids; `trusted`: whoever calls the API"
    )
    tls_cert: FilePath | None = Field(
        default=None, description="the certificate chain (PEM) with which the API serves HTTPS; needs the key"
    )
    tls_key: FilePath | None = Field(default=None, description="the private key (PEM) of the certificate")
    tls: Literal["terminated"] | None = Field(
        default=None,
        description="`terminated`: HTTPS ends before us. Beyond loopback the API listens only with a "
        "certificate or with this",
    )
    min_charge: int = Field(
        default=1, ge=1, le=WON_MAX, description="the smallest charge of a wallet, in won"
    )
    max_charge: int = Field(
        default=10_000_000, ge=1, le=WON_MAX, description="the largest charge of a wallet, in won"
    )
    max_balance: int = Field(
        default=100_000_000, ge=1, le=WON_MAX, description="the largest balance of a wallet, in won"
    )
    wallet_needs_token: bool = Field(
        default=False, description="whether charging a wallet needs a live queue token"
    )
    kafka: Annotated[tuple[str, ...], NoDecode] | None = Field(
        default=None,
        description="`host:port,…`: brokers of the Kafka that carries the log to the projections; unset: "
        "they follow the log directly",
    )
    kafka_topic: str = Field(
        default="ticketing.events",
        description="the topic to which the log is published; `migrate` creates it",
    )
    kafka_partitions: int = Field(
        default=6,
        ge=1,
        le=KAFKA_PARTITIONS_MAX,
        description="how many partitions the topic has, and so how many projectors can share it; fixed by "
        "the first `migrate`",
    )
    kafka_replication: int = Field(
        default=-1,
        ge=-1,
        le=KAFKA_REPLICATION_MAX,
        description="how many brokers keep the topic when it is created; -1: the cluster's default",
    )
    kafka_retention_hours: int = Field(
        default=24,
        ge=1,
        le=KAFKA_RETENTION_HOURS_MAX,
        description="how long the topic keeps an event when it is created; the log keeps all",
    )
    kafka_security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        default="plaintext",
        description="how brokers are spoken to: `plaintext`, `ssl`, `sasl_plaintext`, `sasl_ssl`",
    )
    kafka_sasl_mechanism: Literal["plain", "scram-sha-256", "scram-sha-512"] | None = Field(
        default=None,
        description="how to prove who we are, with `sasl_…`: `plain`, `scram-sha-256`, `scram-sha-512`",
    )
    kafka_sasl_username: str | None = Field(default=None, description="who we are to the brokers")
    kafka_sasl_password: SecretStr | None = Field(
        default=None,
        description="the password of that user; `up` gives it to the relay and the projector only",
    )
    kafka_tls_ca: FilePath | None = Field(
        default=None,
        description="the certificates (PEM) that vouch for the brokers, with `…ssl`; unset: the system's",
    )
    kafka_tls_cert: FilePath | None = Field(
        default=None, description="the certificate chain (PEM) that we show to the brokers; needs the key"
    )
    kafka_tls_key: FilePath | None = Field(
        default=None, description="the private key (PEM) of that certificate"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="the least severe messages that are logged: `debug`, `info`, `warning`, `error`",
    )
    log_format: Literal["text", "json"] = Field(
        default_factory=lambda: "text" if sys.stderr.isatty() else "json",
        description="`text` or `json`; unset: `text` on a terminal, else `json`",
    )

    @property
    def service_rules(self) -> ServiceRules:
        """What decisions depend on."""
        limits = ChargeLimits(self.min_charge, self.max_charge, self.max_balance)
        return ServiceRules(limits, self.wallet_needs_token)

    @property
    def required_database_url(self) -> str:
        """The PostgreSQL of a process that does not bring its own. Raises SettingsError without one."""
        if self.database_url is None:
            raise SettingsError("DATABASE_URL: missing; only `ticketing up` brings a PostgreSQL of its own")
        return self.database_url.get_secret_value()

    @property
    def required_token_secrets(self) -> Sequence[bytes]:
        """What signs queue tokens (the first), and what verifies them (all). Raises SettingsError without."""
        if self.token_secrets is None:
            raise SettingsError(
                f"{PREFIX}TOKEN_SECRET: missing; set one of at least {TOKEN_SECRET_BYTES_MIN} bytes, "
                "the same for all API processes"
            )
        return [secret.get_secret_value().encode() for secret in self.token_secrets]

    @property
    def required_kafka(self) -> Sequence[str]:
        """The brokers. Raises SettingsError without any."""
        if self.kafka is None:
            raise SettingsError(f"{PREFIX}KAFKA: missing; it names the brokers, as host:port,host:port")
        return self.kafka

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, folder: Path) -> Path:
        return folder.expanduser().absolute()

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            try:
                conninfo_to_dict(url.get_secret_value())
            except psycopg.ProgrammingError:
                raise ValueError("must look like postgresql://user:password@host:5432/database") from None
        return url

    @field_validator("admin_key")
    @classmethod
    def _fits_into_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and re.fullmatch(r"[!-~]+", key.get_secret_value()) is None:
            raise ValueError("must consist of printable ASCII characters without spaces")
        return key

    @field_validator("token_secrets", "kafka", mode="before")
    @classmethod
    def _split_at_commas(cls, several: Any) -> Any:
        return [one.strip() for one in several.split(",")] if isinstance(several, str) else several

    @field_validator("token_secrets")
    @classmethod
    def _strong(cls, secrets: tuple[SecretStr, ...] | None) -> tuple[SecretStr, ...] | None:
        if secrets is None:
            return None
        if not 1 <= len(secrets) <= TOKEN_SECRETS_MAX:
            raise ValueError(f"must be one secret, or {TOKEN_SECRETS_MAX} separated by a comma")
        if any(len(secret.get_secret_value().encode()) < TOKEN_SECRET_BYTES_MIN for secret in secrets):
            raise ValueError(f"each secret must have at least {TOKEN_SECRET_BYTES_MIN} bytes")
        return secrets

    @field_validator("kafka")
    @classmethod
    def _are_servers(cls, servers: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for server in servers or ():
            found = KAFKA_SERVER.fullmatch(server)
            if found is None or not 1 <= int(found[1]) <= PORT_MAX:
                raise ValueError(f"must look like host:port,host:port, which {server!r} does not")
        return servers

    @field_validator("kafka_topic")
    @classmethod
    def _is_a_topic(cls, name: str) -> str:
        if KAFKA_TOPIC.fullmatch(name) is None:
            raise ValueError("must be at most 249 letters, digits, dots, hyphens and underscores")
        return name

    @field_validator("kafka_replication")
    @classmethod
    def _is_somewhere(cls, replication: int) -> int:
        if replication == 0:
            raise ValueError("must be 1 or more, or -1 for the cluster's default")
        return replication

    @field_validator(
        "log_level", "log_format", "identity", "tls", "kafka_security_protocol", "kafka_sasl_mechanism",
        mode="before",
    )  # fmt: skip
    @classmethod
    def _in_any_case(cls, word: Any) -> Any:
        return word.lower() if isinstance(word, str) else word

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            missing, given = ("CERT", "KEY") if self.tls_cert is None else ("KEY", "CERT")
            raise ValueError(f"{PREFIX}TLS_{missing}: missing, while {PREFIX}TLS_{given} is set")
        if not (_is_loopback(self.host) or self.tls_cert or self.tls):
            raise ValueError(
                f"{PREFIX}HOST: {self.host!r} can be reached from other machines, which needs "
                f"{PREFIX}TLS_CERT and {PREFIX}TLS_KEY, or {PREFIX}TLS=terminated where HTTPS ends before us"
            )
        if self.min_charge > self.max_charge:
            raise ValueError(
                f"{PREFIX}MIN_CHARGE: {self.min_charge} is more than {PREFIX}MAX_CHARGE, {self.max_charge}"
            )
        return self


class DescribedSetting(NamedTuple):
    """A row of the documentation's table of settings."""

    variable: str
    default: str
    meaning: str


def load_settings() -> Settings:
    """Read the settings from the environment and `.env`, of which the environment goes first.

    Raises SettingsError.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(_complaint(detail) for detail in error.errors())) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f".env: cannot be read ({error})") from None


def described_settings() -> Iterator[DescribedSetting]:
    """Yield every setting, for the documentation."""
    for name, field in Settings.model_fields.items():
        yield DescribedSetting(_variable(name, field), _default(field), field.description or "")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _complaint(detail: ErrorDetails) -> str:
    message = detail["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
    message = message.replace("Path does", "does", 1)
    if not detail["loc"]:
        return message
    named = detail["loc"][0]
    variables = {name: _variable(name, field) for name, field in Settings.model_fields.items()}
    return f"{variables.get(str(named), named)}: {message}"


def _variable(name: str, field: FieldInfo) -> str:
    return str(field.validation_alias or f"{PREFIX}{name.upper()}")


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None or field.default is None:
        return "unset"
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What a process gets to know that answers nobody: all but the admin key and what signs tokens."""
    return {name: value for name, value in environment.items() if name not in (ADMIN_KEY, TOKEN_SECRET)}


def without_kafka_password(environment: Mapping[str, str]) -> dict[str, str]:
    """What a process gets to know that has nothing to do with Kafka."""
    return {name: value for name, value in environment.items() if name != KAFKA_PASSWORD}
