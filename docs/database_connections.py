"""Write the ways in which a connection to each database is told: ``python -m docs.database_connections``."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow.models import Connection

PAGE = Path(__file__).parent / "database-connections.tabs"


@dataclass(frozen=True)
class Example:
    """
    A connection as somebody would have it.

    :param form: what Airflow's form calls its fields, in the order of the form
    :param schema_statement: what makes the schema that the operator's ``schema`` names
    """

    title: str
    extra_name: str
    conn_type: str
    form: str
    fields: dict[str, Any]
    schema_statement: str
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def as_json(self) -> dict[str, Any]:
        """The connection as an environment variable or a secrets backend holds it."""
        return {"conn_type": self.conn_type} | self.fields | ({"extra": self.extra} if self.extra else {})

    @property
    def uri(self) -> str:
        """The same as a URI."""
        extra = json.dumps(self.extra) if self.extra else None
        return Connection(conn_id="warehouse", conn_type=self.conn_type, extra=extra, **self.fields).get_uri()

    @property
    def command(self) -> list[str]:
        """The same as a command."""
        named = {f"--conn-{name}": str(value) for name, value in self.fields.items()}
        named |= {"--conn-extra": json.dumps(self.extra)} if self.extra else {}
        told = [part for pair in named.items() for part in pair]
        return ["airflow", "connections", "add", "warehouse", "--conn-type", self.conn_type, *told]


def _server(**fields: Any) -> dict[str, Any]:
    return {"host": "db.example.com", "login": "airflow", "password": "PASSWORD"} | fields


EXAMPLES = (
    Example(
        "PostgreSQL",
        "postgres",
        "postgres",
        "Postgres: Host, Database, Login, Password, Port",
        _server(schema="analytics", port=5432),
        "CREATE SCHEMA credits",
        {"sslmode": "require"},
    ),
    Example(
        "MySQL, MariaDB",
        "mysql",
        "mysql",
        "MySQL: Host, Schema (the database), Login, Password, Port",
        _server(schema="analytics", port=3306),
        "CREATE DATABASE credits",
    ),
    Example("SQLite", "sqlite", "sqlite", "Sqlite: Host (the path of the file)", {"host": "/data/credits.db"}, ""),
    Example(
        "DuckDB",
        "duckdb",
        "duckdb",
        "DuckDB: Path to local database file",
        {"host": "/data/credits.duckdb"},
        "CREATE SCHEMA credits",
    ),
    Example(
        "Snowflake",
        "snowflake",
        "snowflake",
        "Snowflake: Schema, Login, Password, and below Account, Warehouse, Database, Role",
        {"login": "AIRFLOW", "password": "PASSWORD", "schema": "CREDITS"},
        "CREATE SCHEMA analytics.credits",
        {"account": "xy12345.eu-west-1", "database": "ANALYTICS", "warehouse": "LOADING", "role": "LOADER"},
    ),
    Example(
        "BigQuery",
        "bigquery",
        "gcpbigquery",
        "Google Bigquery: Project Id, Keyfile Path or Keyfile JSON, and in Extra the location",
        {},
        "CREATE SCHEMA credits",
        {"project": "my-project", "key_path": "/secrets/bigquery.json", "location": "EU"},
    ),
    Example(
        "Redshift",
        "redshift",
        "redshift",
        "Amazon Redshift: Host, Schema (the database), Login, Password, Port, and in Extra iam",
        _server(host="cluster.eu-west-1.redshift.amazonaws.com", schema="analytics", port=5439),
        "CREATE SCHEMA credits",
    ),
    Example(
        "Databricks",
        "databricks",
        "databricks",
        "Databricks: Host, Password (the token), Schema, and in Extra http_path and catalog",
        {"host": "adb-1234.5.azuredatabricks.net", "password": "TOKEN", "schema": "credits"},
        "CREATE SCHEMA main.credits",
        {"http_path": "/sql/1.0/warehouses/abc", "catalog": "main"},
    ),
    Example(
        "ClickHouse",
        "clickhouse",
        "clickhouse",
        "ClickHouse: Host, Schema (the database), Login, Password, Port, and in Extra secure",
        _server(schema="analytics", port=8443),
        "CREATE DATABASE credits",
        {"secure": True},
    ),
    Example(
        "SQL Server",
        "mssql",
        "mssql",
        "Microsoft SQL Server: Host, Schema (the database), Login, Password, Port",
        _server(schema="analytics", port=1433),
        "CREATE SCHEMA credits",
    ),
    Example(
        "Oracle",
        "oracle",
        "oracle",
        "Oracle: Host, Login, Password, Port, and below Service Name or SID",
        _server(port=1521),
        "CREATE USER credits IDENTIFIED BY password QUOTA UNLIMITED ON users",
        {"service_name": "ANALYTICS"},
    ),
    Example(
        "Trino",
        "trino",
        "trino",
        "Trino: Host, Schema, Login, Password, Port, and in Extra catalog",
        _server(port=8443, schema="credits"),
        "CREATE SCHEMA iceberg.credits",
        {"catalog": "iceberg", "protocol": "https"},
    ),
)


def tabs() -> str:
    """Return a tab for each database."""
    return ".. tab-set::\n\n" + "\n".join(_tab(example) for example in EXAMPLES)


def _tab(example: Example) -> str:
    needs = f"``pip install 'airflow-provider-smspartner[{example.extra_name}]'``"
    lines = [f".. tab-item:: {example.title}", "", f"    {needs}", ""]
    lines += [f"    In the form, *Admin, Connections, Add*, type {example.form}.", "", "    As JSON:", ""]
    lines += _block("json", json.dumps(example.as_json))
    lines += ["    As a URI:", "", *_block("text", example.uri), "    As a command:", ""]
    lines += _block("bash", _wrapped(example.command))
    if example.schema_statement:
        lines += ["    A schema of its own, which must be there before the first run:", ""]
        lines += _block("sql", f"{example.schema_statement};")
    return "\n".join(f"    {line}" if line else "" for line in lines)


def _block(language: str, text: str) -> list[str]:
    return [f"    .. code-block:: {language}", "", *(f"        {line}" for line in text.splitlines()), ""]


def _wrapped(command: list[str]) -> str:
    """Return a command with an argument a line."""
    begin, arguments = command[:4], command[4:]
    pairs = [shlex.join(arguments[place : place + 2]) for place in range(0, len(arguments), 2)]
    return " \\\n    ".join([shlex.join(begin), *pairs])


if __name__ == "__main__":
    PAGE.write_text(tabs())
