"""The fault matrix as data: each fault, how it is played, and what has to come of it. The test and the page read it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from airflow_provider_smspartner.account import Credits

LIMIT = 0.25
"""Seconds that a request may take where the fault is to take longer."""

ELSEWHERE = "127.0.0.2"
"""Where redirects to another host lead: nobody is to follow."""


class Mode(StrEnum):
    """The ways to meet a fault: the columns."""

    POKE = "poke"
    RESCHEDULE = "reschedule"
    DEFERRABLE = "deferrable"
    EVENT_DRIVEN = "event-driven"
    OPERATOR = "operator"
    TEST_CONNECTION = "test_connection"


class Verdict(StrEnum):
    """What a fault means to whoever waits."""

    TRANSIENT = "transient error"
    PERMANENT = "permanent error"
    READ = "is read"
    NOT_ENOUGH = "is read, not enough"


_WAITING = {
    Mode.POKE: ("running", "success"),
    Mode.RESCHEDULE: ("up_for_reschedule", "success"),
    Mode.DEFERRABLE: ("deferred", "success"),
    Mode.EVENT_DRIVEN: ("no event", "event"),
}
_SENSOR_MODES = (Mode.POKE, Mode.RESCHEDULE, Mode.DEFERRABLE)

STATES: Mapping[Verdict, Mapping[Mode, tuple[str, ...]]] = {
    Verdict.TRANSIENT: _WAITING | {Mode.OPERATOR: ("up_for_retry", "success"), Mode.TEST_CONNECTION: ("False",)},
    Verdict.PERMANENT: dict.fromkeys((*_SENSOR_MODES, Mode.OPERATOR), ("failed",))
    | {Mode.EVENT_DRIVEN: ("no event", "event"), Mode.TEST_CONNECTION: ("False",)},
    Verdict.READ: dict.fromkeys((*_SENSOR_MODES, Mode.OPERATOR), ("success",))
    | {Mode.EVENT_DRIVEN: ("event",), Mode.TEST_CONNECTION: ("True",)},
    Verdict.NOT_ENOUGH: _WAITING | {Mode.OPERATOR: ("success",), Mode.TEST_CONNECTION: ("True",)},
}
"""The states of a task as the fault lasts and, after a comma, once it is over."""


@dataclass(frozen=True)
class Answer:
    """
    A whole HTTP answer, which the sandbox gives.

    :param played: what ``SMSPartnerSandbox.fail_next`` takes
    :param retry_date: seconds from now, for a Retry-After that is a date
    :param extras: of the connection
    """

    played: Mapping[str, Any]
    retry_date: int | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)


class Ear(StrEnum):
    """Whether a server takes connections."""

    OPEN = "takes them"
    SHUT = "refuses them"
    FULL = "lets them wait for ever"


class Then(StrEnum):
    """What a server does after it said its word."""

    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"
    DRIP = "drip"


class Certificate(StrEnum):
    """What a TLS server shows."""

    GOOD = "good"
    WRONG_HOST = "wrong host"
    SELF_SIGNED = "self-signed"
    STRANGER = "stranger"
    EXPIRED = "expired"
    NOT_YET = "not yet"


@dataclass(frozen=True)
class Wire:
    """
    What a raw socket does.

    :param drip: what drips, each twentieth of a second
    :param scheme: what the connection to it speaks
    :param certificate: the server's, where it speaks TLS
    :param is_proxy: whether the connection has it as a proxy
    """

    said: bytes = b""
    then: Then = Then.CLOSE
    drip: bytes = b" "
    ear: Ear = Ear.OPEN
    scheme: str = "http"
    certificate: Certificate | None = None
    is_proxy: bool = False
    extras: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Nowhere:
    """A host where nobody is."""

    host: str


@dataclass(frozen=True)
class Fault:
    """
    One fault, and what has to come of it.

    :param what: as a reader of the page would call it
    :param sentence: what a person is told, letter for letter, after the connection's name
    :param reads: the credits that are read, where it is read
    :param retry_after: the seconds that the server asks to back off, as far as they can be read
    """

    name: str
    what: str
    play: Answer | Wire | Nowhere
    verdict: Verdict
    sentence: str
    reads: Credits | None = None
    retry_after: float = 0

    @property
    def retried(self) -> bool:
        """Whether one call asks again, up to the connection's ``max_retries``; 30 s are the longest pause in a call."""
        return self.verdict is Verdict.TRANSIENT and self.retry_after <= 30


