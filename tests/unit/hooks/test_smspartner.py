"""The hook, over real HTTP: the sandbox answers, or a socket that misbehaves."""

from __future__ import annotations

import asyncio
import copy
import importlib
import logging
import pickle
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from threading import get_ident
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import uuid4

import pytest
import trustme
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_smspartner.account import Credits
from airflow_provider_smspartner.api.clients import _shared
from airflow_provider_smspartner.exceptions import (
    SMSPartnerAccessError,
    SMSPartnerArgumentError,
    SMSPartnerConfigurationError,
    SMSPartnerError,
    SMSPartnerRejectedError,
    SMSPartnerResponseError,
    SMSPartnerUnavailableError,
)
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.airflow_versions import AIRFLOW, needs_airflow
from tests.conftest import Ask
from tests.servers import GOOD_ANSWER, Clients, answer_each_request, serving
from tests.spellings import KEY, told
from tests.vault import Vault


@pytest.fixture
def pauses(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect those of the synchronous side too."""
    monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
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


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The hook's clock, which a test sets."""
    now = [1000.0]
    monkeypatch.setattr("airflow_provider_smspartner.hooks.smspartner.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("seconds", "asked_with"), [(299, "first-key"), (601, "second-key")])
async def test_a_connection_that_changes_while_somebody_waits_counts_5_to_10_minutes_later(
    connect: Any, now: list[float], seconds: float, asked_with: str
) -> None:
    with SMSPartnerSandbox(api_key=["first-key", "second-key"]) as sandbox:
        hook = SMSPartnerHook(connect(sandbox, api_key="first-key"))
        await hook.aget_account()
        connect(sandbox, api_key="second-key")
        now[0] += seconds
        before = sandbox.requests_by_key[asked_with]
        await hook.aget_account()
        await hook.aclose()
        assert sandbox.requests_by_key[asked_with] == before + 1


def test_hooks_that_began_together_read_their_connections_apart(sandbox: SMSPartnerSandbox, connect: Any) -> None:
    """A triggerer looks connections up one at a time: thousands at the same moment would hold up its other triggers."""
    connect(sandbox)
    hooks = [SMSPartnerHook() for _ in range(5)]

    async def ask_all() -> None:
        for hook in hooks:
            await hook.aget_account()
            await hook.aclose()

    asyncio.run(ask_all())
    assert max(hook._read_again_at for hook in hooks) - min(hook._read_again_at for hook in hooks) > 1


@pytest.mark.parametrize(("seconds", "asked_with"), [(599, "first-key"), (600, "second-key")])
async def test_a_connection_is_kept_twice_as_long_where_twice_as_many_hooks_share_a_loop(
    connect: Any, now: list[float], monkeypatch: pytest.MonkeyPatch, seconds: float, asked_with: str
) -> None:
    """Each look-up takes a triggerer a turn of its main loop: thousands of accounts are not to keep it busy."""
    monkeypatch.setattr("airflow_provider_smspartner.hooks.smspartner.KEPT_FOR", (300.0, 300.0))
    monkeypatch.setattr("airflow_provider_smspartner.hooks.smspartner.KEPT_LONGER_ABOVE", 2)
    with SMSPartnerSandbox(api_key=["first-key", "second-key"]) as sandbox:
        hooks = [SMSPartnerHook(connect(sandbox, f"account_{number}", api_key="first-key")) for number in range(5)]
        for hook in hooks:
            await hook.aget_account()
        connect(sandbox, "account_4", api_key="second-key")
        now[0] += seconds
        before = sandbox.requests_by_key[asked_with]
        await hooks[4].aget_account()
        for hook in hooks:
            await hook.aclose()
        assert sandbox.requests_by_key[asked_with] == before + 1


@pytest.fixture
def read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each call on a loop read the connection anew."""
    monkeypatch.setattr("airflow_provider_smspartner.hooks.smspartner.KEPT_FOR", (0, 0))


@pytest.mark.usefixtures("read_anew")
async def test_a_proxy_that_changes_counts(sandbox: SMSPartnerSandbox, connect: Any) -> None:
    hook = SMSPartnerHook(connect(sandbox, max_retries=0))
    await hook.aget_account()
    connect(sandbox, proxy="http://127.0.0.1:9", max_retries=0)
    with pytest.raises(SMSPartnerUnavailableError, match="the connection is refused"):
        await hook.aget_account()
    await hook.aclose()


@pytest.mark.usefixtures("read_anew")
async def test_a_client_stays_as_long_as_its_connection_says_the_same(sandbox: SMSPartnerSandbox, connect: Any) -> None:
    hook = SMSPartnerHook(connect(sandbox))
    for _ in range(3):
        await hook.aget_account()
    await hook.aclose()
    assert sandbox.connections == 1


async def test_all_hooks_of_an_event_loop_share_what_is_open(sandbox: SMSPartnerSandbox, connect: Any) -> None:
    hooks = [SMSPartnerHook(connect(sandbox, conn_id)) for conn_id in ("one", "other")]
    for hook in hooks:
        await hook.aget_account()
    await hooks[0].aclose()
    await hooks[1].aget_account()
    await hooks[1].aclose()
    assert (sandbox.requests, sandbox.connections) == (3, 1)


async def test_an_account_that_answers_slowly_holds_no_other_up(connect: Any) -> None:
    """Nor do more of them than aiohttp would have open at once."""
    keys = [f"key-{number}" for number in range(120)]
    with SMSPartnerSandbox(api_key=[*keys, "quick"]) as sandbox:
        for key in [*keys, "quick"]:
            connect(sandbox, key, api_key=key)
        sandbox.fail_next(times=len(keys), delay=5)
        slow = [SMSPartnerHook(key) for key in keys]
        waiting = [asyncio.create_task(hook.aget_account()) for hook in slow]
        while sandbox.requests < len(keys):  # noqa: ASYNC110 - a sandbox wakes nobody
            await asyncio.sleep(0.05)
        quick = SMSPartnerHook("quick")
        await asyncio.wait_for(quick.aget_account(), timeout=4)
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        for hook in [*slow, quick]:
            await hook.aclose()


def test_what_a_loop_left_open_is_closed_by_the_next_one(
    sandbox: SMSPartnerSandbox, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    connect(sandbox)
    asyncio.run(_ask(SMSPartnerHook()))  # and never closed

    async def ask_and_close() -> None:
        hook = SMSPartnerHook()
        await _ask(hook)
        await hook.aclose()

    asyncio.run(ask_and_close())
    assert not _shared
    assert "Unclosed" not in caplog.text


async def _ask(hook: SMSPartnerHook) -> None:
    await hook.aget_account()


async def test_a_hook_that_is_closed_has_closed_its_connection_and_can_be_asked_again(
    clients: Clients, sandbox: SMSPartnerSandbox, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    hook = SMSPartnerHook(connect(sandbox, host=f"http://127.0.0.1:{clients.port}/v1"))
    await hook.aclose()
    for _ in range(2):
        assert (await hook.aget_account()).credits.sms == 7
        await hook.aclose()
        assert await asyncio.to_thread(clients.closed.wait, 10)
        clients.closed.clear()
    assert "Unclosed" not in caplog.text  # which asyncio says of a client that was dropped instead


async def test_a_ca_bundle_and_its_certificate_that_are_replaced_count_in_both_ways(
    sandbox: SMSPartnerSandbox, connect: Any, tmp_path: Path
) -> None:
    """A kept client cannot know of it: it fails, the connection is read anew, and its bundle is another one by then."""
    bundle, server = tmp_path / "ca.pem", ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)

    def rotate() -> None:
        ca = trustme.CA()
        ca.cert_pem.write_to_path(str(bundle))
        ca.issue_cert("127.0.0.1").configure_cert(server)

    def answer_once(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(GOOD_ANSWER.replace(b"200 OK", b"200 OK\r\nConnection: close"))

    rotate()
    with serving(answer_once, server) as port:
        hook = SMSPartnerHook(connect(sandbox, host=f"https://127.0.0.1:{port}/v1", verify=str(bundle), max_retries=0))
        await hook.aget_account()
        rotate()
        assert (await hook.aget_account()).credits.sms == 7
        await hook.aclose()
        assert SMSPartnerHook().get_account().credits.sms == 7


async def test_certificates_are_not_loaded_on_the_loop(
    sandbox: SMSPartnerSandbox, connect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle may lie on a network drive, and certifi's has more than a hundred."""
    loaded_in: list[int] = []
    make = ssl.create_default_context

    def note(*given: Any, **named: Any) -> ssl.SSLContext:
        loaded_in.append(get_ident())
        return make(*given, **named)

    monkeypatch.setattr("ssl.create_default_context", note)
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    hook = SMSPartnerHook(connect(sandbox, verify=str(tmp_path / "ca.pem")))
    await hook.aget_account()
    await hook.aclose()
    assert loaded_in
    assert get_ident() not in loaded_in


async def test_aiohttp_is_not_imported_on_the_loop(
    sandbox: SMSPartnerSandbox, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which takes a tenth of a second, and a triggerer has other triggers."""
    imported_in: list[int] = []

    class Finder:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "aiohttp":
                imported_in.append(get_ident())

    monkeypatch.delitem(sys.modules, "aiohttp", raising=False)
    monkeypatch.setattr("sys.meta_path", [Finder, *sys.meta_path])
    hook = SMSPartnerHook(connect(sandbox))
    await hook.aget_account()
    await hook.aclose()
    assert imported_in
    assert get_ident() not in imported_in


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda hook: pickle.loads(pickle.dumps(hook))])
def test_a_copy_of_a_hook_asks_the_same_account(
    copied: Callable[[SMSPartnerHook], SMSPartnerHook], sandbox: SMSPartnerSandbox, connect: Any
) -> None:
    with SMSPartnerSandbox("10") as other:
        connect(sandbox)
        hook = SMSPartnerHook(connect(other, "other"))
        hook.get_account()
        assert copied(hook).get_account().credits.balance == 10


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


@pytest.mark.parametrize(("http_status", "is_looked_up"), [(503, False), (401, True)])
async def test_an_outage_has_a_triggerer_of_many_accounts_look_no_connection_up(
    connect: Any, sandbox: SMSPartnerSandbox, monkeypatch: pytest.MonkeyPatch, http_status: int, is_looked_up: bool
) -> None:
    """It meets all of them at once. A permanent error ends a gate, and so is worth a look whatever it takes."""
    monkeypatch.setattr("airflow_provider_smspartner.hooks.smspartner.KEPT_LONGER_ABOVE", 1)
    hooks = [SMSPartnerHook(connect(sandbox, conn_id, max_retries=0)) for conn_id in ("one", "other")]
    for hook in hooks:
        await hook.aget_account()
    sandbox.fail_next(times=None, http_status=http_status)
    with SMSPartnerSandbox("10") as elsewhere:
        connect(elsewhere, "one")
        with nullcontext() if is_looked_up else pytest.raises(SMSPartnerUnavailableError):
            await hooks[0].aget_account()
        assert elsewhere.requests == is_looked_up
    for hook in hooks:
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


@pytest.mark.parametrize(
    "fault", [{"http_status": 500}, {"http_status": 408}, {"drop": True}, {"july_gateway": True}, {"body": "<html>"}]
)
def test_a_transient_error_is_retried(
    ask: Ask, sandbox: SMSPartnerSandbox, hook: SMSPartnerHook, pauses: list[float], fault: dict[str, Any]
) -> None:
    sandbox.fail_next(times=2, **fault)
    assert ask(hook).credits.sms == 269082
    assert sandbox.requests == 3
    assert 0.5 <= pauses[0] <= 1 <= pauses[1] <= 1.5


async def test_an_event_loop_s_log_is_told_of_retries_where_they_are_new_and_now_and_then(
    sandbox: SMSPartnerSandbox,
    hook: SMSPartnerHook,
    pauses: list[float],
    task_log: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def told_of_two_calls(fault: dict[str, Any]) -> int:
        for _ in range(2):
            sandbox.fail_next(times=3, **fault)
            with pytest.raises(SMSPartnerUnavailableError):
                await hook.aget_account()
        return task_log().count("attempt 2 of 3 failed")

    once = await told_of_two_calls({"http_status": 503})  # more than 1 where an old Airflow both prints and logs it
    assert once > 0
    assert await told_of_two_calls({"http_status": 503}) == 0
    assert await told_of_two_calls({"drop": True}) == once
    monkeypatch.setattr("airflow_provider_smspartner.hooks.smspartner.TOLD_AGAIN_AFTER", 0)
    assert await told_of_two_calls({"http_status": 503}) == 2 * once
    assert len(pauses) == 2 * 2 * 4


async def test_a_failure_that_is_not_retried_hides_no_later_retries(
    sandbox: SMSPartnerSandbox, hook: SMSPartnerHook, pauses: list[float], task_log: Any
) -> None:
    sandbox.fail_next(http_status=503, headers={"Retry-After": "600"})
    with pytest.raises(SMSPartnerUnavailableError):
        await hook.aget_account()
    assert (pauses, "attempt" in task_log()) == ([], False)
    sandbox.fail_next(http_status=503)
    await hook.aget_account()
    assert "attempt 1 of 3 failed" in task_log()


def test_tries_end_with_the_connection_s_max_retries(
    ask: Ask, sandbox: SMSPartnerSandbox, connect: Any, pauses: list[float]
) -> None:
    connect(sandbox, max_retries=1)
    sandbox.fail_next(times=None, http_status=503)
    with pytest.raises(SMSPartnerUnavailableError) as failure:
        ask(SMSPartnerHook())
    assert failure.value.http_status == 503
    assert (sandbox.requests, len(pauses)) == (2, 1)


def test_pauses_grow_to_ten_seconds_and_are_spread_by_half_a_second(
    ask: Ask, sandbox: SMSPartnerSandbox, connect: Any, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.random", lambda: 1.0)
    connect(sandbox, max_retries=7)
    sandbox.fail_next(times=None, http_status=503)
    with pytest.raises(SMSPartnerUnavailableError):
        ask(SMSPartnerHook())
    assert pauses == [1, 1.5, 2.5, 4.5, 8.5, 10.5, 10.5]


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


@pytest.mark.parametrize("seconds", [7, 30])
def test_retry_after_is_waited_for(
    ask: Ask, sandbox: SMSPartnerSandbox, hook: SMSPartnerHook, pauses: list[float], seconds: int
) -> None:
    sandbox.fail_next(http_status=429, headers={"Retry-After": str(seconds)})
    ask(hook)
    assert pauses == [seconds]


@pytest.mark.parametrize("seconds", [31, 3600])
def test_a_longer_retry_after_ends_the_call_and_is_handed_on(
    ask: Ask, sandbox: SMSPartnerSandbox, hook: SMSPartnerHook, pauses: list[float], seconds: int
) -> None:
    sandbox.fail_next(http_status=429, headers={"Retry-After": str(seconds)})
    with pytest.raises(SMSPartnerUnavailableError) as failure:
        ask(hook)
    assert failure.value.retry_after == seconds
    assert (sandbox.requests, pauses) == (1, [])


def test_a_wrong_key_names_the_connection_and_its_password(ask: Ask, sandbox: SMSPartnerSandbox, connect: Any) -> None:
    connect(sandbox, "marketing", api_key="wrong-key")
    with pytest.raises(SMSPartnerAccessError, match=r"'marketing': .*check the connection's API key"):
        ask(SMSPartnerHook("marketing"))


def test_a_missing_connection_says_so(ask: Ask) -> None:
    with pytest.raises(SMSPartnerConfigurationError, match="'nowhere': there is no such connection") as failure:
        ask(SMSPartnerHook("nowhere"))
    assert failure.value.__context__ is None
    with pytest.raises(SMSPartnerConfigurationError, match="'nowhere': there is no such connection"):
        SMSPartnerHook("nowhere").get_conn()


def test_a_redirect_is_not_followed(ask: Ask, sandbox: SMSPartnerSandbox, connect: Any, pauses: list[float]) -> None:
    connect(sandbox, max_retries=0)
    with SMSPartnerSandbox() as elsewhere:
        sandbox.fail_next(http_status=302, headers={"Location": f"{elsewhere.url}/me"})
        with pytest.raises(SMSPartnerResponseError, match="redirect"):
            ask(SMSPartnerHook())
        assert elsewhere.requests == 0


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
    def broken(conn: object) -> None:
        raise RuntimeError(KEY)

    monkeypatch.setattr("airflow_provider_smspartner.hooks.smspartner.read_settings", broken)
    assert hook.test_connection() == (
        False,
        "The test itself failed with RuntimeError: look into the log of the API server",
    )


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
    with pytest.raises(SMSPartnerConfigurationError, match=f"'broken': {UNREADABLE}") as refusal:
        ask(SMSPartnerHook("broken"))
    assert "S3cr3t" not in f"{refusal.value!r} {refusal.value} {refusal.value.__context__} {refusal.value.__cause__}"


UNREADABLE = "it cannot be read: write it as a JSON object, or as a URI"
LOOK_UPS = {
    "a URI of nonsense": (AirflowException(f"Invalid connection string: {KEY}"), UNREADABLE),
    "JSON that breaks off": (ValueError(KEY), UNREADABLE),
    "JSON of another shape": (TypeError(KEY), UNREADABLE),
    "a secret of somebody else": (PermissionError(KEY), "a secrets backend denies it to this task: allow it there"),
}


@pytest.mark.parametrize(("raised", "told_as"), LOOK_UPS.values(), ids=LOOK_UPS)
def test_a_look_up_that_needs_action_says_which(
    ask: Ask, hook: SMSPartnerHook, monkeypatch: pytest.MonkeyPatch, raised: Exception, told_as: str
) -> None:
    look_up_with(hook, monkeypatch, raised)
    with pytest.raises(SMSPartnerConfigurationError, match=told_as) as failure:
        ask(hook)
    assert failure.value.__context__ is None
    assert told(KEY, str(failure.value)) == []


@pytest.mark.parametrize(
    ("failures", "told_as"),
    [
        ([ConnectionError("sealed"), ConnectionError("sealed")], "could not look it up .ConnectionError"),
        ([TimeoutError("sealed")], "could not look it up .LookupError"),  # it is back when it is asked once more
        ([ValueError("sealed"), ValueError("sealed")], UNREADABLE),
    ],
)
def test_a_backend_that_fails_is_no_backend_that_knows_no_such_connection(
    ask: Ask, vault: type[Vault], sandbox: SMSPartnerSandbox, failures: list[Exception], told_as: str
) -> None:
    vault.holds["in_the_vault"] = sandbox.connection_json()
    vault.failures = iter(failures)
    with pytest.raises(SMSPartnerError, match=f"'in_the_vault': .*{told_as}") as failure:
        ask(SMSPartnerHook("in_the_vault"))
    assert failure.value.retryable is (told_as != UNREADABLE)
    assert failure.value.__context__ is None
    assert "sealed" not in str(failure.value)
    assert ask(SMSPartnerHook("in_the_vault")).credits.sms == 269082


@needs_airflow(3, 1, for_the_sake_of="secrets backend that asks Airflow's API")
@pytest.mark.parametrize(
    ("error", "told_as"),
    [("API_SERVER_ERROR", "could not look it up .ConnectionError"), ("CONNECTION_NOT_FOUND", "there is no such conn")],
)
def test_an_api_of_airflow_s_that_fails_is_none_that_knows_no_such_connection(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, error: str, told_as: str
) -> None:
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    class Supervisor:
        """Stands in for the process between a task and the API: it would have to outlast its own retries."""

        def send(self, _: object) -> ErrorResponse:
            return ErrorResponse(error=ErrorType[error])

        async def asend(self, message: object) -> ErrorResponse:
            return self.send(message)

    monkeypatch.setattr("airflow.sdk.execution_time.task_runner.SUPERVISOR_COMMS", Supervisor(), raising=False)
    with pytest.raises(SMSPartnerError, match=f"'elsewhere': .*{told_as}"):
        ask(SMSPartnerHook("elsewhere"))


@pytest.mark.parametrize("raised", [ConnectionError(f"vault is sealed, {KEY}"), TimeoutError(KEY), RuntimeError(KEY)])
def test_a_secrets_backend_that_is_away_may_come_back(
    ask: Ask, hook: SMSPartnerHook, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    look_up_with(hook, monkeypatch, raised)
    with pytest.raises(SMSPartnerUnavailableError, match=f"could not look it up .{type(raised).__name__}") as failure:
        ask(hook)
    assert failure.value.__context__ is None
    assert told(KEY, str(failure.value)) == []


def look_up_with(hook: SMSPartnerHook, monkeypatch: pytest.MonkeyPatch, raised: Exception) -> None:
    """Have Airflow's look-up of the hook's connection raise that."""

    def look_up(conn_id: str) -> None:
        raise raised

    async def alook_up(conn_id: str) -> None:
        raise raised

    monkeypatch.setattr(hook, "get_connection", look_up)
    # Before Airflow 3.1 there is only the one above, which is called in a thread then.
    if hasattr(hook, "aget_connection"):
        monkeypatch.setattr(hook, "aget_connection", alook_up)


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect what Airflow is told to mask."""
    masked: list[str] = []

    async def amask_secret(secret: object, name: str | None = None) -> None:
        masked.extend([secret] if isinstance(secret, str) else [])  # Airflow itself has it mask an extra

    monkeypatch.setattr("airflow_provider_smspartner.api.secrecy.mask_secret", masked.append)
    if AIRFLOW >= (3, 3):
        monkeypatch.setattr("airflow.sdk.log.amask_secret", amask_secret, raising=False)
    return masked


@pytest.mark.parametrize(
    "extras",
    [
        {},
        {"timeout": "soon"},
        {"proxy": "http://svc:Secret-Pass#1@127.0.0.1:18999"},
        {"proxy": "http://svc:Secret-Pass%231@127.0.0.1:9"},
    ],
)
def test_airflow_is_told_to_mask_every_spelling_of_every_secret_whatever_else_is_wrong(
    ask: Ask, sandbox: SMSPartnerSandbox, connect: Any, masked: list[str], extras: dict[str, Any]
) -> None:
    connect(sandbox, max_retries=0, **extras)
    with suppress(SMSPartnerError):
        ask(SMSPartnerHook())
    secrets = [KEY, *(["Secret-Pass#1", "svc:Secret-Pass#1"] if "proxy" in extras else [])]
    assert set(masked) >= {spell(each) for each in secrets for spell in (str, quote_plus, partial(quote, safe=""))}


@pytest.mark.usefixtures("read_anew")
async def test_airflow_s_supervisor_is_told_of_a_secret_once_as_long_as_it_stays(
    sandbox: SMSPartnerSandbox, connect: Any, masked: list[str]
) -> None:
    hook = SMSPartnerHook(connect(sandbox))
    for _ in range(3):
        await hook.aget_account()
    assert masked.count(quote(KEY, safe="")) == 1
    connect(sandbox, api_key="another-key", max_retries=0)
    with pytest.raises(SMSPartnerAccessError):
        await hook.aget_account()
    await hook.aclose()
    assert "another-key" in masked


def test_a_foreign_log_line_with_the_key_is_masked(ask: Ask, connect: Any) -> None:
    masker = "airflow.sdk.log" if AIRFLOW >= (3, 1) else "airflow.sdk.execution_time.secrets_masker"
    log = importlib.import_module(masker if AIRFLOW >= (3, 0) else "airflow.utils.log.secrets_masker")
    key = f"K+/ {uuid4()}"  # of which no other test has told
    with SMSPartnerSandbox(api_key=key) as sandbox:
        ask(SMSPartnerHook(connect(sandbox)))
    assert log.redact(f"{key}, {quote(key, safe='')}, {quote_plus(key)}") == "***, ***, ***"


@pytest.mark.parametrize("conn_id", [None, 12345, "", "None", ["smspartner_default"]], ids=repr)
def test_a_conn_id_that_names_nothing_is_refused_before_it_is_looked_up(conn_id: Any) -> None:
    with pytest.raises(SMSPartnerArgumentError, match="^smspartner_conn_id is "):
        SMSPartnerHook(conn_id)
