"""The table of snapshots, and the one write that leaves a task instance one row per account, however often it runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from airflow_provider_smspartner.exceptions import (
    SMSPartnerArgumentError,
    SMSPartnerConfigurationError,
    SMSPartnerResponseError,
)
from airflow_provider_smspartner.sql.databases import database_of
from airflow_provider_smspartner.sql.errors import is_transient, key_error, other_types, types_error, with_retries
from airflow_provider_smspartner.sql.tables import folded_table, prepare_table, quoted_for_sql
from airflow_provider_smspartner.sql.types import ExactDecimal, Text, UtcTimestamp, fitted
from airflow_provider_smspartner.sql.upserts import UPSERTS, read_back, upsert_portably

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from decimal import Decimal

    from sqlalchemy.engine import Engine
    from sqlalchemy.types import TypeEngine

    from airflow_provider_smspartner.account import Account
    from airflow_provider_smspartner.sql.upserts import Stored, Upsert

    Row = dict[str, Any]

_NAMESPACE = UUID("5c1e9a0e-54f1-4c39-9a8e-0f4f6d7b2a63")
"""Of every snapshot_id. Another one would make a re-run miss its own row, so it never changes."""

# One type for all columns of a kind, because SQLAlchemy adapts each to the database anew, in each task.
_INSTANT, _COUNT, _NAME = UtcTimestamp(), sa.BigInteger(), Text(250)
_COLUMNS: dict[str, TypeEngine[Any]] = {
    "snapshot_id": sa.CHAR(36),
    "captured_at": _INSTANT,
    "smspartner_conn_id": _NAME,
    "credit_sms": _COUNT,
    "credit_sms_low_cost": _COUNT,
    "credit_hlr": _COUNT,
    "to_send": _COUNT,
    "balance": ExactDecimal(),
    "currency": Text(3),
    "dag_id": _NAME,
    "task_id": _NAME,
    "run_id": _NAME,
    "map_index": sa.Integer(),
    "logical_date": _INSTANT,
    "username": Text(320),
}
_KEY = ("smspartner_conn_id", "dag_id", "task_id", "run_id", "map_index")
_ORIGIN = (*_KEY, "logical_date")
_REQUIRED = ("snapshot_id", "captured_at", *_KEY)
_VALUES = tuple(_COLUMNS)[1:]
_in_order = itemgetter(*_COLUMNS)
HISTORY = ("smspartner_conn_id", "captured_at")
"""What an index of the table holds: the last rows of an account are found without a look at the others."""


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
            username=(account.user.username or None) if store_username else None,
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
    :raises SMSPartnerArgumentError: a name is empty or no text, or the table's holds a dot
    """
    quoted = quoted_for_sql("table", name)
    if "." in quoted:
        before, _, after = name.rpartition(".")
        raise SMSPartnerArgumentError(
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
        schema=None if schema is None else quoted_for_sql("schema", schema),
        mysql_charset="utf8mb4",
        mariadb_charset="utf8mb4",
    )


def write_snapshots(
    engine: Engine, table: sa.Table, snapshots: Iterable[Snapshot], *, create_table: bool = True, keep: bool = False
) -> list[Snapshot]:
    """
    Write the snapshots in one transaction: each replaces the row of its own task instance and account, or is new.

    The account needs SELECT, INSERT and UPDATE on the table, and CREATE only where the table is not there yet.

    :param table: as ``snapshot_table`` returns it; columns that it does not know are left alone
    :param create_table: create the table where it is missing; when False, no DDL is ever issued
    :param keep: leave a row alone that is there already
    :return: the snapshots as the table holds them now, in the order given
    :raises SMSPartnerConfigurationError: the table is missing, lacks columns, or cannot hold the values exactly; or the
        database refuses for another reason that needs action
    :raises SMSPartnerUnavailableError: a transient error that outlasted the retries
    """
    given = {snapshot.snapshot_id: snapshot for snapshot in snapshots}
    # In the order of the key, so that two writers of the same rows queue up instead of deadlocking.
    rows = sorted(map(vars, given.values()), key=itemgetter("snapshot_id"))
    table = folded_table(table, engine.dialect)
    upsert = UPSERTS.get(engine.dialect.name, upsert_portably)
    write_once = partial(_write_keeping if keep else _write_replacing, engine, table, rows, upsert)

    def attempt() -> dict[str, Snapshot]:
        try:
            return write_once()
        except DBAPIError as error:
            if is_transient(error) or isinstance(error, IntegrityError):
                raise
        # Only now: a table that is as it must be needs no look first. Another reason is raised by the second write.
        prepare_table(engine, table, create_table=create_table, indexed=HISTORY)
        return write_once()

    if not rows:
        return []
    kept = with_retries(attempt, engine=engine, table=table, lost_races=upsert is upsert_portably)
    return [kept.get(snapshot_id, snapshot) for snapshot_id, snapshot in given.items()]


