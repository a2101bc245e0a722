"""What differs between the Airflow versions that the tests run on, in this one place."""

from __future__ import annotations

import logging
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models import DagRun
    from airflow.providers.common.compat.sdk import DAG, Asset

AIRFLOW = tuple(int(number) for number in version("apache-airflow").split(".")[:3])


def needs_airflow(*least: int, for_the_sake_of: str) -> pytest.MarkDecorator:
    """Skip a test, with the reason, on an Airflow that lacks what it is about."""
    told = ".".join(map(str, least))
    return pytest.mark.skipif(least > AIRFLOW, reason=f"Airflow before {told} has no {for_the_sake_of}")


needs_a_hash_of_assets = pytest.mark.skipif(
    (3, 0) <= AIRFLOW < (3, 2), reason="Airflow before 3.2 has no hash of an asset, and looks events up in another way"
)


def open_dag_bag(folder: Path | None = None) -> DagBag:
    """Read the DAGs of a folder, or make an empty bag."""
    if AIRFLOW < (3, 2):
        from airflow.models.dagbag import DagBag

        return DagBag(folder, collect_dags=folder is not None)
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(folder, collect_dags=folder is not None, bundle_name="dags-folder")


def serialize_for_xcom(value: object) -> Any:
    """Return what Airflow would store of a value that a task returns."""
    if AIRFLOW < (3, 0):
        from airflow.models.xcom import BaseXCom
    else:
        from airflow.sdk.bases.xcom import BaseXCom
    return BaseXCom.serialize_value(value)


def run_to_its_end(dag: DAG, at: datetime | None = None) -> DagRun:
    """Put a DAG into Airflow's database, as a DAG processor does, and run it in this process, now or for a moment."""
    bag = open_dag_bag()
    if AIRFLOW < (3, 0):
        bag.bag_dag(dag, dag)
        bag.sync_to_db()
        return dag.test(execution_date=at)
    bag.bag_dag(dag)
    _store(bag)
    _share_the_api_server()
    if AIRFLOW < (3, 1):
        _mend_runs_in_process()
    moment: dict[str, Any] = {} if at is None else {"logical_date": at, "run_after": at}
    return dag.test(**moment)


def _share_the_api_server() -> None:
    """Keep one API server for all tasks in this process, as Airflow 3.3 does: older ones set one up for each."""
    from airflow.sdk.execution_time import supervisor

    if not hasattr(supervisor.in_process_api_server, "cache_info"):
        supervisor.in_process_api_server = cache(supervisor.in_process_api_server)


def _mend_runs_in_process() -> None:
    """Do what Airflow 3.0 forgets when it runs a task in this process, and does when it starts one for it."""
    import structlog
    from airflow.sdk.execution_time.comms import TaskRescheduleStartDate

    # Else a rescheduled sensor counts its time from a text.
    TaskRescheduleStartDate.model_construct = TaskRescheduleStartDate
    # Else it prints at DEBUG, with what it is told to mask.
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def links_of(dag: DAG, task_id: str, instance: Any) -> dict[str, str | None]:
    """Return the links on the page of a task's instance, which Airflow makes from the DAG as it is stored."""
    if AIRFLOW < (3, 2):
        from airflow.serialization.serialized_objects import SerializedDAG as Serialization
    else:
        from airflow.serialization.serialized_objects import DagSerialization as Serialization
    task = Serialization.from_dict(Serialization.to_dict(dag)).get_task(task_id)
    return {name: task.get_extra_links(instance, name) for name in task.extra_links}


def start_metrics() -> None:
    """Set metrics up as a worker does first: before Airflow 3.3, the first metric does."""
    if AIRFLOW >= (3, 3):
        from airflow.sdk.observability import stats
        from airflow.sdk.observability.metrics import stats_utils

        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)


def flush_metrics() -> None:
    """Send what the last moments have brought: Airflow 2 forgets that at the end of a process with OpenTelemetry."""
    if AIRFLOW < (3, 0):
        from opentelemetry.metrics import get_meter_provider

        if hasattr(get_meter_provider(), "force_flush"):
            get_meter_provider().force_flush()


def connection_form(conn_type: str) -> dict[str, Any]:
    """Return what Airflow's page of a connection shows: the extras with title and text, and how it calls the rest."""
    if AIRFLOW < (3, 0):
        from airflow.providers_manager import ProvidersManager

        widgets = ProvidersManager().connection_form_widgets
        fields = {
            widget.field_name: widget.field.kwargs for key, widget in widgets.items() if f"__{conn_type}__" in key
        }
        told = ProvidersManager().field_behaviours[conn_type]
        return {
            "extras": {name: [field["label"], field["description"]] for name, field in fields.items()},
            "hidden": sorted(told["hidden_fields"]),
            "titles": told["relabeling"],
            "placeholders": told["placeholders"],
        }
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    (hook,) = (hook for hook in HookMetaService.hook_meta_data() if hook.connection_type == conn_type)
    told = {name.removeprefix("url_"): field for name, field in dict(hook.standard_fields).items() if field}
    return {
        "extras": {name: [field["schema"]["title"], field["description"]] for name, field in hook.extra_fields.items()},
        "hidden": sorted(name for name, field in told.items() if field.hidden),
        "titles": {name: field.title for name, field in told.items() if field.title},
        "placeholders": {name: field.placeholder for name, field in told.items() if field.placeholder},
    }


def asset_events(asset: Asset) -> list[dict[str, Any]]:
    """Return the extras of the events of an asset in Airflow's database, the oldest first."""
    from airflow.utils.session import create_session

    if AIRFLOW < (3, 0):
        from airflow.models.dataset import DatasetEvent, DatasetModel

        events = sa.select(DatasetEvent.extra).join(DatasetModel, DatasetModel.id == DatasetEvent.dataset_id)
        events = events.where(DatasetModel.uri == asset.uri).order_by(DatasetEvent.id)
    else:
        from airflow.models.asset import AssetEvent, AssetModel

        events = sa.select(AssetEvent.extra).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        events = events.where(AssetModel.name == asset.name).order_by(AssetEvent.id)
    with create_session() as session:
        return list(session.scalars(events))


def _store(bag: DagBag) -> None:
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    DagBundlesManager().sync_bundles_to_db()
    if AIRFLOW < (3, 1):
        for dag in bag.dags.values():
            dag.relative_fileloc = dag.relative_fileloc or Path(dag.fileloc).name
        bag.sync_to_db("dags-folder", None)
        return
    if AIRFLOW < (3, 2):
        from airflow.models.dagbag import sync_bag_to_db
    else:
        from airflow.dag_processing.dagbag import sync_bag_to_db
    sync_bag_to_db(bag, "dags-folder", None)
