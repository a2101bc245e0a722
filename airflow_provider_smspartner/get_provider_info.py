"""What Airflow discovers of this provider: its connection type with its form, and its modules."""

from __future__ import annotations

from typing import Any

_INTEGRATION = "SMS Partner"

# No default is a text of less than 5 characters: a form that nobody touched would store it, and Airflow warns of every
# such text, in the logs of all tasks, that it is too short to be masked.
_CONNECTION_FIELDS: dict[str, dict[str, Any]] = {
    "response_format": {
        "label": "Response format",
        "description": "json or xml, which say the same. Empty: json.",
        "schema": {"type": ["string", "null"], "enum": ["json", "xml"]},
    },
    "timeout": {
        "label": "Timeout (seconds)",
        "description": "For one request, from connecting to the last byte of the answer.",
        "schema": {"type": ["number", "null"], "default": 10, "minimum": 0, "maximum": 3600},
    },
    "max_retries": {
        "label": "Retries",
        "description": "Further tries of one call when SMS Partner cannot be reached or answers oddly.",
        "schema": {"type": ["integer", "null"], "default": 2, "minimum": 0, "maximum": 10},
    },
    "verify": {
        "label": "Verify TLS",
        "description": "true, false, or the path of a CA bundle on the machine where the tasks run. Empty: true.",
        "schema": {"type": ["string", "null"]},
    },
    "proxy": {
        "label": "Proxy",
        "description": "URL of an HTTP proxy, such as http://proxy.example:3128. Empty: as the environment says.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "allow_http": {
        "label": "Allow plain http",
        "description": "Sends the API key in clear text. Loopback needs no permission.",
        "schema": {"type": ["boolean", "null"], "default": False},
    },
    "reservations_account": {
        "label": "Account of the reservations",
        "description": "One name for connections with keys of one account, so that they reserve from one balance. "
        "Empty: the connection id.",
        "schema": {"type": ["string", "null"]},
    },
}


def _option(description: str, *, default: str = "", kind: str = "string", example: str | None = None) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "1.1.0",
        "type": kind,
        "example": example,
        "default": default,
    }


_OPTIONS = {
    "credit_page": _option("Whether there is such a page, on Airflow 3.1 and newer.", default="True", kind="boolean"),
    "snapshots_conn_id": _option(
        "The connection of the database into which CreditsToSqlOperator writes.", example="warehouse"
    ),
    "snapshots_table": _option("The table of the snapshots.", default="smspartner_credit_snapshots"),
    "snapshots_schema": _option("Its schema. Empty: where the connection points."),
    "accounts": _option(
        "The accounts to show, by their conn ids, with commas between them. Empty: all that have a snapshot.",
        example="smspartner_paris, smspartner_lyon",
    ),
    "reservations_conn_id": _option(
        "The connection of the ledger's database, where campaigns reserve credit.", example="ledger"
    ),
    "reservations_table": _option("The table of the reservations.", default="smspartner_credit_reservations"),
    "reservations_schema": _option("Its schema. Empty: where the connection points."),
}

_GUIDES = (
    "quick-start",
    "connection",
    "gate-a-campaign",
    "reserve-credit",
    "guides/hook",
    "guides/sensor",
    "guides/operator",
    "guides/forecast",
    "guides/trigger",
    "guides/waiting",
    "guides/sandbox",
)


def get_provider_info() -> dict[str, Any]:
    """Return what Airflow discovers, as ``provider_info.schema.json`` in Airflow describes it."""
    return {
        "package-name": "airflow-provider-smspartner",
        "name": _INTEGRATION,
        "description": "Hold a bulk-SMS campaign until its SMS Partner account can pay for it, "
        "and keep the history of the account's credit in a SQL table.",
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://www.smspartner.fr/",
                "how-to-guide": [f"/docs/{guide}.rst" for guide in _GUIDES],
                "tags": ["service"],
            }
        ],
        "hooks": [_modules("hooks.smspartner", "hooks.reservations")],
        "sensors": [_modules("sensors.credits", "sensors.reservations")],
        "operators": [_modules("operators.credits", "operators.reservations", "operators.forecast")],
        "triggers": [_modules("triggers.credits", "triggers.reservations")],
        "config": {"smspartner": {"description": "The credit page in Airflow's web pages.", "options": _OPTIONS}},
        "extra-links": ["airflow_provider_smspartner.links.BuyCreditLink"],
        "cli": ["airflow_provider_smspartner.cli.get_commands"],
        "connection-types": [
            {
                "connection-type": "smspartner",
                "hook-class-name": "airflow_provider_smspartner.hooks.smspartner.SMSPartnerHook",
                "hook-name": _INTEGRATION,
                "conn-fields": _CONNECTION_FIELDS,
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "schema"],
                    "relabeling": {"host": "Base URL", "password": "API key"},
                    "placeholders": {
                        "host": "https://api.smspartner.fr/v1",
                        "port": "443, or that of the base URL: Airflow 3.3's button Test needs it",
                        "password": "the API key of the account, or of a sub-account",
                    },
                },
            }
        ],
    }


def _modules(*names: str) -> dict[str, Any]:
    return {
        "integration-name": _INTEGRATION,
        "python-modules": [f"airflow_provider_smspartner.{name}" for name in names],
    }
