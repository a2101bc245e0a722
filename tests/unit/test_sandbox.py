"""The sandbox answers as the API page says, plays its faults, and keeps quiet."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox

KEY = "sandbox-key"
AWKWARD_KEY = "S3cr3t+Key/42=é%&#?"


@pytest.fixture
def sandbox() -> Iterator[SMSPartnerSandbox]:
    with SMSPartnerSandbox() as sandbox:
        yield sandbox


def connect(sandbox: SMSPartnerSandbox) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(sandbox.url).netloc, timeout=5)


def ask(
    sandbox: SMSPartnerSandbox,
    target: str = f"/v1/me?apiKey={KEY}",
    method: str = "GET",
    connection: http.client.HTTPConnection | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    own = connection or connect(sandbox)
    try:
        own.request(method, target, headers=headers or {})
        response = own.getresponse()
        return response.status, response.headers, response.read()
    finally:
        if connection is None:
            own.close()


def me(sandbox: SMSPartnerSandbox, key: str = KEY) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(ask(sandbox, f"/v1/me?apiKey={quote(key, safe='')}")[2])
    return answer


def exchange(sandbox: SMSPartnerSandbox, message: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", urlsplit(sandbox.url).port or 0), timeout=5) as raw:
        raw.sendall(message)
        return b"".join(iter(lambda: raw.recv(4096), b""))


def entries(body: bytes) -> list[ET.Element]:
    return list(ET.fromstring(body))


# What it answers


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


# What it holds


def test_top_up_and_spend_move_the_counts(sandbox: SMSPartnerSandbox) -> None:
    assert sandbox.top_up("50") == Decimal("150.00")
    assert me(sandbox)["credits"]["creditSms"] == 3947
    assert sandbox.spend("149.962") == Decimal("0.038")
    assert me(sandbox)["credits"]["creditSms"] == 1
    assert sandbox.balance == Decimal("0.038")


def test_nobody_spends_more_than_there_is(sandbox: SMSPartnerSandbox) -> None:
    with pytest.raises(ValueError, match=r"holds 100\.00 EUR"):
        sandbox.spend("100.01")
    assert sandbox.balance == Decimal("100.00")


def test_the_balance_is_exact_under_threads() -> None:
    sandbox = SMSPartnerSandbox("1000")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(4):
                pool.submit(lambda: [sandbox.top_up("0.003") for _ in range(500)])
                pool.submit(lambda: [sandbox.spend("0.001") for _ in range(500)])
    finally:
        sys.setswitchinterval(before)
    assert sandbox.balance == Decimal("1004.000")


@pytest.mark.parametrize("amount", [0.1, 100.0, True, "abc", "", None, "NaN", "Infinity", "-1", "1e400", []])
def test_what_is_no_exact_amount_is_refused(amount: Any) -> None:
    for attempt in (SMSPartnerSandbox, SMSPartnerSandbox().top_up, SMSPartnerSandbox().spend):
        with pytest.raises(ValueError, match=r"(balance|amount) is "):
            attempt(amount)


def test_a_float_is_told_what_to_write_instead() -> None:
    with pytest.raises(ValueError, match=r"balance is 10\.5, which is not exact: write it like '10\.50'"):
        SMSPartnerSandbox(10.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"api_key": ""}, "api_key is empty"),
        ({"api_key": []}, "api_key is empty"),
        ({"api_key": ["one", ""]}, "api_key is empty"),
        ({"currency": "euro"}, "currency is 'euro'"),
        ({"prices": {"mms": "1"}}, "prices are of mms"),
        ({"prices": {"sms": 0}}, "the price of sms is 0"),
        ({"prices": {"sms": 0.038}}, "the price of sms is 0.038"),
        ({"port": 65536}, "port is 65536"),
        ({"port": -1}, "port is -1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        SMSPartnerSandbox(**arguments)


# What it counts


def test_requests_are_counted_in_all_and_for_each_key_faults_included() -> None:
    with SMSPartnerSandbox(api_key=["main", "sub"]) as sandbox:
        sandbox.fail_next(http_status=503)
        before = sandbox.requests_by_key
        for key in ("main", "sub", "sub", "wrong"):
            ask(sandbox, f"/v1/me?apiKey={key}")
        ask(sandbox, "/v1/me")
        assert sandbox.requests == 5
        assert sandbox.requests_by_key == {"main": 1, "sub": 2, "wrong": 1}
        assert sandbox.requests_by_key["never came"] == 0
        assert before == {}


def test_waiting_for_requests_ends_with_the_last_of_them(sandbox: SMSPartnerSandbox) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sandbox.wait_for_requests, 2)
        ask(sandbox)
        assert not waiting.done()
        ask(sandbox)
        waiting.result(timeout=5)


def test_waiting_for_requests_that_never_come_says_how_many_came(sandbox: SMSPartnerSandbox) -> None:
    ask(sandbox)
    with pytest.raises(TimeoutError, match="1 of 2 requests"):
        sandbox.wait_for_requests(2, timeout=0.05)


def test_a_request_counts_when_it_arrives_not_when_it_is_answered(sandbox: SMSPartnerSandbox) -> None:
    sandbox.fail_next(delay=60)
    connection = connect(sandbox)
    connection.request("GET", f"/v1/me?apiKey={KEY}")
    sandbox.wait_for_requests(1, timeout=5)
    connection.close()


def test_kept_alive_connections_show_in_the_count(sandbox: SMSPartnerSandbox) -> None:
    connection = connect(sandbox)
    for _ in range(3):
        ask(sandbox, connection=connection)
    connection.close()
    ask(sandbox)
    assert (sandbox.requests, sandbox.connections) == (4, 2)


def test_the_last_headers_are_those_of_the_last_reading(sandbox: SMSPartnerSandbox) -> None:
    assert sandbox.last_headers["User-Agent"] is None
    ask(sandbox, headers={"User-Agent": "first"})
    ask(sandbox, headers={"User-Agent": "second"})
    ask(sandbox, "/elsewhere", headers={"User-Agent": "third"})
    assert sandbox.last_headers["user-agent"] == "second"


# Faults on demand


def test_a_bare_status_comes_with_a_gateways_page_then_all_is_well(sandbox: SMSPartnerSandbox) -> None:
    sandbox.fail_next(http_status=503, times=2)
    for _ in range(2):
        status, headers, body = ask(sandbox)
        assert (status, headers["Content-Type"]) == (503, "text/html")
        assert b"<h1>503 Service Unavailable</h1>" in body
    assert ask(sandbox)[0] == 200


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_leaves_the_connection_usable(sandbox: SMSPartnerSandbox, status: int) -> None:
    sandbox.fail_next(http_status=status)
    connection = connect(sandbox)
    first, headers, body = ask(sandbox, connection=connection)
    assert (first, headers["Content-Type"], body) == (status, None, b"")
    assert ask(sandbox, connection=connection)[0] == 200
    connection.close()


@pytest.mark.parametrize("status", [299, 520, 599])
def test_a_status_that_nobody_registered_can_be_played(sandbox: SMSPartnerSandbox, status: int) -> None:
    sandbox.fail_next(http_status=status)
    assert ask(sandbox)[0] == status


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ('{"success": tr', b'{"success": tr'),
        (b"\xff\xfe\x00", b"\xff\xfe\x00"),
        ({"success": False, "code": 40}, b'{"success": false, "code": 40}'),
        ("", b""),
        ({}, b"{}"),
    ],
)
def test_a_body_is_sent_as_it_is_given(sandbox: SMSPartnerSandbox, body: Any, sent: bytes) -> None:
    sandbox.fail_next(body=body)
    status, headers, received = ask(sandbox)
    assert (status, headers["Content-Type"], received) == (200, "application/json", sent)


def test_headers_are_added_and_override_the_sandboxs_own(sandbox: SMSPartnerSandbox) -> None:
    sandbox.fail_next(http_status=429, body="slow down", headers={"content-type": "text/plain", "Retry-After": "7"})
    status, headers, body = ask(sandbox)
    assert (status, body, headers["Retry-After"]) == (429, b"slow down", "7")
    assert headers.get_all("Content-Type") == ["text/plain"]


def test_a_false_length_truncates_the_answer(sandbox: SMSPartnerSandbox) -> None:
    sandbox.fail_next(body="{", headers={"Content-Length": "100"})
    with pytest.raises(http.client.IncompleteRead):
        ask(sandbox)


def test_a_dropped_connection_has_no_answer(sandbox: SMSPartnerSandbox) -> None:
    sandbox.fail_next(drop=True)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(sandbox)
    assert ask(sandbox)[0] == 200


@pytest.mark.parametrize("query", [f"apiKey={KEY}", "apiKey=wrong", ""])
def test_the_july_gateway_reports_success_to_anybody(sandbox: SMSPartnerSandbox, query: str) -> None:
    sandbox.fail_next(july_gateway=True)
    status, _, body = ask(sandbox, f"/v1/me?{query}")
    assert status == 200
    assert json.loads(body) == {"success": True, "code": 200, "message": "Request queued for processing"}


def test_a_mere_delay_is_followed_by_the_usual_answer(sandbox: SMSPartnerSandbox) -> None:
    sandbox.fail_next(delay=0.1)
    before = time.monotonic()
    assert me(sandbox)["success"] is True
    assert time.monotonic() - before >= 0.1


def test_a_delay_goes_with_any_other_fault(sandbox: SMSPartnerSandbox) -> None:
    sandbox.fail_next(delay=0.05, http_status=500)
    sandbox.fail_next(delay=0.05, drop=True)
    before = time.monotonic()
    assert ask(sandbox)[0] == 500
    with pytest.raises(http.client.RemoteDisconnected):
        ask(sandbox)
    assert time.monotonic() - before >= 0.1


def test_faults_play_in_the_order_they_were_queued(sandbox: SMSPartnerSandbox) -> None:
    sandbox.fail_next(http_status=500)
    sandbox.fail_next(http_status=429, times=2)
    sandbox.fail_next(http_status=403)
    assert [ask(sandbox)[0] for _ in range(5)] == [500, 429, 429, 403, 200]


def test_a_fault_without_end_plays_until_recovery(sandbox: SMSPartnerSandbox) -> None:
    sandbox.fail_next(http_status=500, times=None)
    assert {ask(sandbox)[0] for _ in range(5)} == {500}
    with pytest.raises(ValueError, match=r"call recover\(\) first"):
        sandbox.fail_next(http_status=403)
    sandbox.recover()
    assert ask(sandbox)[0] == 200


def test_only_readings_meet_a_fault(sandbox: SMSPartnerSandbox) -> None:
    sandbox.fail_next(http_status=500)
    assert ask(sandbox, "/elsewhere")[0] == 404
    assert ask(sandbox, "/sandbox/top-up?amount=1", "POST")[0] == 200
    assert ask(sandbox)[0] == 500


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({}, "nothing to play"),
        ({"headers": {"Retry-After": "1"}}, "headers go with an answer"),
        ({"headers": {"Retry-After": "1"}, "delay": 1}, "headers go with an answer"),
        ({"drop": True, "http_status": 500}, "a dropped connection has no answer"),
        ({"drop": True, "body": ""}, "a dropped connection has no answer"),
        ({"drop": True, "july_gateway": True}, "a dropped connection has no answer"),
        ({"july_gateway": True, "body": ""}, "july_gateway has"),
        ({"july_gateway": True, "http_status": 200}, "july_gateway has"),
        ({"http_status": 500, "times": 0}, "times is 0"),
        ({"http_status": 500, "times": -1}, "times is -1"),
        ({"http_status": 100}, "http_status is 100"),
        ({"http_status": 600}, "http_status is 600"),
        ({"http_status": 0}, "http_status is 0"),
        ({"http_status": 204, "body": "{}"}, "HTTP 204 has no body"),
        ({"delay": -1}, "delay is -1"),
        ({"delay": float("nan")}, "delay is nan"),
        ({"delay": 1e12}, "delay is 1000000000000.0"),
        ({"delay": float("inf")}, "delay is inf"),
    ],
)
def test_faults_that_make_no_sense_are_refused(sandbox: SMSPartnerSandbox, fault: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        sandbox.fail_next(**fault)
    assert ask(sandbox)[0] == 200


# Starting and stopping


def test_after_the_stop_nobody_listens_and_no_thread_is_left() -> None:
    before = set(threading.enumerate())
    with SMSPartnerSandbox() as sandbox:
        connection = connect(sandbox)
        ask(sandbox, connection=connection)
        assert len(set(threading.enumerate()) - before) == 2
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        ask(sandbox)
    connection.close()


def test_a_kept_alive_connection_neither_delays_the_stop_nor_is_answered_after_it() -> None:
    sandbox = SMSPartnerSandbox().start()
    connection = connect(sandbox)
    ask(sandbox, connection=connection)
    before = time.monotonic()
    sandbox.stop()
    assert connection.sock.recv(1) == b""
    assert time.monotonic() - before < 1
    connection.close()


def test_the_stop_releases_a_delayed_request_without_an_answer() -> None:
    before = set(threading.enumerate())
    sandbox = SMSPartnerSandbox().start()
    sandbox.fail_next(delay=60)
    connection = connect(sandbox)
    connection.request("GET", f"/v1/me?apiKey={KEY}")
    sandbox.wait_for_requests(1)
    waiting = set(threading.enumerate()) - before
    sandbox.stop()
    assert len(waiting) == 2
    assert not any(thread.is_alive() for thread in waiting)
    with pytest.raises(ConnectionError):
        connection.getresponse()
    connection.close()


def test_a_restart_keeps_the_port_the_account_and_the_counts() -> None:
    sandbox = SMSPartnerSandbox()
    with sandbox:
        url = sandbox.url
        ask(sandbox)
        sandbox.spend("60")
    with sandbox:
        assert sandbox.url == url
        assert me(sandbox)["credits"]["balance"] == "40.000"
        assert sandbox.requests == 2


def test_stopping_twice_or_before_the_start_is_harmless() -> None:
    sandbox = SMSPartnerSandbox()
    sandbox.stop()
    sandbox.start()
    sandbox.stop()
    sandbox.stop()


def test_a_second_start_is_refused(sandbox: SMSPartnerSandbox) -> None:
    with pytest.raises(RuntimeError, match="runs already"):
        sandbox.start()


def test_there_is_no_url_before_the_port_is_known() -> None:
    with pytest.raises(RuntimeError, match="start it first"):
        _ = SMSPartnerSandbox().url
    assert SMSPartnerSandbox(port=8025).url == "http://127.0.0.1:8025/v1"


def test_a_taken_port_can_be_started_on_later(sandbox: SMSPartnerSandbox) -> None:
    other = SMSPartnerSandbox(port=urlsplit(sandbox.url).port or 0)
    with pytest.raises(OSError, match="in use"):
        other.start()
    sandbox.stop()
    with other:
        assert ask(other)[0] == 200


def test_starting_asks_no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda *_: pytest.fail("asked the resolver"))
    with SMSPartnerSandbox():
        pass


def test_a_sandbox_that_nobody_stopped_does_not_keep_the_process_alive() -> None:
    code = """if True:
        import http.client
        from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
        sandbox = SMSPartnerSandbox().start()
        connection = http.client.HTTPConnection(sandbox.url.split("/")[2])
        connection.request("GET", "/v1/me")
        connection.getresponse().read()
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=5)


