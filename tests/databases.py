"""The databases of the suite in tests/integration, what each is held to, and its gaps."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from enum import Enum

from sqlalchemy.exc import DBAPIError, OperationalError

from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError, SMSPartnerError


@dataclass(frozen=True)
class Database:
    """
    A column of the suite: a database by way of one driver.

    :param name: as the ids of the tests have it; where it holds a plus, SQLAlchemy's own name of dialect and driver
    :param title: what people call the database
    :param driver: the driver's distribution
    :param stand_in: what the tests run on, where that is not the database itself
    :param target: of the Makefile, which sets its environment up
    :param module: that is there in this environment alone
    :param writers_count: that write at the same time
    :param in_threads: they are threads of this process, and not processes of their own
    :param accounts_count: that are written in one go
    """

    name: str
    title: str
    driver: str
    stand_in: str = ""
    target: str = "test"
    module: str = "sqlalchemy"
    writers_count: int = 16
    in_threads: bool = False
    accounts_count: int = 300

    @property
    def may_be_left_out(self) -> bool:
        """Whether this is another environment: none is where its target's own variable says so."""
        return self.target != "test" and f"TEST_{self.target.upper()}" not in os.environ

    @property
    def is_here(self) -> bool:
        return not self.may_be_left_out or importlib.util.find_spec(self.module) is not None


DATABASES = (
    Database("sqlite", "SQLite", "sqlite3"),
    # It lets in one process at a time.
    Database("duckdb", "DuckDB", "duckdb-engine", module="duckdb", writers_count=4),
    Database("bundled", "PostgreSQL", "psycopg"),
    Database("postgresql+psycopg", "PostgreSQL", "psycopg"),
    Database("postgresql+psycopg2", "PostgreSQL", "psycopg2-binary"),
    Database("mariadb+pymysql", "MariaDB", "pymysql"),
    Database("mysql+mysqlconnector", "MariaDB", "mysql-connector-python"),
    Database("mysql+mysqldb", "MariaDB", "mysqlclient", target="mysql", module="MySQLdb"),
    Database(
        "snowflake",
        "Snowflake",
        "snowflake-sqlalchemy",
        "fakesnow",
        "snowflake",
        "fakesnow",
        writers_count=8,
        in_threads=True,
        accounts_count=50,  # of 300 it parses the statement for eight seconds
    ),
    Database("clickhouse", "ClickHouse", "clickhouse-connect", "", "warehouses", "chdb", 8, in_threads=True),
    Database(
        "bigquery",
        "BigQuery",
        "sqlalchemy-bigquery",
        "bqemulator",
        "warehouses",
        "bqemulator",
        writers_count=4,
        in_threads=True,
        accounts_count=30,  # of 300 it parses the statement for a quarter of a minute
    ),
    Database("redshift", "Redshift", "sqlalchemy-redshift", "PostgreSQL", "warehouses", "sqlalchemy_redshift"),
)

NAMED = {database.name: database for database in DATABASES}

BEHAVIOURS = {
    "created": "The table is made with the first write, and SQL without quotes finds it.",
    "replaced": "A re-run replaces its own row, and another run adds one.",
    "kept": 'With ``on_rerun="keep"`` a re-run leaves its row as it is, and returns it.',
    "many": "Many accounts are written in one go, and once more.",
    "exact": "An amount comes back as it was, to the sixth decimal.",
    "whole": "A whole number of 64 bits comes back as it was.",
    "UTC": "An instant of any time zone comes back in UTC, to the microsecond.",
    "unicode": "Letters of any script, emoji, quotes and percent signs come back as they were.",
    "NULL": "What is unknown stays NULL, in the first row, too.",
    "at once": "Many writers of the same rows leave each row once.",
    "no DDL": "Where ``create_table`` is False, a missing table is refused, and nothing is created.",
    "right": "A missing right is told with the GRANT that gives it.",
    "columns": "A missing column is named.",
    "others'": "A re-run leaves a column alone that somebody else has added.",
    "types": "A column of another type is refused by its name.",
    "names": "The name of a table is quoted, and found as the database keeps it.",
    "odd names": "So is one with blanks and letters of any script.",
    "queries": "The analysts' queries give the results of their page.",
}
"""The rows of the suite."""


class Kind(Enum):
    """Why a database does not show a behaviour."""

    NEVER = "never"
    """The database has no such thing."""
    NOT_YET = "not yet"
    """We, the dialect or the driver could, and do not."""
    STAND_IN = "stand-in differs"
    """What the tests run on does other than the vendor documents."""


@dataclass(frozen=True)
class Gap:
    """
    A behaviour that a database does not show.

    :param raises: how the test ends because of it; should it pass, or end in another way, that is a failure
    :param match: what the exception says
    :param always: it does so each time, and not by chance
    """

    kind: Kind
    reason: str
    raises: type[BaseException]
    match: str
    always: bool = True


