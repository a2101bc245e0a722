"""The history of accounts, thinned by the database: a million rows of the snapshot table cost what a thousand do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from airflow_provider_smspartner.account import Credits, CreditType
from airflow_provider_smspartner.forecast import Forecast, History, Reading, of_one_currency
from airflow_provider_smspartner.sql.engine import make_engine
from airflow_provider_smspartner.sql.errors import is_transient, refusal, with_retries
from airflow_provider_smspartner.sql.snapshots import HISTORY, snapshot_table
from airflow_provider_smspartner.sql.tables import folded_table, has_index, is_there
from airflow_provider_smspartner.sql.types import UtcTimestamp

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.sql import ColumnElement, Executable, FromClause, Select

Result = TypeVar("Result")

MOST_PARTS = 240
"""SQLite takes a UNION ALL of at most 500 parts."""

_MYSQL = frozenset({"mysql", "mariadb"})


def foresee(
    sql_conn_id: str,
    conn_ids: Sequence[str],
    *,
    table: str,
    schema: str | None = None,
    credit_type: CreditType = CreditType.BALANCE,
    days: int = 7,
) -> list[Forecast]:
    """
    Return when the credit of each account runs out, at the rate of the last days.

    :param sql_conn_id: the Airflow connection of the database
    :param table: the table's name
    :param days: over how many days before now the rate is measured; with more than ten, the readings of an hour or
        more count as one
    :raises SMSPartnerConfigurationError: the connection leads to no database, or as ``read_history`` says
    :raises SMSPartnerUnavailableError: as ``read_history`` says
    """
    now = datetime.now(UTC)
    snapshots = snapshot_table(table, schema)
    engine = make_engine(sql_conn_id)
    try:
        histories = read_history(
            engine, snapshots, conn_ids, start=now - timedelta(days=days), end=now, credit_type=credit_type
        )
    finally:
        engine.dispose()
    return [history.forecast() for history in histories.values()]


def read_history(
    engine: Engine,
    table: sa.Table,
    conn_ids: Sequence[str],
    *,
    start: datetime,
    end: datetime,
    credit_type: CreditType = CreditType.BALANCE,
    parts: int = MOST_PARTS,
    attempts: int = 10,
) -> dict[str, History]:
    """
    Return the history of each account between two moments.

    The time is cut into equal parts, and the last known reading of each part is returned, but for those in another
    currency than the last. A top-up and a fall within one part show as their sum.

    :param table: as ``snapshot_table`` returns it
    :param start: aware; readings after it count
    :param end: aware; readings up to it count
    :param parts: at most ``MOST_PARTS``
    :param attempts: how often at most it is tried, where an error is transient
    :raises SMSPartnerConfigurationError: the table is not there, or the database refuses
    :raises SMSPartnerUnavailableError: a transient error that outlasted the retries
    """
    length = (end - start) / parts
    bounds = [*(start + number * length for number in range(parts)), end]
    column = "balance" if credit_type is CreditType.BALANCE else f"credit_{credit_type.value}"
    question = _Question(
        folded_table(table, engine.dialect), ("captured_at", column, "currency"), column, conn_ids, bounds
    )
    found: dict[str, list[Reading]] = defaultdict(list)
    for conn_id, at, credit, currency in _read(engine, question, attempts):
        found[conn_id].append(Reading(at, credit, currency if credit_type is CreditType.BALANCE else None))
    return {conn_id: History(conn_id, credit_type, start, end, of_one_currency(found[conn_id])) for conn_id in conn_ids}


def last_readings(
    engine: Engine, table: sa.Table, conn_ids: Sequence[str], *, attempts: int = 10
) -> dict[str, tuple[datetime, Credits | None]]:
    """
    Return when each account was last read and what it held; an account that has no row is left out.

    :raises SMSPartnerConfigurationError: as ``read_history`` says
    :raises SMSPartnerUnavailableError: as ``read_history`` says
    """
    columns = ("captured_at", "credit_sms", "credit_sms_low_cost", "credit_hlr", "to_send", "balance", "currency")
    ever = [datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)]
    question = _Question(folded_table(table, engine.dialect), columns, None, conn_ids, ever)
    rows = _read(engine, question, attempts)
    return {conn_id: (at, Credits(*figures) if _any_known(figures) else None) for conn_id, at, *figures in rows}


def accounts_in(engine: Engine, table: sa.Table, *, attempts: int = 10) -> list[str]:
    """
    Return the accounts that the table has a row of, by their conn ids, sorted.

    :raises SMSPartnerConfigurationError: as ``read_history`` says
    :raises SMSPartnerUnavailableError: as ``read_history`` says
    """
    table = folded_table(table, engine.dialect)
    conn_id = table.c.smspartner_conn_id

    def find(connection: Connection) -> list[str]:
        if not has_index(connection, table, HISTORY):
            return sorted(connection.execute(sa.select(conn_id).distinct()).scalars())
        found: list[str] = []
        # From one to the next down the index: a DISTINCT would read all of it.
        first = connection.execute(sa.select(sa.func.min(conn_id))).scalar()
        while first is not None:
            found.append(first)
            first = connection.execute(sa.select(sa.func.min(conn_id)).where(conn_id > first)).scalar()
        return found

    return _asked(engine, table, find, attempts)


def _any_known(figures: Sequence[object]) -> bool:
    *counts, _, balance, _ = figures
    return any(figure is not None for figure in (*counts, balance))


def _read(engine: Engine, question: _Question, attempts: int) -> list[tuple[Any, ...]]:
    def read(connection: Connection) -> list[tuple[Any, ...]]:
        return [tuple(row) for query in question.queries(connection) for row in connection.execute(query)]

    return _asked(engine, question.table, read, attempts)


def _asked(engine: Engine, table: sa.Table, work: Callable[[Connection], Result], attempts: int) -> Result:
    def attempt() -> Result:
        try:
            with engine.connect() as connection:
                return work(connection)
        except DBAPIError as error:
            if is_transient(error) or is_there(engine, table):
                raise
        told = "it is not there: let a CreditsToSqlOperator write snapshots into it first, or name another"
        raise refusal(engine, table, told)

    return with_retries(attempt, engine=engine, table=table, attempts=attempts)


@dataclass(frozen=True)
class _Question:
    """
    The last reading of each account and part.

    :param columns: what to tell of it, besides the account
    :param known: a column that must not be NULL for a row to count
    :param bounds: of the parts: a reading belongs to a part where it is after the first and up to the second
    """

    table: sa.Table
    columns: Sequence[str]
    known: str | None
    conn_ids: Sequence[str]
    bounds: Sequence[datetime]

    def queries(self, connection: Connection) -> list[Executable]:
        """Return the statements that answer it at the least cost."""
        if not has_index(connection, self.table, HISTORY):
            return [self._by_scan()]
        if connection.dialect.name in _MYSQL:
            return [self._by_account(conn_id) for conn_id in self.conn_ids]
        return [self._by_index(is_lateral=connection.dialect.name == "postgresql")]

    def _by_scan(self) -> Select[Any]:
        """Read the whole range once: the way of databases that keep columns, and of a table without the index."""
        conn_id, at = self.table.c.smspartner_conn_id, self.table.c.captured_at
        part = sa.case(*[(at <= bound, number) for number, bound in enumerate(self.bounds[1:])])
        latest_first = (at.desc(), self.table.c.snapshot_id.desc())
        place = sa.func.row_number().over(partition_by=(conn_id, part), order_by=latest_first)
        within = conn_id.in_(self.conn_ids) & self._is_within(self.table, self.bounds[0], self.bounds[-1])
        figures = self._figures(self.table)
        ranked = sa.select(*figures, place.label("place")).where(within).subquery("ranked")
        return sa.select(*[ranked.c[figure.name] for figure in figures]).where(ranked.c.place == 1)

    def _by_index(self, *, is_lateral: bool) -> Select[Any]:
        """
        Look each last row up: one step down the index for each account and part.

        Without LATERAL, which SQLite lacks, the row is found by its key; PostgreSQL would read the table for that.
        """
        names = [sa.select(sa.literal(conn_id, sa.String(250)).label("conn_id")) for conn_id in self.conn_ids]
        spans = [
            sa.select(_instant(after, "after"), _instant(until, "until")) for after, until in pairwise(self.bounds)
        ]
        account, span = sa.union_all(*names).subquery("accounts"), sa.union_all(*spans).subquery("spans")
        parts = account.join(span, sa.true())
        of = account.c.conn_id, (span.c.after, span.c.until)
        if is_lateral:
            last = self._last(self.table, *of).lateral("last_of_part")
            return sa.select(*last.c).select_from(parts.join(last, sa.true()))
        each = self.table.alias("each_part")
        last_id = self._last(each, *of).with_only_columns(each.c.snapshot_id).scalar_subquery()
        rows = parts.join(self.table, self.table.c.snapshot_id == last_id)
        return sa.select(*self._figures(self.table)).select_from(rows)

    def _by_account(self, conn_id: str) -> Executable:
        """Name the bounds in the statement itself: for those of another table MariaDB does not go down the index."""
        parts = enumerate(pairwise(self.bounds))
        lasts = [self._last(self.table, conn_id, bounds).subquery(f"part_{number}") for number, bounds in parts]
        return sa.union_all(*[sa.select(*last.c) for last in lasts])

    def _last(self, table: FromClause, conn_id: Any, bounds: tuple[Any, Any]) -> Select[Any]:
        return (
            sa.select(*self._figures(table))
            .where(table.c.smspartner_conn_id == conn_id, self._is_within(table, *bounds))
            .order_by(table.c.captured_at.desc(), table.c.snapshot_id.desc())
            .limit(1)
        )

    def _is_within(self, table: FromClause, after: Any, until: Any) -> ColumnElement[bool]:
        at = table.c.captured_at
        is_known = [] if self.known is None else [table.c[self.known].is_not(None)]
        return sa.and_(at > after, at <= until, *is_known)

    def _figures(self, table: FromClause) -> list[ColumnElement[Any]]:
        return [table.c.smspartner_conn_id, *[table.c[name] for name in self.columns]]


def _instant(value: datetime, name: str) -> ColumnElement[Any]:
    return sa.literal(value, UtcTimestamp()).label(name)
