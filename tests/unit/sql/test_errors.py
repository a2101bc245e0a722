"""What becomes of a database's error: a retry, or a sentence for a person without a word of the database's own."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import (
    CompileError,
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)

from airflow_provider_smspartner.exceptions import (
    SMSPartnerConfigurationError,
    SMSPartnerError,
    SMSPartnerUnavailableError,
)
from airflow_provider_smspartner.sql.errors import with_retries
from airflow_provider_smspartner.sql.snapshots import snapshot_table

SECRET = "anna@example.com"
TABLE = snapshot_table("credits")


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Hold the waits between attempts, instead of waiting."""
    naps: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", naps.append)
    return naps


@pytest.fixture
def engine() -> Engine:
    """An engine to speak of: nothing is asked of its database."""
    return sa.create_engine("sqlite://")


def error_of(
    error_class: type[DBAPIError] = OperationalError,
    *args: Any,
    invalidated: bool = False,
    name: str = "",
    **codes: Any,
) -> DBAPIError:
    """Return what SQLAlchemy makes of a driver's error with these codes."""
    module = "pymysql.err" if any(isinstance(arg, int) for arg in (*args, codes.get("errno"))) else "a_driver"
    driver_error = type(name or "DriverError", (Exception,), {"__module__": codes.pop("module", module)})(*args)
    driver_error.__dict__.update(codes)
    return error_class("INSERT", None, driver_error, connection_invalidated=invalidated)


def outcome_of(engine: Engine, error: Exception, **arguments: Any) -> SMSPartnerError:
    """Return what work that always fails with the error ends with."""

    def work() -> None:
        raise error

    with pytest.raises(SMSPartnerError) as caught:
        with_retries(work, engine=engine, table=TABLE, **arguments)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert SECRET not in str(caught.value)
    return caught.value


TRANSIENT = [
    error_of(sqlstate="40001"),
    error_of(sqlstate="40P01"),
    error_of(pgcode="40P01"),
    error_of(pgcode="55P03"),
    error_of(sqlstate="53300"),  # too many connections
    error_of(sqlstate="57P01"),  # shutting down
    error_of(sqlstate="08006"),  # connection lost
    error_of(errno=1213),
    *[error_of(OperationalError, errno, "…") for errno in (1020, 1040, 1053, 1205, 1213, 1927, 2003, 2006, 2013, 4031)],
    # Whatever class the driver chose for it.
    error_of(ProgrammingError, 1203, "more than 'max_user_connections'", sqlstate="42000"),
    *[
        error_of(sqlite_errorname=f"SQLITE_{name}")
        for name in ("BUSY", "BUSY_SNAPSHOT", "LOCKED", "LOCKED_SHAREDCACHE")
    ],
    error_of(DatabaseError, "TransactionContext Error", name="TransactionException"),
    error_of(OperationalError, 'IO Error: Could not set lock on file "/x.duckdb"', name="IOException"),
    error_of(OperationalError, "connection failed: Connection refused"),
    error_of(OperationalError, 'FATAL:  sorry, too many clients already for role "anna"'),
    error_of(OperationalError, "FATAL:  the database system is shutting down"),
    error_of(InterfaceError, "connection already closed"),
    error_of(ProgrammingError, "the session is gone", invalidated=True),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=str)
def test_a_transient_error_is_retried(engine: Engine, error: DBAPIError, naps: list[float]) -> None:
    failures = iter([error, error])

    def work() -> str:
        if failed := next(failures, None):
            raise failed
        return "written"

    assert with_retries(work, engine=engine, table=TABLE) == "written"
    assert len(naps) == 2


def test_one_that_stays_ends_as_a_transient_error_that_leaves_the_task_its_retries(
    engine: Engine, naps: list[float]
) -> None:
    error = outcome_of(engine, error_of(OperationalError, SECRET, sqlstate="40001"))
    assert type(error) is SMSPartnerUnavailableError
    assert str(error) == (
        "table 'credits': the database did not answer as it should (DriverError 40001): it may pass by itself, "
        "else ask who runs it"
    )
    assert len(naps) == 9
    assert sum(naps) < 60


