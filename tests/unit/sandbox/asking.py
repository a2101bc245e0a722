"""How the tests ask a sandbox: plain HTTP, without a client of ours."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox

KEY = "sandbox-key"
AWKWARD_KEY = "S3cr3t+Key/42=é%&#?"


def connect(sandbox: SMSPartnerSandbox) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(sandbox.url).netloc, timeout=5)


def ask(
    sandbox: SMSPartnerSandbox,
    target: str = f"/v1/me?apiKey={KEY}",
    method: str = "GET",
    connection: http.client.HTTPConnection | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    own = connection or connect(sandbox)
    try:
        own.request(method, target, headers=headers or {})
        response = own.getresponse()
        return response.status, response.headers, response.read()
    finally:
        if connection is None:
            own.close()


def me(sandbox: SMSPartnerSandbox, key: str = KEY) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(ask(sandbox, f"/v1/me?apiKey={quote(key, safe='')}")[2])
    return answer


def exchange(sandbox: SMSPartnerSandbox, message: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", urlsplit(sandbox.url).port or 0), timeout=5) as raw:
        raw.sendall(message)
        return b"".join(iter(lambda: raw.recv(4096), b""))


def entries(body: bytes) -> list[ET.Element]:
    return list(ET.fromstring(body))


def curl(port: int, target: str, method: str = "GET") -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, target)
    body = connection.getresponse().read()
    connection.close()
    return body
