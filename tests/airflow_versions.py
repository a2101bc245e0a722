"""What differs between the Airflow versions that the tests run on, in this one place."""

from __future__ import annotations

from datetime import datetime
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


def open_dag_bag(folder: Path | None = None) -> DagBag:
    """Read the DAGs of a folder, or make an empty bag."""
    if AIRFLOW < (3, 2):
        from airflow.models.dagbag import DagBag

        return DagBag(folder, collect_dags=folder is not None)
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(folder, collect_dags=folder is not None, bundle_name="dags-folder")


def run_to_its_end(dag: DAG, at: datetime | None = None) -> DagRun:
    """Put a DAG into Airflow's database, as a DAG processor does, and run it in this process, now or for a moment."""
    bag = open_dag_bag()
    if AIRFLOW < (3, 0):
        bag.bag_dag(dag, dag)
        bag.sync_to_db()
        return dag.test(execution_date=at)
    bag.bag_dag(dag)
    _store(bag)
    moment: dict[str, Any] = {} if at is None else {"logical_date": at, "run_after": at}
    return dag.test(**moment)


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
        bag.sync_to_db("dags-folder", None)
        return
    if AIRFLOW < (3, 2):
        from airflow.models.dagbag import sync_bag_to_db
    else:
        from airflow.dag_processing.dagbag import sync_bag_to_db
    sync_bag_to_db(bag, "dags-folder", None)
