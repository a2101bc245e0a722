"""What the page on connections shows, read by Airflow and by this package."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_smspartner.api.settings import EXTRAS, ConnectionSettings, read_settings

Blocks = Callable[[str, str], list[str]]
Shell = Callable[[str], str]

BASE_URL = "https://api.smspartner.fr/v1"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ConnectionSettings]:
    """Read a connection as Airflow does, from the text of an environment variable."""

    def read(text: str) -> ConnectionSettings:
        monkeypatch.setenv("AIRFLOW_CONN_SHOWN", text)
        return read_settings(BaseHook.get_connection("shown"))

    return read


def test_every_json_example_is_a_connection(blocks: Blocks, read: Any) -> None:
    shown = [json.loads(block) for block in blocks("connection", "json")]
    connections = [each.get("smspartner_default", each) for each in shown]
    assert {read(json.dumps(each)).base_url for each in connections} == {
        BASE_URL,
        "http://127.0.0.1:8025/v1",
        "http://gateway:8080/v1",
    }
    assert any(set(each.get("extra", ())) == set(EXTRAS) for each in connections)


def test_every_uri_is_a_connection(blocks: Blocks, read: Any) -> None:
    uris = [
        line for block in blocks("connection", "text") for line in block.splitlines() if line.startswith("smspartner:")
    ]
    settings = [read(uri) for uri in uris]
    assert [each.base_url for each in settings] == [*[BASE_URL] * 3, "https://gateway.example:8443/v1", BASE_URL]
    assert settings[1].max_retries == 4
    assert settings[3].response_format == "xml"
    assert settings[-1].api_key == "S3cr3t+Key/42=é%"


def test_the_ca_bundle_of_the_example_only_lacks_the_file(blocks: Blocks, read: Any, tmp_path: Path) -> None:
    (shown,) = [block for block in blocks("connection", "text") if "company.pem" in block]
    bundle = tmp_path / "company.pem"
    trustme.CA().cert_pem.write_to_path(str(bundle))
    assert len(read(shown.replace("/etc/ssl/company.pem", str(bundle))).tls.get_ca_certs()) == 1


def test_the_command_percent_encodes_the_key_as_the_page_says(blocks: Blocks, shell: Shell) -> None:
    (command,) = [block for block in blocks("connection", "bash") if block.startswith("python")]
    assert f"smspartner://:{shell(command).strip()}@" in blocks("connection", "text")


def test_every_environment_variable_holds_a_connection(blocks: Blocks, shell: Shell, read: Any) -> None:
    exports = [block for block in blocks("connection", "bash") if block.startswith("export AIRFLOW_CONN_")]
    told = [shell(f"{block}\nenv") for block in exports]
    values = re.findall(r"^AIRFLOW_CONN_SMSPARTNER_\w+=(.*)$", "\n".join(told), re.MULTILINE)
    assert [read(value).api_key for value in values] == [*["YOUR-API-KEY"] * 2, "KEY-OF-PARIS", "KEY-OF-LYON"]
    assert [read(value).timeout for value in values[:2]] == [10, 20]


def test_the_command_that_adds_a_connection_does(blocks: Blocks, shell: Shell, read: Any, airflow_db: None) -> None:
    (command,) = [block for block in blocks("connection", "bash") if block.startswith("airflow connections add")]
    added = json.loads(shell(f"{command} >&2; airflow connections get smspartner_default --output json"))[0]
    kept = {"conn_type": added["conn_type"], "password": added["password"], "extra": added["extra_dejson"]}
    assert read(json.dumps(kept)).timeout == 20


def test_a_secrets_backend_serves_the_connection(
    blocks: Blocks, shell: Shell, tmp_path: Path, airflow_db: None
) -> None:
    (exports,) = [block for block in blocks("connection", "bash") if "SECRETS__BACKEND" in block]
    (file,) = [block for block in blocks("connection", "json") if "smspartner_default" in block]
    (tmp_path / "connections.json").write_text(file)
    program = (
        "from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook; print(SMSPartnerHook().base_url)"
    )
    assert shell(f"{exports}\npython -c '{program}'").splitlines()[-1] == BASE_URL


def test_every_field_of_the_connection_is_listed_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "connection.rst").read_text()
    listed = dict(re.findall(r"^    \* - extra ``(\w+)``\n      - (.+)$", page, re.MULTILINE))
    assert list(listed) == list(EXTRAS)
    defaults = {name: str(extra.default).lower().removesuffix(".0") for name, extra in EXTRAS.items()}
    assert {name: text.strip("`") for name, text in listed.items()} == defaults | {"proxy": "the environment's"}