def _unreachable(reason: str, advice: str) -> str:
    return f"SMS Partner cannot be reached: {reason}; it may pass by itself, else {advice}"


NO_NAME = _unreachable("the host name does not resolve", "check the connection's host, and this machine's DNS")
REFUSED = _unreachable("the connection is refused", "check the connection's host and port, and its proxy")
NO_WAY = _unreachable("no network leads there", "check this machine's network, and the connection's host")
NO_TLS = _unreachable("the TLS handshake fails", "check that the connection's host speaks https on its port")
TOO_LATE = _unreachable(
    "no answer came in time",
    "check the firewall and the proxy on the way, or raise the connection's extra 'timeout'",
)
BROKE_OFF = _unreachable(
    "the exchange broke off", "check the proxy on the way, and that the connection's host speaks HTTP"
)

_CERTIFICATE = "the server's TLS certificate does not verify: "
WRONG_HOST = f"{_CERTIFICATE}it is for another host: check the connection's host"
STRANGER = f"{_CERTIFICATE}check its host, or name your CA bundle in the extra 'verify'"
EXPIRED = f"{_CERTIFICATE}it has expired: have it renewed, or check this machine's clock"
NOT_YET = f"{_CERTIFICATE}it is not valid yet: check this machine's clock"
PROXY_ASKS = (
    "a proxy on the way asks who you are (HTTP 407): put a user and a password into the URL of the extra 'proxy'"
)

_CHECK_HOST = "check the connection's host, which must be the API's base URL"
_NO_ANSWER = (
    "it is no answer from SMS Partner's account service; it may pass by itself, else check the connection's host"
)
NO_CREDITS = f"the answer (HTTP 200) holds no readable credits: {_NO_ANSWER}"
TOO_LONG = f"the answer (HTTP 200) is longer than 64 KiB, and not read further: {_NO_ANSWER}"
PACKED = "the answer (HTTP 200) is packed, which nobody asked for, and not unpacked: check the proxy on the way"
FAILED = (
    "the answer (HTTP 200) says that it failed, and gives no readable code: "
    "it may pass by itself, else ask SMS Partner's support"
)


def _redirect(status: int, where: str, location: str) -> Fault:
    sentence = f"the answer is a redirect (HTTP {status}), not followed as it would carry the key along: {_CHECK_HOST}"
    play = Answer({"http_status": status, "headers": {"Location": location}})
    name = f"http-{status}-{where.replace(' ', '-')}"
    return Fault(name, f"HTTP {status} to {where}", play, Verdict.TRANSIENT, sentence)


def _status(status: int, verdict: Verdict = Verdict.TRANSIENT, sentence: str = "") -> Fault:
    if not sentence and verdict is Verdict.TRANSIENT:
        sentence = f"SMS Partner cannot answer now (HTTP {status}): it may pass by itself, else ask its support"
    if not sentence:
        sentence = f"the request is refused (HTTP {status}): {_CHECK_HOST}"
    return Fault(f"http-{status}", f"HTTP {status}", Answer({"http_status": status}), verdict, sentence)


def _no_access(status: int) -> str:
    return f"SMS Partner refuses access (HTTP {status}): check the connection's API key and the account's API settings"


def _asked_to_wait(status: int, name: str, what: str, sent: str | None, seconds: float) -> Fault:
    headers = {} if sent is None else {"Retry-After": sent}
    play = Answer({"http_status": status, "headers": headers}, retry_date=None if sent else int(seconds))
    otherwise = "ask less often" if status == 429 else "ask its support"
    sentence = f"SMS Partner cannot answer now (HTTP {status}): it may pass by itself, else {otherwise}"
    what = f"HTTP {status} with Retry-After: {what}"
    return Fault(f"http-{status}-{name}", what, play, Verdict.TRANSIENT, sentence, retry_after=seconds)


