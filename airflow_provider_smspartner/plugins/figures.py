"""What the credit page shows: figures of accounts, their history, and who holds and waits. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from airflow_provider_smspartner.exceptions import SMSPartnerError
from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.reservation import Reservation, held_in_money
from airflow_provider_smspartner.sql.engine import make_engine
from airflow_provider_smspartner.sql.history import MOST_PARTS, accounts_in, last_readings, read_history
from airflow_provider_smspartner.sql.snapshots import snapshot_table
from airflow_provider_smspartner.sql.tables import is_there

if TYPE_CHECKING:
    from decimal import Decimal

    from sqlalchemy import Table
    from sqlalchemy.engine import Engine

    from airflow_provider_smspartner.account import Credits, CreditType
    from airflow_provider_smspartner.forecast import Forecast, History
    from airflow_provider_smspartner.plugins.settings import PageSettings

RATE_DAYS = 7
_PARTS = 42
"""Of the days that a rate is measured over: fifty accounts are to be read at a glance."""


@dataclass(frozen=True)
class AccountFigures:
    """
    An account at a glance.

    :param read_at: when it was last read; None for never
    :param credits: what it held then; None where it did not say
    :param held: what campaigns hold of it, in its currency; None where that is unknown, or nobody keeps a ledger
    """

    conn_id: str
    read_at: datetime | None
    credits: Credits | None
    forecast: Forecast
    held: Decimal | None

    @property
    def free(self) -> Decimal | None:
        """What nobody holds; None where it is unknown."""
        if self.credits is None or self.credits.balance is None or self.held is None:
            return None
        return self.credits.balance - self.held


@dataclass
class Overview:
    """All accounts, those whose credit ends first at the head, and what kept the page from more."""

    accounts: list[AccountFigures] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class LedgerFigures:
    """The reservations of an account, or of all, and what kept the page from them."""

    held: list[Reservation] = field(default_factory=list)
    waiting: list[Reservation] = field(default_factory=list)
    ended: list[Reservation] = field(default_factory=list)
    problem: str | None = None


def overview(settings: PageSettings) -> Overview:
    """Return the figures of all accounts."""
    shown = Overview()
    ledger = read_ledger(settings)
    if ledger.problem:
        shown.problems.append(ledger.problem)
    try:
        with _snapshots(settings) as (engine, table):
            conn_ids = _accounts(settings, engine, table)
            shown.accounts = _figures(engine, table, conn_ids, ledger if settings.reservations_conn_id else None)
    except SMSPartnerError as error:
        shown.problems.append(str(error))
    return shown


def history(
    settings: PageSettings, conn_id: str, credit_type: CreditType, days: int
) -> tuple[History, Forecast] | None:
    """
    Return the history of one account, and when its credit runs out; None where the page shows no such account.

    :raises SMSPartnerError: the snapshots could not be read
    """
    now = datetime.now(UTC)
    with _snapshots(settings) as (engine, table):
        is_named = conn_id in settings.accounts
        if not is_named and (settings.accounts or not last_readings(engine, table, [conn_id], attempts=1)):
            return None
        of_days, of_rate = (
            read_history(
                engine,
                table,
                [conn_id],
                start=now - timedelta(days=length),
                end=now,
                credit_type=credit_type,
                parts=parts,
                attempts=1,
            )[conn_id]
            for length, parts in ((days, MOST_PARTS), (RATE_DAYS, _PARTS))
        )
    return of_days, of_rate.forecast()


def read_ledger(settings: PageSettings, conn_id: str | None = None, *, ended_count: int = 0) -> LedgerFigures:
    """
    Return who holds credit and who waits for it.

    :param conn_id: of one connection's account, over whatever connection it was asked for; None for all
    :param ended_count: how many to tell of those that have ended, the last first; of the connection alone
    """
    shown = LedgerFigures()
    if not settings.reservations_conn_id:
        return shown
    hook = CreditReservationsHook(
        settings.reservations_conn_id,
        reservations_table=settings.reservations_table,
        schema=settings.reservations_schema,
        create_table=False,
    )
    try:
        with hook.ledger() as ledger:
            if not is_there(ledger.engine, ledger.table):  # nobody has reserved yet
                return shown
            rows = ledger.reservations()
            shown.ended = ledger.last_ended(ended_count, conn_id) if ended_count else []
    except SMSPartnerError as error:
        shown.problem = str(error)
        return shown
    except SQLAlchemyError as error:
        shown.problem = f"The ledger over {settings.reservations_conn_id!r} cannot be read: {type(error).__name__}"
        return shown
    now = datetime.now(UTC)
    # What has expired stands as held until a campaign asks for its account.
    rows = [row for row in rows if row.expires_at is None or row.expires_at > now]
    if conn_id is not None:
        of_account = _of_account(conn_id, rows)
        if of_account is None:
            shown.problem = f"Which account {conn_id!r} is cannot be told: its connection is missing here, or wrong"
        rows = of_account or []
    shown.held = [row for row in rows if row.state == "held"]
    shown.waiting = sorted((row for row in rows if row.state == "waiting"), key=Reservation.place)
    return shown


@contextmanager
def _snapshots(settings: PageSettings) -> Iterator[tuple[Engine, Table]]:
    engine = make_engine(settings.snapshots_conn_id)
    try:
        yield engine, snapshot_table(settings.snapshots_table, settings.snapshots_schema)
    finally:
        engine.dispose()


def _accounts(settings: PageSettings, engine: Engine, table: Table) -> Sequence[str]:
    return settings.accounts or accounts_in(engine, table, attempts=1)


def _figures(
    engine: Engine, table: Table, conn_ids: Sequence[str], ledger: LedgerFigures | None
) -> list[AccountFigures]:
    if not conn_ids:
        return []
    now = datetime.now(UTC)
    read = last_readings(engine, table, conn_ids, attempts=1)
    start = now - timedelta(days=RATE_DAYS)
    histories = read_history(engine, table, conn_ids, start=start, end=now, parts=_PARTS, attempts=1)
    accounts = []
    for conn_id in conn_ids:
        read_at, credits = read.get(conn_id, (None, None))
        held = None if ledger is None or credits is None else _held(ledger, conn_id, credits)
        accounts.append(AccountFigures(conn_id, read_at, credits, histories[conn_id].forecast(), held))
    return sorted(accounts, key=_what_ends_first)


def _held(ledger: LedgerFigures, conn_id: str, credits: Credits) -> Decimal | None:
    if ledger.problem:
        return None
    rows = _of_account(conn_id, [*ledger.held, *ledger.waiting])
    return None if rows is None else held_in_money(rows, credits)


def _of_account(conn_id: str, rows: Sequence[Reservation]) -> list[Reservation] | None:
    """Return the rows of a connection's account; None where nobody can tell which those are."""
    if all(row.account == row.smspartner_conn_id for row in rows):
        return [row for row in rows if row.account == conn_id]
    # Connections share an account, and what one has reserved is held of all. Each says for itself which account it is.
    names = {row.account for row in rows if row.smspartner_conn_id == conn_id}
    with suppress(SMSPartnerError):
        names.add(SMSPartnerHook(conn_id).reservations_account)
    return [row for row in rows if row.account in names] if names else None


def _what_ends_first(account: AccountFigures) -> tuple[bool, float, str]:
    left = account.forecast.days_left
    return left is None, left or 0.0, account.conn_id
