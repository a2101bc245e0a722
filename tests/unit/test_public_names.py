"""The names that DAG authors use. Whoever renames one changes this list, the reference and the changelog."""

from __future__ import annotations

import re
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path

import pytest

from airflow_provider_smspartner import exceptions

ROOT = Path(__file__).parents[2]
GATE = {
    *("min_credits", "credit_type", "subtract_pending", "smspartner_conn_id"),
    *("poke_interval", "timeout", "skip_on_timeout", "deferrable"),
}
LEDGER = {"reservations_conn_id", "reservations_table", "schema", "create_table"}

PUBLIC: dict[str, set[str]] = {
    "hooks.smspartner.SMSPartnerHook": {"smspartner_conn_id"},
    "hooks.reservations.CreditReservationsHook": LEDGER,
    "sensors.credits.CreditsSensor": GATE,
    "sensors.reservations.CreditsReservationSensor": LEDGER
    | {"priority", "in_turn", "hold_for", "settles_after", "on_rerun"},
    "operators.credits.CreditsToSqlOperator": {
        *("sql_conn_id", "smspartner_conn_id", "table", "schema"),
        *("create_table", "on_rerun", "store_username", "max_concurrency"),
    },
    "operators.forecast.CreditsForecastOperator": {
        *("sql_conn_id", "smspartner_conn_id", "table", "schema", "credit_type", "days"),
    },
    "operators.reservations.CreditsReleaseOperator": LEDGER | {"reservation"},
    "triggers.credits.CreditsTrigger": {
        *("smspartner_conn_id", "min_credits", "credit_type", "subtract_pending", "poke_interval"),
        *("direction", "once", "rearm_margin", "report_unreadable"),
    },
    "account.Account": {"user", "credits", "fetched_at"},
    "account.User": {"username", "firstname", "lastname"},
    "account.Credits": {"sms", "sms_low_cost", "hlr", "to_send", "balance", "currency", "unreadable"},
    "account.CreditRequirement": {"min_credits", "credit_type", "subtract_pending"},
    "api.protocol.parse_account": {"body", "http_status", "content_type"},
    "sandbox.SMSPartnerSandbox": {"balance", "api_key", "currency", "to_send", "prices", "port"},
}
"""What is called, with the names of its arguments."""

MEMBERS: dict[str, set[str]] = {
    "hooks.smspartner.SMSPartnerHook": {
        *("get_account", "aget_account", "aclose", "test_connection", "get_conn", "base_url"),
    },
    "hooks.reservations.CreditReservationsHook": {
        *("reserve", "deduct", "extend", "still_holds", "release", "reservations"),
    },
    "account.Account": {"reading"},
    "account.Credits": {"of", "from_reading"},
    "account.CreditRequirement": {"is_met_by", "available", "describe"},
    "reservation.Reservation": {"state", "rest", "held", "expires_at", "origin", "as_xcom"},
    "forecast.Forecast": {"as_xcom"},
    "sandbox.SMSPartnerSandbox": {
        *("start", "stop", "url", "connection_json", "balance", "to_send", "top_up", "spend"),
        *("requests_by_key", "wait_for_requests", "fail_next", "recover"),
    },
}
"""What is asked of an object."""

ERRORS = {
    *("SMSPartnerError", "SMSPartnerConfigurationError", "SMSPartnerArgumentError", "SMSPartnerAccessError"),
    *("SMSPartnerUnavailableError", "SMSPartnerResponseError", "SMSPartnerRejectedError"),
}


def named(name: str) -> object:
    module, _, last = name.rpartition(".")
    return getattr(import_module(f"airflow_provider_smspartner.{module}"), last)


@pytest.mark.parametrize("name", PUBLIC)
def test_what_authors_call_takes_these_arguments_and_no_others_of_ours(name: str) -> None:
    arguments = signature(named(name)).parameters  # type: ignore[arg-type]
    assert {each.name for each in arguments.values() if each.kind is not Parameter.VAR_KEYWORD} == PUBLIC[name]


@pytest.mark.parametrize("name", MEMBERS)
def test_what_authors_ask_of_an_object_is_there(name: str) -> None:
    assert {each for each in MEMBERS[name] if not hasattr(named(name), each)} == set()


def test_the_credit_types_are_spelled_as_dags_spell_them() -> None:
    from airflow_provider_smspartner.account import CreditType

    assert [str(each) for each in CreditType] == ["sms", "sms_low_cost", "hlr", "balance"]


def test_the_errors_that_authors_catch_are_these() -> None:
    assert {name for name in vars(exceptions) if name.startswith("SMSPartner")} == ERRORS


def test_the_reference_names_what_is_public_and_nothing_else() -> None:
    page = (ROOT / "docs" / "reference" / "api.rst").read_text()
    listed = re.findall(r"^\.\. auto(?:class|function):: airflow_provider_smspartner\.(\S+)", page, re.MULTILINE)
    ours = {name for name in {*PUBLIC, *MEMBERS} if not name.startswith("account.")}
    assert set(listed) == ours
    account = re.search(r"airflow_provider_smspartner\.account\n    :members: (.+)", page)
    assert account is not None
    assert {f"account.{name}" for name in account[1].split(", ")} - {"account.CreditType"} == {
        name for name in PUBLIC if name.startswith("account.")
    }
