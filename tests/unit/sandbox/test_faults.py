"""The sandbox plays each fault as it was queued."""

from __future__ import annotations

import http.client
import json
import re
import time
from typing import Any

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.unit.sandbox.asking import KEY, ask, connect, me


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
