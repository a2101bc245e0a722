"""What went wrong between us and the API, told without the URL, which holds the key."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from airflow_provider_smspartner.exceptions import (
    SMSPartnerConfigurationError,
    SMSPartnerError,
    SMSPartnerUnavailableError,
)

_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, "the host name does not resolve"),
    (ssl.SSLError, "the TLS handshake fails"),
    (TimeoutError, "no answer came in time"),
    (ConnectionRefusedError, "the connection is refused"),
    (ConnectionError, "the connection broke off"),
)


def transport_error(exc: BaseException) -> SMSPartnerError:
    """
    Return the error to raise for what an HTTP library raised; raise it outside of the ``except``, as ``exc`` is leaky.

    :param exc: of any HTTP library: the cause is looked for among the exceptions of the standard library in its chain
    """
    causes = list(_causes(exc))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return SMSPartnerConfigurationError(
            "the server's TLS certificate does not verify: check its host, or name your CA bundle in the extra 'verify'"
        )
    for kind, reason in _REASONS:
        if any(isinstance(cause, kind) for cause in causes):
            return SMSPartnerUnavailableError(f"SMS Partner cannot be reached: {reason}; it may pass by itself")
    return SMSPartnerUnavailableError("SMS Partner cannot be reached: the exchange broke off; it may pass by itself")


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
