"""Keep the API key out of logs, in each of its spellings, whoever writes them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from airflow.providers.common.compat.sdk import mask_secret

_KEY_IN_QUERY = re.compile(r"(?<=apiKey=)[^&\s\"']*")

_TALKATIVE_LOGGERS = (
    "urllib3.connectionpool",
    "urllib3.util.retry",
    "httpx",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
)
"""The loggers that write whole URLs, of requests or in answers: httpx at INFO, the others at DEBUG."""


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
        yield from {secret, quote(secret, safe=""), quote_plus(secret)}


class _QueryFilter(logging.Filter):
    """Takes the key out of a record before any handler sees it; Airflow masks only the literal password, and late."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if "apiKey=" in message:
            record.msg, record.args = _KEY_IN_QUERY.sub("***", message), ()
        return True


_QUERY_FILTER = _QueryFilter()


def quiet_http_loggers() -> None:
    """Have the HTTP libraries log no API key; calling it again changes nothing."""
    for name in _TALKATIVE_LOGGERS:
        logging.getLogger(name).addFilter(_QUERY_FILTER)
