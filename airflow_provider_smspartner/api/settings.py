"""Read an Airflow connection into settings, or say which field is wrong and what to put there."""

from __future__ import annotations

import ipaddress
import json
import math
import ssl
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

from airflow_provider_smspartner.api.environment import proxy_for, proxy_variables, tls_context
from airflow_provider_smspartner.api.protocol import AccountRequest, ResponseFormat, build_account_request
from airflow_provider_smspartner.api.urls import read_proxy, read_url, secrets_in
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

CONN_TYPE = "smspartner"
DEFAULT_BASE_URL = "https://api.smspartner.fr/v1"

_INVISIBLE = {"Cc", "Cf", "Zl", "Zp"}
"""Unicode's categories of what nobody sees: line ends, zero-width blanks, a byte order mark."""

_QUOTES = frozenset("\"'`\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}«»")

_HTTP_SCHEMES = ("http", "https")
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class ConnectionSettings:
    """
    What a connection says, checked, and what the environment says where the connection is silent.

    :param base_url: up to and with ``/v1``, without a closing slash
    :param timeout: seconds that one request may take, from connecting to the last byte of the answer
    :param max_retries: retries of one call, after its first attempt
    :param tls: how certificates are verified: another one where the CA bundle on disk is another
    :param proxy: URL of an HTTP proxy, the connection's or the environment's; may hold a password
    :param reservations_account: the name that connections share when they are one account; None for the conn id
    """

    base_url: str
    api_key: str = field(repr=False)
    response_format: ResponseFormat
    timeout: float
    max_retries: int
    tls: ssl.SSLContext
    proxy: str | None = field(repr=False)
    reservations_account: str | None = None

    @cached_property
    def request(self) -> AccountRequest:
        """The request that asks for the account, made once for however many calls."""
        return build_account_request(self.base_url, self.api_key, self.response_format)


def secrets_of(conn: Connection) -> set[str]:
    """
    Return what no log may show: the key, and what is secret in the URLs of the connection and of the environment.

    However wrong the connection is: what ``read_settings`` refuses is a secret too.
    """
    given = _json_object(conn.extra or "{}") or {}
    urls = [conn.host, given.get("proxy"), *dict(proxy_variables()).values()]
    found = {secret for url in urls if isinstance(url, str) for secret in secrets_in(url)}
    return found | ({conn.password, _trimmed(conn.password)} - {""} if conn.password else set())


def read_settings(conn: Connection) -> ConnectionSettings:
    """
    Read a connection.

    No text of an error repeats a field's value: keys get pasted into wrong fields.

    :raises SMSPartnerConfigurationError: names the field that is wrong and what to put there
    """
    if conn.conn_type not in (CONN_TYPE, None, ""):
        raise SMSPartnerConfigurationError(
            f"its type is {conn.conn_type!r}: set it to {CONN_TYPE!r}, or name another connection"
        )
    key = _trimmed(conn.password or "")
    if not key:
        raise SMSPartnerConfigurationError(
            "it has no API key: fill in the field 'API key', which is the password in JSON and in a URI"
        )
    extras = _read_extras(conn.extra)
    base_url = _base_url(conn, allow_http=extras.pop("allow_http"))
    proxy = extras.pop("proxy") or proxy_for(base_url)
    tls = tls_context(extras.pop("verify"))
    return ConnectionSettings(base_url=base_url, api_key=_api_key(key), tls=tls, proxy=proxy, **extras)


def _api_key(key: str) -> str:
    """Return the key, or refuse what came along when it was pasted."""
    kinds = {unicodedata.category(character) for character in key}
    if "Cs" in kinds:
        raise _wrong("API key", "holds half a character, which no URL can: paste it anew")
    if kinds & _INVISIBLE:
        raise _wrong("API key", "holds a line end or another invisible character: paste it anew")
    if key[0] in _QUOTES and len(key) > 1 and key[-1] in _QUOTES:
        raise _wrong("API key", "stands in quotes: take them away")
    return key


def _trimmed(password: str) -> str:
    """Return the key without the blanks, line ends and invisible characters around it, which no key begins with."""
    visible = [
        place
        for place, character in enumerate(password)
        if not character.isspace() and unicodedata.category(character) not in _INVISIBLE
    ]
    return password[visible[0] : visible[-1] + 1] if visible else ""


def _wrong(name: str, what: str) -> SMSPartnerConfigurationError:
    return SMSPartnerConfigurationError(f"its {name} {what}")


