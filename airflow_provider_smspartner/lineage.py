"""Tell where rows came from and where they went: OpenLineage, Airflow's lineage collector, the events of assets."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from traceback import format_tb
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import sqlalchemy as sa
from airflow.providers.common.compat.sdk import BaseHook
from sqlalchemy.engine import URL

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset, SchemaDatasetFacet
    from airflow.providers.common.compat.sdk import Connection, Context
    from airflow.providers.openlineage.extractors import (  # type: ignore[import-not-found, unused-ignore]
        OperatorLineage,
    )
    from airflow.providers.openlineage.sqlparser import (  # type: ignore[import-not-found, unused-ignore]
        DatabaseInfo,
    )
    from sqlalchemy.engine import Dialect, Engine

    from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
    from airflow_provider_smspartner.sql.snapshots import Snapshot

log = logging.getLogger(__name__)

FIGURES = (
    "smspartner_conn_id",
    "captured_at",
    "credit_sms",
    "credit_sms_low_cost",
    "credit_hlr",
    "to_send",
    "balance",
    "currency",
)
"""The columns that the event of an outlet asset carries: never the user name, as events are shown to everybody."""

_SCHEMA_IS_DATABASE = frozenset({"mysql", "mariadb"})


@dataclass(frozen=True)
class TableLineage:
    """
    From which APIs into which table a task wrote. Holds no key and no password, as it is made to be published.

    :param api_urls: of ``/v1/me``, without a query; accounts of one API share it, the table's rows tell them apart
    :param dialect: after the write, as it knows the connection's own schema only then
    :param server: kind, host, port and database, or the path of a database file
    """

    api_urls: tuple[str, ...]
    sql_conn_id: str
    table: sa.Table
    dialect: Dialect
    server: URL

    @classmethod
    def of(cls, hooks: Iterable[SMSPartnerHook], engine: Engine, table: sa.Table, sql_conn_id: str) -> TableLineage:
        """
        Return the lineage of rows that were just written.

        :param hooks: of the accounts that the rows are about
        :param engine: which wrote them
        """
        url = engine.url
        # Snowflake's URL names a schema behind the database.
        database = url.database.partition("/")[0] if url.host and url.database else url.database
        server = URL.create(url.get_backend_name(), host=url.host, port=url.port, database=database)
        api_urls = tuple(dict.fromkeys(map(_api_url, hooks)))
        return cls(api_urls, sql_conn_id, table, engine.dialect, server)

    @property
    def schema(self) -> str | None:
        """The schema that the table lies in, also where that is the connection's own."""
        schema: str | None = self.table.schema or getattr(self.dialect, "default_schema_name", None)
        return schema

    @property
    def table_uri(self) -> str:
        """The table as Airflow's providers spell the URI of an asset: ``postgresql://host:5432/database/schema/table``."""
        host = URL.create(self.server.drivername, host=self.server.host, port=self.server.port)
        database = [] if self.server.drivername in _SCHEMA_IS_DATABASE else [(self.server.database or "").lstrip("/")]
        names = [name for name in (self.schema, self.table.name) if name]
        path = [quote(part) for part in database] + [quote(name, safe="") for name in names]
        return "/".join([host.render_as_string().rstrip("/") if host.host else f"{host.drivername}://", *path])


def report_lineage(
    hooks: Sequence[SMSPartnerHook], engine: Engine, table: sa.Table, sql_conn_id: str
) -> TableLineage | None:
    """
    Tell Airflow's lineage collector of rows that were just written; whatever fails at it is logged, not raised.

    :param hooks: of the accounts that the rows are about
    :param engine: which wrote them
    :return: what OpenLineage asks for when the task has ended; None where it could not be told
    """
    lineage = None
    with _never_failing():
        lineage = TableLineage.of(hooks, engine, table, sql_conn_id)
        _collect(lineage, hooks)
    return lineage


def openlineage_facets(lineage: TableLineage | None) -> OperatorLineage[Any, Any] | None:
    """
    Return the API and the table as OpenLineage names them, or what of it can be told.

    :param lineage: as ``report_lineage`` returned it; None where no row was written
    """
    try:
        from airflow.providers.openlineage.extractors import OperatorLineage
    except ImportError:
        log.debug("No OpenLineage without apache-airflow-providers-openlineage")
        return None
    facets: OperatorLineage[Any, Any] = OperatorLineage()
    if lineage is not None:
        with _never_failing():
            facets.inputs.extend(_api_datasets(lineage))
            facets.outputs.extend(_table_datasets(lineage))
    return facets


def add_figures_to_events(context: Context, outlets: Iterable[object], snapshots: Iterable[Snapshot]) -> None:
    """Put the figures into the event of each asset among the outlets, as ``extra["snapshots"]``, one entry a row."""
    rows = [snapshot.as_xcom() for snapshot in snapshots]
    add_to_events(context, outlets, "snapshots", [{column: row[column] for column in FIGURES} for row in rows])


