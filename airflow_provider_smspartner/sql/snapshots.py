"""The table of snapshots, and the one write that leaves a task instance one row per account, however often it runs."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import sqlalchemy as sa
import tenacity
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.sql import quoted_name

from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError, SMSPartnerResponseError
from airflow_provider_smspartner.sql.types import ExactDecimal, UtcTimestamp, fitted
from airflow_provider_smspartner.sql.upserts import UPSERTS, upsert_portably

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from decimal import Decimal

    from sqlalchemy.engine import Dialect, Engine, RowMapping
    from sqlalchemy.types import TypeEngine

    from airflow_provider_smspartner.account import Account

    Row = dict[str, Any]

log = logging.getLogger(__name__)

_NAMESPACE = UUID("5c1e9a0e-54f1-4c39-9a8e-0f4f6d7b2a63")
"""Of every snapshot_id. Another one would make a re-run miss its own row, so it never changes."""

_TRANSIENT = (
    "40001",  # serialization failure
    "40P01",  # PostgreSQL: deadlock
    "55P03",  # PostgreSQL: lock_timeout
    1020,  # MariaDB: the row changed since it was read
    1205,  # MySQL, MariaDB: lock wait timeout
    1213,  # MySQL, MariaDB: deadlock, also for who waits when the first inserter rolls back
    "SQLITE_BUSY",
    "SQLITE_BUSY_SNAPSHOT",
    "SQLITE_LOCKED",
    "TransactionException",  # DuckDB: two transactions on one row
)

_CREATIONS = 5

_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_$.]*")

_COLUMNS: dict[str, TypeEngine[Any]] = {
    "snapshot_id": sa.CHAR(36),
    "captured_at": UtcTimestamp(),
    "smspartner_conn_id": sa.String(250),
    "credit_sms": sa.BigInteger(),
    "credit_sms_low_cost": sa.BigInteger(),
    "credit_hlr": sa.BigInteger(),
    "to_send": sa.BigInteger(),
    "balance": ExactDecimal(),
    "currency": sa.String(3),
    "dag_id": sa.String(250),
    "task_id": sa.String(250),
    "run_id": sa.String(250),
    "map_index": sa.Integer(),
    "logical_date": UtcTimestamp(),
    "username": sa.String(320),
}
_KEY = ("smspartner_conn_id", "dag_id", "task_id", "run_id", "map_index")
_ORIGIN = (*_KEY, "logical_date")
_REQUIRED = ("snapshot_id", "captured_at", *_KEY)
_VALUES = tuple(_COLUMNS)[1:]


@dataclass(frozen=True)
class TaskInstanceRef:
    """
    Where a snapshot comes from.

    :param map_index: -1 where the task is not mapped, as in Airflow
    :param logical_date: aware; None for a triggered run on Airflow 3, which is why no key holds it
    """

    dag_id: str
    task_id: str
    run_id: str
    map_index: int = -1
    logical_date: datetime | None = None


@dataclass(frozen=True)
class Snapshot:
    """
    One row of the table: a field a column, None where it is unknown.

    :raises SMSPartnerResponseError: the reading does not fit its column; the next one may, so time can help
    :raises SMSPartnerConfigurationError: what the Airflow side gave does not fit, and will not next time either
    """

    snapshot_id: str = field(init=False)
    captured_at: datetime
    smspartner_conn_id: str
    credit_sms: int | None
    credit_sms_low_cost: int | None
    credit_hlr: int | None
    to_send: int | None
    balance: Decimal | None
    currency: str | None
    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    logical_date: datetime | None
    username: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for column in _VALUES:
            try:
                object.__setattr__(self, column, _fitted(column, getattr(self, column)))
            except ValueError as misfit:
                error_class = SMSPartnerConfigurationError if column in _ORIGIN else SMSPartnerResponseError
                error = error_class(f"{column!r} does not fit its column of the snapshot table: {misfit}")
                error.conn_id = self.smspartner_conn_id
                raise error from None
        # As a JSON list, because joined text would give ("a.b", "c") and ("a", "b.c") one key.
        key = json.dumps([getattr(self, column) for column in _KEY], separators=(",", ":"))
        object.__setattr__(self, "snapshot_id", str(uuid5(_NAMESPACE, key)))

    @classmethod
    def of(
        cls, account: Account, smspartner_conn_id: str, origin: TaskInstanceRef, *, store_username: bool = False
    ) -> Snapshot:
        """
        Return the snapshot of a reading.

        :param store_username: keep the user's name too, which is personal data
        """
        return cls(
            captured_at=account.fetched_at,
            smspartner_conn_id=smspartner_conn_id,
            credit_sms=account.credits.sms,
            credit_sms_low_cost=account.credits.sms_low_cost,
            credit_hlr=account.credits.hlr,
            to_send=account.credits.to_send,
            balance=account.credits.balance,
            currency=account.credits.currency,
            username=account.user.username if store_username else None,
            **vars(origin),
        )

    def as_xcom(self) -> dict[str, int | str | None]:
        """Return the row JSON-simple: the balance an exact string, instants in ISO 8601, no username unless stored."""
        told = [name for name in _COLUMNS if name != "username" or self.username is not None]
        return {name: getattr(self, name) for name in told} | {
            "captured_at": self.captured_at.isoformat(),
            "logical_date": None if self.logical_date is None else self.logical_date.isoformat(),
            "balance": None if self.balance is None else format(self.balance, "f"),
        }


def snapshot_table(name: str, schema: str | None = None) -> sa.Table:
    """
    Return the definition of the table; nothing is asked of a database.

    :param name: the table's name alone, quoted whatever it is: reserved words, mixed case and spaces work. Where names
        fold to upper case (Snowflake, Oracle), a plain lower-case one is written in upper case, so that SQL without
        quotes finds the table; any other spelling is kept as it is
    :param schema: the schema or database it lies in, quoted and folded too; on Snowflake it may be ``database.schema``.
        None means where the connection points
    :raises SMSPartnerConfigurationError: a name is empty, or the table's holds a dot
    """
    quoted = _quoted("table", name)
    if "." in quoted:
        before, _, after = name.rpartition(".")
        raise SMSPartnerConfigurationError(
            f"table is {name!r}, and the schema has a field of its own: use schema={before!r} and table={after!r}"
        )
    columns = [
        sa.Column(column, kind, primary_key=column == "snapshot_id", nullable=column not in _REQUIRED)
        for column, kind in _COLUMNS.items()
    ]
    return sa.Table(
        quoted,
        sa.MetaData(),
        *columns,
        schema=None if schema is None else _quoted("schema", schema),
        mysql_charset="utf8mb4",
        mariadb_charset="utf8mb4",
    )


def folded_table(table: sa.Table, dialect: Dialect) -> sa.Table:
    """Return the table under the name by which this dialect's database keeps it; see ``snapshot_table``."""
    if not dialect.requires_name_normalize:
        return table
    return snapshot_table(_folded(table.name), None if table.schema is None else _folded(table.schema))


