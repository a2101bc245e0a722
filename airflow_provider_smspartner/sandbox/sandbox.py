"""The sandbox as tests use it: an account behind ``GET /v1/me``, its requests counted, its faults on demand."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Collection, Mapping
from decimal import Decimal
from email.message import Message
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qsl

from airflow_provider_smspartner.sandbox.account import UNIT_PRICES, Amount, SandboxAccount, require
from airflow_provider_smspartner.sandbox.answers import Answer, refusal
from airflow_provider_smspartner.sandbox.by_hand import ACTIONS, act
from airflow_provider_smspartner.sandbox.faults import Body, Fault, FaultQueue, make_fault
from airflow_provider_smspartner.sandbox.server import HOST, Server

ME = "/v1/me"
METHODS = {ME: "GET"} | dict.fromkeys(ACTIONS, "POST")


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
        require(port in range(2**16), f"port is {port}: use 1 to 65535, or 0 for any free one")
        self.account = SandboxAccount(balance, api_key, currency=currency, to_send=to_send, prices=prices)
        self._port = port
        self.requests = 0
        """``GET /v1/me`` received so far, those that met a fault included."""
        self.connections = 0
        """TCP connections accepted so far: fewer than the requests where a client keeps its own alive."""
        self.last_headers = Message()
        """Headers of the last ``GET /v1/me``; case does not matter."""
        self._requests_by_key: Counter[str] = Counter()
        self._faults = FaultQueue()
        self._changed = threading.Condition()
        self._server: Server | None = None

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
        self._server = Server(self, self._port)
        self._port = self._server.server_port
        self._server.start()
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
            "password": self.account.keys[0] if api_key is None else api_key,
            "extra": extra,
        }
        return json.dumps(connection)

    @property
    def balance(self) -> Decimal:
        """What the account holds."""
        return self.account.balance

    @property
    def to_send(self) -> int:
        """SMS pending departure."""
        return self.account.to_send

    @to_send.setter
    def to_send(self, pending: int) -> None:
        self.account.to_send = pending

    def top_up(self, amount: Amount) -> Decimal:
        """Add the amount and return the new balance."""
        return self.account.top_up(amount)

    def spend(self, amount: Amount) -> Decimal:
        """
        Take the amount and return the new balance.

        :raises ValueError: the account holds less
        """
        return self.account.spend(amount)

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
        fault = make_fault(
            times=times,
            http_status=http_status,
            body=body,
            headers=headers or {},
            delay=delay,
            drop=drop,
            july_gateway=july_gateway,
        )
        self._faults.add(fault)

    def recover(self) -> None:
        """Forget the faults that are queued."""
        self._faults.clear()

    def connected(self) -> None:
        """Count a TCP connection."""
        self.connections += 1

    def respond(self, method: str, target: str, headers: Message, stopping: threading.Event) -> Answer | None:
        """Return the answer to a request, or None to close the connection without one."""
        path, _, query = target.partition("?")
        parameters = dict(parse_qsl(query))
        if path not in METHODS:
            return refusal(HTTPStatus.NOT_FOUND, f"this sandbox knows {', '.join(METHODS)}")
        if method != METHODS[path]:
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"use {METHODS[path]}", {"Allow": METHODS[path]})
        if path != ME:
            return act(self, path, parameters)
        fault = self._receive(parameters.get("apiKey"), headers)
        if fault is None:
            return self.account.answer(parameters)
        if stopping.wait(fault.delay) or fault.drop:
            return None
        return fault.answer or self.account.answer(parameters)

    def _receive(self, key: str | None, headers: Message) -> Fault | None:
        with self._changed:
            self.requests += 1
            self.last_headers = headers
            if key is not None:
                self._requests_by_key[key] += 1
            self._changed.notify_all()
        return self._faults.take()
