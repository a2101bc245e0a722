"""A person moves the account and queues faults with curl."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.unit.sandbox.asking import KEY, ask, exchange


def test_a_post_tops_the_account_up(sandbox: SMSPartnerSandbox) -> None:
    status, _, body = ask(sandbox, "/sandbox/top-up?amount=50.5", "POST")
    assert (status, json.loads(body)) == (200, {"sandbox": True, "balance": "150.500", "currency": "EUR"})
    assert sandbox.balance == Decimal("150.50")
    assert sandbox.requests == 0


@pytest.mark.parametrize("query", ["", "?amount=", "?amount=much", "?amount=-5", "?amount=NaN", "?amount=1e400"])
def test_a_bad_amount_is_refused_in_words(sandbox: SMSPartnerSandbox, query: str) -> None:
    status, headers, body = ask(sandbox, f"/sandbox/top-up{query}", "POST")
    assert (status, headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert body.startswith(b"SMS Partner sandbox: amount is ")
    assert sandbox.balance == Decimal("100.00")


def test_looking_at_the_top_up_page_does_not_top_up(sandbox: SMSPartnerSandbox) -> None:
    status, headers, _ = ask(sandbox, "/sandbox/top-up?amount=50")
    assert (status, headers["Allow"], sandbox.balance) == (405, "POST", Decimal("100.00"))


def test_an_unread_request_body_is_not_taken_for_a_request(sandbox: SMSPartnerSandbox) -> None:
    smuggled = f"GET /v1/me?apiKey={KEY} HTTP/1.1\r\n\r\n".encode()
    head = f"POST /sandbox/top-up?amount=1 HTTP/1.1\r\nContent-Length: {len(smuggled)}\r\n\r\n".encode()
    answer = exchange(sandbox, head + smuggled)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert sandbox.requests == 0


def test_a_post_spends_and_no_more_than_there_is(sandbox: SMSPartnerSandbox) -> None:
    status, _, body = ask(sandbox, "/sandbox/spend?amount=30", "POST")
    assert (status, json.loads(body)["balance"]) == (200, "70.000")
    status, _, body = ask(sandbox, "/sandbox/spend?amount=70.01", "POST")
    assert (status, sandbox.balance) == (400, Decimal("70.00"))
    assert b"holds 70.00 EUR, which is less than 70.01" in body


@pytest.mark.parametrize(
    ("query", "answers"),
    [
        ("http_status=503", [503, 200]),
        ("http_status=429&times=2", [429, 429, 200]),
        ("code=30", [30, 200]),
        ("july_gateway=true", [None, 200]),
    ],
)
def test_a_post_queues_a_fault(sandbox: SMSPartnerSandbox, query: str, answers: list[int | None]) -> None:
    assert ask(sandbox, f"/sandbox/fail?{query}", "POST")[0] == 200
    seen: list[int | None] = []
    for _ in answers:
        status, _, body = ask(sandbox)
        content = json.loads(body) if status == 200 else {"code": status, "credits": ...}
        seen.append(content["code"] if "credits" in content or content["code"] != 200 else None)
    assert seen == answers


def test_a_fault_of_all_times_ends_when_the_account_recovers(sandbox: SMSPartnerSandbox) -> None:
    ask(sandbox, "/sandbox/fail?http_status=500&times=all", "POST")
    assert [ask(sandbox)[0] for _ in range(3)] == [500, 500, 500]
    assert ask(sandbox, "/sandbox/recover", "POST")[0] == 200
    assert ask(sandbox)[0] == 200


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "nothing to play"),
        ("status=503", "there is no 'status': use code, delay"),
        ("http_status=many", "http_status is 'many': use a whole number"),
        ("http_status=503&times=-1", "times is '-1': use a whole number"),
        ("delay=soon", "delay is 'soon': use seconds"),
        ("drop=yes", "drop is 'yes': use true or false"),
        ("code=30&july_gateway=true", "july_gateway has a status and body of its own"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_in_words(sandbox: SMSPartnerSandbox, query: str, says: str) -> None:
    status, _, body = ask(sandbox, f"/sandbox/fail?{query}", "POST")
    assert (status, ask(sandbox)[0]) == (400, 200)
    assert says in body.decode()
