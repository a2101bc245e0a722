"""A sandbox for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox


@pytest.fixture
def sandbox() -> Iterator[SMSPartnerSandbox]:
    with SMSPartnerSandbox() as sandbox:
        yield sandbox
