"""Keep the API key out of logs, in each of its spellings, whoever writes them."""

from __future__ import annotations

import logging
import re
from urllib.parse import quote, quote_plus

_KEY_IN_QUERY = re.compile(r"(?<=apiKey=)[^&\s\"']*")

_TALKATIVE_LOGGERS = ("urllib3.connectionpool", "urllib3.util.retry", "httpx")
"""The loggers that write whole URLs: urllib3 its request lines at DEBUG, httpx at INFO."""


def spellings(secret: str) -> tuple[str, ...]:
    """Return the ways in which a secret can stand in a URL or a text, each once."""
    return tuple(dict.fromkeys((secret, quote(secret, safe=""), quote_plus(secret))))


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
