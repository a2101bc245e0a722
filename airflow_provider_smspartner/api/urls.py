"""Read URLs strictly, so that no two HTTP libraries read one differently, and find what is secret in them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import SplitResult, unquote, urlsplit

_CHARACTER = r"[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2}"

_URL = re.compile(
    rf"""
    (?P<scheme>https?)://
    (?P<userinfo>(?:{_CHARACTER}|:)+@)?
    (?P<host>\[[0-9A-Fa-f:.]+\] | [A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)
    (?::(?P<port>[0-9]{{1,5}}))?
    (?P<path>(?:/(?:{_CHARACTER}|[:@])*)*)
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


def read_url(text: str) -> SplitResult:
    """
    Return the parts of an http(s) URL that has no query and no fragment.

    :raises ValueError: it is none, or one that two libraries could read differently
    """
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError
    host, port, path = found["host"], found["port"], found["path"]
    if host.startswith("["):
        ipaddress.IPv6Address(host[1:-1])
    host.encode("idna")  # refuses labels that no resolver takes
    if port is not None and not 1 <= int(port) <= 65535:
        raise ValueError
    # Some libraries resolve these, and some send them as they are.
    if {".", ".."} & set(path.split("/")):
        raise ValueError
    return urlsplit(text)


def read_proxy(text: str) -> str:
    """
    Return the URL of an HTTP proxy, with its user and password percent-encoded as they were.

    :raises ValueError: it is none, or has a path, a password without a user, or one that no library can send
    """
    parts = read_url(text)
    if parts.path not in ("", "/") or parts.username == "":
        raise ValueError
    unquote(f"{parts.username}{parts.password}").encode("latin-1")
    return text


def secrets_in(text: str) -> Iterator[str]:
    """
    Yield what no log may show of a text that is a URL, or was meant to be one.

    Everything up to the last ``@`` counts: whoever forgot to percent-encode a password has its ``/`` or ``#`` there.
    """
    userinfo = text[text.find("://") + 3 if "://" in text else 0 :].rpartition("@")[0]
    password = userinfo.partition(":")[2]
    yield from {userinfo, unquote(userinfo), password, unquote(password)} - {""}
