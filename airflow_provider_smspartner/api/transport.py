"""The one GET, with requests or aiohttp, and what went wrong on its way, told without the URL: it holds the key."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote, urlsplit

from airflow_provider_smspartner.api.protocol import (
    MAX_BODY_BYTES,
    PROXY_ASKS_WHO,
    AccountRequest,
    read_answer,
)
from airflow_provider_smspartner.api.secrecy import QuietHTTPLoggers
from airflow_provider_smspartner.exceptions import (
    SMSPartnerConfigurationError,
    SMSPartnerError,
    SMSPartnerUnavailableError,
)

if TYPE_CHECKING:
    from aiohttp import ClientSession
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

_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21, 27})
"""OpenSSL's numbers for a certificate that nobody signed who is trusted here."""

_WRONG_CERTIFICATES = {
    9: "it is not valid yet: check this machine's clock",
    10: "it has expired: have it renewed, or check this machine's clock",
    62: "it is for another host: check the connection's host",
    64: "it is for another host: check the connection's host",
}
"""What is wrong with a certificate by OpenSSL's number for it, where a person can do something else than replace it."""

_TUNNEL_REFUSED = "Tunnel connection failed: 407"
"""How requests begins to tell of it: it does not keep the status of a proxy's answer to CONNECT."""

_PERMANENT = (ImportError, ValueError)
"""What a library raises of a request that it can never make: of its URL or texts, or without a package it needs."""

Answer = tuple[int, Mapping[str, str], bytes]
"""The HTTP status, the headers and the body."""


def make_session(tls: ssl.SSLContext, proxy: str | None) -> Session:
    """
    Return what ``get`` asks with: it keeps its connection open from one call to the next.

    :param tls: how certificates are verified
    :param proxy: URL of a proxy; None for none, whatever the environment says
    """
    from http.cookiejar import DefaultCookiePolicy

    from requests import Session

    from airflow_provider_smspartner.api.deadline import DeadlineAdapter

    session = Session()
    session.trust_env = False  # else ~/.netrc is looked into, and what is found there is sent
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    adapter = DeadlineAdapter(tls)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.proxies = {"all": proxy} if proxy else {}
    return session


def get(session: Session, request: AccountRequest, timeout: float) -> Account:
    """
    Ask for the account, once.

    :param session: one that ``make_session`` made
    :param timeout: seconds, from connecting to the last byte of the answer
    :raises SMSPartnerError: there is no answer, or none with an account in it
    """
    try:
        http_status, headers, body = _exchange(session, request, timeout)
    except Exception as exc:  # noqa: BLE001  # whatever a library raises, its text may hold the URL
        error = _our_error(exc)
    else:
        return read_answer(body, http_status=http_status, headers=headers)
    # Outside of the except, whose exception holds the URL and would stand in the chain of ours.
    raise error


def _exchange(session: Session, request: AccountRequest, timeout: float) -> Answer:
    with (
        QuietHTTPLoggers(),
        cast("DeadlineAdapter", session.get_adapter(request.url)).deadline(timeout),
        session.get(
            request.url, headers=request.headers, timeout=timeout, allow_redirects=False, stream=True
        ) as response,
    ):
        body = response.raw.read(MAX_BODY_BYTES + 1, decode_content=False)
        response.raw.read(1, decode_content=False)  # only past its end urllib3 tells that a body was cut short
    return response.status_code, response.headers, body


async def aget(
    client: ClientSession,
    request: AccountRequest,
    timeout: float,  # noqa: ASYNC109  # as get's
    proxy: str | None,
    tls: ssl.SSLContext,
) -> Account:
    """
    Ask for the account, once, as ``get`` does, on an event loop.

    :param client: the loop's ``shared_client``
    """
    try:
        http_status, headers, body = await _aexchange(client, request, timeout, proxy, tls)
    except Exception as exc:  # noqa: BLE001  # as above
        error = _our_error(exc)
    else:
        return read_answer(body, http_status=http_status, headers=headers)
    raise error