def _write_replacing(engine: Engine, table: sa.Table, rows: list[Row], upsert: Upsert) -> dict[str, Snapshot]:
    with engine.begin() as connection:
        _check_written(engine, table, rows, upsert(connection, table, rows, False))
    return {}


def _write_keeping(engine: Engine, table: sa.Table, rows: list[Row], upsert: Upsert) -> dict[str, Snapshot]:
    """Insert the rows that are not there; return the snapshots of those that are."""
    kept = _read_kept(engine, table, rows)
    new = [row for row in rows if row["snapshot_id"] not in kept]
    if new:
        try:
            with engine.begin() as connection:
                _check_written(engine, table, new, upsert(connection, table, new, True))
        except SMSPartnerConfigurationError:
            # A row that differs from ours may be that of another writer, who came in between.
            if len(_read_kept(engine, table, new)) == 0:
                raise
            return _write_keeping(engine, table, rows, upsert)
        if not database_of(engine.dialect.name).has_transactions:
            kept |= _read_kept(engine, table, new)
    return kept


def _read_kept(engine: Engine, table: sa.Table, rows: list[Row]) -> dict[str, Snapshot]:
    # In a transaction of its own: in MariaDB a look before the insert would hide another writer's row after it.
    with engine.connect() as connection:
        stored = read_back(connection, table, rows)
    other = [name for name in _COLUMNS if not all(_is_of_type(row[name], table.c[name].type) for row in stored)]
    if other:
        raise types_error(engine, table, other, "has other types than needed in")
    kept = {_key_of(row): Snapshot(**{name: row[name] for name in _VALUES}) for row in stored}
    if len(kept) != len(stored):
        raise key_error(engine, table)
    return kept


def _key_of(row: Stored) -> str:
    """Return the key also of a column of another type, which gives a UUID back, or blanks."""
    return str(row["snapshot_id"]).strip()


def _is_of_type(value: object, kind: TypeEngine[Any]) -> bool:
    return value is None or isinstance(value, kind.python_type)


def _fitted(column: str, value: Any) -> Any:
    if value is not None:
        return fitted(_COLUMNS[column], value)
    if column in _REQUIRED:
        raise ValueError("it is missing")
    return None


def _check_written(engine: Engine, table: sa.Table, rows: list[Row], stored: Sequence[Stored]) -> None:
    """Refuse a table that was made with other types or without the key: some databases round and double silently."""
    if len(stored) != len(rows):
        raise key_error(engine, table)
    if all(map(_is_same_row, rows, stored)):  # most databases return them in the order in which they were given
        return
    written = {row["snapshot_id"]: row for row in rows}
    pairs = [(written.get(_key_of(row), {}), row) for row in stored]
    if not database_of(engine.dialect.name).has_transactions:
        pairs = _without_another_writer_s(engine, table, pairs)
    changed = [name for name in _COLUMNS if not all(_is_same(row.get(name), kept[name]) for row, kept in pairs)]
    if changed:
        raise types_error(engine, table, changed, "does not keep as they are written")


def _without_another_writer_s(
    engine: Engine, table: sa.Table, pairs: list[tuple[Row, Stored]]
) -> list[tuple[Row, Stored]]:
    """
    Leave out the rows that somebody else has replaced before they were looked at, as can be without transactions.

    Each is another reading, of another moment; and that the column does not keep ours is ruled out by its type.
    """
    ours = [(row, kept) for row, kept in pairs if row.get("captured_at") == kept["captured_at"]]
    return pairs if len(ours) < len(pairs) and other_types(engine, table, ["captured_at"]) else ours


def _is_same_row(written: Row, kept: Stored) -> bool:
    return kept is written or all(map(_is_same, _in_order(written), _in_order(kept)))


def _is_same(written: object, kept: object) -> bool:
    """Take no float for an amount that it equals by chance: the next one it would round."""
    return written == kept and not isinstance(kept, float)
