"""What Airflow's web pages learn of this provider. Every process of Airflow imports this: no more than it must."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow import __version__
from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from airflow_provider_smspartner.links import ARE_STORED, BuyCreditLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

PREFIX = "/smspartner"
_HAS_VIEWS = tuple(map(int, __version__.split(".")[:2])) >= (3, 1)


class _Page:
    """The page as an ASGI application, which is made with the first request."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from airflow_provider_smspartner.plugins.routes import app

        await app(scope, receive, send)


class _LinkOfGates(BuyCreditLink):
    """The link, with the gates that have it: imported where a task's page is shown."""

    @property
    def operators(self) -> list[type[BaseOperator]]:  # type: ignore[override]
        from airflow_provider_smspartner.sensors.credits import CreditsSensor
        from airflow_provider_smspartner.sensors.reservations import CreditsReservationSensor

        return [CreditsSensor, CreditsReservationSensor]


def _is_on() -> bool:
    return _HAS_VIEWS and bool(conf.getboolean("smspartner", "credit_page", fallback=True))


def _address() -> str:
    """Return where the page is, as the browser asks for it: Airflow may live under a path of its own."""
    base = urlsplit(conf.get("api", "base_url", fallback="") or "").path
    return f"{base.rstrip('/')}{PREFIX}/"


class CreditPagePlugin(AirflowPlugin):
    """
    Show the credit of all accounts on a page, from Airflow 3.1 on; ``[smspartner] credit_page`` turns it off.

    Name the gates' link to where credit is bought, on Airflow 3.
    """

    name = "smspartner_credit_page"
    operator_extra_links = [_LinkOfGates()] if ARE_STORED else []
    fastapi_apps = [{"app": _Page(), "url_prefix": PREFIX, "name": "SMS Partner credit"}] if _is_on() else []
    external_views = (
        [
            {
                "name": "SMS credit",
                "href": _address(),
                "destination": "nav",
                "category": "browse",
                "url_route": "smspartner_credit",
            }
        ]
        if _is_on()
        else []
    )
