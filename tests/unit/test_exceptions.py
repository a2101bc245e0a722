"""The errors: which are final, and what is left of one that has travelled as an event."""

from __future__ import annotations

import json

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_smspartner import exceptions
from airflow_provider_smspartner.exceptions import (
    SMSPartnerAccessError,
    SMSPartnerArgumentError,
    SMSPartnerConfigurationError,
    SMSPartnerError,
    SMSPartnerRejectedError,
    from_event,
)

FINAL = [SMSPartnerAccessError, SMSPartnerArgumentError, SMSPartnerConfigurationError, SMSPartnerRejectedError]


@pytest.mark.parametrize("error_class", FINAL)
def test_an_error_comes_out_of_an_event_as_it_went_in(error_class: type[SMSPartnerError]) -> None:
    error = error_class("check the connection's host", code=30, http_status=403)
    error.conn_id = "marketing"
    again = from_event(json.loads(json.dumps(error.as_event())))
    assert type(again) is error_class
    assert (again.code, again.http_status, again.conn_id) == (30, 403, "marketing")
    assert str(again) == "SMS Partner connection 'marketing': check the connection's host"


def test_an_error_class_of_a_newer_triggerer_is_permanent() -> None:
    event = SMSPartnerAccessError("no").as_event() | {"class": "SMSPartnerNewError"}
    assert not from_event(event).retryable


def test_an_error_is_retryable_or_stops_task_retries_and_never_both() -> None:
    ours = [
        error_class
        for error_class in vars(exceptions).values()
        if isinstance(error_class, type) and issubclass(error_class, SMSPartnerError)
    ]
    assert set(FINAL) < set(ours)
    assert [
        error_class for error_class in ours if error_class.retryable is issubclass(error_class, AirflowFailException)
    ] == []