GAPS: dict[tuple[str, str], Gap] = {
    ("right", "sqlite"): Gap(Kind.NEVER, "SQLite has no users.", OperationalError, "syntax error"),
    ("right", "duckdb"): Gap(Kind.NEVER, "DuckDB has no users.", DBAPIError, "syntax error|Parser Error"),
    ("right", "snowflake"): Gap(
        Kind.STAND_IN, "fakesnow makes no users. Snowflake does.", DBAPIError, "CREATE USER.*not implemented"
    ),
    ("at once", "snowflake"): Gap(
        Kind.STAND_IN,
        "In the DuckDB of fakesnow two MERGE of one new key collide. Snowflake has the second wait.",
        AssertionError,
        "(?i)duplicate key|conflict",
        always=False,
    ),
    ("right", "clickhouse"): Gap(
        Kind.STAND_IN,
        "In chdb the one user may make no other. A server of ClickHouse has users and grants.",
        DBAPIError,
        "Not enough privileges.*CREATE USER",
    ),
    ("right", "bigquery"): Gap(
        Kind.STAND_IN,
        "bqemulator knows no GRANT. BigQuery does.",
        DBAPIError,
        'syntax error at or near "GRANT"',
    ),
    ("exact", "bigquery"): Gap(
        Kind.STAND_IN,
        "bqemulator casts a NUMERIC to three decimals. BigQuery keeps nine, and the statement has all six of ours.",
        SMSPartnerConfigurationError,
        "these columns: balance",
    ),
    ("odd names", "bigquery"): Gap(
        Kind.STAND_IN,
        "bqemulator takes letters, digits and underscores alone in the name of a table. BigQuery takes these too.",
        SMSPartnerError,
        "did not answer as it should",
    ),
    ("others'", "clickhouse"): Gap(
        Kind.NEVER,
        "A row is replaced by a new one, with nothing in columns that are not ours.",
        AssertionError,
        "what somebody else wrote is gone",
    ),
    ("others'", "redshift"): Gap(
        Kind.NOT_YET,
        "A row is deleted and inserted anew, with nothing in columns that are not ours.",
        AssertionError,
        "what somebody else wrote is gone",
    ),
}
"""By behaviour and name of the database."""


@dataclass(frozen=True)
class CompiledDatabase:
    """
    A database that no test can have: its statements are compiled by its own dialect, and held to its vendor's word.

    :param types: of captured_at, balance, dag_id and credit_sms
    :param merges: how its MERGE begins, as a pattern; empty where it takes another statement
    :param most_parameters: of one statement, as the vendor documents it
    :param rows_at_once: that we send in one
    :param counts_in: what a text column's length counts
    """

    name: str
    title: str
    driver: str
    module: str
    url: str
    types: tuple[str, str, str, str]
    merges: str = ""
    most_parameters: int = 0
    rows_at_once: int | None = None
    counts_in: str = "characters"


COMPILED_ONLY = (
    CompiledDatabase(
        "mssql",
        "SQL Server",
        "pymssql",
        "pymssql",
        "mssql+pymssql://anna@host/database",
        ("DATETIMEOFFSET(6)", "NUMERIC(18, 6)", "NVARCHAR(500)", "BIGINT"),
        r"MERGE INTO \[smspartner_credit_snapshots\] WITH \(HOLDLOCK\) target USING \(SELECT",
        2_100,
        133,
        "pairs of bytes",
    ),
    CompiledDatabase(
        "oracle",
        "Oracle",
        "oracledb",
        "oracledb",
        "oracle+oracledb://anna@host/?service_name=service",
        ("TIMESTAMP WITH TIME ZONE", "NUMERIC(18, 6)", "NVARCHAR2(500)", "NUMBER(19)"),
        r'MERGE INTO "SMSPARTNER_CREDIT_SNAPSHOTS" target USING \(SELECT .* source ON \(target',
        65_535,
        2_000,
        "pairs of bytes",
    ),
    CompiledDatabase(
        "trino",
        "Trino",
        "trino",
        "trino",
        "trino://anna@host/catalog/schema",
        ("TIMESTAMP(6) WITH TIME ZONE", "DECIMAL(18, 6)", "VARCHAR(250)", "BIGINT"),
        r'MERGE INTO "smspartner_credit_snapshots" target USING \(SELECT',
        10_000,
        133,
    ),
    CompiledDatabase(
        "databricks",
        "Databricks",
        "databricks-sqlalchemy",
        "databricks.sqlalchemy",
        "databricks://token:x@host?http_path=path&catalog=c&schema=s",
        ("TIMESTAMP", "DECIMAL(18, 6)", "STRING", "BIGINT"),
        r"MERGE INTO `smspartner_credit_snapshots` target USING \(SELECT",
        256,
        17,
    ),
    CompiledDatabase(
        "cockroachdb",
        "CockroachDB",
        "sqlalchemy-cockroachdb",
        "sqlalchemy_cockroachdb",
        "cockroachdb://anna@host/database",
        ("TIMESTAMP WITH TIME ZONE", "NUMERIC(18, 6)", "VARCHAR(250)", "BIGINT"),
    ),
    CompiledDatabase(
        "mysql8",
        "MySQL 8",
        "pymysql",
        "sqlalchemy",
        "mysql+pymysql://anna@host/database",
        ("DATETIME(6)", "NUMERIC(18, 6)", "VARCHAR(250)", "BIGINT"),
    ),
)