def test_answers_on_a_kept_alive_connection_do_not_wait_for_a_delayed_ack(sandbox: SMSPartnerSandbox) -> None:
    connection = connect(sandbox)
    before = time.monotonic()
    for _ in range(50):
        ask(sandbox, connection=connection)
    assert time.monotonic() - before < 1
    connection.close()


def test_a_burst_of_clients_is_served_at_once(sandbox: SMSPartnerSandbox) -> None:
    before = time.monotonic()
    with ThreadPoolExecutor(50) as pool:
        assert {status for status, _, _ in pool.map(lambda _: ask(sandbox), range(50))} == {200}
    assert time.monotonic() - before < 1
    assert sandbox.requests == 50


# The connection


def test_the_connection_is_labelled_as_a_sandbox_and_carries_extras(sandbox: SMSPartnerSandbox) -> None:
    connection = json.loads(sandbox.connection_json(response_format="xml", timeout=5))
    assert "sandbox" in connection.pop("description")
    assert connection == {
        "conn_type": "smspartner",
        "host": sandbox.url,
        "password": KEY,
        "extra": {"response_format": "xml", "timeout": 5},
    }


def test_the_connection_holds_the_first_key_unless_another_is_asked_for() -> None:
    with SMSPartnerSandbox(api_key=["main", "sub"]) as sandbox:
        assert json.loads(sandbox.connection_json())["password"] == "main"
        assert json.loads(sandbox.connection_json("wrong"))["password"] == "wrong"


