"""Every field of a connection, and what a wrong one is answered with."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from airflow.providers.common.compat.sdk import BaseHook, Connection

from airflow_provider_smspartner.api.environment import tls_context
from airflow_provider_smspartner.api.settings import EXTRAS, ConnectionSettings, read_settings, secrets_of
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError
from airflow_provider_smspartner.get_provider_info import get_provider_info
from tests.airflow_versions import needs_airflow

HALF_A_CHARACTER = "\ud800"
THAT_AIRFLOW_TAKES = needs_airflow(3, 0, for_the_sake_of="connection that takes half a character")


def connection(extra: dict[str, Any] | str | None = None, **fields: Any) -> Connection:
    text = extra if isinstance(extra, str) else json.dumps(extra or {})
    fields = {"conn_type": "smspartner", "password": "the-key"} | fields
    return Connection(conn_id="account", extra=text, **fields)


def settings(extra: dict[str, Any] | str | None = None, **fields: Any) -> ConnectionSettings:
    return read_settings(connection(extra, **fields))


def test_a_connection_with_nothing_but_a_key_has_the_documented_defaults() -> None:
    assert settings() == ConnectionSettings(
        base_url="https://api.smspartner.fr/v1",
        api_key="the-key",
        response_format="json",
        timeout=10.0,
        max_retries=2,
        tls=tls_context(verify=True),
        proxy=None,
    )


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({"host": "api.example.com"}, "https://api.example.com/v1"),
        ({"host": "  api.example.com "}, "https://api.example.com/v1"),
        ({"host": "api.example.com", "conn_type": None}, "https://api.example.com/v1"),
        ({"host": "https://api.example.com:8443/v1", "port": 8443}, "https://api.example.com:8443/v1"),
        ({"host": "api.example.com/v2/"}, "https://api.example.com/v2"),
        ({"host": "https://api.example.com:8443/v1"}, "https://api.example.com:8443/v1"),
        ({"host": "api.example.com", "schema": "https", "port": 8443}, "https://api.example.com:8443/v1"),
        ({"host": "https://api.example.com/v1", "port": 443}, "https://api.example.com/v1"),
        ({"port": 443}, "https://api.smspartner.fr/v1"),
        ({"host": "localhost", "schema": "http", "port": 80}, "http://localhost:80/v1"),
        ({"host": "http://127.0.0.9:8025/v1"}, "http://127.0.0.9:8025/v1"),
        ({"host": "http://[::1]:8025"}, "http://[::1]:8025/v1"),
        ({"host": "http://api.example.com", "extra": {"allow_http": "true"}}, "http://api.example.com/v1"),
    ],
)
def test_the_base_url_is_put_together_from_host_schema_and_port(fields: dict[str, Any], base_url: str) -> None:
    assert settings(**fields).base_url == base_url


@pytest.mark.parametrize(
    "uri",
    [
        "smspartner://:S3cr3t%2BKey%2F42@api.example.com/https?timeout=5&verify=false&max_retries=0",
        "smspartner://https://:S3cr3t%2BKey%2F42@api.example.com?timeout=5&verify=false&max_retries=0",
        "smspartner://:S3cr3t%2BKey%2F42@https%3A%2F%2Fapi.example.com%2Fv1?timeout=5&verify=False&max_retries=0",
    ],
)
def test_the_uri_form_says_as_much_as_json(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ACCOUNT", uri)
    read = read_settings(BaseHook.get_connection("account"))
    assert read.base_url == "https://api.example.com/v1"
    assert read.api_key == "S3cr3t+Key/42"
    assert (read.timeout, read.tls.verify_mode, read.max_retries) == (5.0, ssl.CERT_NONE, 0)


@pytest.mark.parametrize(
    ("extra", "name", "value"),
    [
        ({"response_format": "XML"}, "response_format", "xml"),
        ({"timeout": "2.5"}, "timeout", 2.5),
        ({"timeout": 3600}, "timeout", 3600.0),
        ({"max_retries": 10}, "max_retries", 10),
        ({"max_retries": 0}, "max_retries", 0),
        ({"proxy": "http://user:pass@proxy.example:3128"}, "proxy", "http://user:pass@proxy.example:3128"),
        ({"timeout": None, "proxy": ""}, "timeout", 10.0),
    ],
)
def test_an_extra_counts_as_typed_or_as_the_text_of_a_form(extra: dict[str, Any], name: str, value: object) -> None:
    assert getattr(settings(extra), name) == value


@pytest.mark.parametrize(
    ("verify", "mode"),
    [(True, ssl.CERT_REQUIRED), ("true", ssl.CERT_REQUIRED), (False, ssl.CERT_NONE), ("False", ssl.CERT_NONE)],
)
def test_certificates_are_verified_unless_the_connection_says_no(verify: object, mode: ssl.VerifyMode) -> None:
    tls = settings({"verify": verify}).tls
    assert (tls.verify_mode, tls.check_hostname) == (mode, mode is ssl.CERT_REQUIRED)


def test_the_connection_s_ca_bundle_comes_before_the_environment_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, others = tmp_path / "ours.pem", tmp_path / "others.pem"
    for bundle in (ours, others):
        trustme.CA().cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(others))
    assert settings({"verify": str(ours)}).tls is tls_context(str(ours))
    assert settings({"verify": True}).tls is tls_context(str(others))


def test_the_connection_s_proxy_comes_before_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://environment.example:3128")
    monkeypatch.setenv("NO_PROXY", "*")
    assert settings({"proxy": "http://ours.example:3128"}).proxy == "http://ours.example:3128"
    monkeypatch.setenv("NO_PROXY", "elsewhere.example")
    assert settings().proxy == "http://environment.example:3128"


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"response_format": "yaml"}, "its extra 'response_format' must be 'json' or 'xml'"),
        ({"timeout": 0}, "its extra 'timeout' must be a number of seconds"),
        ({"timeout": True}, "its extra 'timeout' must be"),
        ({"timeout": "ten"}, "its extra 'timeout' must be"),
        ({"timeout": "nan"}, "its extra 'timeout' must be"),
        ({"timeout": [5]}, "its extra 'timeout' must be"),
        ({"max_retries": -1}, "its extra 'max_retries' must be a whole number from 0 to 10"),
        ({"max_retries": 1.5}, "its extra 'max_retries' must be"),
        ({"verify": "/no/such/bundle.pem"}, "its extra 'verify' must be true, false, or the path"),
        ({"verify": __file__}, "its extra 'verify' must be true, false, or the path"),
        ({"response_format": 1}, "its extra 'response_format' must be"),
        ({"timeout": 3600.1}, "its extra 'timeout' must be"),
        ({"max_retries": 11}, "its extra 'max_retries' must be"),
        ({"verify": "a\0b"}, "its extra 'verify' must be"),
        ({"proxy": 5}, "its extra 'proxy' must be the URL of an HTTP proxy"),
        ({"proxy": "proxy.example:3128"}, "its extra 'proxy' must be the URL of an HTTP proxy"),
        ({"proxy": "http://svc:Secret-Pass#1@127.0.0.1:18999"}, "its extra 'proxy' must be"),
        ({"allow_http": "perhaps"}, "its extra 'allow_http' must be true or false"),
        ({"retries": 3}, "its extra holds the unknown 'retries'"),
        ("[1, 2]", "its extra must be a JSON object"),
        ("{'timeout': 3}", "its extra must be a JSON object"),
    ],
)
def test_a_wrong_extra_is_named_with_what_to_put_there(extra: dict[str, Any] | str, told: str) -> None:
    with pytest.raises(SMSPartnerConfigurationError) as refusal:
        settings(extra)
    assert str(refusal.value).startswith(told)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"password": None}, "fill in the field 'API key'"),
        ({"password": ""}, "fill in the field 'API key'"),
        ({"password": " \u200b\n"}, "fill in the field 'API key'"),
        ({"password": "the-key\nanother"}, "its API key holds a line end or another invisible character"),
        ({"password": "the\u200b-key"}, "its API key holds a line end or another invisible character"),
        ({"password": "'the-key'"}, "its API key stands in quotes: take them away"),
        ({"password": "«the-key»"}, "its API key stands in quotes: take them away"),
        pytest.param({"password": HALF_A_CHARACTER}, "its API key holds half", marks=THAT_AIRFLOW_TAKES),
        ({"conn_type": "postgres"}, "its type is 'postgres'"),
        ({"host": "http://api.example.com"}, "its host says plain http"),
        ({"host": "api.example.com", "schema": "http"}, "its host says plain http"),
        ({"host": "ftp://api.example.com"}, "its host must be a base URL"),
        ({"host": "https://"}, "its host must be a base URL"),
        ({"host": "https://user@api.example.com"}, "its host must be a base URL"),
        ({"host": "https://api.example.com/v1/me?apiKey=S3cr3t"}, "its host must be a base URL"),
        ({"host": "https://api example.com"}, "its host must be a base URL"),
        ({"host": "https://api.example.com:port"}, "its host must be a base URL"),
        ({"host": "https://a..b"}, "its host must be a base URL"),
        ({"host": "https://[::1"}, "its host must be a base URL"),
        ({"host": "https://api.example.com:99999"}, "its host must be a base URL"),
        ({"host": "api.example.com", "schema": "v1"}, "its schema must be"),
        ({"host": "https://api.example.com:444", "port": 443}, "its port is not that of the host, 444"),
        ({"host": "https://api.smspartner.fr/v1", "port": 8025}, "its port is not that of the host, 443"),
        ({"host": "http://localhost", "port": 443}, "its port is not that of the host, 80"),
        ({"port": 8025}, "its port is not that of the host, 443"),
    ],
)
def test_a_wrong_field_is_named_with_what_to_put_there(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(SMSPartnerConfigurationError) as refusal:
        settings(**fields)
    assert told in str(refusal.value)


@pytest.mark.parametrize("around", ["\n", " ", "\r\n", "\ufeff", "\u200b", "\xa0", "\t\u2060 "])
def test_what_comes_along_with_a_pasted_key_is_taken_off(around: str) -> None:
    assert settings(password=f"{around}the key{around}").api_key == "the key"


@pytest.mark.parametrize("key", ["'", '"', "it's", "'tis", 'a"b', "<key>", "é #&%?/"])
def test_a_key_may_hold_any_character_that_can_be_seen(key: str) -> None:
    assert settings(password=key).api_key == key


def test_both_spellings_of_a_key_with_blanks_around_are_secrets() -> None:
    assert secrets_of(Connection(conn_id="any", conn_type="smspartner", password="S3cr3t-key\n")) >= {
        "S3cr3t-key\n",
        "S3cr3t-key",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "https://S3cr3t:port"},
        {"host": "http://S3cr3t"},
        {"extra": {"timeout": "S3cr3t"}},
        {"extra": {"max_retries": "S3cr3t"}},
        {"extra": {"response_format": "S3cr3t"}},
        {"extra": '{"api": "S3cr3t"'},
        pytest.param({"password": f"S3cr3t{HALF_A_CHARACTER}"}, marks=THAT_AIRFLOW_TAKES),
    ],
)
def test_a_key_pasted_into_a_wrong_field_is_not_repeated(fields: dict[str, Any]) -> None:
    with pytest.raises(SMSPartnerConfigurationError) as refusal:
        settings(**fields)
    error: BaseException | None = refusal.value
    while error is not None:
        assert "S3cr3t" not in repr(error)
        error = error.__cause__ or error.__context__


def test_settings_do_not_show_their_secrets() -> None:
    read = settings({"proxy": "http://user:pr0xypass@proxy.example:3128"})
    assert "the-key" not in repr(read)
    assert "pr0xypass" not in repr(read)


@pytest.mark.parametrize(
    "fields",
    [
        {"extra": {"proxy": "http://svc:Secret-Pass#1@127.0.0.1:18999"}},
        {"extra": {"proxy": "svc:Secret-Pass#1@127.0.0.1:18999"}},
        {"extra": {"proxy": "http://svc:Secret-Pass%231@127.0.0.1:18999", "unknown": 1}},
        {"host": "https://svc:Secret-Pass#1@gateway.example/v1"},
        {"host": "svc:Secret-Pass#1@gateway.example"},
    ],
)
def test_a_password_in_a_url_is_a_secret_even_where_the_url_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(SMSPartnerConfigurationError):
        settings(**fields)
    assert secrets_of(connection(**fields)) >= {"the-key", "Secret-Pass#1", "svc:Secret-Pass#1"}


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_password_of_the_environment_s_proxy_is_a_secret_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://svc:Secret%2FPass@proxy.example:3128")
    assert secrets_of(connection()) == {
        *("the-key", "Secret%2FPass", "Secret/Pass", "svc:Secret%2FPass", "svc:Secret/Pass")
    }


def test_a_connection_without_a_password_has_the_secrets_of_its_urls() -> None:
    assert secrets_of(connection(password=None, extra="[1]", host="https://api.example.com")) == set()


def test_the_form_has_each_extra_and_untouched_it_is_read_as_the_defaults() -> None:
    (connection_type,) = get_provider_info()["connection-types"]
    fields = connection_type["conn-fields"]
    assert set(fields) == set(EXTRAS)
    assert settings({name: field["schema"].get("default") for name, field in fields.items()}) == settings()


def test_the_form_stores_no_text_that_airflow_would_warn_of_as_too_short_to_mask() -> None:
    (connection_type,) = get_provider_info()["connection-types"]
    defaults = [field["schema"].get("default") for field in connection_type["conn-fields"].values()]
    assert [default for default in defaults if isinstance(default, str) and len(default) < 5] == []
