"""Tables that are written from the code, and connections that are told in several ways: as the code has them now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.cli import cli_parser
from airflow.models import Connection

from docs.database_connections import EXAMPLES, PAGE, Example, tabs
from docs.package_tables import PROJECT, tables
from docs.parameters import parameters_of

DOCS = Path(__file__).parents[2] / "docs"

DOCUMENTED = {
    "guides/sensor": ["sensors.credits.CreditsSensor"],
    "reserve-credit": [
        "sensors.reservations.CreditsReservationSensor",
        "operators.reservations.CreditsReleaseOperator",
    ],
    "guides/operator": ["operators.credits.CreditsToSqlOperator"],
    "guides/forecast": ["operators.forecast.CreditsForecastOperator"],
    "guides/trigger": ["triggers.credits.CreditsTrigger"],
    "guides/hook": ["hooks.smspartner.SMSPartnerHook"],
    "guides/sandbox": ["sandbox.SMSPartnerSandbox"],
}
"""The classes whose parameters a page has as a table."""


@pytest.mark.parametrize("name", ["requirements.csv", "extras.csv", "configuration.csv"])
def test_a_table_is_what_the_package_declares(name: str) -> None:
    assert (DOCS / name).read_text() == tables()[name], "run python -m docs.package_tables"


def test_the_tabs_of_connections_are_what_their_examples_say() -> None:
    assert PAGE.read_text() == tabs(), "run python -m docs.database_connections"


def test_each_extra_of_a_database_has_a_connection() -> None:
    assert {example.extra_name for example in EXAMPLES} == set(PROJECT["optional-dependencies"]) - {"page"}


def fields_of(connection: Connection) -> dict[str, Any]:
    names = ("conn_type", "host", "login", "password", "schema", "port")
    told = {name: getattr(connection, name) for name in names if getattr(connection, name)}
    return told | ({"extra": connection.extra_dejson} if connection.extra_dejson else {})


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_the_uri_and_the_command_say_what_the_json_says(example: Example) -> None:
    assert fields_of(Connection(conn_id="c", uri=example.uri)) == example.as_json
    told = cli_parser.get_parser().parse_args(example.command[1:])
    named = {name: getattr(told, f"conn_{name}") for name in ("host", "login", "password", "schema", "port")}
    added = Connection(conn_id="c", conn_type=told.conn_type, extra=told.conn_extra, **named)
    assert {name: str(value) for name, value in fields_of(added).items()} == {
        name: str(value) for name, value in example.as_json.items()
    }


@pytest.mark.parametrize(("page", "names"), DOCUMENTED.items())
def test_each_parameter_stands_in_the_table_of_its_page(page: str, names: list[str]) -> None:
    text = (DOCS / f"{page}.rst").read_text()
    for name in names:
        assert f".. parameters:: {name}" in text
        assert [parameter for parameter, _, meaning, _ in parameters_of(name) if not meaning] == []