def test_an_attempt_that_takes_a_minute_is_the_last(
    engine: Engine, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes = iter(range(0, 6000, 61))
    monkeypatch.setattr("tenacity.time.monotonic", lambda: float(next(minutes)))
    outcome_of(engine, error_of(sqlstate="40001"))
    assert naps == []


NEEDS_ACTION = [
    (error_of(ProgrammingError, SECRET, sqlstate="42P10"), "does not keep one row per snapshot_id"),
    (error_of(ProgrammingError, SECRET, pgcode="42804"), "has other types than needed in these columns"),
    (error_of(DataError, f"invalid uuid {SECRET}", sqlstate="22P02"), "has other types"),
    (error_of(OperationalError, 1292, f"Incorrect uuid value: '{SECRET}'", sqlstate="22007"), "has other types"),
    (error_of(DataError, f"Could not convert {SECRET}", name="ConversionException"), "has other types"),
    (error_of(IntegrityError, "cannot store TEXT value in INTEGER column"), "has other types"),
    (error_of(ProgrammingError, SECRET, sqlstate="3F000"), "its schema is not there"),
    (error_of(OperationalError, 1049, "Unknown database 'nope'"), "its schema is not there"),
    (error_of(ProgrammingError, SECRET, sqlstate="42501"), "the connection's login lacks a right"),
    (error_of(OperationalError, 1142, "INSERT command denied", sqlstate="42000"), "GRANT SELECT, INSERT, UPDATE ON"),
    (error_of(OperationalError, 1045, "Access denied", sqlstate="28000"), "the database refuses the login"),
    (error_of(OperationalError, f'FATAL:  role "{SECRET}" does not exist'), "the database refuses the login"),
    (error_of(OperationalError, "FATAL:  password authentication failed"), "the database refuses the login"),
    (error_of(OperationalError, "FATAL:  no pg_hba.conf entry for host"), "the database refuses the login"),
    (error_of(OperationalError, "server does not support SSL, but SSL was required"), "agree on no TLS"),
    (error_of(OperationalError, SECRET, pgcode="25006"), "the database is read-only there"),
    (error_of(ProgrammingError, "Cannot execute … in read-only mode!", name="InvalidInputException"), "is read-only"),
    (error_of(OperationalError, SECRET, sqlite_errorname="SQLITE_READONLY_DIRECTORY"), "the database is read-only"),
    (error_of(OperationalError, SECRET, sqlite_errorname="SQLITE_CANTOPEN"), "database's file cannot be opened"),
    (
        error_of(OperationalError, "cannot modify v because it is a view", sqlite_errorname="SQLITE_ERROR"),
        "is no table",
    ),
    (error_of(ProgrammingError, 1059, "Identifier name is too long"), "the name is longer than the database keeps"),
    (error_of(IntegrityError, SECRET, sqlstate="23514"), "refuses the rows (DriverError 23514)"),
    (error_of(OperationalError, 4025, SECRET), "a constraint or trigger of somebody else"),
    (error_of(ProgrammingError, SECRET, sqlstate="42601"), "does not take this statement (DriverError 42601)"),
    (error_of(NotSupportedError, SECRET), "does not take this statement (DriverError)"),
    (CompileError(SECRET), "does not take this statement (CompileError)"),
]


@pytest.mark.parametrize(("error", "told"), NEEDS_ACTION, ids=[told for _, told in NEEDS_ACTION])
def test_an_error_that_needs_action_is_final_at_once_and_says_what_to_do(
    engine: Engine, naps: list[float], error: DBAPIError, told: str
) -> None:
    ours = outcome_of(engine, error)
    assert type(ours) is SMSPartnerConfigurationError
    assert told in str(ours)
    assert naps == []


def test_a_database_that_is_not_there_is_told_apart_from_a_schema(engine: Engine) -> None:
    at_connect = error_of(OperationalError, 1049, "Unknown database 'nope'")
    at_connect.statement = None
    assert "there is no such database: create it" in str(outcome_of(engine, at_connect))
    at_connect = error_of(OperationalError, 'FATAL:  database "nope" does not exist')
    at_connect.statement = None
    assert "there is no such database: create it" in str(outcome_of(engine, at_connect))


@pytest.mark.parametrize("number", [2003, 1205, 1045])
def test_a_number_of_mysql_s_means_nothing_in_another_database(engine: Engine, naps: list[float], number: int) -> None:
    error = error_of(ProgrammingError, "no such table", errno=number, module="snowflake.connector.errors")
    assert f"does not take this statement (DriverError {number})" in str(outcome_of(engine, error))
    assert naps == []


def test_a_sqlstate_may_stand_first_as_odbc_has_it(engine: Engine, naps: list[float]) -> None:
    outcome_of(engine, error_of(ProgrammingError, "40001", "deadlock victim"))
    assert len(naps) == 9


@pytest.mark.parametrize("error_class", [OperationalError, DatabaseError])
def test_what_nobody_knows_is_left_to_the_task_s_retries(
    engine: Engine, naps: list[float], error_class: type[DBAPIError]
) -> None:
    ours = outcome_of(engine, error_of(error_class, 9999, SECRET))
    assert ours.retryable
    assert "(DriverError 9999)" in str(ours)
    assert naps == []


@pytest.mark.parametrize(("lost_races", "attempts"), [(True, 10), (False, 1)])
def test_a_lost_race_for_a_key_is_retried_where_there_is_no_upsert(
    engine: Engine, naps: list[float], lost_races: bool, attempts: int
) -> None:
    ours = outcome_of(engine, error_of(IntegrityError, sqlstate="23505"), lost_races=lost_races)
    assert not ours.retryable
    assert len(naps) == attempts - 1


@pytest.mark.parametrize("error", [SMSPartnerConfigurationError("lacks"), ValueError("a mistake of ours")], ids=repr)
def test_what_is_no_error_of_a_database_is_raised_as_it_is(engine: Engine, naps: list[float], error: Exception) -> None:
    def work() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        with_retries(work, engine=engine, table=TABLE)
    assert caught.value is error
    assert naps == []


def test_each_retry_is_logged_without_the_text_of_the_database(
    engine: Engine, naps: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    outcome_of(engine, error_of(OperationalError, SECRET, sqlstate="40001"))
    assert "table 'credits': attempt 1 met DriverError, a transient error: retrying" in caplog.text
    assert SECRET not in caplog.text
