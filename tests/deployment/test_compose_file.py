"""The compose file is one, and says what the settings, the command line and the image know."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from cli.main import app
from infrastructure.embedded_postgres import INITDB_OPTIONS, SETTINGS, programs
from infrastructure.settings import Settings, described_settings
from tests.deployment.compose import (
    COMPOSE_FILE,
    ROOT,
    SECRETS,
    VariableMissing,
    ours,
    raw,
    services,
    variables,
)
from tests.kafka.programs import POM

DURATION_S: Final = {"s": 1, "m": 60}

PROGRAMS: Final = {
    "haproxy": {"wget"},  # BusyBox of its Alpine
    "postgres": {"pg_isready"},
    "apache/kafka": {"bash"},  # its own start is a script for it
    "ticketing": {"python", "ticketing"},
}
"""What a health check may call: it runs inside of the image."""

WITH_KAFKA: Final = {"migrate", "relay", "projector"}
WITH_RULES: Final = {"api", "timer"}


def checked(file: Path) -> "subprocess.CompletedProcess[str]":
    """Have the file checked against the schema of the Compose specification."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_it_keeps_to_the_compose_specification(tmp_path: Path) -> None:
    result = checked(COMPOSE_FILE)
    assert result.returncode == 0, result.stdout + result.stderr
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(COMPOSE_FILE.read_text().replace("stop_grace_period:", "stop_grace:"))
    assert "stop_grace" in checked(broken).stdout


def test_it_runs_the_whole_service_and_two_of_each_process() -> None:
    assert set(services(SECRETS)) == {
        "proxy",
        *("api", "relay", "projector", "timer", "migrate"),
        *("postgres", "kafka"),
    }
    replicas = {name: service.get("deploy", {}).get("replicas") for name, service in ours(SECRETS).items()}
    assert replicas == {"api": "2", "relay": "2", "projector": "2", "timer": "2", "migrate": None}


def test_every_variable_that_a_process_gets_is_a_setting() -> None:
    known = {setting.variable for setting in described_settings()} | {"PGPASSWORD"}
    for name, service in ours(SECRETS).items():
        assert set(service["environment"]) <= known, name


def test_every_process_gets_what_it_cannot_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    known = {setting.variable for setting in described_settings()}
    for name, service in ours(SECRETS).items():
        with monkeypatch.context() as surroundings:
            for variable in known:
                surroundings.delenv(variable, raising=False)
            for variable, value in service["environment"].items():
                surroundings.setenv(variable, value)
            settings = Settings()
        assert settings.required_database_url == "postgresql://ticketing@postgres:5432/ticketing"
        assert service["environment"]["PGPASSWORD"] == SECRETS["DATABASE_PASSWORD"]
        assert (settings.kafka is not None) == (name in WITH_KAFKA), name
        assert ("TICKETING_KAFKA_PARTITIONS" in service["environment"]) == (name in WITH_KAFKA), name
        assert ("TICKETING_MAX_CHARGE" in service["environment"]) == (name in WITH_RULES), name
        if name == "api":
            assert settings.required_token_secrets
            assert settings.admin_key is not None
            assert settings.tls == "terminated"


def test_only_the_api_knows_the_admin_key_and_what_signs_tokens() -> None:
    for secret in ("TICKETING_ADMIN_KEY", "TICKETING_TOKEN_SECRET"):
        knowing = {name for name, service in services(SECRETS).items() if secret in service["environment"]}
        assert knowing == {"api"}


def test_it_has_no_secret_and_insists_on_each() -> None:
    words = re.compile(r"PASSWORD|SECRET|KEY$")
    for name, service in raw()["services"].items():
        for variable, value in service.get("environment", {}).items():
            if words.search(variable):
                assert re.fullmatch(r"\$\{\w+(:\?[^}]+|:-)\}", value), (name, variable)
    for secret in SECRETS:
        without = {name: value for name, value in SECRETS.items() if name != secret}
        with pytest.raises(VariableMissing, match=secret):
            services(without)


def test_the_example_of_an_env_file_names_the_variables_of_the_compose_file() -> None:
    example = (ROOT / ".env.example").read_text()
    named = re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)
    required = {name for name, operator in variables(raw()).items() if operator == ":?"}
    assert required == set(re.findall(r"^([A-Z_]+)=$", example, re.MULTILINE)) == set(SECRETS)
    assert set(named) <= set(variables(raw()))


def test_every_command_is_one_of_ours_and_takes_its_arguments() -> None:
    described = ours(SECRETS)
    assert {service["command"][0] for service in described.values()} >= {"api", "relay", "project", "timer"}
    for service in described.values():
        parse(service["command"])
        check = service.get("healthcheck", {"test": [None, None]})["test"]
        if check[1] == "ticketing":
            parse(check[2:])


def parse(words: list[str]) -> None:
    """Take a command line as `ticketing` does, without running it."""
    command: Any = get_command(app)
    while isinstance(command, TyperGroup):
        name, *words = words
        command = command.commands[name]
    command.make_context("ticketing", list(words))


