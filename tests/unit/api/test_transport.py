"""What goes over the wire with requests and with aiohttp alike, and what their errors become."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Thread
from typing import Any

import aiohttp
import pytest
import requests
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_provider_smspartner import __version__
from airflow_provider_smspartner.exceptions import (
    SMSPartnerConfigurationError,
    SMSPartnerError,
    SMSPartnerResponseError,
    SMSPartnerUnavailableError,
)
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.conftest import Ask
from tests.servers import GOOD_ANSWER, answer_each_request, serving
from tests.spellings import KEY, told

Connect = Callable[..., str]


@pytest.mark.parametrize("response_format", ["json", "xml"])
def test_a_request_asks_for_a_plain_body_in_its_format(
    ask: Ask, sandbox: SMSPartnerSandbox, connect: Connect, response_format: str
) -> None:
    ask(SMSPartnerHook(connect(sandbox, response_format=response_format)))
    assert sandbox.last_headers["User-Agent"] == f"airflow-provider-smspartner/{__version__}"
    assert sandbox.last_headers["Accept"] == f"application/{response_format}"
    assert sandbox.last_headers["Accept-Encoding"] == "identity"


async def test_a_request_brings_no_cookie_and_nothing_from_netrc(
    sandbox: SMSPartnerSandbox, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    sandbox.fail_next(times=None, http_status=500, headers={"Set-Cookie": "session=1; Path=/"})
    # aiohttp keeps no cookie of an address.
    hook = SMSPartnerHook(connect(sandbox, host=sandbox.url.replace("127.0.0.1", "localhost"), max_retries=0))
    for _ in range(2):
        for ask in (hook.aget_account, lambda: asyncio.to_thread(hook.get_account)):
            with pytest.raises(SMSPartnerUnavailableError):
                await ask()
            assert {"Cookie", "Authorization"} & set(sandbox.last_headers) == set()
    await hook.aclose()
    assert sandbox.requests == 4


def test_a_body_that_is_packed_is_not_unpacked(ask: Ask, sandbox: SMSPartnerSandbox, connect: Connect) -> None:
    sandbox.fail_next(body=b"not even that", headers={"Content-Encoding": "gzip"})
    with pytest.raises(SMSPartnerResponseError, match="is packed, which nobody asked for"):
        ask(SMSPartnerHook(connect(sandbox, max_retries=0)))


def test_no_more_of_a_body_without_end_is_read_than_the_limit(
    ask: Ask, sandbox: SMSPartnerSandbox, connect: Connect
) -> None:
    sent, over = 0, Event()

    def pour(connection: socket.socket) -> None:
        nonlocal sent
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while sent < 50_000_000:
                sent += connection.send(b" " * 65536)
        finally:  # the client has gone, or was heard out
            over.set()

    with serving(pour) as port:
        connect(sandbox, host=f"http://127.0.0.1:{port}/v1", max_retries=0)
        with pytest.raises(SMSPartnerResponseError, match="longer than 64 KiB"):
            ask(SMSPartnerHook())
        assert over.wait(30)
    # What the sockets of both sides hold is more than the limit; all of it would be 50 MB.
    assert sent < 10_000_000


def test_only_the_connection_s_timeout_ends_a_request(
    sandbox: SMSPartnerSandbox, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever aiohttp has of its own: 5 minutes for the whole, 30 seconds to connect."""
    monkeypatch.setattr("aiohttp.client.DEFAULT_TIMEOUT", aiohttp.ClientTimeout(total=0.05, sock_connect=1e-9))
    sandbox.fail_next(delay=0.3)
    hook = SMSPartnerHook(connect(sandbox, timeout=300, max_retries=0))

    async def ask() -> int | None:
        account = await hook.aget_account()
        await hook.aclose()
        return account.credits.sms

    assert asyncio.run(ask()) == 269082


