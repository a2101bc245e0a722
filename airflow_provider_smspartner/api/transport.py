"""The one GET, with requests or with httpx, and what went wrong on its way, told without the URL: it holds the key."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from airflow_provider_smspartner.api.protocol import (
    MAX_BODY_BYTES,
    PROXY_ASKS_WHO,
    AccountRequest,
    read_answer,
)
from airflow_provider_smspartner.api.secrecy import quiet_http_loggers
from airflow_provider_smspartner.exceptions import (
    SMSPartnerConfigurationError,
    SMSPartnerError,
    SMSPartnerUnavailableError,
)

if TYPE_CHECKING:
    from httpx import AsyncClient
    from requests import Session

    from airflow_provider_smspartner.account import Account
    from airflow_provider_smspartner.api.deadline import DeadlineAdapter

_REASONS: tuple[tuple[type[BaseException], str, str], ...] = (
    (socket.gaierror, "the host name does not resolve", "check the connection's host, and this machine's DNS"),
    (ssl.SSLError, "the TLS handshake fails", "check that the connection's host speaks https on its port"),
    (
        TimeoutError,
        "no answer came in time",
        "check the firewall and the proxy on the way, or raise the connection's extra 'timeout'",
    ),
    (ConnectionRefusedError, "the connection is refused", "check the connection's host and port, and its proxy"),
)
"""What went wrong by the exception, and what a person can look at when it does not pass."""

_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH})

_WRONG_CERTIFICATES = {
    9: "it is not valid yet: check this machine's clock",
    10: "it has expired: have it renewed, or check this machine's clock",
    62: "it is for another host: check the connection's host",
    64: "it is for another host: check the connection's host",
}
"""What is wrong with a certificate by OpenSSL's number for it, where that is not who signed it."""

_TUNNEL_REFUSED = re.compile(r"(Tunnel connection failed: )?407\b")
"""How requests and httpx begin to tell of it: neither keeps the status of a proxy's answer to CONNECT."""


def make_session(*, verify: bool | str, proxy: str | None) -> Session:
    """
    Return what ``get`` asks with: it keeps its connection open from one call to the next.

    :param verify: whether to verify certificates, or the CA bundle to trust
    :param proxy: URL of a proxy; None for the environment's
    """
    from requests import Session

    from airflow_provider_smspartner.api.deadline import DeadlineAdapter

    session = Session()
    adapter = DeadlineAdapter()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.verify = _ca_bundle(verify) or False
    if proxy:
        session.proxies = {"http": proxy, "https": proxy}
    # Else requests looks into ~/.netrc and sends what it finds there.
    session.auth = lambda request: request
    return session


def get(session: Session, request: AccountRequest, timeout: float) -> Account:
    """
    Ask for the account, once.

    :param session: one that ``make_session`` made
    :param timeout: seconds, from connecting to the last byte of the answer
    :raises SMSPartnerError: there is no answer, or none with an account in it
    """
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    try:
        with (
            quiet_http_loggers(),
            cast("DeadlineAdapter", session.get_adapter(request.url)).deadline(timeout),
            session.get(
                request.url,
                headers=request.headers,
                timeout=timeout,
                # Said again, as requests lets the environment overrule what only the session says.
                verify=session.verify,
                proxies=session.proxies,
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            body = response.raw.read(MAX_BODY_BYTES + 1, decode_content=False)
            response.raw.read(1, decode_content=False)  # only past its end urllib3 tells that a body was cut short
        return read_answer(body, http_status=response.status_code, headers=response.headers)
    except (RequestException, HTTPError, OSError) as exc:
        error = _transport_error(exc)
    # Outside of the except, whose exception holds the URL and would stand in the chain of ours.
    raise error


def make_async_client(*, verify: bool | str, proxy: str | None) -> AsyncClient:
    """Return what ``aget`` asks with, set up like a session. Blocks on certificates: call it off the event loop."""
    from httpx import AsyncClient, AsyncHTTPTransport

    bundle = _ca_bundle(verify)
    tls = _shared_tls_context(bundle, Path(bundle).stat().st_mtime if bundle else 0)
    transport = AsyncHTTPTransport(verify=tls, proxy=proxy) if proxy else None
    # With a proxy of its own, the environment's must not come in between. `aget` limits the time of the whole.
    return AsyncClient(verify=tls, transport=transport, timeout=None, trust_env=transport is None)  # noqa: S113


async def aget(client: AsyncClient, request: AccountRequest, timeout: float) -> Account:  # noqa: ASYNC109  # as get's
    """Ask for the account, once, as ``get`` does, on an event loop."""
    from httpx import HTTPError

    body = bytearray()
    try:
        with quiet_http_loggers():
            async with (
                asyncio.timeout(timeout),
                client.stream("GET", request.url, headers=request.headers, follow_redirects=False) as response,
            ):
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        break
        return read_answer(bytes(body), http_status=response.status_code, headers=response.headers)
    except (HTTPError, OSError) as exc:
        error = _transport_error(exc)
    raise error


def _ca_bundle(verify: bool | str) -> str | None:
    """Return the certificates that both libraries trust, so that no way of waiting trusts another's stranger."""
    from certifi import where

    if verify is False:
        return None
    named = verify if isinstance(verify, str) else None
    bundle = named or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or where()
    if not Path(bundle).exists():
        raise SMSPartnerConfigurationError(
            "the CA bundle that REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or the extra 'verify' names is not on this machine"
        )
    return bundle


def tls_context(bundle: str | None) -> ssl.SSLContext:
    """
    Return the context that trusts the certificates in a file or folder, or any certificate for None.

    :raises OSError: they cannot be read
    """
    if bundle is not None:
        is_folder = Path(bundle).is_dir()
        return ssl.create_default_context(cafile=None if is_folder else bundle, capath=bundle if is_folder else None)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@lru_cache(maxsize=8)
def _shared_tls_context(bundle: str | None, _changed_at: float) -> ssl.SSLContext:
    """Return one context for all clients that trust the same: each takes megabytes and tens of milliseconds."""
    return tls_context(bundle)


def _transport_error(exc: BaseException) -> SMSPartnerError:
    """Return our error for an HTTP library's: the standard library's exceptions in its chain tell the cause."""
    # The deadline itself, whatever it cut short.
    causes = [exc] if isinstance(exc, TimeoutError) else list(_causes(exc))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            advice = "check its host, or name your CA bundle in the extra 'verify'"
            advice = _WRONG_CERTIFICATES.get(cause.verify_code, advice)
            return SMSPartnerConfigurationError(f"the server's TLS certificate does not verify: {advice}")
        if _TUNNEL_REFUSED.match(str(cause)):
            return SMSPartnerConfigurationError(PROXY_ASKS_WHO, http_status=407)
    reason, advice = _reason_and_advice(causes)
    return SMSPartnerUnavailableError(f"SMS Partner cannot be reached: {reason}; it may pass by itself, else {advice}")


def _reason_and_advice(causes: Sequence[BaseException]) -> tuple[str, str]:
    for kind, reason, advice in _REASONS:
        if any(isinstance(cause, kind) for cause in causes):
            return reason, advice
    if any(isinstance(cause, OSError) and cause.errno in _NO_WAY for cause in causes):
        return "no network leads there", "check this machine's network, and the connection's host"
    return "the exchange broke off", "check the proxy on the way, and that the connection's host speaks HTTP"


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what led to it; urllib3 and requests keep that in ``reason`` and ``args`` too."""
    seen: list[BaseException] = []
    waiting: list[object] = [exc]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and cause not in seen:
            seen.append(cause)
            yield cause
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
