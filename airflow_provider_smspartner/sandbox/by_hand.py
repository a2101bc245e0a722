"""What a person does to the account with curl: ``POST /sandbox/top-up``, ``spend``, ``fail`` and ``recover``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

from airflow_provider_smspartner.sandbox.account import SandboxAccount, require
from airflow_provider_smspartner.sandbox.answers import Answer, of_the_sandbox, refusal


class Playable(Protocol):
    """What a person can move: the account, and the faults of the sandbox."""

    account: SandboxAccount

    @property
    def fail_next(self) -> Callable[..., None]:
        """Queue a fault."""

    @property
    def recover(self) -> Callable[[], None]:
        """Forget the faults that are queued."""


_TRUTHS = {"true": True, "false": False}


def act(sandbox: Playable, path: str, parameters: Mapping[str, str]) -> Answer:
    """Do what the path says; tell in words what makes no sense."""
    try:
        kind = ACTIONS[path](sandbox, parameters)
    except ValueError as error:
        return refusal(HTTPStatus.BAD_REQUEST, str(error))
    return of_the_sandbox({"balance": sandbox.account.told(), "currency": sandbox.account.currency}, kind)


def _top_up(sandbox: Playable, parameters: Mapping[str, str]) -> str:
    sandbox.account.top_up(parameters.get("amount", ""))
    return "top-up"


def _spend(sandbox: Playable, parameters: Mapping[str, str]) -> str:
    sandbox.account.spend(parameters.get("amount", ""))
    return "spent"


def _fail(sandbox: Playable, parameters: Mapping[str, str]) -> str:
    """Queue a fault; ``times=all`` plays it until ``recover``, and ``code=30`` is short for an error of the API."""
    known = {*_FAULT, "code"}
    unknown = [name for name in parameters if name not in known]
    require(not unknown, f"there is no {unknown and unknown[0]!r}: use {', '.join(sorted(known))}")
    fault: dict[str, Any] = {name: _read(name, text) for name, text in parameters.items() if name in _FAULT}
    if "code" in parameters:
        fault["body"] = {"success": False, "code": _whole("code", parameters["code"])}
    sandbox.fail_next(**fault)
    return "fault queued"


def _recover(sandbox: Playable, _: Mapping[str, str]) -> str:
    sandbox.recover()
    return "recovered"


def _read(name: str, text: str) -> Any:
    return _FAULT[name](name, text)


def _whole(name: str, text: str) -> int:
    require(text.isascii() and text.isdecimal(), f"{name} is {text!r}: use a whole number")
    return int(text)


def _times(name: str, text: str) -> int | None:
    return None if text == "all" else _whole(name, text)


def _seconds(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}: use seconds") from None


def _truth(name: str, text: str) -> bool:
    require(text in _TRUTHS, f"{name} is {text!r}: use true or false")
    return _TRUTHS[text]


_FAULT: dict[str, Callable[[str, str], Any]] = {
    "times": _times,
    "http_status": _whole,
    "delay": _seconds,
    "drop": _truth,
    "july_gateway": _truth,
}
"""What ``fail_next`` takes, and how each is read from a query."""

ACTIONS: dict[str, Callable[[Playable, Mapping[str, str]], str]] = {
    "/sandbox/top-up": _top_up,
    "/sandbox/spend": _spend,
    "/sandbox/fail": _fail,
    "/sandbox/recover": _recover,
}
"""By path; each returns what it did, in a word or two."""
