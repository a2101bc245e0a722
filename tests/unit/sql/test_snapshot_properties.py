"""Whatever fits the snapshot table comes back exactly, and what does not is refused before a database sees it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Engine
from sqlalchemy.exc import StatementError

from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError, SMSPartnerResponseError
from airflow_provider_smspartner.sql.snapshots import Snapshot, snapshot_table, write_snapshots
from airflow_provider_smspartner.sql.types import ExactDecimal, UtcTimestamp, fitted

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
DAY = timedelta(days=1)
TABLE = snapshot_table("credits")
SNAPSHOT = Snapshot(
    captured_at=datetime(2026, 7, 1, 12, tzinfo=UTC),
    smspartner_conn_id="smspartner_default",
    credit_sms=1,
    credit_sms_low_cost=1,
    credit_hlr=1,
    to_send=1,
    balance=Decimal(1),
    currency="EUR",
    dag_id="campaign",
    task_id="snapshot",
    run_id="manual__1",
    map_index=-1,
    logical_date=None,
)

# What is stored, as the database itself tells it, past SQLAlchemy's types.
AS_STORED = {
    "sqlite": "SELECT balance, captured_at FROM credits WHERE snapshot_id = :snapshot_id",
    "duckdb": "SELECT CAST(balance AS VARCHAR), epoch_us(captured_at) FROM credits WHERE snapshot_id = :snapshot_id",
}

with_a_database = settings(max_examples=settings.default.max_examples // 10 or 1)


@pytest.fixture(params=["sqlite", "duckdb"], scope="module")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A database that keeps its table from one input to the next."""
    engine = sa.create_engine(f"{request.param}:///{tmp_path_factory.mktemp('properties')}/credits.db")
    write_snapshots(engine, TABLE, [SNAPSHOT])
    yield engine
    engine.dispose()


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


def texts(length: int) -> st.SearchStrategy[str]:
    storable = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    return st.one_of(st.text(storable, max_size=12), st.text(storable, min_size=length, max_size=length))


zones = st.one_of(
    st.just(UTC),
    st.timedeltas(timedelta(hours=-24, microseconds=1), timedelta(hours=24, microseconds=-1)).map(timezone),
)
instants = st.datetimes((EARLIEST + DAY).replace(tzinfo=None), (LATEST - DAY).replace(tzinfo=None), timezones=zones)
fitting_amounts = st.one_of(
    st.integers(-(10**18) + 1, 10**18 - 1).map(lambda number: Decimal(number).scaleb(-6)),
    st.integers(-(10**9), 10**9).map(lambda number: Decimal(number).scaleb(-3)),
    st.integers(-(10**18) + 1, 10**18 - 1).map(lambda number: Decimal(f"{number}00E-8")),
    st.integers(-9, 9).flatmap(lambda number: st.integers(0, 11).map(lambda power: Decimal(number).scaleb(power))),
)
big_counts = optional(st.integers(-(2**63), 2**63 - 1))
snapshots = st.builds(
    Snapshot,
    captured_at=instants,
    smspartner_conn_id=texts(250),
    credit_sms=big_counts,
    credit_sms_low_cost=big_counts,
    credit_hlr=big_counts,
    to_send=big_counts,
    balance=optional(fitting_amounts),
    currency=optional(texts(3).map(lambda text: text[:3])),
    dag_id=texts(250),
    task_id=texts(250),
    run_id=texts(250),
    map_index=st.integers(-(2**31), 2**31 - 1),
    logical_date=optional(instants),
    username=optional(texts(320)),
)


@with_a_database
@given(written=st.lists(snapshots, min_size=1, max_size=4, unique_by=lambda snapshot: snapshot.snapshot_id))
@example(written=[replace(SNAPSHOT, captured_at=EARLIEST)])
@example(written=[replace(SNAPSHOT, captured_at=LATEST)])
@example(written=[replace(SNAPSHOT, balance=Decimal("999999999999.999999"))])
@example(written=[replace(SNAPSHOT, balance=Decimal("-0.000000"))])
def test_whatever_fits_comes_back_exactly(engine: Engine, written: list[Snapshot], outcomes: Counter[str]) -> None:
    write_snapshots(engine, TABLE, written)
    with engine.connect() as connection:
        for snapshot in written:
            query = sa.select(TABLE).where(TABLE.c.snapshot_id == snapshot.snapshot_id)
            [row] = connection.execute(query).mappings()
            assert dict(row) == vars(snapshot)
            assert {name: type(value) for name, value in row.items()} == {
                name: type(value) for name, value in vars(snapshot).items()
            }
            assert row["captured_at"].tzinfo is UTC
            kept = sa.text(AS_STORED[engine.dialect.name])
            [(balance, captured_at)] = connection.execute(kept, {"snapshot_id": snapshot.snapshot_id})
            assert (balance is None) is (snapshot.balance is None)
            assert balance is None or Fraction(balance) == Fraction(snapshot.balance)
            assert captured_at == as_stored(snapshot.captured_at, engine)
            outcomes["stored"] += 1


def as_stored(instant: datetime, engine: Engine) -> str | int:
    if engine.dialect.name == "duckdb":
        return (instant - EPOCH) // timedelta(microseconds=1)
    return (EARLIEST + (instant - EARLIEST)).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


