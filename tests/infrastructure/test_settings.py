"""The settings: what is read, what is refused and in which words, and what is documented."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from aggregates.wallet import ChargeLimits
from infrastructure.settings import Settings, SettingsError, described_settings, load_settings

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"

SECRET = "s" * 32
OLDER_SECRET = "o" * 40

Load = Callable[[Mapping[str, str]], Settings]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Load the settings as a process with this environment alone would."""
    monkeypatch.chdir(tmp_path)
    for variable in {described.variable for described in described_settings()} & os.environ.keys():
        monkeypatch.delenv(variable)

    def load_from(environment: Mapping[str, str]) -> Settings:
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        return load_settings()

    return load_from


def test_without_any_setting_the_documented_defaults_hold(load: Load, tmp_path: Path) -> None:
    settings = load({})
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.data_dir == tmp_path / ".ticketing"
    assert settings.database_url is None
    assert settings.admin_key is None
    assert settings.token_secrets is None
    assert settings.service_rules == (ChargeLimits(1, 10_000_000, 100_000_000), False)


def test_the_environment_goes_before_the_dotenv_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TICKETING_PORT=8001\nTICKETING_HOST=localhost\nUNRELATED=1\n")
    settings = load({"TICKETING_PORT": "8002"})
    assert (settings.host, settings.port) == ("localhost", 8002)


def test_a_variable_that_is_set_to_nothing_counts_as_unset(load: Load) -> None:
    assert load({"TICKETING_PORT": "", "TICKETING_TOKEN_SECRET": ""}) == load({})


def test_two_token_secrets_stand_in_their_order(load: Load) -> None:
    settings = load({"TICKETING_TOKEN_SECRET": f"{SECRET}, {OLDER_SECRET}"})
    assert settings.required_token_secrets == [SECRET.encode(), OLDER_SECRET.encode()]