# Topping up by hand


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


# Silence


def test_it_prints_nothing_whatever_a_client_does(capfd: pytest.CaptureFixture[str]) -> None:
    with SMSPartnerSandbox() as sandbox:
        sandbox.fail_next(delay=60)
        for raw_request, arrived in (
            ("GET", 0),
            (f"apiKey={KEY} nonsense\r\n", 0),
            (f"GET /v1/me?apiKey={KEY} HTTP/1.1\r\n\r\n", 1),
        ):
            raw = socket.create_connection(("127.0.0.1", urlsplit(sandbox.url).port or 0), timeout=5)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close with a reset
            raw.sendall(raw_request.encode())
            sandbox.wait_for_requests(arrived)  # a reset may overtake what was sent before it
            raw.close()
        for target in (f"/v1/me?apiKey={KEY}", "/v1/me?apiKey=wrong", f"/elsewhere?apiKey={KEY}"):
            ask(sandbox, target)
    assert capfd.readouterr() == ("", "")


def test_importing_it_loads_neither_airflow_nor_a_third_party_client() -> None:
    code = "import sys, airflow_provider_smspartner.sandbox; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "airflow_provider_smspartner" in loaded
    assert not {"airflow", "requests", "sqlalchemy", "aiohttp"} & set(loaded)


