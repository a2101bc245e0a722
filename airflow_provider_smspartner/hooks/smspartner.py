"""The hook: an Airflow connection, one GET of ``/v1/me`` over it, and what that says of the account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, mask_secret

from airflow_provider_smspartner import __version__
from airflow_provider_smspartner.connection import CONN_TYPE, ConnectionSettings, read_settings
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError, SMSPartnerError
from airflow_provider_smspartner.protocol import MAX_BODY_BYTES, build_account_request, read_answer
from airflow_provider_smspartner.secrecy import quiet_http_loggers, spellings
from airflow_provider_smspartner.transport import transport_error

if TYPE_CHECKING:
    from requests import Session
    from tenacity import RetryCallState

    from airflow_provider_smspartner.account import Account

LONGEST_WAIT = 30.0
"""Seconds between two tries of one call. Who is asked to stay away longer gives up, and comes back another time."""


class SMSPartnerHook(BaseHook):
    """
    Ask SMS Partner for the credit of an account.

    One hook keeps one HTTP connection open across its calls.

    :param smspartner_conn_id: the Airflow connection whose password is the account's API key
    """

    conn_name_attr = "smspartner_conn_id"
    default_conn_name = "smspartner_default"
    conn_type = CONN_TYPE
    hook_name = "SMS Partner"

    def __init__(self, smspartner_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.smspartner_conn_id = smspartner_conn_id

    def get_conn(self) -> Session:
        """
        Return the HTTP session of this hook, set up as the connection says.

        :raises SMSPartnerConfigurationError: the connection is missing or wrong
        """
        with self._naming_the_connection():
            return self._session

    def get_account(self) -> Account:
        """
        Ask for the account: one ``GET /v1/me``, tried again on what time may heal, as the connection allows.

        :raises SMSPartnerConfigurationError: the connection is missing or wrong, or the certificate does not verify
        :raises SMSPartnerAccessError: SMS Partner refuses the account or its key
        :raises SMSPartnerUnavailableError: no answer came, or one that says to come back later
        :raises SMSPartnerResponseError: the answer holds no readable credits
        """
        from tenacity import Retrying

        with self._naming_the_connection():
            account: Account = Retrying(**self._retry_rule())(self._ask)
            return account

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the account answers, and a sentence fit for a web page. Asks once."""
        try:
            with self._naming_the_connection():
                credits = self._ask().credits
        except SMSPartnerError as error:
            return False, str(error)
        except Exception as error:  # noqa: BLE001  # Airflow would show the page any text of it
            return False, f"The test itself failed with {type(error).__name__}: look into the log of the API server"
        return True, f"SMS Partner answers. Credit: {credits}"

    @cached_property
    def _settings(self) -> ConnectionSettings:
        try:
            conn = self.get_connection(self.smspartner_conn_id)
        except AirflowNotFoundException:
            raise SMSPartnerConfigurationError(
                "there is no such connection: create it, with the API key as its password"
            ) from None
        settings = read_settings(conn)
        for secret in settings.secrets():
            for spelling in spellings(secret):
                mask_secret(spelling)
        return settings

    @cached_property
    def _session(self) -> Session:
        from requests import Session

        session = Session()
        session.headers["User-Agent"] = f"airflow-provider-smspartner/{__version__}"
        session.verify = self._settings.verify
        if self._settings.proxy:
            session.proxies = {"http": self._settings.proxy, "https": self._settings.proxy}
        # Else requests looks into ~/.netrc and sends what it finds there.
        session.auth = lambda request: request
        return session

    def _ask(self) -> Account:
        from requests import RequestException
        from urllib3.exceptions import HTTPError

        settings = self._settings
        request = build_account_request(settings.base_url, settings.api_key, settings.response_format)
        quiet_http_loggers()
        try:
            with self._session.get(
                request.url,
                headers=request.headers,
                timeout=settings.timeout,
                # Said again, as requests lets the environment overrule what only the session says.
                verify=self._session.verify,
                proxies=self._session.proxies,
                allow_redirects=False,
                stream=True,
            ) as response:
                body = response.raw.read(MAX_BODY_BYTES, decode_content=False)
                return read_answer(body, http_status=response.status_code, headers=response.headers)
        except (RequestException, HTTPError, OSError) as exc:
            error = transport_error(exc)
        raise error

    @contextmanager
    def _naming_the_connection(self) -> Iterator[None]:
        try:
            yield
        except SMSPartnerError as error:
            error.conn_id = self.smspartner_conn_id
            raise

    def _retry_rule(self) -> dict[str, Any]:
        from tenacity import retry_if_exception, stop_after_attempt

        return {
            "retry": retry_if_exception(_may_heal_soon),
            "stop": stop_after_attempt(self._settings.max_retries + 1),
            "wait": _seconds_before_next_try,
            "before_sleep": self._log_retry,
            "reraise": True,
        }

    def _log_retry(self, state: RetryCallState) -> None:
        error, tries = _error(state), self._settings.max_retries + 1
        self.log.warning(
            "SMS Partner connection %r: try %d of %d failed, the next one is in %.1f s: %s",
            self.smspartner_conn_id,
            state.attempt_number,
            tries,
            state.upcoming_sleep,
            error,
        )


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _may_heal_soon(error: BaseException) -> bool:
    asked_to_wait = getattr(error, "retry_after", None) or 0
    return isinstance(error, SMSPartnerError) and error.retryable and asked_to_wait <= LONGEST_WAIT


def _seconds_before_next_try(state: RetryCallState) -> float:
    from tenacity import wait_exponential, wait_random

    backoff = wait_exponential(multiplier=0.5, max=10) + wait_random(0, 0.5)
    return max(backoff(state), getattr(_error(state), "retry_after", None) or 0)
