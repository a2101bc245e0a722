"""The hook, over real HTTP: the sandbox answers, or a socket that misbehaves."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme

from airflow_provider_smspartner import __version__
from airflow_provider_smspartner.account import Credits
from airflow_provider_smspartner.exceptions import (
    SMSPartnerAccessError,
    SMSPartnerConfigurationError,
    SMSPartnerError,
    SMSPartnerRejectedError,
    SMSPartnerResponseError,
    SMSPartnerUnavailableError,
)
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.conftest import Ask
from tests.servers import answer_each_request, serving
from tests.spellings import KEY, told


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the pauses between tries instead of sitting through them."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float, result: object = None) -> None:
        if seconds:
            pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
    monkeypatch.setattr("asyncio.sleep", pause)
    return pauses


@pytest.fixture
def hook(sandbox: SMSPartnerSandbox, connect: Any) -> SMSPartnerHook:
    connect(sandbox)
    return SMSPartnerHook()


def test_json_and_xml_give_the_same_credits(ask: Ask, sandbox: SMSPartnerSandbox, connect: Any) -> None:
    connect(sandbox, "by_json", response_format="json")
    connect(sandbox, "by_xml", response_format="xml")
    by_json, by_xml = (ask(SMSPartnerHook(conn_id)) for conn_id in ("by_json", "by_xml"))
    assert by_json.credits == by_xml.credits
    assert by_json.user == by_xml.user
    assert by_json.credits == Credits(269082, 444570, 2045023, 0, Decimal("10225.119"), "EUR")


def test_calls_of_one_hook_share_one_connection(sandbox: SMSPartnerSandbox, hook: SMSPartnerHook) -> None:
    for _ in range(3):
        hook.get_account()
    assert (sandbox.requests, sandbox.connections) == (3, 1)


async def test_calls_of_one_hook_share_one_connection_on_an_event_loop(
    sandbox: SMSPartnerSandbox, hook: SMSPartnerHook
) -> None:
    for _ in range(3):
        await hook.aget_account()
    await hook.aclose()
    assert (sandbox.requests, sandbox.connections) == (3, 1)


@pytest.mark.parametrize(("kept_for", "old_key"), [((300, 600), 3), ((0, 0), 1)], ids=["soon", "later"])
async def test_a_connection_that_changes_while_somebody_waits_counts_some_minutes_later(
    connect: Any, monkeypatch: pytest.MonkeyPatch, kept_for: tuple[float, float], old_key: int
) -> None:
    monkeypatch.setattr("airflow_provider_smspartner.hooks.smspartner.KEPT_FOR", kept_for)
    with SMSPartnerSandbox(api_key=["first-key", "second-key"]) as sandbox:
        hook = SMSPartnerHook(connect(sandbox, api_key="first-key"))
        await hook.aget_account()
        connect(sandbox, api_key="second-key")
        await hook.aget_account()
        await hook.aget_account()
        await hook.aclose()
        assert sandbox.requests_by_key["first-key"] == old_key
        assert sandbox.requests == 3


async def test_a_key_that_is_refused_is_looked_up_once_more_before_anybody_fails(connect: Any) -> None:
    with SMSPartnerSandbox(api_key="old-key") as before, SMSPartnerSandbox(api_key="new-key") as sandbox:
        hook = SMSPartnerHook(connect(before))
        await hook.aget_account()
        before.fail_next(times=None, http_status=401)
        connect(sandbox)
        assert (await hook.aget_account()).credits.sms is not None
        await hook.aclose()
        assert (before.requests, sandbox.requests) == (2, 1)


async def test_a_key_that_is_refused_and_has_not_changed_is_not_tried_again(
    connect: Any, sandbox: SMSPartnerSandbox
) -> None:
    hook = SMSPartnerHook(connect(sandbox))
    await hook.aget_account()
    sandbox.fail_next(times=None, http_status=401)
    with pytest.raises(SMSPartnerAccessError):
        await hook.aget_account()
    await hook.aclose()
    assert sandbox.requests == 2


async def test_a_connection_that_is_mended_during_an_outage_counts_at_once(
    connect: Any, sandbox: SMSPartnerSandbox
) -> None:
    hook = SMSPartnerHook(connect(sandbox, max_retries=0))
    await hook.aget_account()
    sandbox.fail_next(times=None, http_status=503)
    with SMSPartnerSandbox("10") as elsewhere:
        connect(elsewhere)
        assert (await hook.aget_account()).credits.balance == 10
    await hook.aclose()


async def test_the_event_loop_goes_on_while_an_answer_is_awaited(
    sandbox: SMSPartnerSandbox, hook: SMSPartnerHook, connect: Any
) -> None:
    connect(sandbox, max_retries=0)
    sandbox.fail_next(delay=60)

    async def stop_when_asked() -> None:
        await asyncio.to_thread(sandbox.wait_for_requests, 1)
        await asyncio.to_thread(sandbox.stop)

    # Only what runs beside it can end its wait.
    answer, _ = await asyncio.gather(hook.aget_account(), stop_when_asked(), return_exceptions=True)
    await hook.aclose()
    assert isinstance(answer, SMSPartnerUnavailableError)


def test_a_hook_serves_one_event_loop_after_another(sandbox: SMSPartnerSandbox, hook: SMSPartnerHook) -> None:
    readings = [asyncio.run(hook.aget_account()) for _ in range(2)]
    assert [reading.credits.sms for reading in readings] == [269082, 269082]


def test_a_request_names_this_package_and_brings_nothing_from_netrc(
    ask: Ask, sandbox: SMSPartnerSandbox, hook: SMSPartnerHook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    ask(hook)
    assert sandbox.last_headers["User-Agent"] == f"airflow-provider-smspartner/{__version__}"
    assert "Authorization" not in sandbox.last_headers


@pytest.mark.parametrize(
    "fault", [{"http_status": 500}, {"http_status": 408}, {"drop": True}, {"july_gateway": True}, {"body": "<html>"}]
)
def test_what_time_may_heal_is_tried_again(
    ask: Ask, sandbox: SMSPartnerSandbox, hook: SMSPartnerHook, pauses: list[float], fault: dict[str, Any]
) -> None:
    sandbox.fail_next(times=2, **fault)
    assert ask(hook).credits.sms == 269082
    assert sandbox.requests == 3
    assert 0.5 <= pauses[0] <= 1 <= pauses[1] <= 1.5


def test_tries_end_with_the_connection_s_max_retries(
    ask: Ask, sandbox: SMSPartnerSandbox, connect: Any, pauses: list[float]
) -> None:
    connect(sandbox, max_retries=1)
    sandbox.fail_next(times=None, http_status=503)
    with pytest.raises(SMSPartnerUnavailableError) as failure:
        ask(SMSPartnerHook())
    assert failure.value.http_status == 503
    assert (sandbox.requests, len(pauses)) == (2, 1)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"http_status": 404}, SMSPartnerRejectedError),
        ({"http_status": 401}, SMSPartnerAccessError),
        ({"body": {"success": False, "code": 96}}, SMSPartnerAccessError),
    ],
)
def test_what_needs_a_person_is_asked_once(
    ask: Ask, sandbox: SMSPartnerSandbox, hook: SMSPartnerHook, pauses: list[float], fault: dict[str, Any], error: type
) -> None:
    sandbox.fail_next(**fault)
    with pytest.raises(error):
        ask(hook)
    assert (sandbox.requests, pauses) == (1, [])


def test_retry_after_is_waited_for(
    ask: Ask, sandbox: SMSPartnerSandbox, hook: SMSPartnerHook, pauses: list[float]
) -> None:
    sandbox.fail_next(http_status=429, headers={"Retry-After": "7"})
    ask(hook)
    assert pauses == [7]


def test_a_longer_retry_after_ends_the_call_and_is_handed_on(
    ask: Ask, sandbox: SMSPartnerSandbox, hook: SMSPartnerHook, pauses: list[float]
) -> None:
    sandbox.fail_next(http_status=429, headers={"Retry-After": "3600"})
    with pytest.raises(SMSPartnerUnavailableError) as failure:
        ask(hook)
    assert failure.value.retry_after == 3600
    assert (sandbox.requests, pauses) == (1, [])


def test_a_wrong_key_names_the_connection_and_its_password(ask: Ask, sandbox: SMSPartnerSandbox, connect: Any) -> None:
    connect(sandbox, "marketing", api_key="wrong-key")
    with pytest.raises(SMSPartnerAccessError, match=r"'marketing': .*check the connection's API key"):
        ask(SMSPartnerHook("marketing"))


def test_a_missing_connection_says_so(ask: Ask) -> None:
    with pytest.raises(SMSPartnerConfigurationError, match="'nowhere': there is no such connection"):
        ask(SMSPartnerHook("nowhere"))
    with pytest.raises(SMSPartnerConfigurationError, match="'nowhere': there is no such connection"):
        SMSPartnerHook("nowhere").get_conn()


def test_a_redirect_is_not_followed(ask: Ask, sandbox: SMSPartnerSandbox, connect: Any, pauses: list[float]) -> None:
    connect(sandbox, max_retries=0)
    with SMSPartnerSandbox() as elsewhere:
        sandbox.fail_next(http_status=302, headers={"Location": f"{elsewhere.url}/me"})
        with pytest.raises(SMSPartnerResponseError, match="redirect"):
            ask(SMSPartnerHook())
        assert elsewhere.requests == 0


def test_a_body_without_end_is_not_read_to_its_end(ask: Ask, sandbox: SMSPartnerSandbox, connect: Any) -> None:
    connect(sandbox, max_retries=0)
    sandbox.fail_next(body=b'{"credits": {"creditSms": 1}, "filler": "' + b"x" * 5_000_000 + b'"}')
    with pytest.raises(SMSPartnerResponseError):
        ask(SMSPartnerHook())


def test_no_answer_in_time_is_unavailable(ask: Ask, sandbox: SMSPartnerSandbox, connect: Any) -> None:
    connect(sandbox, max_retries=0, timeout=0.2)
    sandbox.fail_next(delay=30)
    with pytest.raises(SMSPartnerUnavailableError, match="no answer came in time"):
        ask(SMSPartnerHook())


def test_a_refused_connection_is_unavailable(ask: Ask, sandbox: SMSPartnerSandbox, connect: Any) -> None:
    connect(sandbox, max_retries=0)
    sandbox.stop()
    with pytest.raises(SMSPartnerUnavailableError, match="the connection is refused"):
        ask(SMSPartnerHook())


def test_a_host_that_does_not_resolve_is_unavailable(ask: Ask, sandbox: SMSPartnerSandbox, connect: Any) -> None:
    connect(sandbox, max_retries=0, host="https://no-such-host.invalid/v1")
    with pytest.raises(SMSPartnerUnavailableError, match="the host name does not resolve"):
        ask(SMSPartnerHook())


@contextmanager
def tls_server(identity: str) -> Iterator[tuple[str, trustme.CA]]:
    """Serve with a certificate for that identity; yield the base URL and its CA."""
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(identity).configure_cert(context)
    with serving(answer_each_request, context) as port:
        yield f"https://127.0.0.1:{port}/v1", ca


def test_a_certificate_counts_that_the_connection_s_ca_bundle_vouches_for(
    ask: Ask, sandbox: SMSPartnerSandbox, connect: Any, tmp_path: Path
) -> None:
    with tls_server("127.0.0.1") as (url, ca):
        bundle = tmp_path / "ca.pem"
        ca.cert_pem.write_to_path(str(bundle))
        connect(sandbox, host=url, verify=str(bundle))
        assert ask(SMSPartnerHook()).credits.sms == 7


@pytest.mark.parametrize("identity", ["127.0.0.1", "elsewhere.example"])
def test_a_certificate_that_does_not_verify_needs_a_person(
    ask: Ask, sandbox: SMSPartnerSandbox, connect: Any, identity: str, tmp_path: Path
) -> None:
    with tls_server(identity) as (url, ca):
        bundle = tmp_path / "ca.pem"
        ca.cert_pem.write_to_path(str(bundle))
        # A stranger's certificate for the right host, then a known CA's for the wrong one.
        connect(sandbox, host=url, verify=str(bundle) if identity == "elsewhere.example" else True)
        with pytest.raises(SMSPartnerConfigurationError, match="certificate does not verify"):
            ask(SMSPartnerHook())


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_an_unverified_certificate_counts_where_the_connection_says_so_whatever_the_environment(
    ask: Ask, sandbox: SMSPartnerSandbox, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", __file__)
    with tls_server("127.0.0.1") as (url, _):
        connect(sandbox, host=url, verify=False)
        assert ask(SMSPartnerHook()).credits.sms == 7


def test_the_connection_s_proxy_is_used_whatever_the_environment(
    ask: Ask, sandbox: SMSPartnerSandbox, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    # To a plain-http proxy the whole URL is sent, and the sandbox answers to its path.
    connect(sandbox, host="http://127.0.0.7:1/v1", proxy=sandbox.url.removesuffix("/v1"), max_retries=0)
    with pytest.raises(SMSPartnerError):
        ask(SMSPartnerHook())
    assert sandbox.connections == 1


def test_a_test_of_the_connection_tells_the_credit_and_no_name(hook: SMSPartnerHook) -> None:
    works, text = hook.test_connection()
    assert works
    assert "269082 sms, 444570 sms_low_cost, 2045023 hlr, 0 to_send, balance 10225.119 EUR" in text
    assert "sandbox@" not in text


def test_a_test_of_the_connection_asks_once_and_tells_what_is_wrong(
    sandbox: SMSPartnerSandbox, hook: SMSPartnerHook
) -> None:
    sandbox.fail_next(http_status=503)
    works, text = hook.test_connection()
    assert (works, sandbox.requests) == (False, 1)
    assert "503" in text


def test_a_test_of_the_connection_leaves_out_its_name_which_airflow_makes_up(
    sandbox: SMSPartnerSandbox, connect: Any
) -> None:
    connect(sandbox, timeout="soon")
    works, text = SMSPartnerHook().test_connection()
    assert not works
    assert text == "SMS Partner connection: its extra 'timeout' must be a number of seconds above 0, 3600 at most"


def test_a_foreign_error_in_a_test_of_the_connection_keeps_its_text_from_the_page(
    hook: SMSPartnerHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(conn_id: str) -> None:
        raise RuntimeError(f"{conn_id} {KEY}")

    monkeypatch.setattr(hook, "get_connection", broken)
    works, text = hook.test_connection()
    assert not works
    assert "RuntimeError" in text
    assert KEY not in text


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"http_status": 503},
        {"http_status": 302, "headers": {"Location": f"/v1/me?apiKey={quote(KEY, safe='')}"}},
        {"drop": True},
        {"delay": 30},
        {"body": f"<html>{KEY} {quote(KEY)}</html>"},
        {"body": {"success": False, "code": 10, "message": KEY}},
    ],
)
def test_no_log_record_and_no_error_holds_the_key_in_any_spelling(
    ask: Ask,
    sandbox: SMSPartnerSandbox,
    connect: Any,
    pauses: list[float],
    caplog: pytest.LogCaptureFixture,
    fault: dict[str, Any],
) -> None:
    for logger in ("", "aiohttp"):
        caplog.set_level(logging.DEBUG, logger)
    connect(sandbox, timeout=0.2, max_retries=1)
    texts = []
    if fault:
        sandbox.fail_next(times=3, **fault)
    hook = SMSPartnerHook()
    try:
        ask(hook)
    except SMSPartnerError as error:
        link: BaseException | None = error
        while link is not None:
            texts += [str(link), repr(link), repr(link.args), repr(vars(link))]
            link = link.__cause__ or link.__context__
    texts += [hook.test_connection()[1], caplog.text, *(repr(vars(record)) for record in caplog.records)]
    assert "/v1/me?apiKey=***" in caplog.text or fault in ({"drop": True}, {"delay": 30})
    assert told(KEY, "\n".join(texts)) == []


@pytest.mark.parametrize(
    "connection",
    ['{"conn_type": "smspartner", "password": "S3cr3t", "port": "x"}', '{"password": "S3cr3t"', "a://b://c://S3cr3t"],
)
def test_a_connection_that_airflow_cannot_read_is_not_quoted(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, connection: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", connection)
    with pytest.raises(SMSPartnerConfigurationError, match="'broken'") as refusal:
        ask(SMSPartnerHook("broken"))
    assert "S3cr3t" not in f"{refusal.value!r} {refusal.value} {refusal.value.__context__} {refusal.value.__cause__}"


def test_a_secrets_backend_that_is_away_may_come_back(
    ask: Ask, hook: SMSPartnerHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(conn_id: str) -> None:
        raise ConnectionError(f"vault is sealed, {conn_id} {KEY}")

    async def aaway(conn_id: str) -> None:
        away(conn_id)

    monkeypatch.setattr(hook, "get_connection", away)
    # Before Airflow 3.1 there is only the one above, which is called in a thread then.
    if hasattr(hook, "aget_connection"):
        monkeypatch.setattr(hook, "aget_connection", aaway)
    with pytest.raises(SMSPartnerUnavailableError, match="could not look it up") as failure:
        ask(hook)
    assert failure.value.__context__ is None
