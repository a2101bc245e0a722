"""The wire without I/O: build the request to ``/v1/me``, turn an answer into an ``Account`` or an error."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from airflow_provider_smspartner import __version__
from airflow_provider_smspartner.account import Account, Credits, User
from airflow_provider_smspartner.exceptions import (
    SMSPartnerAccessError,
    SMSPartnerError,
    SMSPartnerRejectedError,
    SMSPartnerResponseError,
    SMSPartnerUnavailableError,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_BODY_BYTES = 64 * 1024
"""An answer has about 400 bytes; whoever reads it stops after one byte more."""

_OK = 200

_ACCESS_CODES = {
    1: "SMS Partner got no API key: put one into the connection",
    10: "SMS Partner does not know this API key: check the connection's API key",
    20: "SMS Partner has deactivated this account: ask its support to activate it",
    30: "SMS Partner has blocked this account: ask its support why",
    40: "SMS Partner denies API access to this account: have it switched on in the account's settings",
    96: "SMS Partner does not authorise this machine's IP address: add it in the account's settings",
}
"""The codes of the vendor's API-wide table that are permanent errors. The code decides, never its text, which comes
in two languages and several spellings."""

_ACCESS_STATUSES = frozenset({401, 403})
_UNAVAILABLE_STATUSES = frozenset({408, 425, 429})

PROXY_ASKS_WHO = (
    "a proxy on the way asks who you are (HTTP 407): put a user and a password into the URL of the extra 'proxy'"
)

_CHECK_HOST = "check the connection's host, which must be the API's base URL"
_NOT_THE_API = (
    "it is no answer from SMS Partner's account service; it may pass by itself, else check the connection's host"
)
_NO_CREDITS = f"holds no readable credits: {_NOT_THE_API}"
_UNREADABLE = "but not as plain numbers: it may pass by itself, else ask SMS Partner's support"
_TOO_LONG = f"is longer than {MAX_BODY_BYTES // 1024} KiB, and not read further: {_NOT_THE_API}"
_PACKED = "is packed, which nobody asked for, and not unpacked: check the proxy on the way"
_FAILED = "says that it failed, and gives no readable code: it may pass by itself, else ask SMS Partner's support"

_FIGURES = {
    "sms": ("creditSms",),
    "sms_low_cost": ("creditSmsECO", "creditSmsLowCost"),
    "hlr": ("creditHlr",),
    "to_send": ("toSend",),
    "balance": ("balance", "solde"),
}
"""The API's names of each figure. Two names mean one figure twice, not two figures: the first that can be read counts.
The vendor announced that ``creditSmsLowCost`` goes away."""

_XML_CREDITS = ("creditSms", "creditSmsLowCost", "creditHlr", "toSend", "solde", "currency", "balance")
"""What the unnamed entries of an XML answer mean, in their order."""

_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_AMOUNT = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?", re.ASCII)
_CURRENCY = re.compile(r"[A-Za-z]{3}", re.ASCII)
_CHARSET = re.compile(r"charset=\"?([\w-]+)", re.ASCII)
_LARGEST_COUNT = 2**63 - 1


class ResponseFormat(StrEnum):
    """The formats in which the API answers; both give the same ``Account``."""

    JSON = "json"
    XML = "xml"


@dataclass(frozen=True)
class AccountRequest:
    """
    The GET that asks for an account.

    :param url: holds the API key, as the API documents no other place for it: send it, never show it
    """

    url: str = field(repr=False)
    headers: Mapping[str, str]


def build_account_request(base_url: str, api_key: str, response_format: ResponseFormat) -> AccountRequest:
    """
    Build the request for ``GET /v1/me``.

    :param base_url: up to and with ``/v1``, without a closing slash
    :param api_key: any text; it is percent-encoded
    """
    url = f"{base_url}/me?apiKey={quote(api_key, safe='')}&_format={response_format.value}"
    headers = {
        "User-Agent": f"airflow-provider-smspartner/{__version__}",
        "Accept": f"application/{response_format.value}",
        # Plain bodies alone: what is not unpacked cannot blow up, and 400 bytes gain nothing from gzip.
        "Accept-Encoding": "identity",
    }
    return AccountRequest(url, headers)


def read_answer(body: bytes, *, http_status: int, headers: Mapping[str, str]) -> Account:
    """
    Turn a whole HTTP answer into an ``Account``, or raise what ``parse_account`` does.

    :param headers: looked up as ``Content-Type``, ``Content-Encoding`` and ``Retry-After``: case-insensitive
    """
    try:
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            _refuse(http_status, None, _PACKED)  # although the request ruled that out: unread, it can be no bomb
        if len(body) > MAX_BODY_BYTES:
            _refuse(http_status, None, _TOO_LONG)
        return parse_account(body, http_status=http_status, content_type=headers.get("Content-Type"))
    except SMSPartnerUnavailableError as error:
        error.retry_after = _seconds_to_wait(headers.get("Retry-After"))
        raise


def parse_account(body: bytes, *, http_status: int = 200, content_type: str | None = None) -> Account:
    """
    Turn the body of an answer into an ``Account``.

    The body decides, and the HTTP status only where the body says nothing: which status comes with which code is
    documented nowhere. The vendor's documentation, its SDKs and records from the field give the fields and shapes.

    :param body: JSON or XML, as it came
    :param http_status: the status of the answer
    :param content_type: the answer's ``Content-Type``; only its charset counts, the body itself shows its format
    :raises SMSPartnerAccessError: the account or its key is refused
    :raises SMSPartnerUnavailableError: the service says to come back later
    :raises SMSPartnerResponseError: there are no readable credits in it
    """
    answer = _decode(body, content_type)
    codes = list(_codes(answer))
    for code in codes:
        if code in _ACCESS_CODES:
            raise SMSPartnerAccessError(f"{_ACCESS_CODES[code]} (code {code})", code=code, http_status=http_status)
    figures = _figures(answer.get("credits"))
    credits = _credits(figures)
    failed = _truth(answer.get("success")) is False
    if credits is None or failed or any(code != _OK for code in codes):
        unknown = next((code for code in codes if code != _OK), None)
        _refuse(http_status, unknown, _FAILED if failed else _no_credits(figures["unreadable"]))
    return Account(_user(answer.get("user")), credits, datetime.now(UTC))


def _refuse(http_status: int, code: int | None, why: str) -> NoReturn:
    """Raise the error for an answer whose body is no account: by its status, its unknown code, then why it is none."""
    said = f"HTTP {http_status}" if code is None else f"HTTP {http_status} and the unknown code {code}"
    error: type[SMSPartnerError] = SMSPartnerResponseError
    if http_status in _ACCESS_STATUSES:
        error = SMSPartnerAccessError
        text = f"SMS Partner refuses access ({said}): check the connection's API key and the account's API settings"
    elif http_status in _UNAVAILABLE_STATUSES or 500 <= http_status < 600:
        error = SMSPartnerUnavailableError
        text = f"SMS Partner cannot answer now ({said}): it may pass by itself, else {_otherwise(http_status)}"
    elif 400 <= http_status < 500:
        error = SMSPartnerRejectedError
        text = f"the request is refused ({said}): {_CHECK_HOST}"
        text = PROXY_ASKS_WHO if http_status == 407 else text
    elif 300 <= http_status < 400:
        text = f"the answer is a redirect ({said}), not followed as it would carry the key along: {_CHECK_HOST}"
    elif code is not None:
        text = f"SMS Partner answers with an error ({said}): look it up in its table of error codes"
    else:
        text = f"the answer ({said}) {why}"
    raise error(text, code=code, http_status=http_status)


def _otherwise(http_status: int) -> str:
    """Return what a person can do when an answer of that status does not pass by itself."""
    return "ask less often" if http_status == 429 else "ask its support"


def _decode(body: bytes, content_type: str | None) -> Mapping[str, Any]:
    """Return the answer's named fields; none where the body is not JSON or XML of the expected shape."""
    try:
        if body.lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n").startswith(b"<"):
            return _from_xml(body)
        text = _text(body, content_type)
        answer = _JSON.decode(text)
    except (ValueError, ArithmeticError, LookupError, RecursionError, SyntaxError):
        # ValueError covers bad encodings and refused XML; SyntaxError is what ElementTree's ParseError is.
        return {}
    return answer if isinstance(answer, dict) else {}