USER = {"username": "exemple@email.com", "firstname": "John", "lastname": "Doe"}
FIELDS = {
    "creditSms": 269082,
    "creditSmsLowCost": 444570,
    "creditHlr": 2045023,
    "toSend": 0,
    "solde": "10225.119",
    "currency": "EUR",
    "balance": "10225.119",
}
"""The vendor's sample."""
ALL = Credits(269082, 444570, 2045023, 0, Decimal("10225.119"), "EUR")
NO_SMS = replace(ALL, sms=None)
UNREADABLE_SMS = replace(NO_SMS, unreadable={"sms": "creditSms"})
NO_COUNT = replace(
    NO_SMS,
    sms_low_cost=None,
    hlr=None,
    unreadable={"sms": "creditSms", "sms_low_cost": "creditSmsLowCost", "hlr": "creditHlr"},
)
ACCOUNT = json.dumps({"success": True, "code": 200, "user": USER, "credits": FIELDS}, ensure_ascii=False).encode()
MANY = 400 * "9"


def _body(
    name: str, what: str, body: bytes | str | Mapping[str, Any], sentence: str = NO_CREDITS, **headers: str
) -> Fault:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(name, what, Answer({"body": body, "headers": sent}), Verdict.TRANSIENT, sentence)


def _read(fault: Fault, reads: Credits = ALL) -> Fault:
    """Return a fault whose answer is read after all."""
    verdict = Verdict.READ if (reads.sms or 0) >= 1 else Verdict.NOT_ENOUGH
    return replace(fault, verdict=verdict, sentence=f"SMS Partner answers. Credit: {reads}", reads=reads)


def _fields(name: str, what: str, reads: Credits = ALL, *, without: tuple[str, ...] = (), **fields: Any) -> Fault:
    left = {given: value for given, value in FIELDS.items() if given not in without} | fields
    return _read(_body(name, what, json.dumps({"success": True, "code": 200, "credits": left})), reads)


def _answer_with(credits: object) -> str:
    return json.dumps({"success": True, "code": 200, "user": USER, "credits": credits})


def _code(code: int, sentence: str) -> Fault:
    body = {"success": False, "code": code, "message": "…"}
    return _refused(f"code-{code}", f"code {code}", body, f"{sentence} (code {code})")


def _refused(name: str, what: str, body: Mapping[str, Any], sentence: str, **played: Any) -> Fault:
    return Fault(name, what, Answer({"body": body} | played), Verdict.PERMANENT, sentence)


def _unknown_code(name: str, what: str, body: Mapping[str, Any], code: int) -> Fault:
    said = f"HTTP 200 and the unknown code {code}"
    return _body(
        name, what, body, f"SMS Partner answers with an error ({said}): look it up in its table of error codes"
    )


KEY_REQUIRED = "SMS Partner got no API key: put one into the connection"
KEY_UNKNOWN = "SMS Partner does not know this API key: check the connection's API key"


def _xml(name: str, what: str, body: str, sentence: str = NO_CREDITS) -> Fault:
    answer = Answer({"body": body, "headers": {"Content-Type": "application/xml"}}, extras={"response_format": "xml"})
    return Fault(name, what, answer, Verdict.TRANSIENT, sentence)


_XML_USER = "<entry><username>exemple@email.com</username><firstname>John</firstname><lastname>Doe</lastname></entry>"
_XML_FIRST = "<entry>269082</entry>"
_XML_CREDITS = (
    f"<entry>{_XML_FIRST}<entry>444570</entry><entry>2045023</entry><entry>0</entry>"
    "<entry><![CDATA[10225.119]]></entry><entry><![CDATA[EUR]]></entry><entry><![CDATA[10225.119]]></entry></entry>"
)
XML = f"<result><entry>true</entry><entry>200</entry>{_XML_USER}{_XML_CREDITS}</result>"
_WITH_ENTITY = XML.replace("269082", "&big;")
_BOMB = '<!DOCTYPE result [<!ENTITY a "9999999999"><!ENTITY b "&a;&a;&a;&a;&a;&a;"><!ENTITY big "&b;&b;&b;&b;">]>'
_EXTERNAL = '<!DOCTYPE result [<!ENTITY big SYSTEM "file:///etc/hostname">]>'

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_SHORT_OF_TIME = {"timeout": LIMIT}


