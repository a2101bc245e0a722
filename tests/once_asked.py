"""Acting on a sandbox while somebody else waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_smspartner.sandbox import SMSPartnerSandbox


@contextmanager
def once_asked(sandbox: SMSPartnerSandbox, requests: int, act: Callable[[], object]) -> Iterator[None]:
    """Act as soon as the sandbox has been asked so often in all, in a thread; end when that is done."""

    def wait_and_act() -> None:
        sandbox.wait_for_requests(requests, timeout=300)
        act()

    thread = Thread(target=wait_and_act)
    thread.start()
    yield
    thread.join()
