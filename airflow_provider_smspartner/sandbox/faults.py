"""The faults that the sandbox plays on demand, in the order in which they were queued."""

from __future__ import annotations

import json
import math
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from airflow_provider_smspartner.sandbox.account import require
from airflow_provider_smspartner.sandbox.answers import BODILESS, JULY_GATEWAY, Answer, gateway_page

Body = str | bytes | Mapping[str, Any]


@dataclass
class Fault:
    """
    What requests meet.

    :param times: requests that meet it yet
    :param delay: seconds before anything else
    :param answer: None for the usual one
    :param drop: close the connection without an answer
    """

    times: float
    delay: float
    answer: Answer | None
    drop: bool


class FaultQueue:
    """Faults in their order."""

    def __init__(self) -> None:
        self._faults: deque[Fault] = deque()
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """
        Queue a fault.

        :raises ValueError: the one before it has no end
        """
        with self._lock:
            endless = self._faults and self._faults[-1].times == math.inf
            require(not endless, "the fault before this one has no end: call recover() first")
            self._faults.append(fault)

    def take(self) -> Fault | None:
        """Return what the next request meets, if anything."""
        with self._lock:
            if not self._faults:
                return None
            fault = self._faults[0]
            fault.times -= 1
            if not fault.times:
                self._faults.popleft()
            return fault

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._faults.clear()


def make_fault(
    *,
    times: int | None,
    http_status: int | None,
    body: Body | None,
    headers: Mapping[str, str],
    delay: float,
    drop: bool,
    july_gateway: bool,
) -> Fault:
    """
    Return the fault that ``SMSPartnerSandbox.fail_next`` describes.

    :raises ValueError: the combination makes no sense
    """
    own_answer = body is not None or http_status is not None
    require(not (july_gateway and own_answer), "july_gateway has a status and body of its own: leave them out")
    answer = _answer(http_status, JULY_GATEWAY if july_gateway else body, headers)
    require(answer or drop or delay, "nothing to play: give http_status, body, delay, drop or july_gateway")
    require(not (answer and drop), "a dropped connection has no answer: give drop, or http_status and body")
    require(times is None or times >= 1, f"times is {times}: use 1 or more, or None for until recover()")
    require(0 <= delay <= threading.TIMEOUT_MAX, f"delay is {delay}: use seconds, 0 or more")
    return Fault(math.inf if times is None else times, delay, answer, drop)


def _answer(http_status: int | None, body: Body | None, headers: Mapping[str, str]) -> Answer | None:
    if http_status is None and body is None:
        require(not headers, "headers go with an answer: give http_status, body or july_gateway")
        return None
    status = HTTPStatus.OK if http_status is None else http_status
    require(status in range(200, 600), f"http_status is {status}: use 200 to 599")
    require(body is None or status not in BODILESS, f"HTTP {status} has no body: leave body out")
    titled = {name.title(): str(value) for name, value in headers.items()}
    if body is None:
        return gateway_page(status, titled)
    return Answer(json.dumps(body) if isinstance(body, Mapping) else body, status=status, headers=titled)