def _folded(name: str) -> str:
    # By way of str, because a quoted name's own upper() keeps its case.
    return str.upper(name) if _PLAIN_NAME.fullmatch(name) else name


def _quoted(what: str, name: object) -> quoted_name:
    if not isinstance(name, str) or not name.strip():
        raise SMSPartnerConfigurationError(f"{what} is {name!r}: give it a name, or leave it out for the default")
    # Always, because SQLAlchemy's own lists of reserved words have gaps ("returning", "lateral", "value").
    return quoted_name(name, quote=True)


def write_snapshots(
    engine: Engine, table: sa.Table, snapshots: Iterable[Snapshot], *, create_table: bool = True
) -> None:
    """
    Write the snapshots in one transaction: each replaces the row of its own task instance and account, or is new.

    The account needs SELECT, INSERT and UPDATE on the table, and CREATE only where the table is not there yet.

    :param table: as ``snapshot_table`` returns it; columns that it does not know are left alone
    :param create_table: create the table where it is missing; when False, no DDL is ever issued
    :raises SMSPartnerConfigurationError: the table is missing, lacks columns, or cannot hold the values exactly
    :raises sqlalchemy.exc.DBAPIError: what else the database says; where time heals it, after several attempts
    """
    # In the order of the key, so that two writers of the same rows queue up instead of deadlocking.
    rows = sorted({row.snapshot_id: vars(row) for row in snapshots}.values(), key=itemgetter("snapshot_id"))
    table = folded_table(table, engine.dialect)
    upsert = UPSERTS.get(engine.dialect.name, upsert_portably)

    def write_once() -> None:
        with engine.begin() as connection:
            _check_written(engine, table, rows, upsert(connection, table, rows))

    def attempt() -> None:
        try:
            write_once()
            return
        except DBAPIError as error:
            if _is_transient(error) or isinstance(error, IntegrityError):
                raise
        # Only now: a table that is as it must be needs no look first. Another reason is raised by the second write.
        _prepare_table(engine, table, create_table=create_table)
        write_once()

    if rows:
        _retrying(lost_races=upsert is upsert_portably)(attempt)


