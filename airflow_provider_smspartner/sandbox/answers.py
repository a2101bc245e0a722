"""What the sandbox answers: the API's own answers in JSON and XML, a gateway's page, and words for a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

JULY_GATEWAY = {"success": True, "code": 200, "message": "Request queued for processing"}
BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


@dataclass(frozen=True)
class Answer:
    """
    An HTTP answer.

    :param kind: what it is, for a person; empty for what is not worth a line
    """

    body: str | bytes
    content_type: str = "application/json"
    status: int = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""


def of_the_api(content: Mapping[str, Any], response_format: str | None, kind: str) -> Answer:
    """Return an answer in the format that was asked for, JSON unless that is XML."""
    if response_format == "xml":
        return Answer(_xml(content), "application/xml", kind=f"{kind} in XML")
    return Answer(json.dumps(content, ensure_ascii=False), kind=f"{kind} in JSON")


def of_the_sandbox(content: Mapping[str, Any], kind: str) -> Answer:
    """Return what the account holds after somebody moved it by hand, labelled as a sandbox's."""
    return Answer(json.dumps({"sandbox": True, **content}), kind=kind)


def gateway_page(status: int, headers: Mapping[str, str]) -> Answer:
    """Return the HTML page that a gateway sends with an error, or no page where the status has none."""
    if status in BODILESS:
        return Answer("", "text/html", status, headers)
    title = f"{status} {BaseHTTPRequestHandler.responses.get(status, ('Error',))[0]}"
    page = f"<html>\n<head><title>{title}</title></head>\n<body><center><h1>{title}</h1></center></body>\n</html>\n"
    return Answer(page, "text/html", status, headers)


def refusal(status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Tell a person what the sandbox does not do."""
    return Answer(f"SMS Partner sandbox: {text}\n", "text/plain; charset=utf-8", status, headers or {})


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
