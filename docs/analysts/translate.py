"""Translate the analysts' queries from PostgreSQL's words into others': ``python docs/analysts/translate.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect

PAGE = Path(__file__).parent
SNAPSHOTS = "smspartner_credit_snapshots"


NOT_RUN = "Translated and parsed, but not run: the tests have no such database."


class Database(NamedTuple):
    """What sqlglot does not know of a database: how an instant of our table is told in UTC, and reckoned with."""

    title: str
    tried: str
    dialect: str  # sqlglot's name
    utc: str  # {at} of the table, as a time without a zone
    now: str  # in UTC, without a zone
    hour: str  # the beginning of the hour of {at}
    seconds: str  # from {since} to {until}, both without a zone
    hour_later: str = "{at} + INTERVAL '1' HOUR"
    days_before: str = "{at} - INTERVAL '{days}' DAY"
    day: str = "CAST({at} AS DATE)"
    rounded: str = "CAST({number} AS DECIMAL({digits}, {decimals}))"
    balance: str = "{balance}"  # to reckon with
    snapshots: str = SNAPSHOTS


DATABASES = {
    "mysql": Database(
        title="MySQL, MariaDB",
        tried="Run on MariaDB.",
        dialect="mysql",
        utc="{at}",
        now="UTC_TIMESTAMP()",
        hour="CAST(DATE_FORMAT({at}, '%Y-%m-%d %H:00:00') AS DATETIME)",
        # With digits behind the point, as otherwise a division leaves four.
        seconds="CAST(TIMESTAMPDIFF(MICROSECOND, {since}, {until}) AS DECIMAL(30, 9)) / 1000000",
    ),
    "sqlite": Database(
        title="SQLite",
        tried="Run on SQLite, which reckons with floats here: amounts may be off in the last digit.",
        dialect="sqlite",
        utc="{at}",
        now="CURRENT_TIMESTAMP",
        hour="STRFTIME('%Y-%m-%d %H:00:00', {at})",
        seconds="86400 * (JULIANDAY({until}) - JULIANDAY({since}))",
        hour_later="STRFTIME('%Y-%m-%d %H:00:00', {at}, '+1 hour')",
        days_before="STRFTIME('%Y-%m-%d %H:%M:%S', {at}, '-{days} days') || SUBSTR({at}, 20)",
        day="DATE({at})",
        rounded="ROUND({number}, {decimals})",
        balance="CAST({balance} AS REAL)",
    ),
    "duckdb": Database(
        title="DuckDB",
        tried="Run on DuckDB.",
        dialect="duckdb",
        utc="{at} AT TIME ZONE 'UTC'",
        now="CURRENT_TIMESTAMP AT TIME ZONE 'UTC'",
        hour="DATE_TRUNC('hour', {at})",
        seconds="EXTRACT(EPOCH FROM {until} - {since})",
    ),
    "snowflake": Database(
        title="Snowflake",
        tried="Run on fakesnow, a stand-in for Snowflake.",
        dialect="snowflake",
        utc="CAST(CONVERT_TIMEZONE('UTC', {at}) AS TIMESTAMP_NTZ)",
        now="CAST(CONVERT_TIMEZONE('UTC', CURRENT_TIMESTAMP()) AS TIMESTAMP_NTZ)",
        hour="DATE_TRUNC('HOUR', {at})",
        seconds="TIMESTAMPDIFF(MICROSECOND, {since}, {until}) / 1000000",
        hour_later="DATEADD(HOUR, 1, {at})",
        days_before="DATEADD(DAY, -{days}, {at})",
    ),
    "bigquery": Database(
        title="BigQuery",
        tried="Run on bqemulator, a stand-in for BigQuery.",
        dialect="bigquery",
        utc="DATETIME({at}, 'UTC')",
        now="CURRENT_DATETIME('UTC')",
        hour="DATETIME_TRUNC({at}, HOUR)",
        seconds="CAST(DATETIME_DIFF({until}, {since}, MICROSECOND) AS NUMERIC) / 1000000",
        hour_later="DATETIME_ADD({at}, INTERVAL 1 HOUR)",
        days_before="DATETIME_SUB({at}, INTERVAL {days} DAY)",
        rounded="ROUND({number}, {decimals})",
    ),
    "redshift": Database(
        title="Redshift",
        tried=NOT_RUN,
        dialect="redshift",
        utc="{at} AT TIME ZONE 'UTC'",
        now="GETDATE()",
        hour="DATE_TRUNC('hour', {at})",
        seconds="CAST(DATEDIFF(MICROSECOND, {since}, {until}) AS DECIMAL(30, 6)) / 1000000",
    ),
    "databricks": Database(
        title="Databricks",
        tried=f"{NOT_RUN} The time zone of the session is to be UTC, as it is by default.",
        dialect="databricks",
        utc="CONVERT_TIMEZONE('UTC', {at})",
        now="CONVERT_TIMEZONE('UTC', CURRENT_TIMESTAMP())",
        hour="DATE_TRUNC('HOUR', {at})",
        seconds="TIMESTAMPDIFF(MICROSECOND, {since}, {until}) / 1000000",
    ),
    "clickhouse": Database(
        title="ClickHouse",
        tried="Run on ClickHouse. The view has the last row of each key, where the table may still have others.",
        dialect="clickhouse",
        # Else a window has 1970 where there is no row before, in place of NULL.
        utc="toNullable({at})",
        now="now('UTC')",
        hour="toStartOfHour({at})",
        seconds="dateDiff('microsecond', {since}, {until}) / 1000000",
        hour_later="{at} + INTERVAL 1 HOUR",
        days_before="{at} - INTERVAL {days} DAY",
        day="toDate({at})",
        # A cast alone cuts the digits off.
        rounded="CAST(ROUND({number}, {decimals}) AS Nullable(Decimal({digits}, {decimals})))",
        # The view that has of each key the last row alone.
        snapshots=f"{SNAPSHOTS}_final",
    ),
    "sqlserver": Database(
        title="SQL Server",
        tried=f"{NOT_RUN} It needs SQL Server 2022 or newer.",
        dialect="tsql",
        utc="CAST({at} AT TIME ZONE 'UTC' AS DATETIME2(6))",
        now="SYSUTCDATETIME()",
        hour="DATETRUNC(HOUR, {at})",
        seconds="DATEDIFF_BIG(MICROSECOND, {since}, {until}) / 1000000.0",
        hour_later="DATEADD(HOUR, 1, {at})",
        days_before="DATEADD(DAY, -{days}, {at})",
    ),
    "oracle": Database(
        title="Oracle",
        tried=NOT_RUN,
        dialect="oracle",
        utc="SYS_EXTRACT_UTC({at})",
        now="SYS_EXTRACT_UTC(SYSTIMESTAMP)",
        hour="CAST(TRUNC({at}, 'HH24') AS TIMESTAMP)",
        seconds=(
            "EXTRACT(DAY FROM {until} - {since}) * 86400 + EXTRACT(HOUR FROM {until} - {since}) * 3600"
            " + EXTRACT(MINUTE FROM {until} - {since}) * 60 + EXTRACT(SECOND FROM {until} - {since})"
        ),
        day="TRUNC({at})",
        rounded="CAST({number} AS NUMBER({digits}, {decimals}))",
    ),
    "trino": Database(
        title="Trino",
        tried=NOT_RUN,
        dialect="trino",
        utc="CAST({at} AT TIME ZONE 'UTC' AS TIMESTAMP(6))",
        now="CAST(CURRENT_TIMESTAMP AT TIME ZONE 'UTC' AS TIMESTAMP(6))",
        hour="DATE_TRUNC('hour', {at})",
        seconds="DATE_DIFF('millisecond', {since}, {until}) / 1000e0",
    ),
}
"""By the folder of its queries."""

OF_SNAPSHOTS = ("last_balance", "consumption_per_day", "top_ups", "days_left", "gaps")
OF_THE_LEDGER = ("waited",)
LEDGERS = ("mysql", "sqlite")
"""The databases that a ledger can be in, beside PostgreSQL."""


def queries_of(folder: str) -> tuple[str, ...]:
    """Return the names of the queries that a database has a translation of."""
    return OF_SNAPSHOTS + (OF_THE_LEDGER if folder in LEDGERS else ())


def source_of(query: str) -> Path:
    """Return what is translated: where PostgreSQL has a query of its own, which reads by an index, its plain form."""
    plain = PAGE / "standard" / f"{query}.sql"
    return plain if plain.exists() else PAGE / f"{query}.sql"


def translated(query: str, folder: str) -> str:
    """Return the query in the words of the database, under the comment that it begins with."""
    lines = source_of(query).read_text().splitlines()
    title = [line for line in lines if line.startswith("--")]
    tree = sqlglot.parse_one("\n".join(line for line in lines if line not in title), read="postgres")
    words = _Words(DATABASES[folder])
    for node in list(tree.walk(bfs=False))[::-1]:  # the innermost first
        words.replace(node)
    sql = tree.sql(words.database.dialect, pretty=True, indent=4, pad=4, max_text_width=110, comments=False)
    return "\n".join([*title, f"{sql};", ""])


class _Words:
    """Puts a database's own words in place of what sqlglot takes as it is."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.dialect = Dialect.get_or_raise(database.dialect)
        self.rules: dict[type[exp.Expression], Callable[[Any], str | None]] = {
            exp.AtTimeZone: self._utc,
            exp.TimestampTrunc: lambda node: database.hour.format(at=self._sql(node.this)),
            exp.Extract: self._seconds,
            exp.Add: lambda node: self._moved(node, database.hour_later),
            exp.Sub: lambda node: self._moved(node, database.days_before),
            exp.Cast: self._cast,
            exp.Column: self._balance,
            exp.Table: lambda node: database.snapshots if node.name == SNAPSHOTS else None,
            exp.Ordered: self._ordered,
        }

    def replace(self, node: exp.Expression) -> None:
        rule = self.rules.get(type(node))
        told = rule(node) if rule else None
        if told is not None:
            node.replace(exp.Var(this=told))

    def _utc(self, node: exp.AtTimeZone) -> str:
        is_now = isinstance(node.this, exp.CurrentTimestamp)
        return self.database.now if is_now else self.database.utc.format(at=self._sql(node.this))

    def _seconds(self, node: exp.Extract) -> str:
        span = node.expression
        told = self.database.seconds.format(until=self._sql(span.this), since=self._sql(span.expression))
        return f"({told})" if isinstance(node.parent, exp.Binary) else told

    def _moved(self, node: exp.Binary, spelled: str) -> str | None:
        is_in_time = isinstance(node.expression, exp.Interval)
        return spelled.format(at=self._sql(node.this), days=node.expression.name) if is_in_time else None

    def _cast(self, node: exp.Cast) -> str | None:
        if node.to.is_type(exp.DataType.Type.DATE):
            return self.database.day.format(at=self._sql(node.this))
        if not node.to.is_type(exp.DataType.Type.DECIMAL):
            return None
        digits, decimals = (number.sql() for number in node.to.expressions)
        return self.database.rounded.format(number=self._sql(node.this), digits=digits, decimals=decimals)

    def _balance(self, node: exp.Column) -> str | None:
        is_reckoned_with = not isinstance(node.parent, exp.Select | exp.Is | exp.Alias)
        return (
            self.database.balance.format(balance=self._sql(node))
            if node.name == "balance" and is_reckoned_with
            else None
        )

    def _ordered(self, node: exp.Ordered) -> None:
        # None of our orders has a NULL in it, for which sqlglot would have a database go out of its way.
        is_descending = bool(node.args.get("desc"))
        first = {"nulls_are_small": not is_descending, "nulls_are_large": is_descending, "nulls_are_last": False}
        node.set("nulls_first", first[self.dialect.NULL_ORDERING])

    def _sql(self, node: exp.Expression) -> str:
        return node.sql(self.database.dialect)


def tabs(query: str) -> str:
    """Return what the page includes: the query in a tab for each database."""
    lines = [".. tab-set::", "    :sync-group: database", "", *_tab("PostgreSQL", "postgresql", "", f"{query}.sql")]
    for folder, database in DATABASES.items():
        if query in queries_of(folder):
            lines += _tab(database.title, folder, database.tried, f"{folder}/{query}.sql")
    return "\n".join(lines)


def _tab(title: str, name: str, tried: str, path: str) -> list[str]:
    lines = [f".. tab-item:: {title}", f"    :sync: {name}", ""]
    lines += [f"    {tried}", ""] if tried else []
    lines += [f"    .. literalinclude:: {path}", "        :language: sql", ""]
    return [f"    {line}" if line else "" for line in lines]


def files() -> Iterator[tuple[Path, str]]:
    """Yield each file that this writes, and what is to be in it."""
    for folder in DATABASES:
        for query in queries_of(folder):
            yield PAGE / folder / f"{query}.sql", translated(query, folder)
    for query in OF_SNAPSHOTS + OF_THE_LEDGER:
        yield PAGE / f"{query}.tabs", tabs(query)


if __name__ == "__main__":
    for path, content in files():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
