"""A scriptable ``GET /v1/me`` on loopback: SMS Partner has no sandbox for it, and DAGs want one to be tested with."""

from __future__ import annotations

import argparse
import json
import math
import re
import shlex
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from email.message import Message
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from socketserver import TCPServer
from typing import Any, Self
from urllib.parse import parse_qsl

HOST = "127.0.0.1"
ME = "/v1/me"
TOP_UP = "/sandbox/top-up"
METHODS = {ME: "GET", TOP_UP: "POST"}
UNIT_PRICES = {"sms": Decimal("0.038"), "sms_low_cost": Decimal("0.023"), "hlr": Decimal("0.005")}
"""The prices that the counts in the API's documentation come from."""
USER = {"username": "sandbox@example.com", "firstname": "Sandbox", "lastname": "Not the real API"}
JULY_GATEWAY = {"success": True, "code": 200, "message": "Request queued for processing"}
BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
LARGEST_AMOUNT = 10**15
SMALLEST_PRICE = Decimal("0.000001")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Amount = str | int | Decimal
Body = str | bytes | Mapping[str, Any]


@dataclass(frozen=True)
class _Answer:
    body: str | bytes
    content_type: str = "application/json"
    status: int = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""


@dataclass
class _Fault:
    times: float
    delay: float
    answer: _Answer | None
    """None for the usual one."""
    drop: bool


