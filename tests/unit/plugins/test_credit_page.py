"""The credit page on Airflow's own web application: who sees what, what it shows, and what it refuses."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_smspartner.account import CreditRequirement, CreditType
from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.airflow_versions import needs_airflow
from tests.conftest import Connect
from tests.daily_snapshots import take_daily_snapshots

pytestmark = needs_airflow(3, 1, for_the_sake_of="page of a plugin's own")

ONE_EACH = {"sms": 1, "sms_low_cost": 1, "hlr": 1}
PAGES = ("", "account?conn_id=paris", "reservations", "chart.svg?conn_id=paris", "style.css")


@pytest.fixture(scope="module")
def airflow(airflow_db: None) -> Iterator[Any]:
    """Airflow's own web application, without its execution API."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "x" * 64)
        yield create_app(apps="core")
        purge_cached_app()


@pytest.fixture
def browse(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ask for a page as somebody of that role: ``browse(role, path)``; None is who has not logged in."""
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from starlette.testclient import TestClient

    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "x" * 64)

    def browse(role: str | None, path: str = "") -> Any:
        cookies = {}
        if role is not None:
            user = SimpleAuthManagerUser(username=role, role=role)
            cookies["_token"] = airflow.state.auth_manager.generate_jwt(user)
        return TestClient(airflow, cookies=cookies).get(f"/smspartner/{path}")

    return browse


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Configure where the snapshots and the reservations are; return the database of the snapshots."""
    for name in ("warehouse", "ledger"):
        connection = {"conn_type": "sqlite", "host": str(tmp_path / f"{name}.db")}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW__SMSPARTNER__SNAPSHOTS_CONN_ID", "warehouse")
    monkeypatch.setenv("AIRFLOW__SMSPARTNER__RESERVATIONS_CONN_ID", "ledger")
    return tmp_path / "warehouse.db"


@pytest.fixture
def history(configured: Path, tmp_path: Path) -> Path:
    take_daily_snapshots(configured, lyon=(100, 99, 98), paris=(100, 80, 60, 140, 120))
    with CreditReservationsHook("ledger").ledger() as ledger:  # which makes its tables
        ledger.note("paris")
    return configured


def cells(page: str) -> list[list[str]]:
    """Return the texts of a page's table rows."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [
        [re.sub(r"<[^>]+>|\s+", " ", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows
    ]


@pytest.mark.parametrize("path", [*PAGES, "account?conn_id=nobody"])
def test_who_has_not_logged_in_is_shown_nothing(browse: Any, history: Path, path: str) -> None:
    answer = browse(None, path)
    assert answer.status_code == 401
    assert "paris" not in answer.text


@pytest.mark.parametrize("role", ["viewer", "user", "op", "admin"])
@pytest.mark.parametrize("path", PAGES)
def test_who_may_see_airflows_pages_sees_this_one(browse: Any, history: Path, role: str, path: str) -> None:
    assert browse(role, path).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_no_page_lets_anything_in_from_elsewhere(browse: Any, history: Path, path: str) -> None:
    answer = browse("viewer", path)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert "<script" not in answer.text
    asked = re.findall(r'(?:href|src|srcset|action)="([^"]*)"', answer.text) + re.findall(
        r"url\(([^)]*)\)", answer.text
    )
    assert [address for address in map("".join, asked) if ":" in address or address.startswith("//")] == []


def test_all_accounts_are_shown_those_that_end_first_at_the_head(browse: Any, history: Path) -> None:
    header, *rows = cells(browse("viewer").text)
    told = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(row["Account"], row["Balance"], row["Days left"], row["Buys SMS"]) for row in told] == [
        ("paris", "120.00 EUR", "6.0", "1,200"),
        ("lyon", "98.00 EUR", "98.0", "980"),
    ]
    assert {row["Read"] for row in told} == {"0 min ago"}


def test_what_campaigns_hold_is_taken_off_what_is_free(
    browse: Any, history: Path, connect: Connect, sandbox: SMSPartnerSandbox
) -> None:
    connect(sandbox, "paris")
    requirement = CreditRequirement("50.5", CreditType.BALANCE)  # type: ignore[arg-type]  # as a DAG says it
    held = CreditReservationsHook("ledger").reserve("paris", requirement, holder="july", hold_for=timedelta(hours=1))
    assert held is not None
    header, *rows = cells(browse("viewer").text)
    paris, lyon = (dict(zip(header, row, strict=True)) for row in rows)
    assert (paris["Held"], paris["Free"]) == ("50.50", "69.50")
    assert (lyon["Held"], lyon["Free"]) == ("0.00", "98.00")


def test_what_is_held_over_one_connection_is_held_of_all_that_share_its_account(
    browse: Any, configured: Path, connect: Connect, sandbox: SMSPartnerSandbox
) -> None:
    take_daily_snapshots(configured, paris=(120,), rome=(120,), lyon=(98,), unreadable=(9,))
    for conn_id in ("paris", "rome"):
        connect(sandbox, conn_id, reservations_account="head-office")
    connect(sandbox, "lyon")
    hook, hold_for = CreditReservationsHook("ledger"), timedelta(hours=1)
    assert hook.reserve("paris", CreditRequirement(50, CreditType.BALANCE), holder="july", hold_for=hold_for)
    header, *rows = cells(browse("viewer").text)
    told = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert {conn_id: (row["Held"], row["Free"]) for conn_id, row in told.items()} == {
        "paris": ("50.00", "70.00"),
        "rome": ("50.00", "70.00"),
        "lyon": ("0.00", "98.00"),
        "unreadable": ("unknown", "unknown"),
    }
    held = {conn_id: "july" in browse("viewer", f"reservations?conn_id={conn_id}").text for conn_id in told}
    assert held == {"paris": True, "rome": True, "lyon": False, "unreadable": False}
    assert "its connection is missing here, or wrong" in browse("viewer", "reservations?conn_id=unreadable").text


def test_an_account_shows_its_consumption_top_ups_and_how_long_it_lasts(browse: Any, history: Path) -> None:
    page = browse("viewer", "account?conn_id=paris").text
    assert "120 EUR, 6 days left" in page
    assert [row[-1] for row in cells(page)] == ["Consumed", "20", "0", "20", "20", "At least", "80"]


def test_the_chart_is_drawn_for_both_themes(browse: Any, history: Path) -> None:
    light, dark = (browse("viewer", f"chart.svg?conn_id=paris&theme={theme}") for theme in ("light", "dark"))
    assert light.headers["content-type"] == "image/svg+xml"
    assert ("#ffffff" in light.text, "#ffffff" in dark.text) == (True, False)
    assert {"credit", "forecast", "top-ups"} <= set(re.findall(r">([a-z-]+)</text>", light.text))


def test_without_the_library_that_draws_the_page_says_what_to_install(
    browse: Any, history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    answer = browse("viewer", "account?conn_id=paris")
    assert "pip install &#39;airflow-provider-smspartner[page]&#39;" in answer.text.replace("'", "&#39;")
    assert "Consumption per day" in answer.text
    assert browse("viewer", "chart.svg?conn_id=paris").status_code == 404


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("account?conn_id=nobody", 404, "shows no account &#39;nobody&#39;"),
        ("account?conn_id=%3Cscript%3E", 404, "&lt;script&gt;"),
        ("account", 404, "shows no account"),
        ("account?conn_id=paris&days=0", 400, "days is 0: use a whole number from 1 to 366"),
        ("account?conn_id=paris&days=" + "9" * 5000, 400, "use a whole number"),
        ("account?conn_id=paris&credit_type=x", 400, "credit_type is &#39;x&#39;: use one of"),
        ("chart.svg?conn_id=paris&theme=pink", 400, "theme is &#39;pink&#39;: use one of"),
        ("account?conn_id=%00", 404, "shows no account"),
    ],
)
def test_what_makes_no_sense_is_told(browse: Any, history: Path, path: str, status: int, told: str) -> None:
    answer = browse("viewer", path)
    assert (answer.status_code, told in answer.text) == (status, True)
    assert "<script>" not in answer.text


def test_a_page_that_nobody_has_configured_says_which_line_to_add(browse: Any) -> None:
    answer = browse("viewer")
    assert "[smspartner]\nsnapshots_conn_id = warehouse" in answer.text
    assert "reservations_conn_id = ledger" in browse("viewer", "reservations").text
    assert browse("viewer", "account?conn_id=paris").status_code == 400


def test_a_table_that_is_not_there_is_told_on_the_page(browse: Any, configured: Path) -> None:
    answer = browse("viewer")
    assert answer.status_code == 200
    assert "let a CreditsToSqlOperator write snapshots into it first" in answer.text
    assert browse("viewer", "account?conn_id=paris").status_code == 503


def test_a_connection_that_is_missing_is_told_on_the_page(
    browse: Any, configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SMSPARTNER__SNAPSHOTS_CONN_ID", "nowhere")
    assert "there is no such connection: create it" in browse("viewer").text


def test_a_database_that_does_not_answer_ends_in_a_page_that_says_so(
    browse: Any, configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_smspartner.plugins.routes.TIME_LIMIT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = {
            "conn_type": "postgres",
            "host": "127.0.0.1",
            "port": silent.getsockname()[1],
            "password": "s3cret",
        }
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))
        answer = browse("viewer")
    assert (answer.status_code, "has not answered within 0.5 seconds" in answer.text) == (503, True)
    assert "s3cret" not in answer.text


def test_a_dag_that_a_person_may_not_read_is_not_named(
    browse: Any, history: Path, airflow: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_smspartner.reservation import Request

    with SMSPartnerSandbox(balance="100", prices=ONE_EACH) as account:
        connect(account, "paris")
        hour = timedelta(hours=1)
        for dag_id in ("open_campaign", "secret_campaign"):
            task = {"dag_id": dag_id, "task_id": "reserve", "run_id": "manual__1", "map_index": -1}
            CreditReservationsHook("ledger").ask(Request("paris", "paris", CreditRequirement(10), hour, **task))
    monkeypatch.setattr(
        type(airflow.state.auth_manager), "get_authorized_dag_ids", lambda self, *, user, method: {"open_campaign"}
    )
    page = browse("viewer", "reservations").text
    assert "secret_campaign" not in page
    assert "a DAG that you may not read" in page
    assert '<a href="../dags/open_campaign/runs/manual__1">open_campaign.reserve, run manual__1</a>' in page


def test_the_accounts_named_in_the_configuration_are_shown_alone(
    browse: Any, history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SMSPARTNER__ACCOUNTS", "lyon, unread")
    rows = cells(browse("viewer").text)[1:]
    assert [(row[0], row[1], row[3]) for row in rows] == [("lyon", "0 min ago", "98.0"), ("unread", "never", "unknown")]
    assert browse("viewer", "account?conn_id=paris").status_code == 404


@pytest.mark.parametrize(
    ("base_url", "address"),
    [
        ("http://airflow.example", "/smspartner/"),
        ("http://airflow.example/team/airflow/", "/team/airflow/smspartner/"),
        ("", "/smspartner/"),
    ],
)
def test_the_menu_leads_to_the_page_where_airflow_lives_under_a_path(
    monkeypatch: pytest.MonkeyPatch, base_url: str, address: str
) -> None:
    from airflow_provider_smspartner.plugins import credit_page

    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    assert credit_page._address() == address


def test_the_page_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_smspartner.plugins import credit_page

    monkeypatch.setenv("AIRFLOW__SMSPARTNER__CREDIT_PAGE", "False")
    assert not credit_page._is_on()
