"""Reads `docker-compose.yml` as Docker Compose does: YAML with merge keys, then variables put in."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
COMPOSE_FILE: Final = ROOT / "docker-compose.yml"

OUR_IMAGE: Final = "ticketing"

SECRETS: Final = {
    "POSTGRES_PASSWORD": "a password of the superuser",
    "DATABASE_PASSWORD": 'it\'s a password, \\ and "odd"',
    "TICKETING_ADMIN_KEY": "the-admin-key",
    "TICKETING_TOKEN_SECRET": "a secret that is long enough to sign with",
}
"""What `.env` has to bring."""

VARIABLE: Final = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<plain>\w+)|\{(?P<name>\w+)(?:(?P<operator>:?[-?+])(?P<word>[^}]*))?\})"
)


class VariableMissing(Exception):
    """A variable that the file insists on; the text is what it says of it."""


def services(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the services as these variables make them. Raises VariableMissing."""
    described: dict[str, dict[str, Any]] = interpolated(raw(), environment)["services"]
    return described


def raw() -> dict[str, Any]:
    """Return the file before variables are put in."""
    content: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
    return content


def ours(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return those services that run our own image."""
    return {
        name: service
        for name, service in services(environment).items()
        if service["image"].partition(":")[0] == OUR_IMAGE
    }


def interpolated(value: Any, environment: Mapping[str, str]) -> Any:
    """Put variables into all strings of it (Compose specification: "Interpolation")."""
    match value:
        case str():
            return VARIABLE.sub(lambda found: _value_of(found, environment), value)
        case Mapping():
            return {name: interpolated(inner, environment) for name, inner in value.items()}
        case Sequence():
            return [interpolated(inner, environment) for inner in value]
        case _:
            return value


def variables(value: Any) -> dict[str, str | None]:
    """Name all variables of it, each with the operator that follows (`:-`, `-`, `:?`, …)."""
    found = VARIABLE.finditer(yaml.safe_dump(value, width=10_000))
    return {one["name"] or one["plain"]: one["operator"] for one in found if not one["dollar"]}


def _value_of(found: re.Match[str], environment: Mapping[str, str]) -> str:
    if found["dollar"]:
        return "$"
    name, word = found["name"] or found["plain"], found["word"] or ""
    operator = found["operator"] or "-"
    value = environment.get(name)
    is_given = bool(value) if operator.startswith(":") else value is not None
    match operator[-1]:
        case "-":
            return value if is_given and value is not None else word
        case "+":
            return word if is_given else ""
        case _:
            if not is_given or value is None:
                raise VariableMissing(f"{name}: {word}")
            return value