class SMSPartnerSandbox:
    """
    Run a real HTTP server that behaves like the account behind ``GET /v1/me``.

    Use it as a context manager, or call ``start()`` and ``stop()``; a restart keeps the account and the port.

    :param balance: what the account holds, in ``currency``; no float, which would not be exact
    :param api_key: the key of the account, or several (sub-accounts have keys of their own)
    :param currency: ISO 4217 code
    :param to_send: SMS pending departure; may be set at any time
    :param prices: unit prices that the counts derive from, of ``sms``, ``sms_low_cost``, ``hlr``; not all need be given
    :param port: where to listen on 127.0.0.1; 0 for any free port
    :raises ValueError: an argument makes no sense; the text says what to write instead
    """

    def __init__(
        self,
        balance: Amount = "100.00",
        api_key: str | Collection[str] = "sandbox-key",
        *,
        currency: str = "EUR",
        to_send: int = 0,
        prices: Mapping[str, Amount] = UNIT_PRICES,
        port: int = 0,
    ) -> None:
        _require(re.fullmatch("[A-Z]{3}", currency), f"currency is {currency!r}: use an ISO 4217 code, like EUR")
        _require(port in range(2**16), f"port is {port}: use 1 to 65535, or 0 for any free one")
        self._balance = _exact("balance", balance)
        self._keys = _keys(api_key)
        self._currency = currency
        self._prices = _unit_prices(prices)
        self._port = port
        self.to_send = to_send
        self.requests = 0
        """``GET /v1/me`` received so far, those that met a fault included."""
        self.connections = 0
        """TCP connections accepted so far: fewer than the requests where a client keeps its own alive."""
        self.last_headers = Message()
        """Headers of the last ``GET /v1/me``; case does not matter."""
        self._requests_by_key: Counter[str] = Counter()
        self._faults: deque[_Fault] = deque()
        self._changed = threading.Condition()
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """
        Listen, and return the sandbox.

        :raises OSError: the port is taken
        """
        if self._server is not None:
            raise RuntimeError("this sandbox runs already: stop it first, or make another one")
        self._server = _Server(self, self._port)
        self._port = self._server.server_port
        self._server.thread.start()
        return self

    def stop(self) -> None:
        """Close the port and cut every connection; a request that waits in a delay gets no answer."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    @property
    def url(self) -> str:
        """The base URL."""
        if not self._port:
            raise RuntimeError("the sandbox has no URL before it listens: start it first, or give it a port")
        return f"http://{HOST}:{self._port}/v1"

    def connection_json(self, api_key: str | None = None, **extra: Any) -> str:
        """
        Return the connection to the sandbox as an ``AIRFLOW_CONN_…`` environment variable holds it.

        :param api_key: the password, right or wrong; the first of the sandbox's keys unless given
        :param extra: the connection's extras
        """
        connection = {
            "conn_type": "smspartner",
            "description": "SMS Partner sandbox on this machine, not the real API",
            "host": self.url,
            "password": self._keys[0] if api_key is None else api_key,
            "extra": extra,
        }
        return json.dumps(connection)

    @property
    def balance(self) -> Decimal:
        """What the account holds."""
        with self._changed:
            return self._balance

    def top_up(self, amount: Amount) -> Decimal:
        """Add the amount and return the new balance."""
        return self._move(_exact("amount", amount))

    def spend(self, amount: Amount) -> Decimal:
        """
        Take the amount and return the new balance.

        :raises ValueError: the account holds less
        """
        return self._move(-_exact("amount", amount))

    @property
    def requests_by_key(self) -> Counter[str]:
        """``GET /v1/me`` received so far with each key, wrong ones included; 0 for a key that never came."""
        with self._changed:
            return self._requests_by_key.copy()

    def wait_for_requests(self, n: int, timeout: float = 10) -> None:
        """
        Block until so many ``GET /v1/me`` have arrived, counted from when the sandbox was made.

        :param timeout: seconds
        :raises TimeoutError: fewer arrived in that time
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.requests >= n, timeout):
                raise TimeoutError(f"{self.requests} of {n} requests arrived within {timeout} s")

    def fail_next(
        self,
        *,
        times: int | None = 1,
        http_status: int | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        delay: float = 0,
        drop: bool = False,
        july_gateway: bool = False,
    ) -> None:
        """
        Queue a fault; each ``GET /v1/me`` meets the first that is left, before anybody looks at its key.

        :param times: requests that meet it; None for all until ``recover()``
        :param http_status: 200 to 599; with a gateway's HTML page where no body is given
        :param body: what to answer; HTTP 200 and ``application/json`` unless said otherwise
        :param headers: sent along; they override the sandbox's own, even a Content-Length
        :param delay: seconds before the fault, or before the usual answer where there is nothing but a delay
        :param drop: close the connection without an answer
        :param july_gateway: report success without credits, in JSON, as the gateway did in July 2026
        :raises ValueError: the combination makes no sense
        """
        own_answer = body is not None or http_status is not None
        _require(not (july_gateway and own_answer), "july_gateway has a status and body of its own: leave them out")
        answer = _fault_answer(http_status, JULY_GATEWAY if july_gateway else body, headers or {})
        _require(answer or drop or delay, "nothing to play: give http_status, body, delay, drop or july_gateway")
        _require(not (answer and drop), "a dropped connection has no answer: give drop, or http_status and body")
        _require(times is None or times >= 1, f"times is {times}: use 1 or more, or None for until recover()")
        _require(0 <= delay <= threading.TIMEOUT_MAX, f"delay is {delay}: use seconds, 0 or more")
        with self._changed:
            endless = self._faults and self._faults[-1].times == math.inf
            _require(not endless, "the fault before this one has no end: call recover() first")
            self._faults.append(_Fault(math.inf if times is None else times, delay, answer, drop))

    def recover(self) -> None:
        """Forget the faults that are queued."""
        with self._changed:
            self._faults.clear()

    def _respond(self, method: str, target: str, headers: Message, stopping: threading.Event) -> _Answer | None:
        path, _, query = target.partition("?")
        parameters = dict(parse_qsl(query))
        if path not in METHODS:
            return _refusal(HTTPStatus.NOT_FOUND, f"this sandbox knows {' and '.join(METHODS)}")
        if method != METHODS[path]:
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"use {METHODS[path]}", {"Allow": METHODS[path]})
        if path == TOP_UP:
            return self._top_up_by_hand(parameters)
        fault = self._receive(parameters.get("apiKey"), headers)
        if fault is None:
            return self._usual_answer(parameters)
        if stopping.wait(fault.delay) or fault.drop:
            return None
        return fault.answer or self._usual_answer(parameters)

    def _receive(self, key: str | None, headers: Message) -> _Fault | None:
        with self._changed:
            self.requests += 1
            self.last_headers = headers
            if key is not None:
                self._requests_by_key[key] += 1
            self._changed.notify_all()
            if not self._faults:
                return None
            fault = self._faults[0]
            fault.times -= 1
            if not fault.times:
                self._faults.popleft()
            return fault

    def _usual_answer(self, parameters: Mapping[str, str]) -> _Answer:
        key = parameters.get("apiKey")
        content: dict[str, Any]
        # Which HTTP status comes with a refusal is recorded nowhere; 200 is the one that makes a client read the body.
        if not key:
            content = {"success": False, "code": 1, "message": "Clé API requise"}
        elif key not in self._keys:
            content = {"success": False, "code": 10, "message": "Clé API incorrecte"}
        else:
            content = {"success": True, "code": 200, "user": USER, "credits": self._credits()}
        kind = "reading" if content["success"] else f"refusal with code {content['code']}"
        if parameters.get("_format") == "xml":
            return _Answer(_xml(content), "application/xml", kind=f"{kind} in XML")
        return _Answer(json.dumps(content, ensure_ascii=False), kind=f"{kind} in JSON")

    def _credits(self) -> dict[str, int | str]:
        balance = self.balance
        return {
            "creditSms": int(balance // self._prices["sms"]),
            "creditSmsLowCost": int(balance // self._prices["sms_low_cost"]),
            "creditHlr": int(balance // self._prices["hlr"]),
            "toSend": self.to_send,
            "solde": _three_places(balance),
            "currency": self._currency,
            "balance": _three_places(balance),
        }

    def _top_up_by_hand(self, parameters: Mapping[str, str]) -> _Answer:
        try:
            balance = self.top_up(parameters.get("amount", ""))
        except ValueError as error:
            return _refusal(HTTPStatus.BAD_REQUEST, str(error))
        content = {"sandbox": True, "balance": _three_places(balance), "currency": self._currency}
        return _Answer(json.dumps(content), kind="top-up")

    def _move(self, amount: Decimal) -> Decimal:
        with self._changed:
            balance = self._balance + amount
            _require(balance >= 0, f"the account holds {self._balance} {self._currency}, which is less than {-amount}")
            self._balance = _exact("balance", balance)
            return self._balance

    def _report(self, kind: str) -> None:
        """Say nothing: what a test prints is its own affair."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # beyond the default of 5, a burst of clients waits a second and more to connect

    def __init__(self, sandbox: SMSPartnerSandbox, port: int) -> None:
        self.sandbox = sandbox
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), name="SMSPartnerSandbox", daemon=True)
        self._open: dict[socket, threading.Thread] = {}
        self._open_lock = threading.Lock()
        super().__init__((HOST, port), _Handler)

    def stop(self) -> None:
        self.shutdown()
        with self._open_lock:
            handlers = list(self._open.values())
            for connection in self._open:
                with suppress(OSError):  # the client was faster
                    connection.shutdown(SHUT_RDWR)
        self.stopping.set()
        self.server_close()
        for thread in (self.thread, *handlers):
            thread.join()

    def server_bind(self) -> None:
        # HTTPServer asks the resolver for the host's name here: nobody reads it, and it may take seconds.
        TCPServer.server_bind(self)
        self.server_port = self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        # ThreadingMixIn forgets its daemon threads, and stop() is to leave none behind.
        handler = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        with self._open_lock:
            self._open[request] = handler
        self.sandbox.connections += 1
        handler.start()

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # clients may hang up
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes, and a delayed ACK between them costs 40 ms

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):  # http.server looks for one method per HTTP method, and answers 501 without
            return self._respond
        raise AttributeError(name)

    def _respond(self) -> None:
        sandbox = self.server.sandbox
        answer = sandbox._respond(self.command, self.path, self.headers, self.server.stopping)
        if answer is None:
            self.close_connection = True
            return
        if answer.kind:
            sandbox._report(answer.kind)
        self._send(answer)

    def _send(self, answer: _Answer) -> None:
        body = answer.body.encode() if isinstance(answer.body, str) else answer.body
        headers = dict(answer.headers)
        if answer.status not in BODILESS:
            headers = {"Content-Type": answer.content_type, "Content-Length": str(len(body))} | headers
            if self.command != "GET" or headers["Content-Length"] != str(len(body)):
                headers["Connection"] = "close"  # bytes missing here, or unread there, would pass for the next message
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "SMSPartnerSandbox"

    def log_message(self, *_: Any) -> None:
        """Say nothing: the request line holds the key."""


def _require(met: object, otherwise: str) -> None:
    if not met:
        raise ValueError(otherwise)


def _exact(name: str, value: Amount, least: Decimal = Decimal(0)) -> Decimal:
    _require(not isinstance(value, bool | float), f"{name} is {value!r}, which is not exact: write it like '10.50'")
    try:
        amount = Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}, which is no amount: write it like '10.50'") from None
    fits = amount.is_finite() and least <= amount < LARGEST_AMOUNT
    _require(fits, f"{name} is {value}: use {least} to below {LARGEST_AMOUNT}")
    return amount


def _keys(api_key: str | Collection[str]) -> tuple[str, ...]:
    keys = (api_key,) if isinstance(api_key, str) else tuple(api_key)
    _require(keys and all(keys), "api_key is empty: give the sandbox a key, or several")
    return keys


def _unit_prices(prices: Mapping[str, Amount]) -> dict[str, Decimal]:
    _require(prices.keys() <= UNIT_PRICES.keys(), f"prices are of {', '.join(prices)}: use {', '.join(UNIT_PRICES)}")
    return UNIT_PRICES | {name: _exact(f"the price of {name}", prices[name], SMALLEST_PRICE) for name in prices}


def _fault_answer(http_status: int | None, body: Body | None, headers: Mapping[str, str]) -> _Answer | None:
    if http_status is None and body is None:
        _require(not headers, "headers go with an answer: give http_status, body or july_gateway")
        return None
    status = HTTPStatus.OK if http_status is None else http_status
    _require(status in range(200, 600), f"http_status is {status}: use 200 to 599")
    _require(body is None or status not in BODILESS, f"HTTP {status} has no body: leave body out")
    titled = {name.title(): str(value) for name, value in headers.items()}
    if body is None:
        return _Answer("" if status in BODILESS else _gateway_page(status), "text/html", status, titled)
    return _Answer(json.dumps(body) if isinstance(body, Mapping) else body, status=status, headers=titled)


def _gateway_page(status: int) -> str:
    title = f"{status} {BaseHTTPRequestHandler.responses.get(status, ('Error',))[0]}"
    return f"<html>\n<head><title>{title}</title></head>\n<body><center><h1>{title}</h1></center></body>\n</html>\n"


def _refusal(status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> _Answer:
    return _Answer(f"SMS Partner sandbox: {text}\n", "text/plain; charset=utf-8", status, headers or {})


def _three_places(amount: Decimal) -> str:
    return format(amount.quantize(Decimal("0.001"), ROUND_DOWN), "f")


def _xml(content: Mapping[str, Any]) -> str:
    entries = "\n".join(_xml_entry(name, value) for name, value in content.items())
    return f"<?xml version='1.0' encoding='UTF-8'?>\n<result>\n{entries}\n</result>\n"


def _xml_entry(name: str, value: Any) -> str:
    """Write the value without its name, as the API does: only the user's fields have names."""
    if name == "user":
        inner = "".join(f"<{child}>{escape(text)}</{child}>" for child, text in value.items())
    elif isinstance(value, Mapping):
        inner = "".join(_xml_entry(child, each) for child, each in value.items())
    else:
        inner = f"<![CDATA[{value}]]>" if isinstance(value, str) else json.dumps(value)
    return f"<entry>{inner}</entry>"


class _SpokenSandbox(SMSPartnerSandbox):
    """The sandbox of the command, which tells a person what it answers, and never which key came."""

    def _report(self, kind: str) -> None:
        with suppress(BrokenPipeError):  # whoever read the lines has left, and the account is still there
            _say(f"{time.strftime('%H:%M:%S')}  {kind}, balance {_three_places(self.balance)} {self._currency}")

    def introduction(self) -> str:
        return f"""SMS Partner sandbox: a stand-in on this machine, not the real API. It sends no SMS and costs nothing.

  URL      {self.url}
  Airflow  export AIRFLOW_CONN_SMSPARTNER_DEFAULT={shlex.quote(self.connection_json())}
  Top up   curl -X POST '{self.url.removesuffix("/v1")}{TOP_UP}?amount=50'

Ctrl-C stops it. Each answer is one line:"""


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_smspartner.sandbox",
        description="Run a stand-in for SMS Partner's GET /v1/me on this machine. It is not the real API.",
    )
    parser.add_argument("--balance", default="100", help="what the account holds (default: %(default)s)")
    parser.add_argument("--api-key", default="sandbox-key", help="its key (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8025, help="where to listen (default: %(default)s; 0: any free)")
    parser.add_argument("--currency", default="EUR", help="ISO 4217 code (default: %(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sandbox for a person until Ctrl-C or SIGTERM, and return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        sandbox = _SpokenSandbox(options.balance, options.api_key, currency=options.currency, port=options.port)
    except ValueError as error:
        parser.error(str(error))
    # Threads inherit the mask, which leaves the signals to sigwait: no handler runs in the middle of anything.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        sandbox.start()
    except OSError as error:
        sys.stderr.write(f"Cannot listen on {HOST}:{options.port} ({error.strerror}): choose another --port.\n")
        return 1
    _say(sandbox.introduction())
    signal.sigwait(STOP_SIGNALS)
    sandbox.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