def _wire(name: str, what: str, sentence: str = BROKE_OFF, **played: Any) -> Fault:
    return Fault(name, what, Wire(**played), Verdict.TRANSIENT, sentence)


def _late(name: str, what: str, **played: Any) -> Fault:
    return _wire(name, what, TOO_LATE, extras=_SHORT_OF_TIME, **played)


def _certificate(certificate: Certificate, what: str, sentence: str) -> Fault:
    play = Wire(scheme="https", certificate=certificate)
    return Fault(f"tls-{certificate.replace(' ', '-')}", what, play, Verdict.PERMANENT, sentence)


_HTTP_400 = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"

ON_THE_WAY = (
    Fault("dns", "the host name does not resolve", Nowhere("no-such-host.invalid"), Verdict.TRANSIENT, NO_NAME),
    _wire("refused", "the connection is refused", REFUSED, ear=Ear.SHUT),
    Fault("unreachable", "no route to the network", Nowhere("127.255.255.255"), Verdict.TRANSIENT, NO_WAY),
    _late("connect-time-out", "no answer to the attempt to connect", ear=Ear.FULL),
    _late("read-time-out", "connected, and no answer", then=Then.HANG),
    _late("drip-headers", "headers that drip, byte by byte", said=_HEAD, then=Then.DRIP, drip=b"x"),
    _late("drip-body", "a body that drips", said=_HEAD + b"Content-Length: 400\r\n\r\n{", then=Then.DRIP),
    _late("drip-open-body", "a body that drips, of unknown length", said=_HEAD + b"\r\n{", then=Then.DRIP),
    _late("drip-100", "HTTP 100 again and again", then=Then.DRIP, drip=b"HTTP/1.1 100 Continue\r\n\r\n"),
    _wire("reset-at-once", "reset before the answer", then=Then.RESET),
    _wire("reset-in-headers", "reset in the middle of the headers", said=_HEAD + b"Content-Le", then=Then.RESET),
    _wire("reset-in-body", "reset in the middle of the body", said=_HEAD + b"\r\n" + ACCOUNT[:90], then=Then.RESET),
    Fault("closed-at-once", "closed before the answer", Answer({"drop": True}), Verdict.TRANSIENT, BROKE_OFF),
    _wire("closed-in-body", "closed before the Content-Length is full", said=_HEAD + b"Content-Length: 400\r\n\r\n{"),
    _wire(
        "bad-chunk", "a chunk whose length is no number", said=_HEAD + b"Transfer-Encoding: chunked\r\n\r\nmany\r\n{"
    ),
    _wire("not-http", "a mail server's greeting", said=b"220 mail.example ESMTP\r\n"),
    _wire("long-header", "a header of 200 KB", said=_HEAD + b"X-Filler: " + 200_000 * b"x" + b"\r\n\r\n" + ACCOUNT),
    Fault(
        "proxy-407",
        "the proxy answers CONNECT with HTTP 407",
        Wire(b"HTTP/1.1 407 Proxy Authentication Required\r\nConnection: close\r\n\r\n", is_proxy=True),
        Verdict.PERMANENT,
        PROXY_ASKS,
    ),
    _wire("proxy-502", "the proxy answers CONNECT with HTTP 502", said=b"HTTP/1.1 502 No\r\n\r\n", is_proxy=True),
    _wire("proxy-away", "the proxy refuses the connection", REFUSED, ear=Ear.SHUT, is_proxy=True),
)