def _text(body: bytes, content_type: str | None) -> str:
    charset = _CHARSET.search(content_type or "")
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")) or charset is None:
        return body.decode(json.detect_encoding(body))
    return body.decode(charset[1])


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that gives two values for one name: nobody can tell which one is right."""
    named = dict(pairs)
    if len(named) != len(pairs):
        raise ValueError
    return named


_JSON = json.JSONDecoder(parse_float=str, parse_constant=float, object_pairs_hook=_named_once)


def _from_xml(body: bytes) -> Mapping[str, Any]:
    """Name the entries of an XML answer: success and code, then the user by its names, the credits by their number."""
    from xml.etree import ElementTree as ET  # only who asks for XML pays for it

    _refuse_declarations(body)
    root = ET.fromstring(body)  # noqa: S314 - without declarations, nothing in it expands or reaches out
    scalars = [entry.text for entry in root if len(entry) == 0]
    answer: dict[str, Any] = dict(zip(("success", "code"), scalars, strict=False))
    for entry in root:
        children = [(child.tag.rpartition("}")[2], child.text) for child in entry]
        if any(name != "entry" for name, _ in children):
            answer["user"] = dict(children)
        elif len(children) == len(_XML_CREDITS):
            # With one entry more or less nobody can tell which is which, and a shifted number would be a wrong one.
            named = dict(zip(_XML_CREDITS, (text for _, text in children), strict=True))
            # Nor can anybody tell which of two credits are right, as in JSON.
            answer["credits"] = named if "credits" not in answer and _holds_whole_texts(entry) else None
    return answer


def _refuse_declarations(body: bytes) -> None:
    """Refuse a document type: it alone can declare entities, which grow in memory or read files."""
    from xml.parsers import expat

    def refuse(*_: object) -> NoReturn:
        raise ValueError

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body, True)
    except expat.ExpatError:
        raise ValueError from None


def _holds_whole_texts(entry: Element) -> bool:
    """Return whether its entries hold text alone, and all of its text: markup inside a figure would cut it off."""
    between = [entry.text, *(child.tail for child in entry)]
    return not any(len(child) for child in entry) and not "".join(text or "" for text in between).strip()


def _codes(answer: Mapping[str, Any]) -> Iterator[int]:
    """Yield the API's codes in an answer: its own, then those within its errors, which are an object or a list."""
    errors: list[Any] = [answer]
    for key in ("error", "errors"):
        inner = answer.get(key)
        errors += inner if isinstance(inner, list) else [inner]
    for error in errors:
        code = _count(error.get("code")) if isinstance(error, dict) else None
        if code is not None:
            yield code