def _base_url(conn: Connection, *, allow_http: bool) -> str:
    """Put the base URL together as the http provider does: the host with its scheme, else ``schema``; then ``port``."""
    host = (conn.host or DEFAULT_BASE_URL).strip()
    if "://" not in host:
        if (conn.schema or "https") not in _HTTP_SCHEMES:
            raise _wrong("schema", "must be 'https' or empty; the path belongs in the host: 'https://…/v1'")
        host = f"{conn.schema or 'https'}://{host}"
    parts = _split(host)
    is_whole = "://" in (conn.host or DEFAULT_BASE_URL)
    if conn.port and is_whole and conn.port != _port(parts):
        # It may be left over from another host: a form keeps it.
        raise _wrong("port", f"is not that of the host, {_port(parts)}: empty it, or write it into the host")
    if parts.scheme == "http" and not allow_http and not _is_loopback(parts.hostname or ""):
        raise _wrong(
            "host", "says plain http, which would send the key in clear text: use https, or set the extra 'allow_http'"
        )
    netloc = parts.netloc if is_whole or parts.port or not conn.port else f"{parts.netloc}:{conn.port}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/') or '/v1'}"


def _split(host: str) -> SplitResult:
    try:
        parts = read_url(host)
    except ValueError:
        parts = None
    if parts is None or "@" in parts.netloc:
        raise _wrong("host", f"must be a base URL such as '{DEFAULT_BASE_URL}', without user, query or fragment")
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _is_loopback(hostname: str) -> bool:
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost"


def _response_format(value: object) -> ResponseFormat:
    return ResponseFormat(str(value).lower())


def _timeout(value: object) -> float:
    seconds = math.nan if isinstance(value, bool) else float(str(value))
    if not 0 < seconds <= 3600:  # an hour, as the sentence to the reader says
        raise ValueError
    return seconds


def _max_retries(value: object) -> int:
    retries = int(str(value))
    if not 0 <= retries <= 10:  # as the sentence to the reader says
        raise ValueError
    return retries


def _boolean(value: object) -> bool:
    truth = _BOOLEANS.get(str(value).lower())
    if truth is None:
        raise ValueError
    return truth


def _verify(value: object) -> bool | str:
    text = str(value)
    if text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    try:
        tls_context(text)
    except OSError:
        raise ValueError from None
    return text


def _proxy(value: object) -> str:
    return read_proxy(str(value))


def _account_name(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value.strip()) <= 250:
        raise ValueError
    return value.strip()


@dataclass(frozen=True)
class _Extra:
    """How one extra is read: its default, its reader (ValueError for a bad value), and the sentence on what to put."""

    default: Any
    read: Callable[[object], Any]
    expected: str


EXTRAS: Mapping[str, _Extra] = {
    "response_format": _Extra(ResponseFormat.JSON, _response_format, "'json' or 'xml'"),
    "timeout": _Extra(10.0, _timeout, "a number of seconds above 0, 3600 at most"),
    "max_retries": _Extra(2, _max_retries, "a whole number from 0 to 10"),
    "verify": _Extra(True, _verify, "true, false, or the path of a CA bundle on this machine"),
    "proxy": _Extra(
        None,
        _proxy,
        "the URL of an HTTP proxy, such as 'http://proxy.example:3128'; percent-encode its user and password",
    ),
    "allow_http": _Extra(False, _boolean, "true or false"),
    "reservations_account": _Extra(None, _account_name, "a name of 250 characters at most"),
}


def _read_extras(extra: str | None) -> dict[str, Any]:
    given = _json_object(extra or "{}")
    if given is None:
        raise _wrong("extra", "must be a JSON object such as '{\"timeout\": 10}'")
    # A form leaves empty what nobody filled in.
    given = {name: value for name, value in given.items() if value not in (None, "")}
    if unknown := [name for name in given if name not in EXTRAS]:
        raise _wrong("extra", f"holds the unknown {unknown[0]!r}: the known ones are {', '.join(map(repr, EXTRAS))}")
    return {name: _read_extra(name, declared, given) for name, declared in EXTRAS.items()}


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _read_extra(name: str, declared: _Extra, given: Mapping[str, object]) -> Any:
    if name not in given:
        return declared.default
    try:
        return declared.read(given[name])
    except ValueError:
        pass  # its text repeats the value, so it must not stand in the chain of the error below
    raise _wrong(f"extra {name!r}", f"must be {declared.expected}")