TLS = (
    _certificate(Certificate.WRONG_HOST, "a certificate for another host", WRONG_HOST),
    _certificate(Certificate.SELF_SIGNED, "a self-signed certificate", STRANGER),
    _certificate(Certificate.STRANGER, "a certificate of an unknown authority", STRANGER),
    _certificate(Certificate.EXPIRED, "an expired certificate", EXPIRED),
    _certificate(Certificate.NOT_YET, "a certificate that is not valid yet", NOT_YET),
    _wire("http-on-tls-port", "plain http on a TLS port", NO_TLS, said=_HTTP_400, scheme="https"),
    _wire("tls-on-http-port", "TLS on a plain http port", certificate=Certificate.GOOD),
    _late("drip-handshake", "a handshake that drips", said=b"\x16\x03\x03\x40\x00", then=Then.DRIP, scheme="https"),
    _wire("closed-in-handshake", "closed in the middle of the handshake", NO_TLS, scheme="https"),
)

STATUSES = (
    *(_redirect(status, "the same host", "/v1/me?elsewhere") for status in (301, 302, 307, 308)),
    *(_redirect(status, "another host", f"http://{ELSEWHERE}:9/v1/me") for status in (301, 302, 307, 308)),
    _status(204, sentence=NO_CREDITS.replace("200", "204")),
    _status(400, Verdict.PERMANENT),
    _status(401, Verdict.PERMANENT, _no_access(401)),
    _status(402, Verdict.PERMANENT),
    _status(403, Verdict.PERMANENT, _no_access(403)),
    _status(404, Verdict.PERMANENT),
    _status(407, Verdict.PERMANENT, PROXY_ASKS),
    _status(408),
    *(_status(status, Verdict.PERMANENT) for status in (410, 413, 418)),
    _status(425),
    replace(_asked_to_wait(429, "", "", "", 0), name="http-429", what="HTTP 429", play=Answer({"http_status": 429})),
    _asked_to_wait(429, "seconds", "7", "7", 7),
    _asked_to_wait(429, "date", "a date, 20 s ahead", None, 20),
    _asked_to_wait(429, "past", "a date that is over", "Thu, 01 Jan 1970 00:00:00 GMT", 0),
    _asked_to_wait(429, "garbage", "soon", "soon", 0),
    _asked_to_wait(429, "negative", "-7", "-7", 0),
    _asked_to_wait(429, "year", "31536000 (a year)", "31536000", 31536000),
    _asked_to_wait(503, "seconds", "29", "29", 29),
    _asked_to_wait(503, "minute", "60", "60", 60),
    *(_status(status) for status in (500, 501, 502, 503, 504, 520, 599)),
)

BODIES = (
    _body("empty", "an empty body", b""),
    _body(
        "html",
        "HTML with HTTP 200",
        "<!DOCTYPE html><html><body>We are down<br></body></html>",
        Content_Type="text/html",
    ),
    _body("xhtml", "well-formed HTML", "<html><head><title>200</title></head><body><p>10</p></body></html>"),
    _body("truncated-json", "JSON that is cut off", ACCOUNT[:-9]),
    _body("deep-nesting", "JSON, nested 30,000 deep", 30_000 * "["),
    _body("list", "a list", b"[" + ACCOUNT + b"]"),
    _body("null", "null", "null"),
    _body("string", "a string", json.dumps(ACCOUNT.decode())),
    _body("number", "a number", "269082"),
    _body("noise", "random bytes", bytes(range(256))),
    _body("50-mb", "50 MB", b'{"filler": "' + 50_000_000 * b"x" + b'"}', TOO_LONG),
    _body("long-tail", "an account, and 1 MB of blanks", ACCOUNT + 1_000_000 * b" ", TOO_LONG),
    _body("gzip", "an account, packed by gzip", gzip.compress(ACCOUNT), PACKED, Content_Encoding="gzip"),
    _body("gzip-bomb", "50 MB, packed into 50 KB", gzip.compress(50_000_000 * b" "), PACKED, Content_Encoding="gzip"),
    _body(
        "wrong-charset",
        "Latin-1 that says it is UTF-8",
        ACCOUNT.replace(b"John", "Jérôme".encode("latin-1")),
        Content_Type="application/json; charset=utf-8",
    ),
    _body("no-such-charset", "a charset that nobody knows", ACCOUNT, Content_Type="application/json; charset=klingon"),
    _read(
        _body(
            "latin-1",
            "Latin-1 that says so",
            ACCOUNT.replace(b"John", "Jérôme".encode("latin-1")),
            Content_Type="application/json; charset=iso-8859-1",
        )
    ),
    _read(_body("bom", "UTF-8 with a byte order mark", b"\xef\xbb\xbf" + ACCOUNT)),
    _read(_body("utf-16", "UTF-16 with a byte order mark", ACCOUNT.decode().encode("utf-16"))),
    _read(_body("utf-16-unmarked", "UTF-16 without one", ACCOUNT.decode().encode("utf-16-le"))),
    _body("duplicate-keys", "one name twice", ACCOUNT.replace(b'"toSend": 0', b'"creditSms": 5')),
    _read(
        _body(
            "nan",
            "NaN and Infinity",
            ACCOUNT.replace(b"269082", b"NaN").replace(b"444570", b"Infinity").replace(b"2045023", b"-Infinity"),
        ),
        NO_COUNT,
    ),
    _read(
        _body("400-digits", "integers of 400 digits", ACCOUNT.replace(b"269082", MANY.encode())),
        UNREADABLE_SMS,
    ),
    _body("5000-digits", "an integer of 5,000 digits", ACCOUNT.replace(b"269082", 5_000 * b"9")),
)