# What fits, by arithmetic of the tests' own

any_amounts = st.one_of(
    fitting_amounts,
    st.decimals(),
    st.builds(
        lambda number, power: Decimal(number).scaleb(power), st.integers(-(10**20), 10**20), st.integers(-30, 30)
    ),
    st.sampled_from(["NaN", "sNaN", "-Infinity", "1E+999999", "1E-999999", "0E-999999", "0E+999999"]).map(Decimal),
)


def amount_fits(amount: Decimal) -> bool:
    if not amount.is_finite() or (amount and not -100 < amount.adjusted() < 100):
        return False
    steps = Fraction(amount) * 10**6 if amount else Fraction(0)
    return steps.denominator == 1 and abs(steps) < 10**18


@given(amount=any_amounts)
def test_an_amount_is_exact_or_refused_never_rounded(amount: Decimal, outcomes: Counter[str]) -> None:
    if amount_fits(amount):
        assert fitted(ExactDecimal(), amount) == amount
        for dialect in (sqlite.dialect(), postgresql.dialect()):
            bound = ExactDecimal().process_bind_param(amount, dialect)
            assert Decimal(bound) == amount
            assert ExactDecimal().process_result_value(bound, dialect) == amount
        outcomes["fits"] += 1
        return
    with pytest.raises(ValueError, match="only 12 digits"):
        fitted(ExactDecimal(), amount)
    with pytest.raises(ValueError, match="only 12 digits"):
        ExactDecimal().process_bind_param(amount, postgresql.dialect())
    outcomes["refused"] += 1


far_off = st.integers(1, 23).map(lambda hours: timezone(timedelta(hours=hours)))
no_instants = st.one_of(
    st.datetimes(),
    far_off.map(lambda zone: EARLIEST.replace(tzinfo=zone)),
    far_off.map(lambda zone: LATEST.replace(tzinfo=timezone(-zone.utcoffset(None)))),
)
no_counts = st.one_of(st.integers(min_value=2**63), st.integers(max_value=-(2**63) - 1))
no_indexes = st.one_of(st.integers(min_value=2**31), st.integers(max_value=-(2**31) - 1))


POISON = st.sampled_from(["\0", "\ud800", "\udfff"])


def no_texts(length: int) -> st.SearchStrategy[str]:
    poisoned = st.builds(
        lambda text, at, bad: text[:at] + bad + text[at:], st.text(max_size=2), st.integers(0, 2), POISON
    )
    return st.one_of(poisoned, st.text(min_size=length + 1, max_size=length + 9))


readings = {
    **dict.fromkeys(("credit_sms", "credit_sms_low_cost", "credit_hlr", "to_send"), no_counts),
    "balance": any_amounts.filter(lambda amount: not amount_fits(amount)),
    "currency": no_texts(3),
    "username": no_texts(320),
    "captured_at": st.one_of(st.none(), no_instants),
}
origins = {
    **dict.fromkeys(("smspartner_conn_id", "dag_id", "task_id", "run_id"), st.one_of(st.none(), no_texts(250))),
    "map_index": st.one_of(st.none(), no_indexes),
    "logical_date": no_instants,
}
misfits = st.sampled_from([*readings, *origins]).flatmap(
    lambda column: st.tuples(st.just(column), (readings | origins)[column])
)


@given(misfit=misfits)
def test_what_does_not_fit_is_refused_by_the_name_of_its_column_alone(
    misfit: tuple[str, Any], outcomes: Counter[str]
) -> None:
    column, value = misfit
    error = SMSPartnerResponseError if column in readings else SMSPartnerConfigurationError
    with pytest.raises(error, match=f"'{column}' does not fit") as refusal:
        replace(SNAPSHOT, **{column: value})
    assert refusal.type is error
    # The conn id is how the error names its account, whether or not it fits.
    assert column == "smspartner_conn_id" or len(str(value)) < 6 or str(value) not in str(refusal.value)
    outcomes["refused"] += 1


@with_a_database
@given(misfit=misfits.filter(lambda misfit: misfit[0] in ("balance", "captured_at") and misfit[1] is not None))
def test_a_misfit_that_comes_past_the_snapshot_is_not_sent_to_the_database(
    engine: Engine, misfit: tuple[str, Any], outcomes: Counter[str]
) -> None:
    column, value = misfit
    sent: list[str] = []
    with engine.connect() as connection:
        sa.event.listen(connection, "before_cursor_execute", lambda *event: sent.append(event[2]))
        with pytest.raises(StatementError, match="only 12 digits|time zone|out of range"):
            connection.execute(sa.insert(TABLE), vars(SNAPSHOT) | {"snapshot_id": "another", column: value})
    assert sent == []
    outcomes["refused"] += 1


@given(instant=instants)
def test_an_instant_stays_the_same_instant_in_every_dialect(instant: datetime, outcomes: Counter[str]) -> None:
    for dialect in (sqlite.dialect(), mysql.dialect(), postgresql.dialect()):
        bound = UtcTimestamp().process_bind_param(instant, dialect)
        read = UtcTimestamp().process_result_value(bound, dialect)
        assert bound is not None
        assert (bound.tzinfo is None) is (dialect.name != "postgresql")
        assert read == instant
        assert read.tzinfo is UTC
    outcomes["the same"] += 1
