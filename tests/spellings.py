"""Every way in which a text could spell an API key: what tests look for wherever no key may be."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from functools import cache
from html import escape
from typing import TypeVar
from urllib.parse import quote, quote_plus

Place = TypeVar("Place")

KEY = "S3cr3t+Key/42=é%"
"""The key of the sandbox fixture: other characters in a URL, and in JSON."""

PLANTED = {
    "special characters": "S3cr3t +/=%&#?\"'<>\\key",
    "unicode": "clé-Ключ-鍵-🔑",
    "5 characters": "Zq7#x",  # with one less, Airflow would not mask it
    "400 characters": "".join(chr(33 + (31 * number + number // 94) % 94) for number in range(400)),
    "part of the URL": "v1/me",
}
"""One key of each kind that somebody could get wrong."""

PATH = "/v1/me"
"""What stands in texts rightly, even where the key is a part of it."""

TELLING = 40
"""So many characters of a key give it away, however the text goes on."""


@cache
def spellings(key: str) -> frozenset[str]:
    """Return what a text that tells the key must hold one of."""
    written = {key, repr(key)[1:-1], ascii(key)[1:-1], json.dumps(key)[1:-1], json.dumps(key, ensure_ascii=False)[1:-1]}
    written |= {escape(key), repr(key.encode())[2:-1], key.encode().hex(), key.encode().hex().upper()}
    quoted = {quote(key), quote(key, safe=""), quote_plus(key)}
    quoted |= {quote(once, safe="") for once in quoted}
    quoted |= {re.sub("%..", lambda percent: percent[0].lower(), once) for once in quoted}
    return frozenset(
        part for one in (*written, *quoted, *_in_base64(key.encode())) for part in (one[:TELLING], one[-TELLING:])
    )


def told(key: str, text: str) -> list[str]:
    """Return the spellings of the key that a text holds."""
    for path in (PATH, quote(PATH, safe="")):
        text = text.replace(path, " ")
    return sorted(spelling for spelling in spellings(key) if spelling in text)


def leaks(keys: Mapping[str, str], texts: Mapping[Place, str]) -> dict[Place, list[str]]:
    """Return where a text tells a key, in any spelling, and whose: keys go by conn id, texts by where they stand."""
    found = {place: [conn_id for conn_id, key in keys.items() if told(key, text)] for place, text in texts.items()}
    return {place: conn_ids for place, conn_ids in found.items() if conn_ids}


def _in_base64(key: bytes) -> Iterator[str]:
    """Yield what any base64 shows of the key, of which it is the whole or some part that begins where it likes."""
    for before in range(3):
        padded = b"\0" * before + key
        first, last = -(-before * 8 // 6), len(padded) * 8 // 6  # only these characters hold bits of the key alone
        yield from (encode(padded).decode()[first:last] for encode in (b64encode, urlsafe_b64encode))
