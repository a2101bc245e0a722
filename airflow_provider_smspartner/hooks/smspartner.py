"""The hook: an Airflow connection, one GET of ``/v1/me`` over it, and what that says of the account."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from functools import cached_property, partial
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_smspartner import metrics
from airflow_provider_smspartner.api.secrecy import amask, mask
from airflow_provider_smspartner.api.settings import CONN_TYPE, ConnectionSettings, read_settings, secrets_of
from airflow_provider_smspartner.api.transport import aget, get, make_session
from airflow_provider_smspartner.arguments import required_text
from airflow_provider_smspartner.exceptions import SMSPartnerError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection
    from requests import Session
    from tenacity import RetryCallState

    from airflow_provider_smspartner.account import Account

LONGEST_WAIT = 30.0
"""Seconds between two attempts of one call. A call that is asked to back off for longer gives up."""

KEPT_FOR = (300.0, 600.0)
"""Seconds for which ``aget_account`` keeps the connection that it has read, some time in between."""

KEPT_LONGER_ABOVE = 150
"""
Hooks on an event loop above which each keeps its connection for longer: twice as many, twice as long.

So a triggerer looks one up every two seconds at most. Each takes a turn of its main loop, and as much of the processor
as some 20 readings.
"""

TOLD_AGAIN_AFTER = 900.0
"""Seconds after which the log of a triggerer is told what it has been told, so that a reader sees that it goes on."""


class News:
    """Tells what is new from what a log has been told: each line takes a triggerer's main loop a turn."""

    def __init__(self) -> None:
        self._told: str | None = None
        self._tell_again_at = 0.0

    def is_news(self, text: str) -> bool:
        """Return whether the log is to be told this, which counts as told from then on."""
        if text == self._told and monotonic() < self._tell_again_at:
            return False
        self._told, self._tell_again_at = text, monotonic() + TOLD_AGAIN_AFTER
        return True


