from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from airflow.providers_manager import ProvidersManager

from airflow_provider_smspartner.cli import get_commands
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.airflow_versions import needs_airflow

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
