"""The table of the vendor's fields, field by field against what the package makes of one."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_smspartner.api.protocol import parse_account
from airflow_provider_smspartner.exceptions import SMSPartnerError
from airflow_provider_smspartner.sql.snapshots import Snapshot, TaskInstanceRef

TABLE = list(csv.DictReader((Path(__file__).parents[2] / "docs" / "reference" / "fields.csv").open()))
FIELDS = {row["field"]: {name: text.strip("`") for name, text in row.items()} for row in TABLE}
VALUES: dict[str, Any] = {"credits.balance": "7.5", "credits.solde": "7.5", "credits.currency": "EUR"}
ORIGIN = TaskInstanceRef("dag", "task", "run")


def test_every_field_on_record_is_listed() -> None:
    on_record = {"success", "code", "message", "error", "errors", "error.elementId"}
    on_record |= {f"user.{name}" for name in ("username", "firstname", "lastname", "id")}
    counts = ("creditSms", "creditSmsLowCost", "creditSmsECO", "creditHlr", "toSend")
    on_record |= {f"credits.{name}" for name in (*counts, "solde", "currency", "balance")}
    assert set(FIELDS) == on_record


@pytest.mark.parametrize("field", [field for field in FIELDS if "." in field and not field.startswith("error")])
def test_a_field_is_found_where_the_table_says_and_nowhere_else(field: str) -> None:
    group, name = field.split(".")
    value = VALUES.get(field, 4 if group == "credits" else "x")
    answer: dict[str, dict[str, Any]] = {"credits": {"creditHlr": 1}, "user": {}}
    bare = parse_account(json.dumps(answer).encode())
    answer[group][name] = value
    account = parse_account(json.dumps(answer).encode())

    listed = FIELDS[field]
    group_listed, _, attribute = listed["attribute"].partition(".")
    changed = {
        f"{part}.{name}"
        for part in ("user", "credits")
        for name, now in vars(getattr(account, part)).items()
        if now != vars(getattr(bare, part))[name]
    }
    assert changed == ({f"{group_listed}.{attribute}"} if attribute else set())
    assert difference(bare.reading(), account.reading()) - {"fetched_at"} == named(listed["XCom and event"])
    rows = [Snapshot.of(each, "conn", ORIGIN, store_username=True).__dict__ for each in (bare, account)]
    assert difference(*rows) - {"captured_at"} == named(listed["column"])


def difference(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name in after if before[name] != after[name]}


def named(cell: str) -> set[str]:
    return {cell} if cell else set()


@pytest.mark.parametrize("field", [field for field in FIELDS if FIELDS[field]["attribute"] == "SMSPartnerError.code"])
@pytest.mark.parametrize("several", [False, True])
def test_a_code_is_found_in_each_of_its_places(field: str, several: bool) -> None:
    error: dict[str, Any] = {"code": 30}
    answer = error if field == "code" else {field: [error] if several else error}
    with pytest.raises(SMSPartnerError) as raised:
        parse_account(json.dumps({"success": False} | answer).encode())
    assert raised.value.code == 30
