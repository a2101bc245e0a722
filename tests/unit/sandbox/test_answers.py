"""The sandbox answers as the API page says."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.unit.sandbox.asking import AWKWARD_KEY, KEY, ask, entries, exchange, me


def test_the_documented_json_sample_comes_out_exactly() -> None:
    with SMSPartnerSandbox(balance="10225.119") as sandbox:
        status, headers, body = ask(sandbox)
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {
        "success": True,
        "code": 200,
        "user": {"username": "sandbox@example.com", "firstname": "Sandbox", "lastname": "Not the real API"},
        "credits": {
            "creditSms": 269082,
            "creditSmsLowCost": 444570,
            "creditHlr": 2045023,
            "toSend": 0,
            "solde": "10225.119",
            "currency": "EUR",
            "balance": "10225.119",
        },
    }


def test_the_documented_xml_sample_comes_out_exactly_and_by_position() -> None:
    with SMSPartnerSandbox(balance="10224.688") as sandbox:
        _, headers, body = ask(sandbox, f"/v1/me?apiKey={KEY}&_format=xml")
    assert headers["Content-Type"] == "application/xml"
    assert body.startswith(b"<?xml version='1.0' encoding='UTF-8'?>\n<result>")
    success, code, user, counts = entries(body)
    assert (success.text, code.text) == ("true", "200")
    assert [(field.tag, field.text) for field in user] == [
        ("username", "sandbox@example.com"),
        ("firstname", "Sandbox"),
        ("lastname", "Not the real API"),
    ]
    assert [(field.tag, field.text) for field in counts] == [
        ("entry", text) for text in ("269070", "444551", "2044937", "0", "10224.688", "EUR", "10224.688")
    ]
    assert body.count(b"<![CDATA[10224.688]]>") == 2
    assert body.count(b"<![CDATA[EUR]]>") == 1


def test_json_may_be_asked_for_by_name(sandbox: SMSPartnerSandbox) -> None:
    assert ask(sandbox, f"/v1/me?apiKey={KEY}&_format=json")[2] == ask(sandbox)[2]


def test_it_names_itself_as_a_sandbox(sandbox: SMSPartnerSandbox) -> None:
    assert ask(sandbox)[1]["Server"] == "SMSPartnerSandbox"


@pytest.mark.parametrize(
    ("balance", "shown"),
    [("0", "0.000"), (7, "7.000"), (Decimal("0.1"), "0.100"), ("0.0389", "0.038"), ("1e3", "1000.000")],
)
def test_the_balance_is_shown_with_three_places_and_never_rounded_up(balance: Any, shown: str) -> None:
    with SMSPartnerSandbox(balance=balance) as sandbox:
        answer = me(sandbox)["credits"]
    assert (answer["balance"], answer["solde"]) == (shown, shown)


def test_own_prices_currency_and_pending_sms_show() -> None:
    with SMSPartnerSandbox("10", currency="CHF", to_send=3, prices={"sms": "0.05", "hlr": 1}) as sandbox:
        first = me(sandbox)["credits"]
        sandbox.to_send = 4
        second = me(sandbox)["credits"]
    assert (first["creditSms"], first["creditSmsLowCost"], first["creditHlr"]) == (200, 434, 10)
    assert (first["currency"], first["toSend"], second["toSend"]) == ("CHF", 3, 4)


@pytest.mark.parametrize(
    ("query", "code"),
    [("apiKey=wrong", 10), ("apiKey=Sandbox-Key", 10), ("", 1), ("apiKey=", 1), ("apikey=sandbox-key", 1)],
)
def test_a_wrong_key_has_code_10_and_a_missing_one_code_1(sandbox: SMSPartnerSandbox, query: str, code: int) -> None:
    status, _, body = ask(sandbox, f"/v1/me?{query}")
    answer = json.loads(body)
    assert (status, answer["success"], answer["code"]) == (200, False, code)
    assert set(answer) == {"success", "code", "message"}
    refused, in_xml, message = entries(ask(sandbox, f"/v1/me?{query}&_format=xml")[2])
    assert (refused.text, in_xml.text, message.text) == ("false", str(code), answer["message"])


def test_the_wrong_key_message_is_the_documented_one_in_utf_8(sandbox: SMSPartnerSandbox) -> None:
    assert '"message": "Clé API incorrecte"'.encode() in ask(sandbox, "/v1/me?apiKey=wrong")[2]


def test_a_key_may_hold_any_character() -> None:
    with SMSPartnerSandbox(api_key=AWKWARD_KEY) as sandbox:
        assert me(sandbox, AWKWARD_KEY)["success"] is True
        assert sandbox.requests_by_key == {AWKWARD_KEY: 1}


@pytest.mark.parametrize(("target", "status"), [("/", 404), ("/v1/me/", 404), ("/v1/credits", 404), ("/v1", 404)])
def test_other_paths_are_not_found_and_not_counted(sandbox: SMSPartnerSandbox, target: str, status: int) -> None:
    assert ask(sandbox, f"{target}?apiKey={KEY}")[0] == status
    assert sandbox.requests == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"])
def test_other_methods_are_refused_and_not_counted(sandbox: SMSPartnerSandbox, method: str) -> None:
    status, headers, _ = ask(sandbox, method=method)
    assert (status, headers["Allow"]) == (405, "GET")
    assert sandbox.requests == 0


def test_an_answer_to_head_has_no_body(sandbox: SMSPartnerSandbox) -> None:
    assert exchange(sandbox, b"HEAD /v1/me HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\n")
