from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers_manager import ProvidersManager

from airflow_provider_smspartner.account import CreditRequirement, CreditType
from airflow_provider_smspartner.cli import get_commands
from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.airflow_versions import needs_airflow
from tests.daily_snapshots import take_daily_snapshots

Command = Callable[..., None]

pytestmark = needs_airflow(3, 2, for_the_sake_of="command of a provider's own")


@pytest.fixture
def airflow() -> Command:
    """Run a command line as Airflow does: ``airflow("smspartner", "credits")``."""
    from airflow.cli.cli_parser import get_parser

    def airflow(*command: str) -> None:
        arguments = get_parser().parse_args(command)
        arguments.func(arguments)

    return airflow


def test_airflow_finds_the_command() -> None:
    assert get_commands in ProvidersManager().cli_command_functions


def test_the_default_account_is_shown_as_a_table(
    airflow: Command, connect: Callable[..., str], sandbox: SMSPartnerSandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(sandbox)
    airflow("smspartner", "credits")
    header, _, row = capsys.readouterr().out.splitlines()[:3]
    told = dict(zip(header.split("|"), row.split("|"), strict=True))
    told = {name.strip(): figure.strip() for name, figure in told.items()}
    assert (told["conn_id"], told["sms"], told["balance"]) == ("smspartner_default", "269082", "10225.119")


def test_what_an_account_does_not_report_is_shown_as_unknown(
    airflow: Command, connect: Callable[..., str], sandbox: SMSPartnerSandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.fail_next(http_status=200, body=b'{"success": true, "code": 200, "credits": {"creditSms": 7}}')
    connect(sandbox)
    airflow("smspartner", "credits")
    row = capsys.readouterr().out.splitlines()[2]
    assert row.count("unknown") == 5
    assert "None" not in row


def test_several_accounts_are_shown_as_json_with_exact_balances(
    airflow: Command, connect: Callable[..., str], sandbox: SMSPartnerSandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(sandbox, "north")
    with SMSPartnerSandbox(balance="0.038") as another:
        connect(another, "south")
        airflow("smspartner", "credits", "--output", "json", "--conn-id", "north", "--conn-id", "south")
    told = json.loads(capsys.readouterr().out)
    assert [(one["conn_id"], one["sms"], one["balance"]) for one in told] == [
        ("north", 269082, "10225.119"),
        ("south", 1, "0.038"),
    ]


def test_an_account_that_fails_costs_the_others_nothing_and_the_command_its_success(
    airflow: Command, connect: Callable[..., str], sandbox: SMSPartnerSandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(sandbox, "good")
    connect(sandbox, "bad", api_key="another key")
    with pytest.raises(SystemExit, match=r"'bad': SMS Partner does not know this API key: check .* API key"):
        airflow("smspartner", "credits", "--conn-id", "bad", "--conn-id", "good", "--output", "json")
    (told,) = json.loads(capsys.readouterr().out)
    assert told["conn_id"] == "good"


# Forecast


def test_a_forecast_is_printed_for_each_account_with_what_is_unknown_as_such(
    airflow: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "w.db")}))
    asked = ("smspartner", "forecast", "--sql-conn-id", "warehouse", "--conn-id", "north", "--conn-id", "south")
    with pytest.raises(SystemExit, match=r"'warehouse', table .* is not there: let a CreditsToSqlOperator"):
        airflow(*asked)
    take_daily_snapshots(tmp_path / "w.db", north=(30, 20, 10))
    airflow(*asked, "--output", "json")
    north, south = json.loads(capsys.readouterr().out)
    assert (north["smspartner_conn_id"], north["days_left"], north["credit"]) == ("north", 1.0, "10.000000")
    assert (south["days_left"], south["unknown"]) == (None, "no known reading in this time")
    with pytest.raises(SystemExit, match="--days is 0: use a whole number from 1 to 366"):
        airflow(*asked, "--days", "0")


# Reservations

ON_LEDGER = ("--reservations-conn-id", "ledger")


@pytest.fixture
def hook(
    connect: Callable[..., str], sandbox: SMSPartnerSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> CreditReservationsHook:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(connection))
    connect(sandbox)
    return CreditReservationsHook("ledger")


def reserve(hook: CreditReservationsHook, holder: str, balance: str, conn_id: str = "smspartner_default") -> Any:
    requirement = CreditRequirement(balance, CreditType.BALANCE)  # type: ignore[arg-type]  # as a DAG says it
    return hook.reserve(conn_id, requirement, holder=holder, hold_for=timedelta(hours=1))


def shown(airflow: Command, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    airflow("smspartner", "reservations", *ON_LEDGER, "--output", "json", *arguments)
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


def test_who_holds_and_who_waits_is_shown_with_exact_amounts(
    airflow: Command, hook: CreditReservationsHook, capsys: pytest.CaptureFixture[str]
) -> None:
    held = reserve(hook, "first", "10000.50")
    hook.deduct(held, "0.25")
    assert reserve(hook, "second", "9000") is None
    capsys.readouterr()
    first, second = shown(airflow, capsys)
    assert first == {
        "account": "smspartner_default",
        "state": "held",
        "amount": "10000.5",
        "deducted": "0.25",
        "credit_type": "balance",
        "who": "first",
        "since": held.granted_at.isoformat(timespec="seconds"),
        "expires": first["expires"],
        "epoch": 1,
        "reservation_id": held.reservation_id,
    }
    assert (second["who"], second["state"], second["expires"]) == ("second", "waiting", None)


def test_what_has_ended_is_shown_where_all_is_asked_for_and_of_one_connection_where_that_is(
    airflow: Command,
    hook: CreditReservationsHook,
    connect: Callable[..., str],
    sandbox: SMSPartnerSandbox,
    capsys: pytest.CaptureFixture[str],
) -> None:
    connect(sandbox, "second")
    hook.release(reserve(hook, "over", "5"))
    reserve(hook, "elsewhere", "5", "second")
    capsys.readouterr()
    assert [row["who"] for row in shown(airflow, capsys)] == ["elsewhere"]
    assert [
        (row["who"], row["state"]) for row in shown(airflow, capsys, "--all", "--conn-id", "smspartner_default")
    ] == [("over", "released")]


def test_a_reservation_is_released_by_hand_and_what_that_freed_is_shown(
    airflow: Command, hook: CreditReservationsHook, capsys: pytest.CaptureFixture[str]
) -> None:
    held = reserve(hook, "mine", "10000")
    capsys.readouterr()
    airflow("smspartner", "release", held.reservation_id, "--epoch", "1", *ON_LEDGER)
    assert "10000" in capsys.readouterr().out
    assert not hook.still_holds(held)


def test_another_epoch_is_left_alone_and_the_command_fails(airflow: Command, hook: CreditReservationsHook) -> None:
    held = reserve(hook, "mine", "10000")
    with pytest.raises(SystemExit, match="epoch 2, holds nothing: nothing was released"):
        airflow("smspartner", "release", held.reservation_id, "--epoch", "2", *ON_LEDGER)
    assert hook.still_holds(held)


@pytest.mark.parametrize("command", [("reservations",), ("release", "some-id", "--epoch", "1")], ids=str)
def test_a_command_makes_no_table_where_there_is_none(
    airflow: Command, hook: CreditReservationsHook, command: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit, match="it is not there, and create_table is False"):
        airflow("smspartner", *command, *ON_LEDGER)
