"""Who sees what on the credit page, with the FAB auth manager, under a path behind nginx, on PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from demo.history import HABITS
from tests.system.roles.conftest import OPEN, PATH, SECRET

Visit = Callable[[str | None], Page]

PAGES = ("smspartner/", "smspartner/account?conn_id=smspartner_paris", "smspartner/reservations")
UNNAMED = "a DAG that you may not read"
expect.set_options(timeout=60_000)


@pytest.mark.parametrize(("name", "status"), [(None, 401), ("newcomer", 403)])
@pytest.mark.parametrize("path", PAGES)
def test_who_may_not_see_airflow_is_shown_nothing(visit: Visit, name: str | None, status: int, path: str) -> None:
    page = visit(name)
    answer = page.goto(path)
    assert answer is not None
    assert answer.status == status
    assert [word for word in (*HABITS, OPEN, SECRET) if word in page.content()] == []


@pytest.mark.parametrize("name", ["guest", "viewer", "admin"])
def test_who_may_see_airflow_sees_all_accounts(visit: Visit, name: str) -> None:
    page = visit(name)
    page.goto(PAGES[0])
    expect(page.get_by_role("rowheader")).to_have_count(len(HABITS))
    page.get_by_role("link", name="smspartner_paris").click()
    expect(page.get_by_role("img")).to_have_js_property("naturalWidth", 960)


@pytest.mark.parametrize(
    ("name", "named"), [("guest", [OPEN, UNNAMED]), ("viewer", [OPEN, SECRET]), ("admin", [OPEN, SECRET])]
)
def test_a_dag_is_named_to_who_may_read_it(visit: Visit, name: str, named: list[str]) -> None:
    page = visit(name)
    page.goto(PAGES[2])
    ended = page.get_by_role("region", name="The last that ended").locator("tbody tr")
    assert sorted(dag_id for dag_id in (OPEN, SECRET, UNNAMED) if dag_id in page.content()) == sorted(named)
    expect(ended).to_have_count(2)


def test_airflows_menu_leads_there_and_a_reservation_to_its_run(visit: Visit) -> None:
    page, refused = visit("guest"), list[str]()
    page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
    page.goto("", wait_until="commit")
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name="SMS credit").click()
    shown = page.frame_locator("iframe")
    shown.get_by_role("link", name="Reservations").click()
    shown.get_by_role("link", name=OPEN).click()
    # In its frame: Airflow lets no page of a plugin change what is around it.
    expect(page).to_have_url(re.compile(f"{PATH}/dags/{OPEN}/runs/"))
    expect(shown.get_by_text("Success").first).to_be_visible()
    assert [url for url in refused if "/smspartner/" in url] == []
