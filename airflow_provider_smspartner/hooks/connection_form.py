"""The form of a connection for Airflow before 3.2, made of what ``get_provider_info`` declares for the newer ones."""

from __future__ import annotations

from typing import Any, cast

from airflow_provider_smspartner.get_provider_info import get_provider_info


def fields() -> dict[str, Any]:
    """Return the fields of the form that are our own, by name."""
    return {name: _field(declared) for name, declared in _declared()["conn-fields"].items()}


def behaviour() -> dict[str, Any]:
    """Return which of Airflow's own fields the form hides, and how it calls the others."""
    return {name.replace("-", "_"): value for name, value in _declared()["ui-field-behaviour"].items()}


def _declared() -> dict[str, Any]:
    (declared,) = get_provider_info()["connection-types"]
    return cast("dict[str, Any]", declared)


def _field(declared: dict[str, Any]) -> Any:
    """Return a declared field as WTForms' one, of the four classes that Airflow takes: a decimal number is a text."""
    from flask_appbuilder.fieldwidgets import (  # type: ignore[import-not-found, unused-ignore]
        BS3PasswordFieldWidget,
        BS3TextFieldWidget,
    )
    from wtforms import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        BooleanField,
        IntegerField,
        PasswordField,
        StringField,
    )
    from wtforms.validators import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        NumberRange,
        Optional,
        any_of,
    )

    schema = declared["schema"]
    told = {"label": declared["label"], "description": declared["description"], "default": schema.get("default")}
    if "boolean" in schema["type"]:
        return BooleanField(**told, validators=[Optional()])
    if "integer" in schema["type"]:
        bounds = NumberRange(schema["minimum"], schema["maximum"])
        return IntegerField(**told, validators=[Optional(), bounds], widget=BS3TextFieldWidget())
    if schema.get("format") == "password":
        return PasswordField(**told, validators=[Optional()], widget=BS3PasswordFieldWidget())
    if "number" in schema["type"]:
        told["default"] = None  # as a text it would be one that Airflow warns of: too short to be masked
    allowed = [any_of(schema["enum"])] if "enum" in schema else []
    return StringField(**told, validators=[Optional(), *allowed], widget=BS3TextFieldWidget())