def add_to_events(context: Context, outlets: Iterable[object], name: str, entries: list[dict[str, Any]]) -> None:
    """
    Put entries into the event of each asset among the outlets, as its ``extra`` of that name.

    An asset may be named by reference. An outlet that gets none is named in a warning: an alias has no event of its
    own, and a reference that Airflow does not know leads to no asset.
    """
    for outlet in outlets:
        try:
            _event_of(outlet, context).extra[name] = [dict(entry) for entry in entries]
        except Exception as error:  # noqa: BLE001  # the rows are written: no event is worth the task
            kind = type(error).__name__
            log.warning("outlet %r gets no figures (%s): name an asset that a DAG defines", outlet, kind)


def _event_of(outlet: Any, context: Context) -> Any:
    from airflow.providers.common.compat.sdk import AssetAlias

    if isinstance(outlet, AssetAlias):
        raise TypeError(outlet)
    # Airflow knows what it takes here: it looks a reference up.
    return context["outlet_events"][outlet]


@contextmanager
def _never_failing() -> Iterator[None]:
    """Log what fails, since the rows are written by then, and no lineage is worth the task that it tells of."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # hooks', plugins' and other providers'
        # The class and the place alone: the text of a database's error may quote its password.
        log.warning("The lineage of this task is not told in full: %s", type(error).__name__)
        log.debug("It came from\n%s", "".join(format_tb(error.__traceback__)))


def _api_url(hook: SMSPartnerHook) -> str:
    return f"{hook.base_url}/me"


def _collect(lineage: TableLineage, hooks: Iterable[SMSPartnerHook]) -> None:
    """Report what the SQL hook of common.sql cannot know: it sees no statement, as these went through SQLAlchemy."""
    from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector
    from airflow.providers.common.compat.sdk import NoOpCollector

    collector = get_hook_lineage_collector()  # type: ignore[no-untyped-call]  # common.compat's own
    if isinstance(collector, NoOpCollector):  # nobody reads it
        return
    # One of an API's hooks speaks for it: the collector takes 100 assets, of all hooks of the task.
    for api_url, hook in {_api_url(hook): hook for hook in hooks}.items():
        collector.add_input_asset(context=hook, uri=api_url)
    _, sql_hook = _connection_and_hook(lineage.sql_conn_id)
    collector.add_output_asset(context=sql_hook, uri=lineage.table_uri)


def _connection_and_hook(sql_conn_id: str) -> tuple[Connection, Any]:
    connection = BaseHook.get_connection(sql_conn_id)
    return connection, connection.get_hook()  # type: ignore[no-untyped-call]  # Airflow's own


def _api_datasets(lineage: TableLineage) -> list[Dataset]:
    from airflow.providers.common.compat.openlineage.facet import Dataset

    urls = map(urlsplit, lineage.api_urls)
    return [Dataset(namespace=f"{url.scheme}://{url.netloc}", name=url.path) for url in urls]


def _table_datasets(lineage: TableLineage) -> list[Dataset]:
    """Have OpenLineage itself read an INSERT into the table, so that it is named as every SQL operator names it."""
    from airflow.providers.openlineage.sqlparser import SQLParser

    connection, hook = _connection_and_hook(lineage.sql_conn_id)
    told = hook.get_openlineage_database_info(connection)
    if told is not None:
        # Folded, as for names that a person typed, MariaDB and PostgreSQL would not find what we quoted.
        told.normalize_name_method = str
    first = next(iter(lineage.table.columns)).name
    parser = SQLParser(dialect=hook.get_openlineage_database_dialect(connection), default_schema=lineage.schema)
    datasets: list[Dataset] = parser.generate_openlineage_metadata_from_sql(
        sql=str(sa.insert(lineage.table).inline().values({first: sa.null()}).compile(dialect=lineage.dialect)),
        hook=hook,
        database_info=told or _database_info(lineage.server),
        use_connection=told is not None,
    ).outputs
    for dataset in datasets:
        dataset.facets = {"schema": _schema_facet(lineage)} | (dataset.facets or {})
    return datasets


def _database_info(server: URL) -> DatabaseInfo:
    """Name a database whose hook does not, such as SQLite's, by OpenLineage's general rule."""
    from airflow.providers.openlineage.sqlparser import DatabaseInfo

    if server.host is None:
        return DatabaseInfo(scheme=server.drivername, authority=server.database)
    port = f":{server.port}" if server.port else ""
    return DatabaseInfo(scheme=server.drivername, authority=f"{server.host}{port}", database=server.database)


def _schema_facet(lineage: TableLineage) -> SchemaDatasetFacet:
    """Return the columns as this provider creates them, for where the database was not asked for its own."""
    from airflow.providers.common.compat.openlineage.facet import SchemaDatasetFacet, SchemaDatasetFacetFields

    return SchemaDatasetFacet(
        fields=[
            SchemaDatasetFacetFields(name=column.name, type=column.type.compile(dialect=lineage.dialect))
            for column in lineage.table.columns
        ]
    )
