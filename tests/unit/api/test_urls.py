"""URLs that are read in one way, or not at all; and what is secret in them, however they are written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_smspartner.api.urls import read_proxy, read_url, secrets_in


def is_read(read: Callable[[str], object], url: str) -> bool:
    try:
        read(url)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://api.example.com", "api.example.com", None, ""),
        ("HTTPS://API.example.com:443/v1/", "api.example.com", 443, "/v1/"),
        ("http://[::1]:8025/v1", "::1", 8025, "/v1"),
        ("http://a_b.svc.cluster.local.:1/a%20b/~c", "a_b.svc.cluster.local.", 1, "/a%20b/~c"),
        ("http://10.0.0.1:65535", "10.0.0.1", 65535, ""),
    ],
)
def test_a_url_is_taken_apart(url: str, host: str, port: int | None, path: str) -> None:
    parts = read_url(url)
    assert (parts.hostname, parts.port, parts.path) == (host, port, path)


@pytest.mark.parametrize(
    "url",
    [
        "api.example.com",
        "ftp://api.example.com",
        "socks5://proxy.example:1080",
        "https://",
        "https:///v1",
        "https://:8080",
        "https://a..b",
        "https://.example.com",
        f"https://{'a' * 64}.example.com",
        "https://[::1",
        "https://[::1::2]",
        "https://[fe80::1%25eth0]",
        "https://[127.0.0.1]",
        "https://api.example.com:0",
        "https://api.example.com:65536",
        "https://api.example.com:99999",
        "https://api.example.com:port",
        "https://api.example.com:",
        "https://api.example.com:\uff18\uff10",
        "https://api.example.com/v1?",
        "https://api.example.com/v1#",
        "https://api.example.com/v1?a=b",
        "https://api.example.com/../v1",
        "https://api.example.com/./v1",
        "https://api.example.com\\@elsewhere.example/v1",
        "https://api example.com",
        " https://api.example.com",
        "https://api.example.com\n",
        "https://api.example.com/\tv1",
        "https://bücher.example",
        "https://api.example.com/é",
        "https://api.example.com/%",
        "https://api.example.com/%zz",
        "https://user:pass#1@api.example.com",
        "https://user:pass/1@api.example.com",
        "https://user:pass?1@api.example.com",
        "https://user:p@ss@api.example.com",
        "https://user:pass 1@api.example.com",
        "https://user:100%@api.example.com",
    ],
)
def test_a_url_that_two_libraries_could_read_differently_is_refused(url: str) -> None:
    assert not is_read(read_url, url)


@pytest.mark.parametrize(
    "url",
    [
        "http://proxy.example:3128/path",
        "http://user:12/pass@proxy.example",
        "http://:pass@proxy.example",
        "http://%D0%BA:x@proxy.example",
        "http://user:%FF@proxy.example",
    ],
)
def test_a_proxy_has_no_path_and_a_password_that_can_be_sent(url: str) -> None:
    assert not is_read(read_proxy, url)


@pytest.mark.parametrize("url", ["http://proxy.example:3128", "https://svc:S%23%C3%A9@[::1]:1/"])
def test_a_proxy_is_kept_as_it_is_written(url: str) -> None:
    assert read_proxy(url) == url


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("http://svc:Secret-Pass#1@127.0.0.1:18999", {"svc:Secret-Pass#1", "Secret-Pass#1"}),
        ("http://svc:a/b?c@d@proxy.example", {"svc:a/b?c@d", "a/b?c@d"}),
        ("svc:pass@proxy.example", {"svc:pass", "pass"}),
        ("https://token@gateway.example/v1", {"token"}),
        ("http://u:p%23@h", {"u:p%23", "u:p#", "p%23", "p#"}),
        ("http://u:a://b@h", {"u:a://b", "a://b"}),
        ("https://api.example.com/v1", set()),
        ("", set()),
    ],
)
def test_everything_before_the_last_at_sign_is_a_secret(text: str, secrets: set[str]) -> None:
    assert set(secrets_in(text)) == secrets
