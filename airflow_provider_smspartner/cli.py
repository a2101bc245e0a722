"""``airflow smspartner …``: the credit that accounts have left, and who holds it, on a terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from airflow.cli.cli_config import ARG_OUTPUT, ARG_VERBOSE, ActionCommand, Arg, GroupCommand, lazy_load_command
from airflow.utils.cli import suppress_logs_and_warning

from airflow_provider_smspartner.account import CreditType
from airflow_provider_smspartner.arguments import SNAPSHOTS_TABLE, integer_within
from airflow_provider_smspartner.exceptions import SMSPartnerError
from airflow_provider_smspartner.hooks.reservations import DEFAULT_TABLE, CreditReservationsHook
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.operators.forecast import MOST_DAYS
from airflow_provider_smspartner.reservation import exact_text

if TYPE_CHECKING:
    from argparse import Namespace

    from airflow_provider_smspartner.reservation import Reservation


def _argument(*flags: str, **settings: Any) -> Arg:
    return Arg(flags, **settings)  # type: ignore[no-untyped-call]  # Airflow's own


_CONN_IDS = _argument(
    "--conn-id",
    action="append",
    help=f"Airflow connection of the account; may be given several times (default: {SMSPartnerHook.default_conn_name})",
)
_LEDGER = (
    _argument("--reservations-conn-id", required=True, help="Airflow connection of the ledger's database"),
    _argument("--reservations-table", default=DEFAULT_TABLE, help=f"name of its table (default: {DEFAULT_TABLE})"),
    _argument("--schema", help="schema of its table (default: where the connection points)"),
)


def get_commands() -> list[GroupCommand]:
    """Return what this provider adds to Airflow's command line."""
    commands = (
        _command("credits", "Show the credit that an account has left", "show_credits", _CONN_IDS, ARG_OUTPUT),
        _command(
            "forecast",
            "Forecast when the credit of an account runs out, from its snapshots",
            "show_forecast",
            _argument("--sql-conn-id", required=True, help="Airflow connection of the database of the snapshots"),
            _argument("--table", default=SNAPSHOTS_TABLE, help=f"name of their table (default: {SNAPSHOTS_TABLE})"),
            _argument("--schema", help="schema of their table (default: where the connection points)"),
            _CONN_IDS,
            _argument("--credit-type", choices=list(map(str, CreditType)), default="balance", help="what is counted"),
            _argument("--days", default=7, help="over how many days the rate is measured (default: 7)"),
            ARG_OUTPUT,
        ),
        _command(
            "reservations",
            "Show who holds credit, and who waits for it",
            "show_reservations",
            *_LEDGER,
            _argument("--conn-id", help="only of this SMS Partner connection"),
            _argument("--all", action="store_true", help="with those that have ended"),
            ARG_OUTPUT,
        ),
        _command(
            "release",
            "Release a reservation by hand: the credit is free, even while its campaign is sending",
            "release",
            _argument("reservation_id", help="as the command 'reservations' shows it"),
            _argument("--epoch", type=int, required=True, help="as shown beside it: another one is left alone"),
            *_LEDGER,
        ),
    )
    return [GroupCommand(name="smspartner", help="Ask SMS Partner accounts", subcommands=commands)]


def _command(name: str, told: str, function: str, *args: Arg) -> ActionCommand:
    return ActionCommand(name, told, lazy_load_command(f"{__name__}.{function}"), (*args, ARG_VERBOSE))


@suppress_logs_and_warning
def show_credits(args: Namespace) -> None:
    """
    Print a reading of each account; tell on stderr which ones could not be read, and why.

    :raises SystemExit: an account could not be read
    """
    _find_connections()
    readings, failures = [], []
    for conn_id in args.conn_id or [SMSPartnerHook.default_conn_name]:
        try:
            readings.append({"conn_id": conn_id} | SMSPartnerHook(conn_id).get_account().reading())
        except SMSPartnerError as error:
            failures.append(str(error))
    if readings or args.output in {"json", "yaml"}:
        _print(readings, args.output, missing="unknown")
    if failures:
        raise SystemExit("\n".join(failures))


@suppress_logs_and_warning
def show_forecast(args: Namespace) -> None:
    """
    Print when the credit of each account runs out.

    :raises SystemExit: the snapshots could not be read
    """
    from airflow_provider_smspartner.sql.history import foresee

    _find_connections()
    try:
        forecasts = foresee(
            args.sql_conn_id,
            args.conn_id or [SMSPartnerHook.default_conn_name],
            table=args.table,
            schema=args.schema,
            credit_type=CreditType(args.credit_type),
            days=integer_within("--days", args.days, 1, MOST_DAYS),
        )
    except SMSPartnerError as error:
        raise SystemExit(str(error)) from None
    _print([forecast.as_xcom() for forecast in forecasts], args.output, missing="unknown")


@suppress_logs_and_warning
def show_reservations(args: Namespace) -> None:
    """
    Print who holds credit and who waits for it.

    :raises SystemExit: the ledger could not be read
    """
    try:
        rows = _ledger(args).reservations(args.conn_id, active=not args.all)
    except SMSPartnerError as error:
        raise SystemExit(str(error)) from None
    _print([_shown(row) for row in rows], args.output)


@suppress_logs_and_warning
def release(args: Namespace) -> None:
    """
    Release one epoch of a reservation, and say what that freed.

    :raises SystemExit: the ledger could not be read, or there was nothing to release
    """
    try:
        with _ledger(args).ledger() as ledger:
            ended = ledger.release(args.reservation_id, args.epoch)
    except SMSPartnerError as error:
        raise SystemExit(str(error)) from None
    if not ended:
        raise SystemExit(f"Reservation {args.reservation_id}, epoch {args.epoch}, holds nothing: nothing was released")
    _print([_shown(row) for row in ended], "table")


def _find_connections() -> None:
    # As Airflow's own commands do, to find the connections that are kept in the metadata database.
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"


def _ledger(args: Namespace) -> CreditReservationsHook:
    _find_connections()
    return CreditReservationsHook(
        args.reservations_conn_id, reservations_table=args.reservations_table, schema=args.schema, create_table=False
    )


def _shown(row: Reservation) -> dict[str, Any]:
    return {
        "account": row.account,
        "state": row.ended_how or row.state,
        "amount": exact_text(row.amount),
        "deducted": exact_text(row.deducted),
        "credit_type": row.credit_type.value,
        "who": row.origin,
        "since": _at(row.granted_at or row.requested_at),
        "expires": _at(row.expires_at),
        "epoch": row.epoch,
        "reservation_id": row.reservation_id,
    }


def _at(instant: Any) -> str | None:
    return None if instant is None else instant.isoformat(timespec="seconds")


def _print(rows: list[dict[str, Any]], output: str, missing: str = "") -> None:
    """Print rows as Airflow's own commands do, but for numbers, which stay numbers, and what is missing."""
    from airflow.cli.simple_table import AirflowConsole

    console = AirflowConsole()
    if output in {"table", "plain"}:
        rows = [{name: missing if value is None else value for name, value in row.items()} for row in rows]
    {
        "table": console.print_as_table,
        "plain": console.print_as_plain_table,
        "json": console.print_as_json,
        "yaml": console.print_as_yaml,
    }[output](rows)  # type: ignore[operator]  # it asks for a dictionary, and takes a list
