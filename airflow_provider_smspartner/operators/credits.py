"""Write a snapshot of the credits into a SQL table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_smspartner.arguments import SNAPSHOTS_TABLE, boolean, distinct_texts, one_of, required_text, told
from airflow_provider_smspartner.exceptions import (
    SMSPartnerArgumentError,
    SMSPartnerConfigurationError,
    SMSPartnerError,
    SMSPartnerUnavailableError,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import (  # type: ignore[import-not-found, unused-ignore]
        OperatorLineage,
    )
    from sqlalchemy import Table
    from sqlalchemy.engine import Engine

    from airflow_provider_smspartner.account import Account
    from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
    from airflow_provider_smspartner.lineage import TableLineage
    from airflow_provider_smspartner.sql.snapshots import Snapshot, TaskInstanceRef


class CreditsToSqlOperator(BaseOperator):
    """
    Write one row per run, task, map index and account into a SQL table; a re-run replaces its own row, or keeps it.

    Its XCom is the list of the rows as the table holds them, each a dictionary by column: the balance an exact string,
    instants in ISO 8601, UTC. With ``on_rerun="keep"`` that is what the first run read, and so are the figures of
    asset events; a re-run still asks SMS Partner, and logs what it read.

    An account that fails costs the others nothing: what was read is written, then the task fails and names the rest.

    The event of an asset among its ``outlets`` carries the figures as ``extra["snapshots"]``: per account the conn id,
    the counts, the balance as an exact string, its currency and ``captured_at``. A task that fails emits no event,
    though the rows of the accounts that were read are in the table; the retry that succeeds tells of all of them.

    :param sql_conn_id: the Airflow connection of the database, of any type whose hook has a SQLAlchemy engine
        (templated)
    :param smspartner_conn_id: the Airflow connection whose password is the account's API key, or a list of several
        (templated)
    :param table: the table's name, quoted as it is (templated)
    :param schema: the schema it lies in; None is where the SQL connection points (templated)
    :param create_table: create the table where it is missing; when False, no DDL is issued
    :param on_rerun: what becomes of a row that is there already, when a task is retried or cleared: ``"replace"`` puts
        the new reading in its place; ``"keep"`` leaves the first one alone, as nobody can ask for it again
    :param store_username: keep the account's user name too, an e-mail address: personal data
    :param max_concurrency: accounts that are read at the same time
    """

    template_fields: Sequence[str] = ("sql_conn_id", "smspartner_conn_id", "table", "schema")
    ui_color = "#d7eef5"

    def __init__(
        self,
        *,
        sql_conn_id: str,
        smspartner_conn_id: str | Sequence[str] = "smspartner_default",
        table: str = SNAPSHOTS_TABLE,
        schema: str | None = None,
        create_table: bool = True,
        on_rerun: str = "replace",
        store_username: bool = False,
        max_concurrency: int = 16,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql_conn_id = sql_conn_id
        self.smspartner_conn_id = smspartner_conn_id
        self.table = table
        self.schema = schema
        self.create_table = boolean("create_table", create_table)
        self.on_rerun = one_of("on_rerun", on_rerun, ("replace", "keep"))
        self.store_username = boolean("store_username", store_username)
        self.max_concurrency = _readers(max_concurrency)
        self._lineage: TableLineage | None = None

    def execute(self, context: Context) -> list[dict[str, int | str | None]]:
        """
        Read the accounts, write their rows, and return them.

        :raises SMSPartnerConfigurationError: a connection or the table is not as it must be
        :raises SMSPartnerError: what else kept an account from being read; its row is not written
        """
        from airflow_provider_smspartner.lineage import add_figures_to_events, report_lineage
        from airflow_provider_smspartner.sql.engine import make_engine
        from airflow_provider_smspartner.sql.snapshots import snapshot_table

        table = snapshot_table(self.table, self.schema)
        hooks = self._hooks()
        engine = make_engine(required_text("sql_conn_id", self.sql_conn_id))
        try:
            taken, errors = self._take_snapshots(hooks, _origin(context))
            snapshots = self._write(engine, table, taken)
            read = [hooks[snapshot.smspartner_conn_id] for snapshot in snapshots]
            if read:
                self._lineage = report_lineage(read, engine, table, self.sql_conn_id)
        finally:
            engine.dispose()
        if errors:
            raise _one_error(errors, len(snapshots))
        add_figures_to_events(context, self.outlets, snapshots)
        return [snapshot.as_xcom() for snapshot in snapshots]

    def get_openlineage_facets_on_complete(self, task_instance: object) -> OperatorLineage[Any, Any] | None:
        """Return what was read and written for OpenLineage, which asks this of a task that failed, too."""
        from airflow_provider_smspartner.lineage import openlineage_facets

        return openlineage_facets(self._lineage)

    def _take_snapshots(
        self, hooks: dict[str, SMSPartnerHook], origin: TaskInstanceRef
    ) -> tuple[list[Snapshot], list[SMSPartnerError]]:
        """Read the accounts side by side; return the snapshots, and what kept the other accounts from theirs."""
        from airflow_provider_smspartner.sql.snapshots import Snapshot

        snapshots: dict[str, Snapshot] = {}
        errors: list[SMSPartnerError] = []
        for done, (conn_id, reading) in enumerate(_readings(hooks, self.max_concurrency), start=1):
            so_far = f"{done} of {len(hooks)}"
            try:
                account = reading()
                snapshots[conn_id] = Snapshot.of(account, conn_id, origin, store_username=self.store_username)
                self.log.info("%s: SMS Partner connection %r: %s", so_far, conn_id, account.credits)
            except SMSPartnerError as error:
                self.log.warning("%s: %s", so_far, error)
                errors.append(error)
        return [snapshots[conn_id] for conn_id in hooks if conn_id in snapshots], errors

    def _write(self, engine: Engine, table: Table, taken: list[Snapshot]) -> list[Snapshot]:
        """Return the snapshots as the table holds them."""
        from airflow_provider_smspartner.sql.snapshots import write_snapshots

        keep = self.on_rerun == "keep"
        snapshots = write_snapshots(engine, table, taken, create_table=self.create_table, keep=keep)
        kept = sum(held != snapshot for held, snapshot in zip(snapshots, taken, strict=True))
        if taken:
            self.log.info("%d row(s) written to %r over %r", len(taken) - kept, table.fullname, self.sql_conn_id)
        if kept:
            self.log.info("%d row(s) were there before, and are kept", kept)
        # A row of an earlier run may hold a name that this one is not to tell.
        return snapshots if self.store_username else [replace(snapshot, username=None) for snapshot in snapshots]

    def _hooks(self) -> dict[str, SMSPartnerHook]:
        from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook

        conn_ids = distinct_texts("smspartner_conn_id", self.smspartner_conn_id)
        return {conn_id: SMSPartnerHook(conn_id) for conn_id in conn_ids}


def _readers(max_concurrency: object) -> int:
    if not isinstance(max_concurrency, int) or isinstance(max_concurrency, bool) or max_concurrency < 1:
        raise SMSPartnerArgumentError(f"max_concurrency is {told(max_concurrency)}: use a whole number, 1 or more")
    return max_concurrency


def _readings(hooks: dict[str, SMSPartnerHook], at_once: int) -> Iterator[tuple[str, Callable[[], Account]]]:
    """Yield each conn id once its account was asked for, with what returns the account or raises its error."""
    if len(hooks) == 1:  # without a thread, which takes half as long as the reading itself
        ((conn_id, hook),) = hooks.items()
        yield conn_id, partial(_read_once, hook)
        return
    with ThreadPoolExecutor(at_once) as readers:
        pending = {_start_reading(readers, hook): conn_id for conn_id, hook in hooks.items()}
        for reading in as_completed(pending):
            yield pending[reading], reading.result


def _start_reading(readers: ThreadPoolExecutor, hook: SMSPartnerHook) -> Future[Account]:
    """Look the connection up in this thread, as only Airflow's newest versions can do that in another; ask in one."""
    try:
        hook.get_conn()
    except SMSPartnerError as error:
        failed: Future[Account] = Future()
        failed.set_exception(error)
        return failed
    return readers.submit(_read_once, hook)


def _read_once(hook: SMSPartnerHook) -> Account:
    """Read an account, and close its connection: with hundreds of them a task would run out of descriptors."""
    with hook.get_conn():
        return hook.get_account()


def _origin(context: Context) -> TaskInstanceRef:
    from airflow_provider_smspartner.sql.snapshots import TaskInstanceRef

    ti = context["ti"]
    map_index = -1 if ti.map_index is None else ti.map_index
    # A triggered run has no logical date on Airflow 3, and the context then no such entry.
    return TaskInstanceRef(ti.dag_id, ti.task_id, ti.run_id, map_index, context.get("logical_date"))


def _one_error(errors: list[SMSPartnerError], written: int) -> SMSPartnerError:
    """Return the only error, or one that tells them all: transient if each of them is."""
    if len(errors) == 1:
        return errors[0]
    lines = "\n".join(sorted(f"- {error}" for error in errors))
    all_transient = all(error.retryable for error in errors)
    error_class = SMSPartnerUnavailableError if all_transient else SMSPartnerConfigurationError
    return error_class(f"{len(errors)} accounts were not read, {written} were and have their rows:\n{lines}")