def test_whatever_runs_on_has_a_health_check_that_its_image_can_run() -> None:
    for name, service in services(SECRETS).items():
        if name == "migrate":
            continue
        check = service["healthcheck"]
        kind, program, *arguments = check["test"]
        assert kind == "CMD"
        assert program in PROGRAMS[service["image"].partition(":")[0]], name
        assert seconds(check["timeout"]) < 2 * seconds(check["interval"]) + 5
        assert check["start_period"]
        if program == "python":
            compile(arguments[-1], name, "exec")


def test_everything_waits_for_migrate_which_waits_for_postgresql_and_kafka() -> None:
    described = services(SECRETS)
    for name in set(ours(SECRETS)) - {"migrate"}:
        assert described[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert set(described["migrate"]["depends_on"]) == {"postgres", "kafka"}
    assert described["migrate"]["restart"] == "no"
    for service in described.values():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in described[needed]


def test_images_have_a_version_that_is_the_one_tested() -> None:
    images = {name: service["image"] for name, service in services(SECRETS).items()}
    elsewhere = {image for image in images.values() if not image.startswith("ticketing:")}
    assert all(re.search(r":\d+\.\d+(\.\d+)?(-\w+)?$", image) for image in elsewhere), elsewhere
    (kafka,) = re.findall(r"<artifactId>kafka_\S+</artifactId>\s+<version>(\S+)</version>", POM.read_text())
    assert images["kafka"] == f"apache/kafka:{kafka}"
    version = subprocess.run(
        [programs() / "postgres", "--version"], capture_output=True, text=True, timeout=10, check=True
    )
    assert images["postgres"].startswith(f"postgres:{version.stdout.split()[-1]}-")


def test_postgresql_works_as_the_embedded_one_does() -> None:
    postgres = services(SECRETS)["postgres"]
    program, *options = postgres["command"]
    assert program == "postgres"
    for option in options:
        name, _, value = option.removeprefix("--").partition("=")
        assert SETTINGS[name] == value, name
    left_to_the_image = {"listen_addresses", "unix_socket_permissions", "wal_compression", "log_line_prefix"}
    said = {option.removeprefix("--").partition("=")[0] for option in options}
    assert set(SETTINGS) - said == left_to_the_image
    assert set(postgres["environment"]["POSTGRES_INITDB_ARGS"].split()) <= set(INITDB_OPTIONS)


def test_containers_can_do_no_more_than_they_need() -> None:
    for name, service in services(SECRETS).items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only") is (None if name == "kafka" else True), name
        assert service["logging"]["options"]["max-size"], name
        assert "privileged" not in service
        if name != "migrate":
            assert service["restart"] == "unless-stopped", name


def test_only_the_proxy_can_be_reached_from_outside_and_it_reaches_only_the_api() -> None:
    described = services(SECRETS)
    assert [name for name, service in described.items() if "ports" in service] == ["proxy"]
    assert all(port.startswith("127.0.0.1:") for port in described["proxy"]["ports"])
    assert described["proxy"]["networks"] == ["outside"]
    assert [name for name, service in described.items() if "outside" in service["networks"]] == [
        "proxy",
        "api",
    ]


def test_a_stop_leaves_a_process_the_time_that_it_needs() -> None:
    for service in ours(SECRETS).values():
        assert seconds(service["stop_grace_period"]) > 10
        assert service["init"] is True


def test_the_data_outlives_the_containers() -> None:
    described = services(SECRETS)
    volumes = set(yaml.safe_load(COMPOSE_FILE.read_text())["volumes"])
    kept = {
        volume.partition(":")[0]
        for name in ("postgres", "kafka")
        for volume in described[name]["volumes"]
        if not volume.startswith(".")
    }
    assert kept == volumes
    mounted = [
        volume.partition(":")[0] for service in described.values() for volume in service.get("volumes", ())
    ]
    assert all((ROOT / file).is_file() for file in mounted if file.startswith("."))


def test_without_kafka_nothing_of_it_runs() -> None:
    off = services({**SECRETS, "TICKETING_KAFKA": "", "KAFKA_BROKERS": "0", "RELAYS": "0"})
    assert off["projector"]["environment"]["TICKETING_KAFKA"] == ""
    assert off["kafka"]["deploy"]["replicas"] == off["relay"]["deploy"]["replicas"] == "0"
    assert off["migrate"]["depends_on"]["kafka"]["required"] is False


def test_the_proxy_finds_the_api_where_it_listens() -> None:
    config = (ROOT / "deployment" / "haproxy.cfg").read_text()
    described = services(SECRETS)
    port = described["api"]["environment"]["TICKETING_PORT"]
    assert f"server-template api- 8 api:{port}\n" in config
    assert "uri /readyz" in config
    for published in described["proxy"]["ports"]:
        assert f"bind :{published.rpartition(':')[2]}" in config
    asked = described["proxy"]["healthcheck"]["test"][-1]
    assert f"bind {asked.removeprefix('http://').rstrip('/')}\n" in config
    assert "crt /run/secrets/certificate" in config
    assert described["proxy"]["secrets"] == ["certificate"]


def seconds(duration: str) -> int:
    """Read a duration such as `15s`."""
    return int(duration[:-1]) * DURATION_S[duration[-1]]