class SMSPartnerHook(BaseHook):
    """
    Ask SMS Partner for the credit of an account.

    One hook keeps one HTTP connection open across its calls; on an event loop, all hooks share those that are open.

    :param smspartner_conn_id: the Airflow connection whose password is the account's API key
    :raises SMSPartnerArgumentError: it is no text that names one
    """

    conn_name_attr = "smspartner_conn_id"
    default_conn_name = "smspartner_default"
    conn_type = CONN_TYPE
    hook_name = "SMS Partner"

    def __init__(self, smspartner_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.smspartner_conn_id = required_text("smspartner_conn_id", smspartner_conn_id)
        self._kept: ConnectionSettings | None = None
        self._read_again_at = 0.0
        self._masked: int | None = None
        self._retried = News()

    def __reduce__(self) -> tuple[type[SMSPartnerHook], tuple[str]]:
        """Copy and pickle the conn id alone: the rest is the key, and what cannot be copied."""
        return type(self), (self.smspartner_conn_id,)

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's own fields for Airflow before 3.2, which does not read them from ``get_provider_info``."""
        from airflow_provider_smspartner.hooks.connection_form import fields

        return fields()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return what the form hides and how it calls the rest, for Airflow before 3.2."""
        from airflow_provider_smspartner.hooks.connection_form import behaviour

        return behaviour()

    def get_conn(self) -> Session:
        """
        Return the HTTP session of this hook, set up as the connection says.

        :raises SMSPartnerConfigurationError: the connection is missing or wrong
        """
        with self._naming_the_connection():
            return self._session

    @property
    def base_url(self) -> str:
        """The base URL that the connection names, up to and with ``/v1``: no secret."""
        with self._naming_the_connection():
            return self._settings.base_url

    @property
    def reservations_account(self) -> str:
        """The name of the account in a ledger of reservations: the extra of that name, else the conn id."""
        with self._naming_the_connection():
            return self._settings.reservations_account or self.smspartner_conn_id

    def get_account(self) -> Account:
        """
        Ask for the account: one ``GET /v1/me``, retried on transient errors as often as the connection allows.

        :raises SMSPartnerConfigurationError: the connection is missing or wrong, or the certificate does not verify
        :raises SMSPartnerAccessError: SMS Partner refuses the account or its key
        :raises SMSPartnerUnavailableError: no answer came, or one that says to come back later; or Airflow could not
            look the connection up, as a secrets backend is away
        :raises SMSPartnerResponseError: the answer holds no readable credits
        """
        with self._naming_the_connection(), metrics.reading_of(self.smspartner_conn_id):
            account = self._ask_with_retries(self._settings)
        metrics.send_credits(self.smspartner_conn_id, account.credits)
        return account

    async def aget_account(self) -> Account:
        """
        Ask as ``get_account`` does, on an event loop.

        Whoever waits on a loop may outlive a key. So the connection is read anew after 5 to 10 minutes, and at once
        where a call fails: if it has changed, the call is made once more. Where more than 150 hooks share the loop, it
        is read anew later, and at once after a permanent error alone. Close with ``aclose``.

        Of calls that fail alike, retries are logged once, and every 15 minutes.

        :raises SMSPartnerError: as ``get_account`` does
        """
        with self._naming_the_connection(), metrics.reading_of(self.smspartner_conn_id):
            account = await self._aask_as_the_connection_says()
        metrics.send_credits(self.smspartner_conn_id, account.credits)
        return account

    async def areservations_account(self) -> str:
        """Return ``reservations_account``, on an event loop."""
        with self._naming_the_connection():
            settings = self._still_kept or await self._aread_settings()
            return settings.reservations_account or self.smspartner_conn_id

    async def aclose(self) -> None:
        """Close the HTTP connections that ``aget_account`` keeps open, unless other hooks on the loop ask over them."""
        from airflow_provider_smspartner.api.clients import leave_client

        await leave_client(self)

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the account answers, and a sentence fit for a web page. Asks once."""
        try:
            with self._naming_the_connection():
                credits = self._ask().credits
        except SMSPartnerError as error:
            # Without the conn id: Airflow makes one up for a test, which nobody knows the connection by.
            return False, f"SMS Partner connection: {error.args[0]}"
        except Exception as error:  # noqa: BLE001  # Airflow would show the page any text of it
            return False, f"The test itself failed with {type(error).__name__}: look into the log of the API server"
        return True, f"SMS Partner answers. Credit: {credits}"

    def _ask(self) -> Account:
        return get(self._session, self._settings.request, self._settings.timeout)

    def _ask_with_retries(self, settings: ConnectionSettings) -> Account:
        try:
            return self._ask()
        except SMSPartnerError as error:
            from airflow_provider_smspartner.retries import beginning_with

            again = beginning_with(error, self._ask)
        from tenacity import Retrying

        account: Account = Retrying(**self._retry_rule(settings))(again)
        return account

    async def _aask_as_the_connection_says(self) -> Account:
        failed, kept = None, self._still_kept
        if kept is not None:
            try:
                return await self._aask(kept)
            except SMSPartnerError as error:
                failed = error.with_traceback(None)
            if failed.retryable and hooks_here() > KEPT_LONGER_ABOVE:
                raise failed  # an outage meets all at once: a triggerer would do little but look connections up
        settings = await self._aread_settings()
        if failed is not None and settings == kept:
            raise failed
        return await self._aask(settings)

    @property
    def _still_kept(self) -> ConnectionSettings | None:
        return self._kept if monotonic() < self._read_again_at else None

    async def _aask(self, settings: ConnectionSettings) -> Account:
        from airflow_provider_smspartner.api.clients import shared_client

        client = await shared_client(self)
        ask = partial(aget, client, settings.request, settings.timeout, settings.proxy, settings.tls)
        try:
            return await ask()
        except SMSPartnerError as error:
            from airflow_provider_smspartner.retries import beginning_with

            again = beginning_with(error, ask)
            is_news = _is_worth_a_retry(error) and self._retried.is_news(str(error))
        from tenacity import AsyncRetrying

        async def attempt() -> Account:
            return await again()

        account: Account = await AsyncRetrying(**self._retry_rule(settings, logged=is_news))(attempt)
        return account

    @cached_property
    def _settings(self) -> ConnectionSettings:
        try:
            conn = self.get_connection(self.smspartner_conn_id)
        except Exception as exc:  # noqa: BLE001  # secrets backends raise what they like
            error = _look_up_error(exc, self.smspartner_conn_id)
        else:
            mask(secrets_of(conn))
            return read_settings(conn)
        raise error

    @cached_property
    def _session(self) -> Session:
        return make_session(self._settings.tls, self._settings.proxy)

    async def _aread_settings(self) -> ConnectionSettings:
        from airflow.providers.common.compat.connection import get_async_connection
        from asgiref.sync import sync_to_async

        try:
            conn = await get_async_connection(self.smspartner_conn_id, hook=self)
        except Exception as exc:  # noqa: BLE001  # as above
            error = await sync_to_async(_look_up_error)(exc, self.smspartner_conn_id)
        else:
            secrets = frozenset(secrets_of(conn))
            if hash(secrets) != self._masked:  # a hash, as whoever shows a hook shall find no secret in it
                await amask(secrets)
                self._masked = hash(secrets)
            settings = await asyncio.to_thread(_read_off_the_loop, conn)
            self._kept, self._read_again_at = settings, monotonic() + _seconds_to_keep()
            return settings
        raise error

    def _naming_the_connection(self) -> _NamingTheConnection:
        return _NamingTheConnection(self.smspartner_conn_id)

    def _retry_rule(self, settings: ConnectionSettings, *, logged: bool = True) -> dict[str, Any]:
        """Return the one retry rule, for tenacity's synchronous and asynchronous side alike."""
        from tenacity import retry_if_exception, stop_after_attempt

        attempts = settings.max_retries + 1

        def log(state: RetryCallState) -> None:
            self.log.warning(
                "SMS Partner connection %r: attempt %d of %d failed, retry in %.1f s: %s",
                self.smspartner_conn_id,
                state.attempt_number,
                attempts,
                state.upcoming_sleep,
                _error(state),
            )

        return {
            "retry": retry_if_exception(_is_worth_a_retry),
            "stop": stop_after_attempt(attempts),
            "wait": _seconds_before_retry,
            "before_sleep": log if logged else None,
            "reraise": True,
        }


@dataclass(frozen=True)
class _NamingTheConnection:
    """Names the connection in an error, and cuts its traceback off: the frames hold the key, or an answer that may."""

    conn_id: str

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, SMSPartnerError):
            error.conn_id = self.conn_id
            raise error.with_traceback(None)


