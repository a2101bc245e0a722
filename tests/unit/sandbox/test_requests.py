"""The sandbox counts what it is asked, and says how to connect to it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.unit.sandbox.asking import KEY, ask, connect


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