def test_secrets_never_show(load: Load) -> None:
    settings = load(
        {
            "TICKETING_TOKEN_SECRET": f"{SECRET},{OLDER_SECRET}",
            "TICKETING_ADMIN_KEY": "very-private",
            "TICKETING_KAFKA_SASL_PASSWORD": "very-private",
            "DATABASE_URL": "postgresql://ann:very-private@db/ticketing",
        }
    )
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert not re.search(f"{SECRET}|{OLDER_SECRET}|very-private", shown)
    assert settings.required_database_url == "postgresql://ann:very-private@db/ticketing"


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"TICKETING_PORT": "http"}, "TICKETING_PORT: must be a valid integer"),
        ({"TICKETING_PORT": "65536"}, "TICKETING_PORT: must be less than or equal to 65535"),
        ({"TICKETING_PORT": "0"}, "TICKETING_PORT: must be greater than or equal to 1"),
        ({"TICKETING_IDENTITY": "jwt"}, "TICKETING_IDENTITY: must be 'trusted'"),
        (
            {"TICKETING_TOKEN_SECRET": "s" * 31},
            "TICKETING_TOKEN_SECRET: each secret must have at least 32 bytes",
        ),
        (
            {"TICKETING_TOKEN_SECRET": f"{SECRET},"},
            "TICKETING_TOKEN_SECRET: each secret must have at least 32",
        ),
        (
            {"TICKETING_TOKEN_SECRET": f"{SECRET},{SECRET},{SECRET}"},
            "TICKETING_TOKEN_SECRET: must be one secret,",
        ),
        ({"TICKETING_ADMIN_KEY": "geheim ü"}, "TICKETING_ADMIN_KEY: must consist of printable ASCII"),
        ({"DATABASE_URL": "mysql://ann:private@db"}, "DATABASE_URL: must look like postgresql://"),
        ({"TICKETING_TLS_CERT": "/nowhere.pem"}, "TICKETING_TLS_CERT: does not point to a file"),
        ({"TICKETING_TLS_CERT": __file__}, "TICKETING_TLS_KEY: missing, while TICKETING_TLS_CERT is set"),
        ({"TICKETING_TLS_KEY": __file__}, "TICKETING_TLS_CERT: missing, while TICKETING_TLS_KEY is set"),
        ({"TICKETING_TLS": "yes"}, "TICKETING_TLS: must be 'terminated'"),
        ({"TICKETING_MIN_CHARGE": "0"}, "TICKETING_MIN_CHARGE: must be greater than or equal to 1"),
        ({"TICKETING_MIN_CHARGE": "9", "TICKETING_MAX_CHARGE": "8"}, "TICKETING_MIN_CHARGE: 9 is more than"),
        (
            {"TICKETING_MAX_BALANCE": "9007199254740992"},
            "TICKETING_MAX_BALANCE: must be less than or equal to",
        ),
        (
            {"TICKETING_WALLET_NEEDS_TOKEN": "perhaps"},
            "TICKETING_WALLET_NEEDS_TOKEN: must be a valid boolean",
        ),
        (
            {"TICKETING_LOG_LEVEL": "loud"},
            "TICKETING_LOG_LEVEL: must be 'debug', 'info', 'warning' or 'error'",
        ),
        ({"TICKETING_KAFKA": "kafka"}, "TICKETING_KAFKA: must look like host:port,host:port, which 'kafka'"),
        ({"TICKETING_KAFKA": "one:9092,"}, "TICKETING_KAFKA: must look like host:port,host:port, which ''"),
        ({"TICKETING_KAFKA": "one:0"}, "TICKETING_KAFKA: must look like host:port"),
        ({"TICKETING_KAFKA": "one:65536"}, "TICKETING_KAFKA: must look like host:port"),
        ({"TICKETING_KAFKA_TOPIC": "of events"}, "TICKETING_KAFKA_TOPIC: must be at most 249 letters"),
        ({"TICKETING_KAFKA_TOPIC": ".."}, "TICKETING_KAFKA_TOPIC: must be at most 249 letters"),
        ({"TICKETING_KAFKA_TOPIC": "t" * 250}, "TICKETING_KAFKA_TOPIC: must be at most 249 letters"),
        (
            {"TICKETING_KAFKA_PARTITIONS": "0"},
            "TICKETING_KAFKA_PARTITIONS: must be greater than or equal to 1",
        ),
        ({"TICKETING_KAFKA_PARTITIONS": "1001"}, "TICKETING_KAFKA_PARTITIONS: must be less than or equal to"),
        ({"TICKETING_KAFKA_REPLICATION": "0"}, "TICKETING_KAFKA_REPLICATION: must be 1 or more, or -1"),
        (
            {"TICKETING_KAFKA_RETENTION_HOURS": "0"},
            "TICKETING_KAFKA_RETENTION_HOURS: must be greater than or",
        ),
        (
            {"TICKETING_KAFKA_SECURITY_PROTOCOL": "tls"},
            "TICKETING_KAFKA_SECURITY_PROTOCOL: must be 'plaintext'",
        ),
        ({"TICKETING_KAFKA_SASL_MECHANISM": "gssapi"}, "TICKETING_KAFKA_SASL_MECHANISM: must be 'plain', "),
        ({"TICKETING_KAFKA_TLS_CA": "/nowhere.pem"}, "TICKETING_KAFKA_TLS_CA: does not point to a file"),
        ({"TICKETING_LOG_FORMAT": "xml"}, "TICKETING_LOG_FORMAT: must be 'text' or 'json'"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(load: Load, environment: Mapping[str, str], line: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(environment)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)
    assert "private" not in str(refused.value)


def test_all_that_is_wrong_is_told_at_once(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"TICKETING_PORT.*; TICKETING_LOG_LEVEL"):
        load({"TICKETING_PORT": "http", "TICKETING_LOG_LEVEL": "loud"})


def test_a_dotenv_file_that_is_not_text_is_named(load: Load, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"TICKETING_PORT=\xff\xfe")
    with pytest.raises(SettingsError, match=r"^\.env: cannot be read"):
        load({})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "tickets.example"])  # noqa: S104 - a refusal
def test_beyond_loopback_the_api_needs_https(load: Load, host: str) -> None:
    with pytest.raises(SettingsError, match=r"^TICKETING_HOST: .* TICKETING_TLS_CERT"):
        load({"TICKETING_HOST": host})
    assert load({"TICKETING_TLS": "terminated"}).host == host
    settings = load({"TICKETING_TLS": "", "TICKETING_TLS_CERT": __file__, "TICKETING_TLS_KEY": __file__})
    assert settings.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_on_loopback_the_api_needs_no_https(load: Load, host: str) -> None:
    assert load({"TICKETING_HOST": host}).host == host


def test_brokers_stand_in_one_line(load: Load) -> None:
    settings = load({"TICKETING_KAFKA": "one:9092, 192.0.2.7:9093,[2001:db8::7]:9094"})
    assert settings.required_kafka == ("one:9092", "192.0.2.7:9093", "[2001:db8::7]:9094")


def test_what_a_process_cannot_do_without_is_named(load: Load) -> None:
    settings = load({})
    with pytest.raises(SettingsError, match=r"^DATABASE_URL: missing"):
        assert settings.required_database_url
    with pytest.raises(SettingsError, match=r"^TICKETING_TOKEN_SECRET: missing"):
        assert settings.required_token_secrets
    with pytest.raises(SettingsError, match=r"^TICKETING_KAFKA: missing"):
        assert settings.required_kafka


def test_the_documentation_lists_every_setting_as_the_code_has_it() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `?(.*?)`? \| (.+) \|$", DOCUMENTATION.read_text(), re.MULTILINE)
    assert rows == [tuple(described) for described in described_settings()]