CODES = (
    _body(
        "july-gateway",
        "the gateway of July 2026",
        {"success": True, "code": 200, "message": "Request queued for processing"},
    ),
    _code(1, KEY_REQUIRED),
    _code(10, KEY_UNKNOWN),
    _code(20, "SMS Partner has deactivated this account: ask its support to activate it"),
    _code(30, "SMS Partner has blocked this account: ask its support why"),
    _code(40, "SMS Partner denies API access to this account: have it switched on in the account's settings"),
    _code(96, "SMS Partner does not authorise this machine's IP address: add it in the account's settings"),
    _refused("code-as-string", 'code "10", a string', {"success": "false", "code": "10"}, f"{KEY_UNKNOWN} (code 10)"),
    _refused(
        "inner-code",
        "code 10 within the errors",
        {"success": False, "code": 9, "error": [{"elementId": "apiKey", "code": "10"}]},
        f"{KEY_UNKNOWN} (code 10)",
    ),
    _refused(
        "code-10-with-500",
        "code 10 with HTTP 500: the body decides",
        {"success": False, "code": 10},
        f"{KEY_UNKNOWN} (code 10)",
        http_status=500,
    ),
    _unknown_code("unknown-code", "a code that nobody documents", {"success": False, "code": 9}, 9),
    _unknown_code(
        "code-11",
        "code 11, and credits of 0",
        {"success": False, "code": 11, "error": {"message": "NOCREDITS"}, "credits": {"creditSms": 0, "solde": 0}},
        11,
    ),
    _body("no-code", "no success, and no code", {"success": False, "credits": FIELDS}, FAILED),
    _read(
        _body(
            "200-as-string",
            'code "200" and success "true", strings',
            ACCOUNT.replace(b"200", b'"200"').replace(b"true", b'"true"'),
        )
    ),
    _read(
        replace(
            _body("account-with-500", "an account with HTTP 500: the body decides", ACCOUNT),
            play=Answer({"body": ACCOUNT, "http_status": 500}),
        )
    ),
)