def _read_off_the_loop(conn: Connection) -> ConnectionSettings:
    """Read a connection in a thread, and import there what takes a while: a triggerer's loop has others to serve."""
    import aiohttp  # noqa: F401
    import tenacity  # noqa: F401

    import airflow_provider_smspartner.retries  # noqa: F401

    return read_settings(conn)


def hooks_here() -> int:
    """Return how many hooks ask on the running event loop."""
    from airflow_provider_smspartner.api.clients import users_here

    return users_here()


def _seconds_to_keep() -> float:
    return random.uniform(*KEPT_FOR) * times_kept_for(hooks_here())  # noqa: S311  # spreads, hides nothing


def times_kept_for(hooks: int) -> float:
    """Return how many times ``KEPT_FOR`` each of so many hooks on an event loop keeps its connection."""
    return max(1, hooks / KEPT_LONGER_ABOVE)


def _look_up_error(exc: Exception, conn_id: str) -> SMSPartnerError:
    from airflow_provider_smspartner.look_ups import look_up_error

    return look_up_error(exc, conn_id, "create it, with the account's API key")


def _error(state: RetryCallState) -> SMSPartnerError:
    """Return what the attempt failed with: only our errors are retried."""
    return cast("SMSPartnerError", state.outcome and state.outcome.exception())


def _is_worth_a_retry(error: BaseException) -> bool:
    return isinstance(error, SMSPartnerError) and error.retryable and (error.retry_after or 0) <= LONGEST_WAIT


def _seconds_before_retry(state: RetryCallState) -> float:
    from tenacity import wait_exponential, wait_random

    backoff = wait_exponential(multiplier=0.5, max=10) + wait_random(0, 0.5)
    return max(backoff(state), _error(state).retry_after or 0)
