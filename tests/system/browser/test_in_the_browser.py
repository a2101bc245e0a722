"""The provider as a person meets it on Airflow's web pages: one story, in this order."""

from __future__ import annotations

import dataclasses
import json
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import Connection
from playwright.sync_api import Locator, Page, expect

from airflow_provider_smspartner import __version__
from airflow_provider_smspartner.api.settings import EXTRAS, ConnectionSettings, read_settings
from airflow_provider_smspartner.get_provider_info import get_provider_info
from tests.spellings import KEY, told
from tests.system.conftest import PATIENCE

if TYPE_CHECKING:
    from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
    from tests.system.airflow import Airflow

Figures = dict[str, object]
Shoot = Callable[..., None]

(TYPE,) = get_provider_info()["connection-types"]
FIELDS: dict[str, dict[str, Any]] = TYPE["conn-fields"]

WRONG_KEY = f"not-{KEY}"
PROXY_PASSWORD = "pr0xy-S3cr3t"
PROXY = f"http://user:{PROXY_PASSWORD}@proxy.example:3128"
UNTOUCHED = {
    "response_format": None,
    "timeout": 10,
    "max_retries": 2,
    "verify": None,
    "proxy": None,
    "allow_http": False,
    "reservations_account": None,
}
"""The extras of a form that nobody touched: what it shows as defaults, and null where it shows nothing."""

SHORT, TALL = {"width": 1280, "height": 440}, {"width": 1280, "height": 1240}
"""Windows for pictures that have little to show, or much."""

expect.set_options(timeout=PATIENCE)


def go(page: Page, path: str) -> None:
    """Open a page, and leave it to the next step to wait for what it needs of it."""
    page.goto(path, wait_until="commit")


def add_connection(page: Page, conn_id: str) -> Locator:
    """Open the form, choose our type as a person does, by typing its name, and return the form."""
    go(page, "/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Connection ID").fill(conn_id)
    form.get_by_role("combobox", name="Connection Type").fill("SMS Partner")
    form.get_by_role("option", name="SMS Partner", exact=True).click()
    return form


def edit_connection(page: Page, conn_id: str) -> Locator:
    go(page, "/connections")
    row(page, conn_id).get_by_role("button", name="Edit Connection").click()
    return page.get_by_role("dialog")


def row(page: Page, conn_id: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("cell", name=conn_id, exact=True))


def show_extras(form: Locator) -> None:
    form.get_by_role("button", name="Extra Fields", exact=True).click()
    expect(extra(form, "allow_http")).to_be_attached()


def extra(within: Page | Locator, name: str) -> Locator:
    """Return the input of an extra; a list has one that a person does not see."""
    return within.locator(f'input[name="element_{name}"]')


def save(form: Locator) -> None:
    form.get_by_role("button", name="Save").click()
    expect(form).to_be_hidden()


def state(page: Page) -> Locator:
    """Return the state in the head of a page: a table or a log below may tell the same word at any moment."""
    return page.get_by_test_id("header-card").get_by_test_id("state-badge")


def press_test(page: Page, conn_id: str, outcome: str) -> str:
    """Press the button in the connection's row, and return what the page then says."""
    row(page, conn_id).get_by_role("button", name="Test Connection").click()
    told = page.get_by_role("status").filter(has_text=f"Test Connection {outcome}")
    expect(told).to_be_visible()
    return told.inner_text()


def unpause(airflow: Airflow, dag_id: str) -> None:
    # By hand, the page would send this along with the trigger, and on SQLite the two wait for each other.
    airflow.ask("PATCH", f"/dags/{dag_id}", {"is_paused": False})


def trigger_by_hand(page: Page, dag_id: str) -> None:
    """Press the buttons that start a DAG; end on the page of the run."""
    go(page, f"/dags/{dag_id}")
    page.get_by_role("button", name="Trigger Dag").click()
    page.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True).click()
    page.wait_for_url("**/runs/*")


def test_the_page_of_providers_lists_ours(page: Page) -> None:
    go(page, "/providers")
    listed = page.get_by_role("row").filter(has_text="airflow-provider-smspartner")
    expect(listed).to_contain_text(__version__)


def test_the_form_asks_for_a_key_a_base_url_and_its_port_and_nothing_that_has_no_use(page: Page, shoot: Shoot) -> None:
    form = add_connection(page, "smspartner_default")
    standard = form.get_by_role("region", name="Standard Fields")
    assert standard.locator("label").all_inner_texts() == ["Description", "Base URL", "API key", "Port"]
    expect(form.get_by_label("Base URL")).to_have_attribute("placeholder", "https://api.smspartner.fr/v1")
    expect(form.get_by_label("API key")).to_have_attribute("type", "password")
    shoot(form, "connection-form")


KINDS = {
    "enum": "hidden",
    "number": "text",
    "integer": "text",
    "string": None,
    "password": "password",
    "boolean": "checkbox",
}
"""The type of the input that Airflow makes of each kind of extra."""


def kind(field: dict[str, Any]) -> str:
    schema = field["schema"]
    return "enum" if "enum" in schema else schema.get("format") or schema["type"][0]


