"""Airflow as a company runs it: people with roles in the FAB auth manager, PostgreSQL, a path behind a proxy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NoReturn
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, BrowserContext, Page
from sqlalchemy.engine import URL

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from demo.history import write_history
from tests.spellings import KEY
from tests.system.airflow import Airflow, free_port
from tests.system.celery.servers import POSTGRESQL, connection_to, made_database
from tests.system.conftest import PATIENCE

EXAMPLE = Path(__file__).parents[3] / "example_dags" / "smspartner_reserve_campaign.py"
OPEN, SECRET = "smspartner_reserve_campaign", "secret_campaign"
PATH = "/team/airflow"
PASSWORD = "a-password-of-this-test"

PEOPLE = {"admin": "Admin", "viewer": "Viewer", "guest": "Guest", "newcomer": "Public"}
"""By user name: the role. A role of ours that may read one DAG, and FAB's own, of which Public may see nothing."""
MAY_READ = ("Website", "Plugins", f"DAG:{OPEN}", "DAG Runs", "Task Instances", "DAG Versions")
ROLES = [{"name": "Guest", "resource": resource, "action": "can_read"} for resource in MAY_READ]

NGINX = """
daemon off;
pid nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        location {path}/ {{
            proxy_pass http://127.0.0.1:{airflow};
            proxy_set_header Host $http_host;
            proxy_http_version 1.1;
        }}
    }}
}}
"""
"""As Airflow's documentation has it: the path is passed on as it is."""


@pytest.fixture(scope="session")
def warehouse(leave_out: Callable[[str], NoReturn]) -> Iterator[URL]:
    """Make a database with a month of snapshots."""
    try:
        with made_database("warehouse") as url:
            engine = sa.create_engine(url)
            write_history(engine)
            engine.dispose()
            yield url
    except sa.exc.OperationalError as error:
        leave_out(f"this needs PostgreSQL at {POSTGRESQL.host}:{POSTGRESQL.port}: {type(error).__name__}")


@pytest.fixture(scope="session")
def address(airflow_home: Path, leave_out: Callable[[str], NoReturn]) -> Iterator[tuple[str, int]]:
    """Run the proxy; return where people find Airflow, and the port where the proxy expects it."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if nginx is None:
        leave_out("there is no nginx on the path: apt-get install nginx-light")
    port, airflow = free_port(), free_port()
    (airflow_home / "nginx.conf").write_text(NGINX.format(port=port, path=PATH, airflow=airflow))
    with subprocess.Popen([nginx, "-p", airflow_home, "-c", "nginx.conf", "-e", "nginx.log"]) as proxy:
        yield f"http://127.0.0.1:{port}{PATH}", airflow
        proxy.terminate()


@pytest.fixture(scope="session")
def airflow(
    chromium: Browser,
    warehouse: URL,
    address: tuple[str, int],
    make_airflow: Callable[..., Airflow],
    airflow_home: Path,
) -> Airflow:
    """Run Airflow's web server, with a run each of two DAGs that have reserved credit."""
    url, port = address
    dags = airflow_home / "dags"
    dags.mkdir()
    shutil.copy(EXAMPLE, dags)
    (dags / "secret.py").write_text(EXAMPLE.read_text().replace(f'dag_id="{OPEN}"', f'dag_id="{SECRET}"'))
    with SMSPartnerSandbox("10000", KEY, prices={"sms": 1}) as account:
        connections = {"smspartner_default": account.connection_json()}
        connections |= dict.fromkeys(("warehouse", "ledger"), connection_to(warehouse))
        airflow = make_airflow(
            ".venv-fab",
            dags,
            connections,
            port=port,
            api__base_url=url,
            core__auth_manager="airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
            database__sql_alchemy_conn=warehouse.render_as_string(hide_password=False),
            smspartner__snapshots_conn_id="warehouse",
            smspartner__reservations_conn_id="ledger",
        )
        airflow.make_database()
        airflow.do("dags", "reserialize")
        for dag_id in (OPEN, SECRET):
            airflow.do("dags", "test", dag_id)
    (airflow_home / "roles.json").write_text(json.dumps(ROLES))
    airflow.do("roles", "import", str(airflow_home / "roles.json"))
    for name, role in PEOPLE.items():
        person = ["--username", name, "--firstname", name, "--lastname", name, "--email", f"{name}@example.com"]
        airflow.do("users", "create", *person, "--role", role, "--password", PASSWORD)
    airflow.start_web()
    airflow.until(lambda: _answers(url), timeout=180)
    return airflow


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/api/v2/monitor/health", timeout=60):
            return True
    except HTTPError as error:
        if error.code == 502:  # from the proxy
            return False
        raise


@pytest.fixture(scope="session")
def visit(airflow: Airflow, address: tuple[str, int], chromium: Browser) -> Callable[[str | None], Page]:
    """Come as somebody, who has logged in; None has not: ``visit(name)``."""

    # Once a person: FAB takes five logins in forty seconds.
    @cache
    def come(name: str | None) -> BrowserContext:
        context = chromium.new_context(base_url=f"{address[0]}/", locale="en-GB")
        context.set_default_timeout(PATIENCE)
        if name is not None:
            page = context.new_page()
            page.goto("auth/login/")
            page.get_by_label("Username").fill(name)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign In").click()
            page.wait_for_url(lambda url: "/auth/login" not in url)
        return context

    return lambda name: come(name).new_page()
