"""One call of the hook, whatever it meets: what is logged, raised and kept of it tells no key."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import pickle
import signal
import socket
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from threading import Thread, main_thread
from typing import Any
from urllib.parse import quote

import pytest
import requests

from airflow_provider_smspartner.api.protocol import ResponseFormat, build_account_request
from airflow_provider_smspartner.exceptions import SMSPartnerError
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.triggers.credits import CreditsTrigger
from tests.conftest import Ask
from tests.spellings import told

PROXY_PASSWORD = "Pa55/word+of=the&proxy"


@dataclass(frozen=True)
class Stage:
    """What a scene sets up: an account under the key, a server of any bytes, and a connection with the key."""

    key: str
    account: SMSPartnerSandbox
    answering: Callable[[str], str]
    connect: Callable[..., str]

    def answers(self, answer: str) -> None:
        """Connect to a server of this answer, in which KEY stands for the key, and URL for its spelling in one."""
        spelled = answer.replace("KEY", self.key).replace("URL", quote(self.key, safe=""))
        self.connect(self.account, host=self.answering(spelled.replace("\n", "\r\n")), max_retries=0)


@dataclass(frozen=True)
class Scene:
    """
    What a call meets.

    :param prepare: sets it up
    :param logged: what requests logs of it; nothing, where the request gets no further than the connection
    :param is_answered: whether there is an account in the end
    """

    prepare: Callable[[Stage], object]
    logged: str = "apiKey=***"
    is_answered: bool = False


def _page(text: str) -> str:
    return f"HTTP/1.1 200 OK\nContent-Type: text/html\nConnection: close\n\n{text}"


def _body(content: object) -> str:
    return f"HTTP/1.1 200 OK\nConnection: close\n\n{json.dumps(content)}"


def _redirect(location: str) -> str:
    return f"HTTP/1.1 302 Found\nLocation: {location}\nContent-Length: 0\nConnection: close\n\n"


def _refused(stage: Stage) -> None:
    stage.connect(stage.account, max_retries=0)
    stage.account.stop()


def _through_a_proxy(stage: Stage, host: str, answer: str) -> None:
    server = stage.answering(answer.replace("KEY", stage.key)).removesuffix("/v1")
    proxy = server.replace("//", f"//someone:{quote(PROXY_PASSWORD, safe='')}@")
    stage.connect(stage.account, host=host, proxy=proxy, max_retries=0)


SCENES = {
    "a reading in JSON": Scene(lambda stage: stage.connect(stage.account), is_answered=True),
    "a reading in XML": Scene(lambda stage: stage.connect(stage.account, response_format="xml"), is_answered=True),
    "a key that is unknown there": Scene(lambda stage: stage.answers(_body({"success": False, "code": 10}))),
    "a refusal that repeats it": Scene(lambda stage: stage.answers(_body({"code": 10, "message": stage.key}))),
    "an error that repeats it": Scene(lambda stage: stage.answers(_body({"code": 9, "errors": [{"x": stage.key}]}))),
    "an account whose user is named like it": Scene(
        lambda stage: stage.answers(_body({"credits": {"creditSms": 7}, "user": {"firstname": stage.key}})),
        is_answered=True,
    ),
    "a page that repeats it": Scene(lambda stage: stage.answers(_page(f"<p>KEY {escape(stage.key)} URL</p>"))),
    "XML that breaks off": Scene(lambda stage: stage.answers(_page("<result><entry>KEY"))),
    "a redirect that repeats the query": Scene(
        lambda stage: stage.answers(_redirect("/v1/me?apiKey=URL&_format=json"))
    ),
    "a redirect that repeats it as it is": Scene(lambda stage: stage.answers(_redirect("/login?apiKey=KEY"))),
    "a redirect to a log-in, and back": Scene(
        lambda stage: stage.answers(
            _redirect(f"/login?next={quote(build_account_request('', stage.key, ResponseFormat.JSON).url)}")
        )
    ),
    "headers that repeat it": Scene(lambda stage: stage.answers("HTTP/1.1 404 KEY\nX-Key: KEY\nX-Url: URL\n\n")),
    "cookies that repeat it": Scene(
        lambda stage: stage.answers("HTTP/1.1 404 No\nSet-Cookie: a URL b=1\nSet-Cookie: a KEY b=KEY; path=/\n\n")
    ),
    "headers that nobody can parse": Scene(lambda stage: stage.answers("HTTP/1.1 200 OK\n KEY\nURL\n\n{}"), "127.0.0."),
    "an answer that is no HTTP": Scene(lambda stage: stage.answers("KEY URL\n\n"), "127.0.0."),
    "HTTP 503": Scene(lambda stage: stage.answers("HTTP/1.1 503 Busy\nRetry-After: KEY\nContent-Length: 0\n\n")),
    "a body that is packed": Scene(lambda stage: stage.answers("HTTP/1.1 200 OK\nContent-Encoding: gzip\n\nKEY")),
    "a connection that is dropped": Scene(lambda stage: stage.answers(""), "127.0.0."),
    "an answer that comes too late": Scene(
        lambda stage: (stage.connect(stage.account, timeout=0.2, max_retries=0), stage.account.fail_next(delay=30)),
        "127.0.0.",
    ),
    "a connection that is refused": Scene(_refused, "127.0.0."),
    "a TLS handshake that fails": Scene(
        lambda stage: stage.connect(stage.account, host=stage.account.url.replace("http:", "https:"), max_retries=0),
        "127.0.0.",
    ),
    "a proxy": Scene(
        lambda stage: _through_a_proxy(stage, "http://127.0.0.7:1/v1", "HTTP/1.1 400 KEY\r\nX-Key: KEY\r\n\r\n")
    ),
    "a proxy that opens no tunnel": Scene(
        lambda stage: _through_a_proxy(stage, "https://127.0.0.7:1/v1", "HTTP/1.1 407 KEY\r\nX-Key: KEY\r\n\r\n"),
        "127.0.0.",
    ),
    "a proxy whose password nobody percent-encoded": Scene(
        lambda stage: stage.connect(stage.account, proxy=f"http://someone:{PROXY_PASSWORD}#1@127.0.0.1:9"), ""
    ),
    "a bad extra": Scene(lambda stage: stage.connect(stage.account, timeout=stage.key), ""),
    "a bad host": Scene(lambda stage: stage.connect(stage.account, host=f"https://{stage.key}@host/v1"), ""),
}

OF_A_LOOP = "Using selector"
"""What is logged of any event loop. aiohttp says nothing of a request."""


@pytest.fixture(params=SCENES.values(), ids=SCENES)
def scene(request: pytest.FixtureRequest, key: str, account: SMSPartnerSandbox, answering: Any, connect: Any) -> Scene:
    scene: Scene = request.param
    scene.prepare(Stage(key, account, answering, connect))
    return scene


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Return all that was logged, at DEBUG: what Airflow wrote, and the records as they are before it masks them."""
    for logger in ("", "airflow.task", "urllib3", "requests", "aiohttp", "asyncio"):
        caplog.set_level(logging.DEBUG, logger)
    written = logging.Formatter("%(name)s %(levelname)s %(message)s")
    return lambda: "\n".join(
        [*capfd.readouterr(), *(f"{written.format(record)} {vars(record)}" for record in caplog.records)]
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _everything_about(error: BaseException) -> str:
    links = [f"{link} {link!r} {link.args} {vars(link)}" for link in _chain(error)]
    return "\n".join([*links, *traceback.format_exception(error)])


def _with_locals(error: BaseException) -> str:
    """Render the error as some log shippers do, with the variables of each frame but the test's own."""
    assert error.__traceback__
    of_the_package = error.with_traceback(error.__traceback__.tb_next)
    return "".join(traceback.TracebackException.from_exception(of_the_package, capture_locals=True).format())


def test_a_call_tells_no_key(ask: Ask, scene: Scene, key: str, search: Any, logged: Callable[[], str]) -> None:
    hook, secrets = SMSPartnerHook(), (key, PROXY_PASSWORD)
    error = None
    try:
        ask(hook)
    except SMSPartnerError as raised:
        error = raised
    assert scene.is_answered is (error is None)
    if scene.logged:
        proof = scene.logged if ask is SMSPartnerHook.get_account else OF_A_LOOP
        search("log records of the HTTP libraries and of the hook, at DEBUG", logged(), proof, *secrets)
    if error is not None:
        search("an error: its text, its chain, its traceback", _everything_about(error), "SMS Partner conn", *secrets)
        search("an error's traceback with the variables of each frame", _with_locals(error), "get_account", *secrets)
        search("an error in a trigger's event", json.dumps(error.as_event()), "smspartner_default", *secrets)
    kept = f"{vars(hook)} {hook!r} {pickle.dumps(hook)!r}"
    search("what a hook keeps, shown and pickled", kept, "smspartner_default", *secrets)


def test_a_test_of_the_connection_tells_no_key(scene: Scene, key: str, search: Any, logged: Callable[[], str]) -> None:
    works, text = SMSPartnerHook().test_connection()
    assert works is scene.is_answered
    search("the text of a test of the connection", text, "SMS Partner", key, PROXY_PASSWORD)


def test_a_trigger_tells_no_key(scene: Scene, key: str, search: Any, logged: Callable[[], str]) -> None:
    async def first_reading(trigger: CreditsTrigger) -> Any:
        stream = trigger.open_shared_stream(trigger.serialize()[1])
        try:
            return await anext(stream)
        finally:
            await stream.aclose()

    async def events(trigger: CreditsTrigger, reading: Any) -> list[Any]:
        async def stream() -> Any:
            yield reading

        return [event async for event in trigger.filter_shared_stream(stream())]

    gate, watcher = (CreditsTrigger(min_credits=1, once=once) for once in (True, False))
    reading = asyncio.run(first_reading(gate))
    search(
        "a reading in a shared stream",
        f"{reading!r} {reading}",
        "SMSPartner" if not scene.is_answered else "Account(",
        key,
    )
    for trigger in (gate, watcher):
        fired = asyncio.run(events(trigger, reading))
        assert fired or not scene.is_answered
        shown = f"{trigger!r} {trigger} {json.dumps(trigger.serialize())} {vars(trigger)}"
        search("a trigger and its arguments", shown, "smspartner_default", key, PROXY_PASSWORD)
        if fired:
            search("the events of triggers", f"{fired!r} {json.dumps(fired[0].payload)}", "status", key, PROXY_PASSWORD)
    search("the triggers' log records", logged(), "SMS Partner connection", key, PROXY_PASSWORD)


class Interrupted(BaseException):
    """What cuts a task short from outside, as its ``execution_timeout`` does."""


def test_what_cuts_a_call_short_from_outside_shows_the_url_to_nobody_but_those_who_render_variables(
    key: str, account: SMSPartnerSandbox, connect: Any, search: Any
) -> None:
    def interrupt(*_: object) -> None:
        raise Interrupted

    def interrupt_when_asked() -> None:
        account.wait_for_requests(1)
        signal.pthread_kill(main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    account.fail_next(delay=30)
    hook, waiting = SMSPartnerHook(connect(account)), Thread(target=interrupt_when_asked)
    waiting.start()
    with pytest.raises(Interrupted) as cut_short:
        hook.get_account()
    waiting.join()
    signal.signal(signal.SIGUSR1, before)
    search("the traceback of what cuts a call short", _everything_about(cut_short.value), "_make_request", key)
    # The frames are the HTTP library's, and docs/security.rst says so.
    assert told(key, _with_locals(cut_short.value)) != []


def test_what_others_ask_in_the_same_process_is_logged_as_ever(
    sandbox: SMSPartnerSandbox, connect: Any, answering: Any, logged: Callable[[], str]
) -> None:
    url = answering("HTTP/1.1 200 OK\r\n a-word\r\n\r\n{}")
    hook = SMSPartnerHook(connect(sandbox, host=url, max_retries=0))
    with pytest.raises(SMSPartnerError):
        hook.get_account()
    ours = logged()
    requests.get(url, timeout=10)
    others = logged().removeprefix(ours)
    assert "Failed to parse headers ***" in ours
    assert "a-word" not in ours
    assert "a-word" in others


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_what_aiohttp_shows_of_a_connection_tells_no_password(
    scheme: str, sandbox: SMSPartnerSandbox, connect: Any, search: Any
) -> None:
    """Such as where asyncio logs of one that nobody closed."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"127.0.0.1:{proxy.getsockname()[1]}"
        url = f"http://someone:{quote(PROXY_PASSWORD, safe='')}@{address}"
        hook = SMSPartnerHook(connect(sandbox, host=f"{scheme}://127.0.0.7:1/v1", proxy=url))
        asking = asyncio.create_task(hook.aget_account())
        client, _ = await asyncio.to_thread(proxy.accept)
        with client:
            sent = await asyncio.to_thread(client.recv, 65536)
            shown = "".join(repr(each) for each in gc.get_objects() if type(each).__name__ == "ConnectionKey")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await hook.aclose()
    assert b64encode(f"someone:{PROXY_PASSWORD}".encode()) in sent
    search("what aiohttp shows of a connection to a proxy", shown, address, PROXY_PASSWORD)
