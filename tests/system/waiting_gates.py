"""What the gates of one_machine/dags/gates.py are held to, on one machine and on several."""

from __future__ import annotations

import time

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.spellings import PLANTED
from tests.system.airflow import Airflow, DagRun

GATES = {"campaigns": 50, "subaccount": 3, "revoked": 2}
"""Gates by connection, as that file has them."""

KEYS = {
    "campaigns": PLANTED["special characters"],
    "subaccount": PLANTED["unicode"],
    "revoked": PLANTED["400 characters"],
}
"""The API key of each connection."""

ONE_ACCOUNT = ("campaigns", "subaccount")
"""The connections that lead to one account, each a stream of its own."""

INTERVAL, OBSERVED_INTERVALS = 5, 4
"""Seconds from one poll of the gates to the next, and how many of them are watched."""


def hold_to_one_request_an_interval(account: SMSPartnerSandbox, figures: dict[str, object]) -> None:
    """Count the requests for some intervals: one each, however many gates wait on a connection."""
    account.wait_for_requests(account.requests + 1)
    began, before = time.monotonic(), account.requests_by_key
    account.wait_for_requests(account.requests + len(ONE_ACCOUNT) * OBSERVED_INTERVALS, timeout=60)
    seconds, asked = time.monotonic() - began, account.requests_by_key - before
    figures[f"s observed, at {INTERVAL} s an interval"] = f"{seconds:.1f}"
    for conn_id in ONE_ACCOUNT:
        figures[f"requests meanwhile of the {GATES[conn_id]} gates on {conn_id!r}"] = asked[KEYS[conn_id]]
        assert asked[KEYS[conn_id]] == pytest.approx(seconds / INTERVAL, abs=1)


def hold_to_failing_at_once_on_a_bad_key(airflow: Airflow, account: SMSPartnerSandbox, gates: DagRun) -> None:
    """Give the waiting gates a wrong key: they fail in their first try, and say what to do."""
    wrong = {"connection_id": "revoked", "conn_type": "smspartner", "password": KEYS["revoked"] + "gone"}
    airflow.ask("PATCH", "/connections/revoked?update_mask=password", wrong)
    # The triggerer keeps the old key for some minutes, as long as it works.
    account.fail_next(http_status=401)
    gates.wait_for(GATES["revoked"], "failed")
    assert {gate["try_number"] for gate in gates.tasks()} == {1}
    failed_with = "SMS Partner does not know this API key: check the connection's API key (code 10)"
    for gate in range(GATES["revoked"]):
        (failure,) = [entry for entry in gates.log(gate) if entry["event"] == "Task failed with exception"]
        assert failure["error_detail"][0]["exc_value"] == f"SMS Partner connection 'revoked': {failed_with}"
