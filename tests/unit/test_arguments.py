"""What an argument may be, and what is said of one that makes no sense."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_smspartner.arguments import (
    boolean,
    comes_later,
    distinct_texts,
    one_of,
    optional_text,
    rendered_boolean,
    required_text,
    seconds,
    told,
)
from airflow_provider_smspartner.exceptions import SMSPartnerArgumentError, from_event


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "of type NoneType"),
        (12345, "of type int"),
        (["nested"], "of type list"),
        ({"password": "S3cr3t"}, "of type dict"),
        (b"bytes", "of type bytes"),
        ("", "names nothing"),
        ("  ", "names nothing"),
        ("None", "names nothing"),
        (" smspartner\n", "take away the blanks"),
        ("['paris', 'lyon']", "a list that became text"),
        ('{"conn_id": "paris"}', "a list that became text"),
    ],
)
def test_what_a_template_renders_instead_of_a_name_is_refused_with_how_to_write_it(value: object, what: str) -> None:
    for read in (required_text, distinct_texts, lambda name, value: distinct_texts(name, ["good", value])):
        if read is distinct_texts and isinstance(value, list):
            continue
        with pytest.raises(SMSPartnerArgumentError, match=r"^smspartner_conn_id(\[1\])? is ") as refusal:
            read("smspartner_conn_id", value)
        assert what in str(refusal.value)
        assert "S3cr3t" not in str(refusal.value)


@pytest.mark.parametrize("name", ["smspartner_default", "team/sms.prod", "Été 2026", "2026"])
def test_a_name_is_taken_as_it_is_written(name: str) -> None:
    assert required_text("table", name) == name
    assert optional_text("schema", name) == name
    assert optional_text("schema", None) is None
    assert distinct_texts("table", name) == [name]
    assert distinct_texts("table", ("other", name)) == ["other", name]


@pytest.mark.parametrize("value", [[], (), ["paris", "lyon", "paris"], [["paris"]], {"paris"}])
def test_a_list_that_names_none_or_one_twice_is_refused(value: object) -> None:
    with pytest.raises(SMSPartnerArgumentError, match="name at least one, and each one once|use text"):
        distinct_texts("smspartner_conn_id", value)


@pytest.mark.parametrize("value", ["above", "", None, 5, ["below"], {}])
def test_a_choice_that_is_none_is_refused_with_all_that_are(value: object) -> None:
    assert one_of("direction", "below", ["at_least", "below"]) == "below"
    with pytest.raises(SMSPartnerArgumentError, match="use one of 'at_least', 'below'"):
        one_of("direction", value, ["at_least", "below"])


@pytest.mark.parametrize("value", ["False", "true", 0, 1, None, "", [True]])
def test_only_a_bool_is_one_and_a_template_may_render_it_as_text(value: object) -> None:
    assert boolean("deferrable", value=False) is False
    with pytest.raises(SMSPartnerArgumentError, match="use True or False"):
        boolean("deferrable", value)
    if value in ("False", "true"):
        assert rendered_boolean("subtract_pending", value) is (value == "true")
    else:
        with pytest.raises(SMSPartnerArgumentError, match="use True or False"):
            rendered_boolean("subtract_pending", value)


@pytest.mark.parametrize(
    ("value", "read"), [(60, 60.0), (0.05, 0.05), (timedelta(minutes=1), 60.0), (Fraction(1, 2), 0.5)]
)
def test_a_duration_is_a_number_of_seconds_or_a_timedelta(value: object, read: float) -> None:
    assert seconds("poke_interval", value) == read
    assert isinstance(seconds("poke_interval", value), float)


@pytest.mark.parametrize(
    "value",
    [0, -1, timedelta(0), timedelta(seconds=-5), float("nan"), float("inf"), 10**400, timedelta.max, True, "60", None],
    ids=lambda value: str(value)[:20],
)
def test_a_duration_that_never_passes_is_refused(value: object) -> None:
    with pytest.raises(SMSPartnerArgumentError, match="above 0 and within 100 years"):
        seconds("poke_interval", value)


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "value", [10**5000, "x" * 10_000, [[[0] * 1000] * 1000], Unspeakable()], ids=["int", "text", "list", "class"]
)
def test_a_value_is_told_in_short_whatever_it_is(value: object) -> None:
    assert 1 < len(told(value)) <= 60


@pytest.mark.parametrize(
    ("value", "later"),
    [
        ("{{ params.n }}", True),
        ("{% if x %}1{% endif %}", True),
        (lambda context, jinja_env: 1, True),
        ("5", False),
        (5, False),
        (None, False),
    ],
)
def test_a_template_is_known_to_come_later(value: Any, later: bool) -> None:
    assert comes_later(value) is later


@pytest.mark.parametrize(
    "refuse", [lambda: seconds("timeout", 0), lambda: required_text("table", 2026), lambda: boolean("once", "no")]
)
def test_a_refusal_is_final_and_of_the_two_classes_that_python_has_for_it(refuse: Callable[[], object]) -> None:
    """A triggerer survives a TypeError alone; task retries stop for an AirflowFailException alone."""
    with pytest.raises(SMSPartnerArgumentError) as refusal:
        refuse()
    assert isinstance(refusal.value, ValueError)
    assert isinstance(refusal.value, TypeError)
    assert isinstance(refusal.value, AirflowFailException)
    assert not refusal.value.retryable
    assert type(from_event(refusal.value.as_event())) is SMSPartnerArgumentError
