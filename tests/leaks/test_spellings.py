"""What looks for a key finds it: a search that finds nothing must mean that nothing is there."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote, urlencode

import pytest

from tests.spellings import PLANTED, told

TELLS: dict[str, Callable[[str], str]] = {
    "as it is": lambda key: f"the key {key}.",
    "in a URL": lambda key: f"/v1/me?apiKey={quote(key, safe='')}&_format=json",
    "in a form": lambda key: urlencode({"apiKey": key}),
    "in a URL that a URL quotes": lambda key: f"/login?{urlencode({'next': f'/v1/me?apiKey={quote(key)}'})}",
    "in JSON": lambda key: json.dumps({"password": key}),
    "in bytes": lambda key: repr(f"Location: {key}".encode()),
    "in base64": lambda key: b64encode(f"a{key}b".encode()).decode(),
    "in a token": lambda key: urlsafe_b64encode(f"ab{key}".encode()).decode(),
    "cut off": lambda key: key[:60],
}


@pytest.mark.parametrize("text", TELLS.values(), ids=TELLS)
def test_a_key_is_found_however_a_text_spells_it(key: str, text: Callable[[str], str]) -> None:
    assert told(key, text(key)) != []


def test_what_is_no_key_is_not_found(key: str) -> None:
    assert told(key, "GET /v1/me?apiKey=***&_format=json, quoted: %2Fv1%2Fme%3FapiKey%3D***") == []
    others = [other for other in PLANTED.values() if other != key]
    assert told(key, json.dumps(others) + " ".join(others)) == []
