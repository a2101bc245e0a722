"""Keep the API key out of logs, in each of its spellings, whoever writes them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from urllib.parse import quote, quote_plus

from airflow.providers.common.compat.sdk import mask_secret

_KEY_IN_QUERY = re.compile(r"(?<=apiKey=)[^&\s\"']*")

_WORDS_OF_AN_ANSWER = re.compile(r"(Failed to parse headers ).*", re.DOTALL)
"""What urllib3 logs of an answer's head. A gateway may repeat the key there, in whatever spelling."""

_asks_with_the_key = ContextVar("asks_with_the_key", default=False)
"""Whether this thread, or this task of an event loop, does. Answers to others are logged as ever."""

_TALKATIVE_LOGGERS = tuple(
    logging.getLogger(name)
    for name in (
        "urllib3.connection",
        "urllib3.connectionpool",
        "urllib3.util.retry",
        "aiohttp.client",
        "aiohttp.internal",
    )
)
"""The loggers of URLs and of words of answers: urllib3.connection and aiohttp.internal at WARNING, others at DEBUG."""


def mask(secrets: Iterable[str]) -> None:
    """Have Airflow mask each secret in all logs of this process, as it stands and as a URL spells it."""
    for spelling in _spellings(secrets):
        mask_secret(spelling)


async def amask(secrets: Iterable[str]) -> None:
    """Mask as ``mask`` does, on an event loop: there, a synchronous word to Airflow's supervisor may deadlock."""
    try:
        from airflow.sdk.log import amask_secret
    except ImportError:  # before Airflow 3.3.2
        from asgiref.sync import sync_to_async

        amask_secret = sync_to_async(mask_secret)
    for spelling in _spellings(secrets):
        await amask_secret(spelling)


def _spellings(secrets: Iterable[str]) -> Iterator[str]:
    for secret in secrets:
        with suppress(UnicodeEncodeError):  # half a character, which cannot be logged either
            yield from {secret, quote(secret, safe=""), quote_plus(secret)}


class _QueryFilter(logging.Filter):
    """Takes the key out of a record before any handler sees it; Airflow masks only the literal password, and late."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _asks_with_the_key.get() and record.name.startswith("aiohttp"):
            return False  # it tells of an answer's cookies alone
        message = record.getMessage()
        hidden = _KEY_IN_QUERY.sub("***", message)
        if _asks_with_the_key.get():
            hidden = _WORDS_OF_AN_ANSWER.sub(r"\1***", hidden)
            record.exc_info = record.exc_text = None  # the texts of these libraries' exceptions quote answers
        if hidden != message:
            record.msg, record.args = hidden, ()
        return True


_QUERY_FILTER = _QueryFilter()


class QuietHTTPLoggers:
    """Within it, the HTTP libraries log no API key, and no word of the answers that come meanwhile."""

    def __enter__(self) -> None:
        for logger in _TALKATIVE_LOGGERS:
            logger.addFilter(_QUERY_FILTER)  # which is there once, however often it is added
        self._before = _asks_with_the_key.set(True)

    def __exit__(self, *_: object) -> None:
        _asks_with_the_key.reset(self._before)