def test_the_form_shows_each_extra_with_its_label_its_help_and_the_right_input(page: Page, shoot: Shoot) -> None:
    page.set_viewport_size(TALL)
    form = add_connection(page, "smspartner_default")
    show_extras(form)
    assert list(FIELDS) == list(EXTRAS)
    shown = {}
    for name, field in FIELDS.items():
        group = form.get_by_role("group").filter(has=extra(page, name))
        expect(group.get_by_text(field["label"], exact=True)).to_be_visible()
        expect(group.get_by_text(field["description"], exact=True)).to_be_visible()
        shown[name] = extra(form, name).get_attribute("type")
    assert shown == {name: KINDS[kind(field)] for name, field in FIELDS.items()}
    for number in ("timeout", "max_retries"):
        expect(extra(form, number)).to_have_role("spinbutton")
    shoot(form, "connection-extras")
    form.get_by_role("combobox", name="Response format").click()
    assert form.get_by_role("option").all_inner_texts() == ["json", "xml"]


def test_a_key_and_a_base_url_make_a_connection(page: Page, account: SMSPartnerSandbox, airflow: Airflow) -> None:
    form = add_connection(page, "smspartner_default")
    form.get_by_label("API key").fill(KEY)
    form.get_by_label("Base URL").fill(account.url)
    save(form)
    expect(row(page, "smspartner_default").get_by_role("cell", name=account.url)).to_be_visible()
    stored = airflow.stored_connection("smspartner_default")
    assert json.loads(stored.pop("extra")) == UNTOUCHED
    empty = {"login": None, "schema": None, "port": None}
    assert stored == empty | {"conn_type": "smspartner", "host": account.url, "password": KEY}


def test_airflow_itself_refuses_to_test_a_connection_without_a_port(
    page: Page, account: SMSPartnerSandbox, received: dict[str, str]
) -> None:
    # Its page sends no port as port 0. apache/airflow#73298 mends that after 3.3.2: where this fails, Airflow has it,
    # and the port of the next test can go.
    go(page, "/connections")
    assert "Bad Request" in press_test(page, "smspartner_default", "Failed")
    (answer,) = [text for name, text in received.items() if "/connections/test" in name]
    assert "The host or port to test differs from the stored connection" in answer
    assert account.requests == 0


def test_the_test_button_shows_the_credit_or_what_is_wrong(
    page: Page, airflow: Airflow, account: SMSPartnerSandbox, shoot: Shoot
) -> None:
    form = edit_connection(page, "smspartner_default")
    form.get_by_label("Port").fill(str(urlsplit(account.url).port))
    save(form)
    page.set_viewport_size(SHORT)
    go(page, "/connections")
    told = press_test(page, "smspartner_default", "Successful")
    assert "SMS Partner answers. Credit: 2631 sms" in told
    shoot(page, "connection-test")
    page.set_viewport_size(TALL)

    form = edit_connection(page, "smspartner_default")
    form.get_by_label("API key").fill(WRONG_KEY)
    save(form)
    told = press_test(page, "smspartner_default", "Failed")
    assert told.splitlines()[1:] == [
        "SMS Partner connection: SMS Partner does not know this API key: check the connection's API key (code 10)"
    ]

    form = edit_connection(page, "smspartner_default")
    form.get_by_label("API key").fill(KEY)
    form.get_by_label("Base URL").fill("https://api.smspartner.fr/v1")
    save(form)
    assert airflow.stored_connection("smspartner_default")["password"] == KEY
    told = press_test(page, "smspartner_default", "Failed")
    assert "its port is not that of the host, 443: empty it, or write it into the host" in told

    form = edit_connection(page, "smspartner_default")
    form.get_by_label("Base URL").fill(account.url)
    save(form)


def settings_of(airflow: Airflow, conn_id: str) -> ConnectionSettings:
    return read_settings(Connection(conn_id=conn_id, **airflow.stored_connection(conn_id)))


def test_what_is_filled_in_is_stored_as_what_it_is_and_kept_by_an_edit(page: Page, airflow: Airflow) -> None:
    form = add_connection(page, "filled_in")
    form.get_by_label("API key").fill(KEY)
    show_extras(form)
    form.get_by_role("combobox", name="Response format").fill("xml")
    form.get_by_role("option", name="xml").click()
    extra(form, "timeout").fill("7.5")
    extra(form, "max_retries").fill("")
    extra(form, "verify").fill("false")
    extra(form, "proxy").fill(PROXY)
    form.get_by_text("Allow plain http").click()
    save(form)
    told = {"response_format": "xml", "timeout": 7.5, "max_retries": None, "verify": "false", "allow_http": True}
    assert json.loads(airflow.stored_connection("filled_in")["extra"]) == UNTOUCHED | told | {"proxy": PROXY}
    settings = settings_of(airflow, "filled_in")
    assert (settings.timeout, settings.max_retries, settings.proxy) == (7.5, 2, PROXY)
    assert settings.tls.verify_mode is ssl.CERT_NONE

    form = edit_connection(page, "filled_in")
    expect(form.get_by_label("API key")).to_have_value("***")
    show_extras(form)
    shown = {name: extra(form, name).input_value() for name in ("response_format", "timeout", "verify", "proxy")}
    assert shown == {"response_format": "xml", "timeout": "7.5", "verify": "false", "proxy": "***"}
    expect(extra(form, "allow_http")).to_be_checked()
    extra(form, "max_retries").fill("4")
    save(form)
    assert settings_of(airflow, "filled_in") == dataclasses.replace(settings, max_retries=4)