def _fitted(column: str, value: Any) -> Any:
    if value is not None:
        return fitted(_COLUMNS[column], value)
    if column in _REQUIRED:
        raise ValueError("it is missing")
    return None


def _is_transient(error: BaseException) -> bool:
    """Return whether the same write may pass a moment later. Drivers agree on no class for it, so the codes decide."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return False
    driver_error = error.orig
    codes = [getattr(driver_error, name, None) for name in ("sqlstate", "pgcode", "errno", "sqlite_errorname")]
    codes += [type(driver_error).__name__, *driver_error.args[:1]]
    busy_file = "Could not set lock on file" in str(driver_error)  # DuckDB, another process has it open
    return error.connection_invalidated or busy_file or any(code in _TRANSIENT for code in codes)


def _retrying(*, lost_races: bool) -> tenacity.Retrying:
    """
    Return the one retry rule of the write.

    :param lost_races: try again also after an IntegrityError, which without an upsert is how a lost race for a key ends
    """
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: _is_transient(error) or (lost_races and isinstance(error, IntegrityError))
        ),
        wait=tenacity.wait_random_exponential(multiplier=0.05, max=3),
        stop=tenacity.stop_after_attempt(10) | tenacity.stop_after_delay(60),
        before_sleep=_log_attempt,
        reraise=True,
    )


def _log_attempt(state: tenacity.RetryCallState) -> None:
    """Name the class alone: the text of a DBAPIError shows the row."""
    error = state.outcome.exception() if state.outcome else None
    cause = type(getattr(error, "orig", error)).__name__
    log.warning("Writing the snapshots: attempt %d met %s, trying again", state.attempt_number, cause)


def _prepare_table(engine: Engine, table: sa.Table, *, create_table: bool) -> None:
    if not _is_there(engine, table):
        if not create_table:
            raise SMSPartnerConfigurationError(
                f"table {table.fullname!r} is not there, and create_table is False: create it, or let this do so"
            )
        _create_table(engine, table)
    with engine.connect() as connection:
        # The database itself rather than reflection, which fails on DuckDB with SQLAlchemy 2.1.
        names = connection.execute(sa.select(sa.text("*")).select_from(table).where(sa.false())).keys()
    there = {name.lower() for name in names}
    _refuse_columns(engine, table, [column for column in _COLUMNS if column not in there], "lacks")


def _is_there(engine: Engine, table: sa.Table) -> bool:
    return bool(sa.inspect(engine).has_table(table.name, schema=table.schema))


def _create_table(engine: Engine, table: sa.Table) -> None:
    if len(table.name.encode()) > engine.dialect.max_identifier_length:
        raise SMSPartnerConfigurationError(f"table {table.fullname!r}: the name is longer than the database keeps")
    for attempts_left in reversed(range(_CREATIONS)):
        try:
            table.create(engine)
        except DBAPIError:
            # Two who create it at once collide under many names; what counts is whether it is there now.
            if not attempts_left:
                raise
        if _is_there(engine, table):
            return


def _check_written(engine: Engine, table: sa.Table, rows: list[Row], stored: Sequence[RowMapping]) -> None:
    """Refuse a table that was made with other types or without the key: some databases round and double silently."""
    written = {row["snapshot_id"]: row for row in rows}
    if len(stored) != len(written):
        raise SMSPartnerConfigurationError(
            f"table {table.fullname!r} does not keep one row per snapshot_id, and nothing was written: "
            "make snapshot_id its primary key"
        )
    changed = {name for row in stored for name in _COLUMNS if row[name] != written[row["snapshot_id"]][name]}
    _refuse_columns(engine, table, sorted(changed), "does not keep as they are written")


def _refuse_columns(engine: Engine, table: sa.Table, names: list[str], what: str) -> None:
    if names:
        wanted = ", ".join(f"{name} {table.c[name].type.compile(dialect=engine.dialect)}" for name in names)
        raise SMSPartnerConfigurationError(
            f"table {table.fullname!r} {what} these columns: {', '.join(names)}. "
            f"Nothing was written; alter it so that it has: {wanted}"
        )
