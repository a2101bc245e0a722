"""The credit page's addresses: who may see it, what they ask for, and what they get. Nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_view
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader

from airflow_provider_smspartner.account import CreditType
from airflow_provider_smspartner.arguments import integer_within, one_of
from airflow_provider_smspartner.exceptions import SMSPartnerArgumentError, SMSPartnerError
from airflow_provider_smspartner.plugins import chart, figures
from airflow_provider_smspartner.plugins.headers import HEADERS, OF_A_PICTURE
from airflow_provider_smspartner.plugins.settings import PageSettings
from airflow_provider_smspartner.reservation import Reservation, exact_text

if TYPE_CHECKING:
    from airflow_provider_smspartner.forecast import Forecast, History

Result = TypeVar("Result")

TIME_LIMIT = 10.0
"""Seconds that a page takes at most, whatever a database does."""
MOST_DAYS = 366
ENDED_COUNT = 20

# A few threads of its own: a database that does not answer must not take those of Airflow's API.
_WORKERS = ThreadPoolExecutor(4, thread_name_prefix="smspartner-page")

app = FastAPI(
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
    dependencies=[Depends(requires_access_view(AccessView.WEBSITE))],
)


@app.middleware("http")
async def _protect(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


@app.exception_handler(SMSPartnerError)
async def _tell(request: Request, error: SMSPartnerError) -> Response:
    """Say what is wrong: with the address, or with what the page needs."""
    status = 400 if isinstance(error, SMSPartnerArgumentError) else 503
    return _page("message.html", status=status, title="SMS credit", problems=[str(error)])


@app.exception_handler(TimeoutError)
async def _tell_late(request: Request, error: TimeoutError) -> Response:
    told = f"The database has not answered within {TIME_LIMIT:g} seconds: reload the page later, or ask who runs it"
    return _page("message.html", status=503, title="SMS credit", problems=[told])


@app.get("/style.css")
async def style() -> Response:
    """Return how the page looks."""
    return Response(_templates.get_template("style.css").render(), media_type="text/css")


@app.get("/")
async def overview() -> Response:
    """Show all accounts at a glance."""
    settings = PageSettings.read()
    is_set = bool(settings.snapshots_conn_id)
    shown = await _within_time(lambda: figures.overview(settings)) if is_set else figures.Overview()
    return _page("overview.html", settings=settings, accounts=shown.accounts, problems=shown.problems, now=_now())


@app.get("/account")
async def account(conn_id: str = "", days: str = "30", credit_type: str = "balance") -> Response:
    """Show the history of one account."""
    asked = _Asked.of(conn_id, days, credit_type)
    found = await _within_time(asked.history)
    if found is None:
        return _unknown(conn_id)
    history, forecast = found
    query = f"conn_id={quote(conn_id, safe='')}&days={asked.days}&credit_type={asked.credit_type}"
    return _page(
        "account.html",
        history=history,
        forecast=forecast,
        days=asked.days,
        credit_types=list(CreditType),
        chart=f"chart.svg?{query}" if chart.can_draw() else None,
    )


@app.get("/chart.svg")
async def drawing(conn_id: str = "", days: str = "30", credit_type: str = "balance", theme: str = "light") -> Response:
    """Draw the history of one account."""
    asked = _Asked.of(conn_id, days, credit_type)
    theme = one_of("theme", theme, chart.THEMES)
    svg = await _within_time(lambda: asked.drawn(theme)) if chart.can_draw() else None
    if svg is None:
        return _unknown(conn_id)
    return Response(svg, media_type="image/svg+xml", headers=OF_A_PICTURE)


@app.get("/reservations")
async def reservations(user: GetUserDep, conn_id: str = "") -> Response:
    """Show who holds credit, who waits for it, and what the last ones used."""
    settings = PageSettings.read()
    ledger = await _within_time(lambda: figures.read_ledger(settings, conn_id or None, ended_count=ENDED_COUNT))
    readable = await _within_time(lambda: get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))
    return _page(
        "reservations.html",
        settings=settings,
        conn_id=conn_id,
        ledger=ledger,
        who=lambda row: _who(row, readable),
        run=lambda row: _run(row, readable),
    )


async def _within_time(work: Callable[[], Result]) -> Result:
    return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(_WORKERS, work), TIME_LIMIT)


@dataclass(frozen=True)
class _Asked:
    """What an address asks for of one account."""

    settings: PageSettings
    conn_id: str
    days: int
    credit_type: CreditType

    @classmethod
    def of(cls, conn_id: str, days: str, credit_type: str) -> _Asked:
        """
        Read an address.

        :raises SMSPartnerArgumentError: it makes no sense, or nobody has set where the snapshots are
        """
        asked = CreditType(one_of("credit_type", credit_type, CreditType))
        range_ = integer_within("days", days, 1, MOST_DAYS)
        settings = PageSettings.read()
        if not settings.snapshots_conn_id:
            raise SMSPartnerArgumentError("snapshots_conn_id is not set in [smspartner] of Airflow's configuration")
        return cls(settings, conn_id, range_, asked)

    def history(self) -> tuple[History, Forecast] | None:
        return figures.history(self.settings, self.conn_id, self.credit_type, self.days)

    def drawn(self, theme: str) -> bytes | None:
        found = self.history()
        if found is None:
            return None
        ledger = figures.read_ledger(self.settings, self.conn_id, ended_count=ENDED_COUNT)
        return chart.draw(*found, [*ledger.ended, *ledger.held], theme)


def _unknown(conn_id: str) -> Response:
    told = f"The page shows no account {conn_id[:250]!r}: it has no snapshot, or is not named in [smspartner] accounts"
    return _page("message.html", status=404, title="SMS credit", problems=[told])


def _who(row: Reservation, readable: set[str]) -> str:
    """Name the campaign, but for a DAG that this person may not read."""
    if row.dag_id is not None and row.dag_id not in readable:
        return "a DAG that you may not read"
    return row.origin


def _run(row: Reservation, readable: set[str]) -> str | None:
    """Return where Airflow shows the run, from this page's folder."""
    if row.dag_id is None or row.run_id is None or row.dag_id not in readable:
        return None
    return f"../dags/{quote(row.dag_id, safe='')}/runs/{quote(row.run_id, safe='')}"


def _now() -> datetime:
    return datetime.now(UTC)


def _page(template: str, *, status: int = 200, **shown: Any) -> Response:
    return HTMLResponse(_templates.get_template(template).render(**shown), status_code=status)


def _amount(value: int | Decimal | None) -> str:
    """Tell a figure as a person reads it: thousands apart, no digits that say nothing."""
    return "unknown" if value is None else f"{Decimal(exact_text(value)):,f}"


def _money(value: Decimal | None) -> str:
    """Tell an amount of money with its cents, and with what there is below them."""
    return f"{value:,.2f}" if value is not None and value == round(value, 2) else _amount(value)


def _age(since: datetime | None, now: datetime) -> str:
    if since is None:
        return "never"
    minutes = max(int((now - since).total_seconds() // 60), 0)
    if minutes < 120:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days ago"


def _moment(value: datetime | None) -> str:
    return "" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


_templates = Environment(loader=PackageLoader("airflow_provider_smspartner.plugins"), autoescape=True)
_templates.filters |= {"amount": _amount, "moment": _moment, "money": _money}
_templates.globals |= {"age": _age, "rate_days": figures.RATE_DAYS}