def test_a_gate_that_waits_says_what_it_lacks_in_its_log_on_the_page(
    page: Page, airflow: Airflow, account: SMSPartnerSandbox, shoot: Shoot
) -> None:
    unpause(airflow, "smspartner_first_gate")
    trigger_by_hand(page, "smspartner_first_gate")
    account.wait_for_requests(account.requests + 3, timeout=120)
    page.get_by_role("table").get_by_role("link", name="enough_credit").click()
    log = page.get_by_text("SMS Partner connection 'smspartner_default': 2631 sms available, 5000 needed: not enough")
    expect(log.nth(1)).to_be_visible()
    expect(state(page)).to_have_text("Running")
    shoot(page, "waiting-gate-log", clip={"x": 335, "y": 60, "width": 935, "height": 450})
    expect_a_link_to_buy_credit(page)


def expect_a_link_to_buy_credit(page: Page) -> None:
    page.get_by_role("link", name="Details").click()
    link = page.get_by_role("link", name="Buy credit at SMS Partner")
    expect(link).to_have_attribute("href", "https://my.smspartner.fr/connexion")


def test_a_gate_in_the_triggerer_leads_to_where_credit_is_bought(page: Page, airflow: Airflow) -> None:
    unpause(airflow, "smspartner_deferrable_gate")
    run = airflow.trigger("smspartner_deferrable_gate")
    go(page, f"/dags/smspartner_deferrable_gate/runs/{run.run_id}/tasks/wait_for_budget")
    expect(state(page)).to_have_text("Deferred")
    reading = "SMS Partner connection 'smspartner_default': 100.000 EUR balance available, 150.00 needed: not enough"
    expect(page.get_by_text(reading).first).to_be_visible()
    expect_a_link_to_buy_credit(page)


def test_a_top_up_opens_the_gate_before_the_eyes(page: Page, account: SMSPartnerSandbox) -> None:
    go(page, "/dags/smspartner_first_gate/runs")
    page.get_by_role("link", name="manual__").click()
    expect(state(page)).to_have_text("Running")
    account.top_up("100")
    expect(page.get_by_role("row").filter(has_text="Success")).to_have_count(2)


def test_an_example_runs_to_success_before_the_eyes(page: Page, airflow: Airflow, shoot: Shoot) -> None:
    unpause(airflow, "smspartner_gate_campaign")
    trigger_by_hand(page, "smspartner_gate_campaign")
    page.get_by_role("button", name="Show Graph").click()
    expect(page.get_by_text("success", exact=True)).to_have_count(6)
    page.get_by_role("button", name="Collapse Details Panel").click()
    page.get_by_role("button", name="Fit View").click()
    page.get_by_role("link", name="snapshot_after").element_handle().wait_for_element_state("stable")
    shoot(page, "example-dag", clip={"x": 100, "y": 385, "width": 1140, "height": 120})


def test_a_person_answers_what_to_do_with_a_campaign_that_is_short(page: Page, airflow: Airflow, shoot: Shoot) -> None:
    unpause(airflow, "smspartner_ask_a_person")
    run = airflow.trigger("smspartner_ask_a_person")

    def state_of(task_id: str) -> str:
        return next(task["state"] for task in run.tasks() if task["task_id"] == task_id)

    airflow.until(lambda: state_of("ask") == "awaiting_input", timeout=240)
    go(page, f"/dags/smspartner_ask_a_person/runs/{run.run_id}/tasks/ask/required_actions")
    expect(page.get_by_text("The campaign lacks 2737 SMS").first).to_be_visible()
    shoot(page, "a-person-is-asked", clip={"x": 912, "y": 60, "width": 368, "height": 540})
    # Airflow fails a task that is answered before its executor has told that the one that asked has ended.
    ended = "event with state success for task instance TaskInstanceKey(dag_id='smspartner_ask_a_person', task_id='ask'"
    airflow.until(lambda: ended in (airflow.home / "scheduler.log").read_text())
    page.get_by_role("button", name="Cut it").click()
    airflow.until(lambda: state_of("send") == "success", timeout=240)
    assert run.xcom(-1, "send") == 2631
    assert [state_of(name) for name in ("cut", "wait_for_credit", "cancelled")] == ["success", "skipped", "skipped"]


def test_nothing_that_the_browser_received_holds_a_key(
    airflow: Airflow, received: dict[str, str], figures: Figures
) -> None:
    assert any(answer.startswith("GET") and "/api/v2/connections?" in answer for answer in received)
    assert any("/connections/test" in answer for answer in received)
    secrets = KEY, PROXY_PASSWORD
    assert [name for name, text in received.items() if any(told(secret, text) for secret in secrets)] == []
    figures["answers to the browser searched for the keys"] = len(received)
