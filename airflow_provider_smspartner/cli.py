"""``airflow smspartner credits``: the credit that accounts have left, on a terminal."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from airflow.cli.cli_config import ARG_VERBOSE, ActionCommand, Arg, GroupCommand, lazy_load_command
from airflow.utils.cli import suppress_logs_and_warning

from airflow_provider_smspartner.exceptions import SMSPartnerError
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook

if TYPE_CHECKING:
    from argparse import Namespace

_CONN_ID = Arg(  # type: ignore[no-untyped-call]
    ("--conn-id",),
    action="append",
    help=f"Airflow connection of the account; may be given several times (default: {SMSPartnerHook.default_conn_name})",
)
_FORMAT = Arg(  # type: ignore[no-untyped-call]
    ("--format",), choices=("table", "json"), default="table", help="output format (default: table)"
)


def get_commands() -> list[GroupCommand]:
    """Return what this provider adds to Airflow's command line."""
    credits_command = ActionCommand(
        name="credits",
        help="Show the credit that an account has left",
        func=lazy_load_command(f"{__name__}.show_credits"),
        args=(_CONN_ID, _FORMAT, ARG_VERBOSE),
    )
    return [GroupCommand(name="smspartner", help="Ask SMS Partner accounts", subcommands=(credits_command,))]


@suppress_logs_and_warning
def show_credits(args: Namespace) -> None:
    """
    Print a reading of each account; tell on stderr which ones could not be read, and why.

    :raises SystemExit: an account could not be read
    """
    # As Airflow's own commands do, to find the connections that are kept in the metadata database.
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    readings, failures = [], []
    for conn_id in args.conn_id or [SMSPartnerHook.default_conn_name]:
        try:
            readings.append({"conn_id": conn_id} | SMSPartnerHook(conn_id).get_account().reading())
        except SMSPartnerError as error:
            failures.append(str(error))
    if args.format == "json":
        sys.stdout.write(json.dumps(readings, indent=2) + "\n")
    elif readings:
        _print_table(readings)
    if failures:
        raise SystemExit("\n".join(failures))


def _print_table(readings: list[dict[str, int | str | None]]) -> None:
    from airflow.cli.simple_table import AirflowConsole

    rows = [{name: "unknown" if figure is None else figure for name, figure in it.items()} for it in readings]
    AirflowConsole().print_as_table(rows)