def _truth(value: object) -> bool | None:
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).strip().lower())


def _figures(fields: object) -> dict[str, Any]:
    """Return what ``Credits`` is made of, with the API's names of what is there and cannot be read."""
    named = fields if isinstance(fields, dict) else {}
    figures: dict[str, Any] = {"currency": _currency(named.get("currency"))}
    unreadable = {}
    for figure, names in _FIGURES.items():
        figures[figure] = _first(named, names, _amount if figure == "balance" else _count)
        if figures[figure] is None and (reported := [name for name in names if _is_reported(named.get(name))]):
            unreadable[figure] = reported[0]
    return figures | {"unreadable": unreadable}


def _first(named: Mapping[str, Any], names: Iterable[str], read: Callable[[object], Any]) -> Any:
    """Return the first figure of these names that can be read."""
    for name in names:
        if (figure := read(named.get(name))) is not None:
            return figure
    return None


def _is_reported(value: object) -> bool:
    return value is not None and bool(str(value).strip())


def _credits(figures: Mapping[str, Any]) -> Credits | None:
    try:
        return Credits(**figures)
    except ValueError:
        return None


def _no_credits(unreadable: Mapping[str, str]) -> str:
    if not unreadable:
        return _NO_CREDITS
    return f"holds no readable credits, as it reports {', '.join(unreadable.values())}, {_UNREADABLE}"


def _count(value: object) -> int | None:
    """Return a whole number, or None for anything else: a bool is no count, nor is a fraction."""
    if type(value) is not int:  # which a bool is not either
        text = _figure(value)
        if not _INTEGER.fullmatch(text):
            return None
        value = int(text)
    return value if abs(value) <= _LARGEST_COUNT else None


def _amount(value: object) -> Decimal | None:
    """Return an exact amount, or None for anything but a plain decimal number."""
    text = _figure(value)
    return Decimal(text) if _AMOUNT.fullmatch(text) else None


def _figure(value: object) -> str:
    """Return a number or a text as it was written, and nothing for what else JSON knows."""
    return str(value).strip() if isinstance(value, int | str) and not isinstance(value, bool) else ""


def _currency(value: object) -> str | None:
    return value.strip().upper() if isinstance(value, str) and _CURRENCY.fullmatch(value.strip()) else None


def _user(fields: object) -> User:
    named = fields if isinstance(fields, dict) else {}
    return User(*(_name(named.get(name)) for name in ("username", "firstname", "lastname")))


def _name(value: object) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    # A lone surrogate, which JSON can spell, would break whatever stores or prints the name.
    return value.strip().encode("utf-8", "replace").decode("utf-8")


def _seconds_to_wait(retry_after: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, which gives them as such or as a date."""
    if retry_after is None:
        return None
    if _INTEGER.fullmatch(retry_after.strip()):
        return max(0.0, float(retry_after))
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