async def _aexchange(
    client: ClientSession,
    request: AccountRequest,
    timeout: float,  # noqa: ASYNC109
    proxy: str | None,
    tls: ssl.SSLContext,
) -> Answer:
    from yarl import URL

    body = bytearray()
    url, (proxy, authorization) = URL(request.url, encoded=True), _without_password(proxy)
    # aiohttp sends the one to a proxy that opens a tunnel, and the other to a proxy that reads along.
    tunnel, plain = (authorization, {}) if url.scheme == "https" else ({}, authorization)
    with QuietHTTPLoggers():
        async with (
            asyncio.timeout(timeout),
            client.get(
                url,
                headers={**request.headers, **plain},
                proxy=proxy,
                proxy_headers=tunnel,
                ssl=tls,
                allow_redirects=False,
            ) as response,
        ):
            # Where a body has no length, aiohttp takes a reset for its end.
            connection = response.connection if response.content_length is None else None
            protocol = connection and connection.protocol
            while chunk := await response.content.readany():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    response.close()
                    break
            if protocol is not None and isinstance(reset := protocol.exception(), OSError):
                raise reset
    return response.status, response.headers, bytes(body)


def _without_password(proxy: str | None) -> tuple[str | None, dict[str, str]]:
    """Return a proxy's URL and its header apart: aiohttp shows URLs, passwords and all, in what it logs."""
    if not proxy or not (parts := urlsplit(proxy)).username:
        return proxy, {}
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode("latin-1")  # as requests does
    url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return url, {"Proxy-Authorization": f"Basic {b64encode(user).decode()}"}


def _our_error(exc: Exception) -> SMSPartnerError:
    """Return our error for whatever a library raised: the standard library's exceptions in its chain tell the cause."""
    # The deadline itself, whatever it cut short.
    causes = [exc] if isinstance(exc, TimeoutError) else list(_causes(exc))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError) and hasattr(cause, "verify_code"):  # aiohttp's own has none
            advice = _certificate_advice(cause.verify_code, cause.verify_message)
            return SMSPartnerConfigurationError(f"the server's TLS certificate does not verify: {advice}")
        if getattr(cause, "status", None) == 407 or str(cause).startswith(_TUNNEL_REFUSED):
            return SMSPartnerConfigurationError(PROXY_ASKS_WHO, http_status=407)
    if any(isinstance(each, _PERMANENT) for each in _ungrouped(exc)):
        return SMSPartnerConfigurationError(
            f"the request cannot be made ({type(exc).__name__}): "
            "check the connection's host and proxy, and the Python packages of this machine"
        )
    reason, advice = _reason_and_advice(causes)
    return SMSPartnerUnavailableError(f"SMS Partner cannot be reached: {reason}; it may pass by itself, else {advice}")


def _certificate_advice(code: int, message: str) -> str:
    if code in _UNKNOWN_ISSUER:
        return "check its host, or name your CA bundle in the extra 'verify'"
    # OpenSSL's own words, which hold nothing of the certificate. From Python 3.13 on it is stricter than before.
    fault = f"OpenSSL says {message!r} (code {code}): have its authority issue one without that fault"
    return _WRONG_CERTIFICATES.get(code, fault)


def _reason_and_advice(causes: Sequence[BaseException]) -> tuple[str, str]:
    # A real reset has a number: without one, asyncio tells of a server that went away in the middle of a TLS handshake.
    causes = [ssl.SSLError() if type(each) is ConnectionResetError and not each.args else each for each in causes]
    for kind, reason, advice in _REASONS:
        if any(isinstance(cause, kind) for cause in causes):
            return reason, advice
    if any(isinstance(cause, OSError) and cause.errno in _NO_WAY for cause in causes):
        return "no network leads there", "check this machine's network, and the connection's host"
    return "the exchange broke off", "check the proxy on the way, and that the connection's host speaks HTTP"


def _ungrouped(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception, or those in a group of them."""
    if isinstance(exc, BaseExceptionGroup):
        for each in exc.exceptions:
            yield from _ungrouped(each)
    else:
        yield exc


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what led to it; HTTP libraries keep that in ``reason`` too, and groups in ``args``."""
    seen: list[BaseException] = []
    waiting: list[object] = [exc]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and cause not in seen:
            seen.append(cause)
            yield cause
            parts = [each for arg in cause.args for each in (arg if isinstance(arg, list | tuple) else [arg])]
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *parts]
