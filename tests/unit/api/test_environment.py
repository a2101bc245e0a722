"""What the environment says of proxies and certificates, read once for both HTTP libraries."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
import trustme

from airflow_provider_smspartner.api.environment import proxy_for, tls_context
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError

API = "https://api.smspartner.fr/v1"


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, API, None),
        ({"HTTPS_PROXY": "http://a:1"}, API, "http://a:1"),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, API, "http://a:1"),
        ({"HTTP_PROXY": "http://a:1"}, API, None),
        ({"HTTP_PROXY": "http://a:1"}, "http://gateway/v1", "http://a:1"),
        ({"ALL_PROXY": "http://a:1"}, "http://gateway/v1", "http://a:1"),
        ({"ALL_PROXY": "http://a:1", "HTTPS_PROXY": "http://b:1"}, API, "http://b:1"),
        ({"all_proxy": "a.example:3128"}, API, "http://a.example:3128"),
        ({"HTTPS_PROXY": ""}, API, None),
        ({"HTTPS_PROXY": " http://a:1 "}, API, "http://a:1"),
        ({"HTTPS_PROXY": "https://u:p%23@a:1"}, API, "https://u:p%23@a:1"),
    ],
)
def test_the_proxy_is_that_of_the_scheme_else_that_of_all(
    variables: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "host"),
    [
        ("*", "api.smspartner.fr"),
        ("elsewhere.example, api.smspartner.fr", "api.smspartner.fr"),
        ("elsewhere.example smspartner.fr", "api.smspartner.fr"),
        (".smspartner.fr", "api.smspartner.fr"),
        ("*.smspartner.fr", "api.smspartner.fr"),
        ("API.SMSPartner.fr", "api.smspartner.fr"),
        ("smspartner.fr:443", "api.smspartner.fr"),
        ("smspartner.fr:8443", "api.smspartner.fr:8443"),
        ("smspartner.fr", "api.smspartner.fr."),
        ("127.0.0.1", "127.0.0.1:8443"),
        ("127.0.0.0/8", "127.9.9.9"),
        ("127.0.0.1/8", "127.9.9.9"),
        ("127.0.0.1:8443", "127.0.0.1:8443"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]:8443"),
        ("[::1]:8443", "[::1]:8443"),
        ("127.0.0.1,fd00::/8", "[fd12::1]"),
    ],
)
@pytest.mark.usefixtures("proxied")
def test_no_proxy_exempts(no_proxy: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(f"https://{host}/v1") is None


@pytest.mark.parametrize(
    ("no_proxy", "host"),
    [
        ("", "api.smspartner.fr"),
        (" , ", "api.smspartner.fr"),
        ("partner.fr", "api.smspartner.fr"),
        ("smspartner.fr:8443", "api.smspartner.fr"),
        ("smspartner.fr:443", "api.smspartner.fr:8443"),
        ("api.smspartner.fr.example", "api.smspartner.fr"),
        ("7.0.0.1", "127.0.0.1"),
        ("127.0.0.0/33", "127.0.0.1"),
        ("127.0.0.0/8", "api.smspartner.fr"),
        ("::1", "[fd00::1]"),
        ("[::1]:8443", "[::1]:8444"),
        ("fd00::/8", "10.0.0.1"),
    ],
)
@pytest.mark.usefixtures("proxied")
def test_no_proxy_exempts_nothing_else(no_proxy: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(f"https://{host}/v1") == "http://proxy.example:3128"


@pytest.mark.parametrize(
    "proxy", ["socks5://proxy.example:1080", "SOCKS5h://u:Secret-Pass@p", "socks4://p", "socks://p"]
)
def test_a_socks_proxy_is_refused_with_what_to_do(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(SMSPartnerConfigurationError, match="names a SOCKS proxy.*extra 'proxy'.*NO_PROXY") as refusal:
        proxy_for(API)
    assert "Secret-Pass" not in str(refusal.value)
    monkeypatch.setenv("NO_PROXY", "smspartner.fr")
    assert proxy_for(API) is None


@pytest.mark.parametrize(
    "proxy", ["http://u:Secret-Pass#1@p:1", "u:Secret-Pass/@p:1", "ftp://Secret-Pass", "http://p:99999", "http://p q:1"]
)
def test_a_proxy_of_the_environment_that_is_no_url_is_refused_and_not_repeated(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(SMSPartnerConfigurationError, match="environment's HTTPS_PROXY.*percent-encode") as refusal:
        proxy_for(API)
    assert "Secret-Pass" not in f"{refusal.value!r} {refusal.value.__context__!r}"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return new_bundle(tmp_path / "ca.pem")


def new_bundle(file: Path) -> Path:
    trustme.CA().cert_pem.write_to_path(str(file))
    return file


BUNDLES = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"]


@pytest.mark.parametrize("name", BUNDLES)
def test_the_environment_s_ca_bundle_counts(name: str, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, str(bundle))
    assert len(tls_context(verify=True).get_ca_certs()) == 1


def test_the_first_ca_bundle_that_the_environment_names_counts(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    monkeypatch.setenv("SSL_CERT_FILE", str(new_bundle(tmp_path / "other.pem")))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(bundle))
    assert tls_context(verify=True) is tls_context(str(bundle))


def test_without_any_the_certificates_of_certifi_count() -> None:
    assert len(tls_context(verify=True).get_ca_certs()) > 100


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize("content", [None, "", "no certificates\n"])
def test_an_environment_s_ca_bundle_that_cannot_be_read_is_named(
    name: str, content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "S3cr3t.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv(name, str(file))
    with pytest.raises(SMSPartnerConfigurationError, match=f"the environment's {name} names no CA bundle") as refusal:
        tls_context(verify=True)
    assert "S3cr3t" not in f"{refusal.value!r} {refusal.value.__context__!r}"


def test_a_certifi_without_its_file_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requests.utils.DEFAULT_CA_BUNDLE_PATH", "/no/such/file.pem")
    with pytest.raises(SMSPartnerConfigurationError, match="certifi names no CA bundle"):
        tls_context(verify=True)


def test_clients_that_trust_the_same_share_one_context(bundle: Path) -> None:
    assert tls_context(str(bundle)) is tls_context(str(bundle))
    assert tls_context(verify=True) is tls_context(verify=True)


def test_a_bundle_that_was_replaced_gives_another_context(bundle: Path, tmp_path: Path) -> None:
    """As Kubernetes and certificate managers do: another file under the same name, maybe of the same time and size."""
    before, times = tls_context(str(bundle)), bundle.stat()
    another = new_bundle(tmp_path / "new.pem")
    text = another.read_text()
    another.write_text(text + "\n" * (times.st_size - len(text)))
    os.utime(another, ns=(times.st_atime_ns, times.st_mtime_ns))
    another.replace(bundle)
    after = tls_context(str(bundle))
    assert after is not before
    assert after.get_ca_certs() != before.get_ca_certs()


def test_a_bundle_that_was_written_over_gives_another_context(bundle: Path) -> None:
    before = tls_context(str(bundle))
    bundle.write_text(bundle.read_text() + "\n")
    assert tls_context(str(bundle)) is not before


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a folder of certificates")
def test_a_folder_of_certificates_is_trusted_too(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("api.example").configure_cert(server)
    assert shake_hands(tls_context(str(tmp_path)), server)


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> bool:
    """Tell whether a client's context takes a server's certificate, without a socket."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="api.example")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours.version() is not None
