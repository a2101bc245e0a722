"""Retries that are set up once an attempt has failed: nearly all work passes at once, and tenacity would double it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def beginning_with(failure: Exception, work: Callable[[], Result]) -> Callable[[], Result]:
    """
    Return the work as its retries are to see it: their first attempt is the one that has failed already, told again.

    So they count, wait and log as if they had made it themselves.

    :param failure: what the attempt has failed with
    :param work: what the next attempts do
    """
    failures = [failure]

    def attempt() -> Result:
        if failures:
            raise failures.pop()
        return work()

    return attempt
