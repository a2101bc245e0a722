"""What an argument must be: one reader per kind, whatever a template, XCom or a stored trigger made of it. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from numbers import Integral, Real

from airflow_provider_smspartner.exceptions import SMSPartnerArgumentError

LONGEST = timedelta(days=36_500)
"""Nobody waits longer, and Airflow cannot add it to a date."""

SNAPSHOTS_TABLE = "smspartner_credit_snapshots"
"""Where snapshots are, unless somebody says otherwise."""

_LONGEST_TOLD = 60


def comes_later(value: object) -> bool:
    """Return whether a value is known only when the task runs: a template, a callable, an upstream XCom."""
    return hasattr(value, "resolve") or callable(value) or (isinstance(value, str) and "{" in value)


def told(value: object) -> str:
    """Return a value as an error shows it: short, and whatever its own ``repr`` does."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # an int of more than 4,300 digits has none, nor have some classes
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_TOLD else f"{text[: _LONGEST_TOLD - 1]}…"


def required_text(name: str, value: object) -> str:
    """
    Return the name of a connection, a table or the like.

    :param name: what to call the argument in an error
    :raises SMSPartnerArgumentError: it is no text, or none that names anything
    """
    # Without the value: what is of another type may be whatever an upstream task returned.
    if not isinstance(value, str):
        raise SMSPartnerArgumentError(
            f"{name} is of type {type(value).__name__}: use text; where a template made it, look at what it rendered"
        )
    if value.strip() in ("", "None"):
        raise SMSPartnerArgumentError(
            f"{name} is {value!r}, which names nothing; where a template made it, look at what it rendered"
        )
    if value != value.strip():
        raise SMSPartnerArgumentError(f"{name} is {told(value)}: take away the blanks around it")
    if value[0] in "[({":
        raise SMSPartnerArgumentError(
            f"{name} is {told(value)}, a list that became text: use one name, or set render_template_as_native_obj=True"
        )
    return value


def optional_text(name: str, value: object) -> str | None:
    """Return what ``required_text`` does, or None for None."""
    return None if value is None else required_text(name, value)


def distinct_texts(name: str, value: object) -> list[str]:
    """
    Return one or several names as a list, each as ``required_text`` takes it.

    :raises SMSPartnerArgumentError: there is none, one stands there twice, or one is no name
    """
    if isinstance(value, bytes) or not isinstance(value, Sequence) or isinstance(value, str):
        return [required_text(name, value)]
    texts = [required_text(f"{name}[{index}]", text) for index, text in enumerate(value)]
    if not texts or len(set(texts)) != len(texts):
        raise SMSPartnerArgumentError(f"{name} is {told(texts)}: name at least one, and each one once")
    return texts


def one_of(name: str, value: object, known: Iterable[str]) -> str:
    """Return a value that is one of the known texts, or refuse it with all of them."""
    choices = [str(choice) for choice in known]
    if not isinstance(value, str) or value not in choices:
        raise SMSPartnerArgumentError(f"{name} is {told(value)}: use one of {', '.join(map(repr, choices))}")
    return str(value)


def boolean(name: str, value: object) -> bool:
    """Return a bool, or refuse what is none: the text "False" is true, and nobody means that."""
    if not isinstance(value, bool):
        raise SMSPartnerArgumentError(f"{name} is {told(value)}: use True or False")
    return value


def rendered_boolean(name: str, value: object) -> bool:
    """Return a bool, or the one that a template has rendered as text."""
    text = value.strip().lower() if isinstance(value, str) else None
    return text == "true" if text in ("true", "false") else boolean(name, value)


def integer(name: str, value: object) -> int:
    """Return a whole number, also one that a template has rendered as text."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value, re.ASCII):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise SMSPartnerArgumentError(f"{name} is {told(value)}: use a whole number")
    return int(value)


def integer_within(name: str, value: object, least: int, most: int) -> int:
    """Return a whole number, as ``integer`` takes it, between two others."""
    number = integer(name, value)
    if not least <= number <= most:
        raise SMSPartnerArgumentError(f"{name} is {number}: use a whole number from {least} to {most}")
    return number


def refuse_unknown(what: str, arguments: Iterable[str]) -> None:
    """
    Refuse arguments that a class does not know, as a row stored by another version has them.

    :param what: the class
    """
    if names := ", ".join(map(repr, arguments)):
        raise SMSPartnerArgumentError(
            f"{what} knows no argument {names}: take it out, or install the same version of this package in worker and "
            "triggerer"
        )


def seconds(name: str, value: object, *, or_none_at_all: bool = False) -> float:
    """
    Return a duration in seconds.

    :param value: seconds, or a timedelta
    :param or_none_at_all: take 0, too
    :raises SMSPartnerArgumentError: it is neither, or no time that passes
    """
    duration = value.total_seconds() if isinstance(value, timedelta) else value
    is_number = isinstance(duration, Real) and not isinstance(duration, bool)
    # NaN is not above 0 either; compared before it is converted, as a large int makes no float.
    if or_none_at_all and is_number and duration == 0:
        return 0.0
    if not is_number or not 0 < duration <= LONGEST.total_seconds():  # type: ignore[operator]
        raise SMSPartnerArgumentError(
            f"{name} is {told(value)}: use a number of seconds or a timedelta, above 0 and within 100 years"
        )
    return float(duration)  # type: ignore[arg-type]
