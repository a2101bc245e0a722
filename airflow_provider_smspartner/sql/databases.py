"""What databases are and are not, by the name of their dialect, as far as a write and its errors depend on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Database:
    """
    A kind of database.

    :param has_transactions: what fails leaves nothing behind
    :param enforces_keys: a primary key keeps a second row of one key out
    :param most_parameters: of one statement; None where nobody reaches the limit
    :param letter_units: how many units of a text column's length one letter may take
    """

    has_transactions: bool = True
    enforces_keys: bool = True
    most_parameters: int | None = None
    letter_units: int = 1

    def rows_at_once(self, columns_count: int) -> int | None:
        """Return how many rows one statement takes; None for any number."""
        return None if self.most_parameters is None else self.most_parameters // columns_count


_DATABASES = {
    "bigquery": Database(has_transactions=False, enforces_keys=False, most_parameters=10_000),
    "clickhousedb": Database(has_transactions=False, enforces_keys=False),
    "databricks": Database(has_transactions=False, enforces_keys=False, most_parameters=256),
    "mssql": Database(most_parameters=2_000, letter_units=2),  # NVARCHAR counts pairs of bytes
    "oracle": Database(most_parameters=30_000, letter_units=2),  # so does NVARCHAR2
    "redshift": Database(enforces_keys=False, most_parameters=30_000, letter_units=4),  # VARCHAR counts bytes
    "snowflake": Database(enforces_keys=False),
    "trino": Database(has_transactions=False, enforces_keys=False, most_parameters=2_000),
}


def database_of(dialect_name: str) -> Database:
    """Return what is known of a database; one that is not named here has transactions and keys."""
    return _DATABASES.get(dialect_name, Database())