def test_a_try_is_one_request_however_it_ends(ask: Ask, sandbox: SMSPartnerSandbox, connect: Connect) -> None:
    sandbox.fail_next(times=None, drop=True)
    with pytest.raises(SMSPartnerUnavailableError, match="the exchange broke off"):
        ask(SMSPartnerHook(connect(sandbox, max_retries=0)))
    assert sandbox.requests == 1


class Proxy:
    """An HTTP proxy that notes the heads of requests, and answers them well, or opens a tunnel to its one port."""

    def __init__(self, leads_to: int) -> None:
        self.heads: list[str] = []
        self._leads_to = leads_to

    def __call__(self, client: socket.socket) -> None:
        while head := client.recv(65536).decode():
            self.heads.append(head)
            if head.startswith("CONNECT"):
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                with socket.create_connection(("127.0.0.1", self._leads_to)) as server:
                    Thread(target=pump, args=[server, client], daemon=True).start()
                    pump(client, server)
                return
            client.sendall(GOOD_ANSWER)


def pump(from_: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while read := from_.recv(65536):
            to.sendall(read)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """Have the environment trust an authority."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    return authority


def server_of(authority: trustme.CA, *identities: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*identities).configure_cert(context)
    return context


@pytest.fixture
def proxy(authority: trustme.CA) -> Iterator[Proxy]:
    """Lead to a server that shows a certificate for 127.0.0.7."""
    with serving(answer_each_request, server_of(authority, "127.0.0.7")) as port:
        yield Proxy(port)


@pytest.mark.parametrize("named_by", ["the connection", "the environment"])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("over_tls", [False, True], ids=["", "over TLS"])
def test_a_proxy_is_asked_with_its_user_and_password(
    ask: Ask,
    named_by: str,
    scheme: str,
    over_tls: bool,
    proxy: Proxy,
    authority: trustme.CA,
    sandbox: SMSPartnerSandbox,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tls = server_of(authority, "127.0.0.1") if over_tls else None
    with serving(proxy, tls) as port:
        url = f"http{'s' * over_tls}://us%C3%A9r:p%23ss@127.0.0.1:{port}"
        if named_by == "the environment":
            monkeypatch.setenv("ALL_PROXY", url)
        extras = {"proxy": url} if named_by == "the connection" else {}
        connect(sandbox, host=f"{scheme}://127.0.0.7:1/v1", max_retries=0, **extras)
        assert ask(SMSPartnerHook()).credits.sms == 7
    (head,) = proxy.heads
    assert head.startswith("CONNECT 127.0.0.7:1 " if scheme == "https" else "GET http://127.0.0.7:1/v1/me?apiKey=")
    assert "Proxy-Authorization: Basic dXPpcjpwI3Nz" in head
    assert (told(KEY, head) == []) is (scheme == "https")


def test_the_connection_s_proxy_is_used_whatever_the_environment(
    ask: Ask, proxy: Proxy, sandbox: SMSPartnerSandbox, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.7")
    with serving(proxy) as port:
        connect(sandbox, host="http://127.0.0.7:1/v1", proxy=f"http://127.0.0.1:{port}")
        assert ask(SMSPartnerHook()).credits.sms == 7
    assert len(proxy.heads) == 1


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "127.0.0.0/8,fd00::/8", "*"])
def test_a_host_that_no_proxy_names_is_asked_without_one(
    ask: Ask, no_proxy: str, sandbox: SMSPartnerSandbox, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert ask(SMSPartnerHook(connect(sandbox, max_retries=0))).credits.sms == 269082


def test_a_socks_proxy_of_the_environment_is_refused_both_ways(
    ask: Ask, sandbox: SMSPartnerSandbox, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(SMSPartnerConfigurationError, match="names a SOCKS proxy"):
        ask(SMSPartnerHook(connect(sandbox)))


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_ca_bundle_without_certificates_is_refused_both_ways(
    ask: Ask, name: str, sandbox: SMSPartnerSandbox, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, __file__)
    with pytest.raises(SMSPartnerConfigurationError, match=f"the environment's {name} names no CA bundle"):
        ask(SMSPartnerHook(connect(sandbox)))


FOREIGN = {
    "a wrong URL, of requests": (requests.exceptions.InvalidURL(KEY), False),
    "a wrong URL, of aiohttp": (aiohttp.InvalidURL(f"http://{KEY}"), False),
    "a text that cannot be sent": (UnicodeEncodeError("latin-1", KEY, 0, 1, KEY), False),
    "a package that is missing": (ImportError(KEY), False),
    "a group of refusals": (ExceptionGroup(KEY, [ValueError(KEY), ImportError(KEY)]), False),
    "a group of sockets": (ExceptionGroup(KEY, [ConnectionRefusedError(KEY), OSError(KEY)]), True),
    "a socket": (OSError(9, KEY), True),
    "threads that run out": (RuntimeError(KEY), True),
    "what a library did not foresee": (AttributeError(KEY), True),
    "memory that runs out": (MemoryError(KEY), True),
}
"""What a library may raise, and whether it may pass by itself."""


@pytest.mark.parametrize(("foreign", "is_transient"), FOREIGN.values(), ids=FOREIGN)
def test_whatever_a_library_raises_is_told_without_its_text(
    ask: Ask,
    foreign: Exception,
    is_transient: bool,
    sandbox: SMSPartnerSandbox,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise foreign

    monkeypatch.setattr("requests.Session.get", fail)
    monkeypatch.setattr("aiohttp.ClientSession.get", fail)
    with pytest.raises(SMSPartnerError) as failure:
        ask(SMSPartnerHook(connect(sandbox, max_retries=0)))
    error = failure.value
    assert type(error) is (SMSPartnerUnavailableError if is_transient else SMSPartnerConfigurationError)
    assert told(KEY, f"{error} {error!r} {vars(error)} {error.__context__!r} {error.__cause__!r}") == []
    assert is_transient or type(foreign).__name__ in str(error)


def test_a_group_of_errors_is_told_by_what_is_in_it(
    ask: Ask, sandbox: SMSPartnerSandbox, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ExceptionGroup("each address", [ConnectionRefusedError(), ConnectionRefusedError()])

    monkeypatch.setattr("requests.Session.get", fail)
    monkeypatch.setattr("aiohttp.ClientSession.get", fail)
    with pytest.raises(SMSPartnerUnavailableError, match="the connection is refused"):
        ask(SMSPartnerHook(connect(sandbox, max_retries=0)))


def careless_authority(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return the context of a server whose certificate lacks what RFC 5280 wants, and the bundle of its authority."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("careless", "server")]
    day = timedelta(days=1)
    made = []
    for key, name, extension in zip(
        keys,
        names,
        [
            x509.BasicConstraints(ca=True, path_length=None),
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]),
        ],
        strict=True,
    ):
        builder = x509.CertificateBuilder(names[0], name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(datetime.now(UTC) - day).not_valid_after(datetime.now(UTC) + day)
        made.append(builder.add_extension(extension, critical=False).sign(keys[0], hashes.SHA256()))
    bundle, server = folder / "careless.pem", folder / "server.pem"
    bundle.write_bytes(made[0].public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    private = keys[1].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    server.write_bytes(made[1].public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server)
    return context, bundle


def test_a_certificate_that_python_3_13_refuses_is_to_be_issued_anew(
    ask: Ask, sandbox: SMSPartnerSandbox, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, bundle = careless_authority(tmp_path)
    make = ssl.create_default_context

    def make_strictly(*given: Any, **named: Any) -> ssl.SSLContext:
        context = make(*given, **named)
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does
        return context

    monkeypatch.setattr("ssl.create_default_context", make_strictly)
    with serving(answer_each_request, server) as port:
        connect(sandbox, host=f"https://127.0.0.1:{port}/v1", verify=str(bundle))
        with pytest.raises(
            SMSPartnerConfigurationError, match="OpenSSL says '.+' .*have its authority issue"
        ) as refusal:
            ask(SMSPartnerHook())
    assert "extra 'verify'" not in str(refusal.value)