# The command


class Command:
    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "airflow_provider_smspartner.sandbox", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": ""},
        )
        assert self.process.stdout is not None
        self.out = self.process.stdout
        self.introduction = ""

    def __enter__(self) -> Command:
        while "Ctrl-C" not in self.introduction:
            line = self.out.readline()
            assert line, self.process.communicate()[1]
            self.introduction += line
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def say(self, pattern: str) -> str:
        found = re.search(pattern, self.introduction)
        assert found, self.introduction
        return found[1]

    @property
    def port(self) -> int:
        return int(self.say(r"URL +http://127\.0\.0\.1:(\d+)/v1\n"))


def curl(port: int, target: str, method: str = "GET") -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, target)
    body = connection.getresponse().read()
    connection.close()
    return body


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_a_person_until_told_to_stop(stop_signal: signal.Signals) -> None:
    with Command("--port", "0", "--balance", "10", "--currency", "CHF", "--api-key", "it's a key") as command:
        assert "not the real API" in command.introduction
        exported = shlex.split(command.say(r"(export AIRFLOW_CONN_SMSPARTNER_DEFAULT=.*)"))[1].partition("=")[2]
        assert json.loads(exported)["password"] == "it's a key"
        assert json.loads(exported)["host"] == f"http://127.0.0.1:{command.port}/v1"
        *_, method, url = shlex.split(command.say("(curl .*)"))
        top_up = urlsplit(url)
        curl(command.port, f"{top_up.path}?{top_up.query}", method)
        assert json.loads(curl(command.port, "/v1/me?apiKey=it%27s%20a%20key"))["credits"]["balance"] == "60.000"
        curl(command.port, "/v1/me?apiKey=it%27s%20a%20key&_format=xml")
        curl(command.port, "/v1/me?apiKey=Sent-By-Mistake")
        lines = [command.out.readline() for _ in range(4)]
        command.process.send_signal(stop_signal)
        rest, errors = command.process.communicate(timeout=5)
    assert (command.process.returncode, rest, errors) == (0, "", "")
    assert [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in lines] == [
        "top-up, balance 60.000 CHF\n",
        "reading in JSON, balance 60.000 CHF\n",
        "reading in XML, balance 60.000 CHF\n",
        "refusal with code 10 in JSON, balance 60.000 CHF\n",
    ]


def test_the_command_says_in_one_sentence_that_its_port_is_taken(sandbox: SMSPartnerSandbox) -> None:
    port = str(urlsplit(sandbox.url).port)
    command = [sys.executable, "-m", "airflow_provider_smspartner.sandbox", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Cannot listen on 127.0.0.1:{port} (Address already in use): choose another --port.\n"


def test_the_command_refuses_a_bad_option_without_a_traceback() -> None:
    command = [sys.executable, "-m", "airflow_provider_smspartner.sandbox", "--balance", "much"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    assert done.returncode == 2
    assert "balance is 'much', which is no amount" in done.stderr
    assert "Traceback" not in done.stderr