SHAPES = (
    _body("credits-missing", "no credits", {"success": True, "code": 200, "user": USER}),
    _body("credits-renamed", "credits under another name", {"success": True, "code": 200, "credit": FIELDS}),
    _body("credits-empty", "credits without a figure", _answer_with({})),
    _body("credits-a-number", "credits that are a number", _answer_with(269082)),
    _body("credits-a-list", "credits that are a list", _answer_with(list(FIELDS.values()))),
    _body("figures-renamed", "every figure under another name", _answer_with({"sms": 269082, "amount": "10225.119"})),
    _body(
        "figures-with-commas",
        'no figure but "269,082", "34,18" and 1000.0',
        _answer_with({"creditSms": "269,082", "creditHlr": 1000.0, "balance": "34,18"}),
        "the answer (HTTP 200) holds no readable credits, as it reports creditSms, creditHlr, balance, "
        "but not as plain numbers: it may pass by itself, else ask SMS Partner's support",
    ),
    _fields("count-missing", "no creditSms", NO_SMS, without=("creditSms",)),
    _fields("count-renamed", "creditSms under another name", NO_SMS, without=("creditSms",), creditPremium=269082),
    _fields("count-null", "creditSms is null", NO_SMS, creditSms=None),
    _fields("count-true", "creditSms is true", UNREADABLE_SMS, creditSms=True),
    _fields("count-fraction", "creditSms is 269082.5", UNREADABLE_SMS, creditSms=269082.5),
    _fields("count-words", 'creditSms is "269 082"', UNREADABLE_SMS, creditSms="269 082"),
    _fields("count-negative", "creditSms is -5", replace(ALL, sms=-5), creditSms=-5),
    _fields("balance-negative", 'the balance is "-3.000"', replace(ALL, balance=Decimal("-3.000")), balance="-3.000"),
    _fields("count-as-string", 'creditSms is "269082", a string', creditSms="269082"),
    _fields("eco", "creditSmsECO for creditSmsLowCost", without=("creditSmsLowCost",), creditSmsECO=444570),
    _fields("eco-and-low-cost", "both of them", creditSmsECO=444570),
    _fields("solde-only", "solde, and no balance", without=("balance",)),
    _fields("balance-as-number", "the balance as a bare number", without=("solde",), balance=10225.119),
    _fields("no-currency", "no currency", replace(ALL, currency=None), without=("currency",)),
    _read(_body("no-user", "no user", {"success": True, "code": 200, "credits": FIELDS})),
    _fields("surplus-fields", "fields that nobody documents", creditWhatsApp=7),
)

XML_ANSWERS = (
    _read(_xml("xml", "the vendor's shape", XML)),
    _read(_xml("xml-namespace", "in a namespace", XML.replace("<result>", '<result xmlns="urn:example:me">'))),
    _read(
        _xml(
            "xml-prefixes",
            "with prefixes",
            '<s:result xmlns:s="urn:example:me">'
            + XML.removeprefix("<result>")
            .replace("</entry>", "</s:entry>")
            .replace("<entry>", "<s:entry>")
            .replace("</result>", "</s:result>"),
        )
    ),
    _read(_xml("xml-no-user", "without its user", XML.replace(_XML_USER, ""))),
    _xml("xml-bomb", "entities within entities", _BOMB + _WITH_ENTITY),
    _xml("xml-external", "an external entity", _EXTERNAL + _WITH_ENTITY),
    _xml("xml-truncated", "cut off", XML[:-20]),
    _xml("xml-entry-missing", "a credit entry too few", XML.replace(_XML_FIRST, "")),
    _xml("xml-entry-more", "a credit entry too many", XML.replace(_XML_FIRST, 2 * _XML_FIRST)),
    _read(
        _xml("xml-count-words", "creditSms with a blank in it", XML.replace(_XML_FIRST, "<entry>269 082</entry>")),
        UNREADABLE_SMS,
    ),
    _xml("xml-empty", "an empty root", "<result/>"),
    replace(
        _xml("xml-code-10", "code 10", "<result><entry>false</entry><entry>10</entry></result>"),
        verdict=Verdict.PERMANENT,
        sentence=f"{KEY_UNKNOWN} (code 10)",
    ),
)

GROUPS: Mapping[str, tuple[Fault, ...]] = {
    "On the way": ON_THE_WAY,
    "TLS": TLS,
    "HTTP statuses": STATUSES,
    "Bodies": BODIES,
    "Codes": CODES,
    "Fields": SHAPES,
    "XML": XML_ANSWERS,
}
FAULTS = tuple(fault for faults in GROUPS.values() for fault in faults)
