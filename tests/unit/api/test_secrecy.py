"""What becomes of log records and secrets on their way: what only older HTTP libraries say, and what cannot be said."""

from __future__ import annotations

import logging

import pytest

from airflow_provider_smspartner.api.secrecy import QuietHTTPLoggers, amask, mask

HALF_A_CHARACTER = "\ud800"


@pytest.mark.parametrize("logger", ["aiohttp.client", "aiohttp.internal"])
def test_what_aiohttp_says_of_an_answer_is_not_logged(logger: str, caplog: pytest.LogCaptureFixture) -> None:
    """Before 3.13 that was a warning of cookies, with their text."""
    with QuietHTTPLoggers():
        logging.getLogger(logger).warning("Can not load response cookies: %s", "a-word")
    assert caplog.text == ""
    logging.getLogger(logger).warning("Can not load response cookies: %s", "a-word")
    assert "a-word" in caplog.text


def test_the_exception_of_a_record_of_ours_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with QuietHTTPLoggers():
        logging.getLogger("urllib3.connection").warning("Failed to parse headers", exc_info=ValueError("a-word"))
    assert "a-word" not in caplog.text


async def test_a_secret_that_cannot_be_logged_is_left_out() -> None:
    mask([f"S3cr3t{HALF_A_CHARACTER}"])
    await amask([f"S3cr3t{HALF_A_CHARACTER}"])
