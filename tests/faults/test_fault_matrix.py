"""Each fault, in each mode, on real sockets: what becomes of the task, what is asked meanwhile, what is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from airflow_provider_smspartner.account import CreditRequirement, Credits
from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sensors.credits import CreditsSensor
from tests.faults.conftest import REQUESTS
from tests.faults.faults import ALL, ELSEWHERE, FAULTS, STATES, Answer, Fault, Mode, Verdict
from tests.faults.modes import DRIVERS, MAX_RETRIES, Clock, Course, Encounter
from tests.faults.render import PAGE, render
from tests.faults.server import Certificates, Stage, attempts, make_certificates, stage

Connect = Callable[..., str]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the connection 'warehouse', to an empty SQLite file."""
    conn = {"conn_type": "sqlite", "host": str(tmp_path / "warehouse.db")}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(conn))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.usefixtures("airflow_db", "warehouse")
def test_the_matrix_holds(
    fault: Fault,
    mode: Mode,
    sandbox: SMSPartnerSandbox,
    connect: Connect,
    certificates: Certificates,
    clock: Clock,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    with stage(fault, sandbox, certificates) as playing:
        connect(sandbox, **{"host": playing.url, "max_retries": MAX_RETRIES} | playing.extras)
        encounter = Encounter(fault, clock, lambda: _end(playing, sandbox, connect))
        DRIVERS[mode](encounter)
        course = encounter.course
        course.requests = course.requests or playing.requests()
    record_property(REQUESTS, course.requests)
    assert tuple(course.states) == STATES[fault.verdict][mode]
    told = "\n".join([capfd.readouterr().out, caplog.text, str(course.told), *map(str, course.errors)])
    _hold_the_requests(fault, mode, course, clock)
    _hold_what_is_told(fault, mode, course, told)
    _hold_the_secret(course, told, json.loads(sandbox.connection_json())["password"])


def _end(playing: Stage, sandbox: SMSPartnerSandbox, connect: Connect) -> int:
    """End the fault, and have the connection lead to whoever is well; return how often it was met."""
    met = playing.requests()
    playing.end()
    extras = {name: value for name, value in playing.extras.items() if name == "verify"}
    connect(sandbox, **{"host": playing.url} | extras | playing.healthy)
    return met


def _hold_the_requests(fault: Fault, mode: Mode, course: Course, clock: Clock) -> None:
    """Hold them to their number, and the pauses to their lengths: no storm follows."""
    per_call = 1 + (MAX_RETRIES if fault.retried and mode is not Mode.TEST_CONNECTION else 0)
    assert course.requests == course.readings * per_call
    assert len(clock.pauses) == len(course.expected_pauses)
    for pause, (shortest, longest) in zip(clock.pauses, course.expected_pauses, strict=True):
        assert shortest <= pause <= longest
    assert attempts(ELSEWHERE) == 0, "a redirect was followed"


def _hold_what_is_told(fault: Fault, mode: Mode, course: Course, told: str) -> None:
    if mode is Mode.TEST_CONNECTION:
        assert course.told.removeprefix("SMS Partner connection: ") == fault.sentence
        return
    if fault.reads is None:
        assert f"SMS Partner connection 'smspartner_default': {fault.sentence}" in told
    elif fault.verdict is Verdict.NOT_ENOUGH and mode is not Mode.OPERATOR:
        assert CreditRequirement(1).describe(fault.reads) in told
    if "success" in course.states or "event" in course.states:
        waited = fault.verdict is not Verdict.READ and not (fault.reads and mode is Mode.OPERATOR)
        assert _figures(course.told) == _figures_of(ALL if waited or fault.reads is None else fault.reads)


def _figures(told: dict[str, Any]) -> list[object]:
    """Return the figures of a reading or of a row."""
    names = ("sms", "sms_low_cost", "hlr", "to_send", "balance", "currency")
    return [told.get(name, told.get(f"credit_{name}")) for name in names]


def _figures_of(credits: Credits) -> list[object]:
    counts = [credits.sms, credits.sms_low_cost, credits.hlr, credits.to_send]
    return [*counts, None if credits.balance is None else str(credits.balance), credits.currency]


def _hold_the_secret(course: Course, told: str, key: str) -> None:
    """Hold every text to it, down the chain of the exceptions: none spells the key."""
    texts = [told]
    for error in course.errors:
        link: BaseException | None = error
        while link is not None:
            texts += [str(link), repr(link), repr(link.args), repr(vars(link))]
            link = link.__cause__ or link.__context__
    spellings = {key, quote(key, safe=""), quote(key), quote_plus(key), json.dumps(key)[1:-1], repr(key)[1:-1]}
    assert [spelling for spelling in spellings if any(spelling in text for text in texts)] == []


IN_A_DAG = {
    Verdict.TRANSIENT: "http-503",
    Verdict.PERMANENT: "code-10",
    Verdict.READ: "bom",
    Verdict.NOT_ENOUGH: "count-missing",
}
"""The fault of each verdict that whole DAG runs meet too."""

TASKS: dict[Mode, tuple[Callable[..., Any], dict[str, Any]]] = {
    Mode.POKE: (CreditsSensor, {"min_credits": 1, "mode": "poke"}),
    Mode.RESCHEDULE: (CreditsSensor, {"min_credits": 1, "mode": "reschedule"}),
    Mode.DEFERRABLE: (CreditsSensor, {"min_credits": 1, "deferrable": True}),
    Mode.OPERATOR: (CreditsToSqlOperator, {"sql_conn_id": "warehouse", "retry_delay": 0.01}),
}


@pytest.mark.parametrize("mode", TASKS)
@pytest.mark.parametrize("verdict", IN_A_DAG)
@pytest.mark.usefixtures("in_a_hurry", "warehouse")
def test_one_fault_of_each_verdict_does_the_same_in_a_whole_dag_run(
    verdict: Verdict, mode: Mode, sandbox: SMSPartnerSandbox, connect: Connect, run_task: Any
) -> None:
    (fault,) = [fault for fault in FAULTS if fault.name == IN_A_DAG[verdict]]
    assert isinstance(fault.play, Answer)
    connect(sandbox, max_retries=0)
    times = 1 if mode is Mode.OPERATOR else 2
    sandbox.fail_next(times=times if verdict in (Verdict.TRANSIENT, Verdict.NOT_ENOUGH) else None, **fault.play.played)
    task_class, arguments = TASKS[mode]
    if mode is not Mode.OPERATOR:
        arguments = arguments | {"poke_interval": 0.05, "timeout": 60}
    outcome = run_task(task_class, retries=1, **arguments)
    assert outcome.state == STATES[verdict][mode][-1]
    assert outcome.tries == (2 if "up_for_retry" in STATES[verdict][mode] else 1)
    if fault.reads is None:
        assert fault.sentence in outcome.log


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_a_fault_that_does_not_pass_is_ended_by_the_timeout_in_a_whole_dag_run(
    mode: str, sandbox: SMSPartnerSandbox, connect: Connect, run_task: Any
) -> None:
    connect(sandbox, max_retries=0)
    sandbox.fail_next(times=None, http_status=503)
    outcome = run_task(CreditsSensor, min_credits=1, retries=1, mode=mode, poke_interval=0.05, timeout=0.2)
    assert (outcome.state, outcome.tries) == ("failed", 1)
    assert "AirflowSensorTimeout" in outcome.log


def test_every_sentence_tells_a_person_what_to_do_or_what_was_read() -> None:
    advice = ("check ", "ask ", "put ", "add ", "look it up ", "name your ", "have it ", "Credit: ")
    assert [fault.name for fault in FAULTS if not any(verb in fault.sentence for verb in advice)] == []


def test_a_name_stands_for_one_fault() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 60


def test_the_page_shows_the_matrix() -> None:
    assert PAGE.read_text() == render(PAGE.read_text()), "run python -m tests.faults.render"
