"""What goes over the wire, and what is made of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest

from airflow_provider_smspartner.account import Credits, User
from airflow_provider_smspartner.api.protocol import (
    MAX_BODY_BYTES,
    ResponseFormat,
    build_account_request,
    parse_account,
    read_answer,
)
from airflow_provider_smspartner.exceptions import (
    SMSPartnerAccessError,
    SMSPartnerError,
    SMSPartnerRejectedError,
    SMSPartnerResponseError,
    SMSPartnerUnavailableError,
)

# The vendor's two samples, letter for letter.
JSON_SAMPLE = b"""{"success": true, "code": 200,
 "user": {"username": "exemple@email.com", "firstname": "John", "lastname": "Doe"},
 "credits": {"creditSms": 269082, "creditSmsLowCost": 444570, "creditHlr": 2045023, "toSend": 0,
             "solde": "10225.119", "currency": "EUR", "balance": "10225.119"}}"""
XML_SAMPLE = b"""<?xml version='1.0' encoding='UTF-8'?>
<result>
  <entry>true</entry> <entry>200</entry>
  <entry><username>exemple@email.com</username><firstname>John</firstname><lastname>Doe</lastname></entry>
  <entry><entry>269070</entry><entry>444551</entry><entry>2044937</entry><entry>0</entry>
         <entry><![CDATA[10224.688]]></entry><entry><![CDATA[EUR]]></entry><entry><![CDATA[10224.688]]></entry></entry>
</result>"""
JULY_GATEWAY = b'{"success": true, "code": 200, "message": "Request queued for processing"}'


def body(credits: object = None, **fields: Any) -> bytes:
    """Return a JSON answer with these credits, other fields as in a good answer unless given."""
    answer = {"success": True, "code": 200, "credits": credits} | fields
    return json.dumps({name: value for name, value in answer.items() if value is not ...}).encode()


def credits_of(**fields: Any) -> Credits:
    return parse_account(body({"creditHlr": 1} | fields)).credits


def test_the_json_sample_gives_its_exact_figures() -> None:
    account = parse_account(JSON_SAMPLE, content_type="application/json")
    assert account.credits == Credits(269082, 444570, 2045023, 0, Decimal("10225.119"), "EUR")
    assert account.user == User("exemple@email.com", "John", "Doe")


def test_the_xml_sample_gives_its_exact_figures() -> None:
    account = parse_account(XML_SAMPLE, content_type="text/xml; charset=UTF-8")
    assert account.credits == Credits(269070, 444551, 2044937, 0, Decimal("10224.688"), "EUR")
    assert account.user == User("exemple@email.com", "John", "Doe")


def test_an_account_knows_when_it_was_fetched_in_utc() -> None:
    before = datetime.now(UTC)
    fetched_at = parse_account(JSON_SAMPLE).fetched_at
    assert before <= fetched_at <= datetime.now(UTC)
    assert fetched_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("fields", "low_cost"),
    [
        ({"creditSmsLowCost": 7}, 7),
        ({"creditSmsECO": 8}, 8),
        ({"creditSmsLowCost": 7, "creditSmsECO": 8}, 8),
        ({"creditSmsLowCost": 7, "creditSmsECO": None}, 7),
        ({}, None),
    ],
)
def test_low_cost_sms_are_read_under_both_names_the_newer_one_first(
    fields: dict[str, Any], low_cost: int | None
) -> None:
    assert credits_of(**fields).sms_low_cost == low_cost


@pytest.mark.parametrize(
    ("fields", "balance"),
    [
        ({"balance": "10.5", "solde": "10.5"}, "10.5"),
        ({"solde": "10.119"}, "10.119"),
        ({"balance": "-3.000"}, "-3.000"),
        ({"balance": "n/a", "solde": "2"}, "2"),
        ({"balance": 0}, "0"),
        ({"balance": 10225.119}, "10225.119"),
        ({"balance": "123456789012.123456"}, "123456789012.123456"),
    ],
)
def test_the_balance_is_an_exact_decimal_under_either_name(fields: dict[str, Any], balance: str) -> None:
    read = credits_of(**fields).balance
    assert isinstance(read, Decimal)
    assert str(read) == balance


def test_a_balance_with_more_digits_than_a_float_holds_stays_exact_as_a_bare_number() -> None:
    account = parse_account(b'{"credits": {"balance": 123456789012.123456}}')
    assert account.credits.balance == Decimal("123456789012.123456")


@pytest.mark.parametrize(
    "value", [None, True, False, 1.5, "", "12 000", "1,5", "0x10", [], {}, "NaN", 2**63, "9" * 400]
)
def test_what_is_no_whole_number_is_an_unknown_count(value: object) -> None:
    assert credits_of(creditSms=value, toSend=value) == Credits(None, None, 1, None, None, None)


@pytest.mark.parametrize("value", [None, True, "NaN", "Infinity", "10,5", "1e3", "", [], {}, "9" * 400])
def test_what_is_no_plain_number_is_an_unknown_balance(value: object) -> None:
    assert credits_of(balance=value).balance is None


UNREADABLE = ["34,18", "1 234", 1000.0, "1e3", True, [1], {"eur": 1}]


@pytest.mark.parametrize("value", UNREADABLE)
@pytest.mark.parametrize(
    ("name", "figure"),
    [
        *(("creditSms", "sms"), ("creditSmsECO", "sms_low_cost"), ("creditSmsLowCost", "sms_low_cost")),
        *(("toSend", "to_send"),),
    ],
)
def test_a_figure_that_is_there_and_cannot_be_read_is_named_as_the_api_names_it(
    name: str, figure: str, value: object
) -> None:
    credits = credits_of(**{name: value})
    assert credits.unreadable == {figure: name}
    assert credits == Credits(None, None, 1, None, None, None)


@pytest.mark.parametrize("value", ["34,18", "1 234.5", "10 EUR", True, [1]])
@pytest.mark.parametrize("name", ["balance", "solde"])
def test_a_balance_that_is_there_and_cannot_be_read_is_named_as_the_api_names_it(name: str, value: object) -> None:
    assert credits_of(**{name: value}).unreadable == {"balance": name}


@pytest.mark.parametrize("missing", [{}, {"creditSms": None}, {"creditSms": ""}, {"creditSms": " "}])
def test_a_figure_that_is_missing_null_or_empty_is_not_taken_for_an_unreadable_one(missing: dict[str, Any]) -> None:
    assert credits_of(**missing).unreadable == {}


def test_a_figure_that_is_read_under_its_other_name_is_not_called_unreadable() -> None:
    assert credits_of(balance="n/a", solde="2", creditSmsECO="1 234", creditSmsLowCost=7).unreadable == {}


def test_an_xml_figure_that_cannot_be_read_is_named_by_its_place() -> None:
    figures = parse_account(XML_SAMPLE.replace(b"269070", b"269 070").replace(b"2044937", b"")).credits
    assert (figures.sms, figures.hlr, figures.unreadable) == (None, None, {"sms": "creditSms"})


@pytest.mark.parametrize("value", UNREADABLE)
def test_an_answer_of_which_nothing_can_be_read_names_the_fields_and_never_their_values(value: object) -> None:
    with pytest.raises(SMSPartnerResponseError) as refusal:
        parse_account(body({"creditSms": value, "solde": "34,18", "creditHlr": None}))
    assert str(refusal.value) == (
        "the answer (HTTP 200) holds no readable credits, as it reports creditSms, solde, but not as plain numbers: "
        "it may pass by itself, else ask SMS Partner's support"
    )


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_the_bare_nan_and_infinity_that_pythons_json_accepts_are_unknown(number: str) -> None:
    credits = parse_account(
        f'{{"credits": {{"balance": {number}, "creditSms": {number}, "toSend": 3, "creditHlr": 1}}}}'.encode()
    ).credits
    assert credits == Credits(None, None, 1, 3, None, None)
    assert credits.unreadable == {"sms": "creditSms", "balance": "balance"}


def test_a_bare_nan_is_no_currency_although_it_has_three_letters() -> None:
    assert parse_account(b'{"credits": {"creditHlr": 1, "currency": NaN}}').credits.currency is None


@pytest.mark.parametrize(
    ("given", "read"), [("EUR", "EUR"), ("eur", "EUR"), (None, None), ("€", None), ("EURO", None), (978, None)]
)
def test_a_currency_is_three_letters_or_unknown(given: object, read: str | None) -> None:
    assert credits_of(currency=given).currency == read


@pytest.mark.parametrize("user", [..., None, {}, [], {"id": 5}, {"username": None, "firstname": " ", "lastname": 7}])
def test_missing_names_are_none(user: object) -> None:
    assert parse_account(body({"creditHlr": 1}, user=user)).user == User(None, None, None)


def test_half_a_character_in_a_name_does_not_break_whoever_stores_it() -> None:
    user = parse_account(b'{"credits": {"creditHlr": 1}, "user": {"firstname": "J\\ud800"}}').user
    assert user.firstname == "J?"


@pytest.mark.parametrize("code", [200, "200", ...])
@pytest.mark.parametrize("success", [True, "true", 1, ...])
def test_a_code_may_be_a_string_and_neither_code_nor_success_need_be_there(code: object, success: object) -> None:
    assert parse_account(body({"creditHlr": 1}, code=code, success=success)).credits.hlr == 1


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500])
def test_a_good_body_counts_whatever_the_status(status: int) -> None:
    assert parse_account(JSON_SAMPLE, http_status=status).credits.sms == 269082


@pytest.mark.parametrize("code", [1, 10, 20, 30, 40, 96])
@pytest.mark.parametrize(
    "shape",
    [
        '{{"success": false, "code": {code}, "message": "Clé API incorrecte"}}',
        '{{"success": false, "code": "{code}", "message": "Incorrect API key"}}',
        '{{"success": false, "code": 9, "error": [{{"elementId": "x", "code": "{code}"}}]}}',
        '{{"success": false, "errors": [{{"code": {code}}}]}}',
        '{{"success": false, "error": {{"code": "{code}"}}, "credits": {{"creditSms": 5}}}}',
        "<result><entry>false</entry><entry>{code}</entry><entry>message</entry></result>",
    ],
)
@pytest.mark.parametrize("status", [200, 500])
def test_a_code_of_a_permanent_error_is_an_access_error_in_every_shape(code: int, shape: str, status: int) -> None:
    with pytest.raises(SMSPartnerAccessError) as refusal:
        parse_account(shape.format(code=code).encode(), http_status=status)
    assert refusal.value.code == code
    assert refusal.value.http_status == status
    assert not refusal.value.retryable


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b'{"success": false, "code": 9, "error": [{"elementId": "x", "message": "y"}]}', 9),
        (
            b'{"success": false, "code": 11, "error": {"message": "NONE"}, "credits": {"creditSms": 0, "solde": 0}}',
            11,
        ),
        (b'{"success": false, "credits": {"creditSms": 5}}', None),
        (b'{"success": true, "code": 999, "credits": {"creditSms": 5}}', 999),
        (JULY_GATEWAY, None),
        (body({}), None),
        (body([]), None),
        (body(5), None),
        (body({"toSend": 5, "currency": "EUR"}), None),
        (b"", None),
        (b"null", None),
        (b"[]", None),
        (b'"credits"', None),
        (b"12", None),
        (b"<!DOCTYPE html><html><body>502</body></html>", None),
        (b"<html><p>unclosed</html>", None),
        (JSON_SAMPLE[:-5], None),
        (XML_SAMPLE[:-5], None),
        (b"[" * 100_000, None),
        (b"<a>" * 50_000, None),
        (b"1" * 5_000, None),
        (b'{"credits": {"creditSms": 1, "creditSms": 500000}}', None),
        (b'{"credits": {"creditSms": ' + b"9" * 5_000 + b"}}", None),
    ],
)
def test_an_answer_without_readable_credits_is_no_answer(answer: bytes, code: int | None) -> None:
    with pytest.raises(SMSPartnerResponseError) as refusal:
        parse_account(answer)
    assert refusal.value.retryable
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("status", "error", "retryable"),
    [
        (300, SMSPartnerResponseError, True),
        (301, SMSPartnerResponseError, True),
        (399, SMSPartnerResponseError, True),
        (400, SMSPartnerRejectedError, False),
        (401, SMSPartnerAccessError, False),
        (403, SMSPartnerAccessError, False),
        (404, SMSPartnerRejectedError, False),
        (408, SMSPartnerUnavailableError, True),
        (425, SMSPartnerUnavailableError, True),
        (429, SMSPartnerUnavailableError, True),
        (500, SMSPartnerUnavailableError, True),
        (599, SMSPartnerUnavailableError, True),
    ],
)
@pytest.mark.parametrize("answer", [b"", JULY_GATEWAY, b'{"success": false, "code": 9}'])
def test_the_status_decides_where_the_body_does_not(
    status: int, error: type[SMSPartnerError], retryable: bool, answer: bytes
) -> None:
    with pytest.raises(SMSPartnerError) as refusal:
        parse_account(answer, http_status=status)
    assert type(refusal.value) is error
    assert refusal.value.retryable is retryable
    assert refusal.value.http_status == status


@pytest.mark.parametrize("status", [300, 301, 399])
def test_every_status_of_a_redirect_leads_to_the_host(status: int) -> None:
    with pytest.raises(SMSPartnerResponseError, match="the answer is a redirect .* check the connection's host"):
        parse_account(b"", http_status=status)


def test_no_word_of_a_foreign_answer_stands_in_an_error() -> None:
    for answer in (b'{"success": false, "code": 10, "message": "key S3cr3t"}', b"<html>S3cr3t</html>"):
        with pytest.raises(SMSPartnerError) as refusal:
            parse_account(answer)
        assert "S3cr3t" not in str(refusal.value)


@pytest.mark.parametrize("surplus", [b"", b"<entry>1</entry><entry>2</entry>"])
def test_xml_credits_with_an_entry_too_few_or_too_many_are_not_guessed_at(surplus: bytes) -> None:
    with pytest.raises(SMSPartnerResponseError):
        parse_account(XML_SAMPLE.replace(b"<entry>269070</entry>", surplus))


def test_xml_without_its_user_is_still_read_right() -> None:
    without = XML_SAMPLE.replace(
        b"<username>exemple@email.com</username><firstname>John</firstname><lastname>Doe</lastname>", b""
    )
    assert parse_account(without).credits == parse_account(XML_SAMPLE).credits


def test_an_xml_answer_is_read_right_where_its_objects_stand_before_its_code() -> None:
    start, scalars = b"<result>", b"<entry>true</entry> <entry>200</entry>"
    moved = XML_SAMPLE.replace(scalars, b"").replace(b"</result>", scalars + b"</result>")
    assert parse_account(moved).credits == parse_account(XML_SAMPLE).credits
    with pytest.raises(SMSPartnerAccessError):
        parse_account(moved.replace(b"<entry>200<", b"<entry>10<").replace(start, start + b"\n"))


@pytest.mark.parametrize("doctype", [b"<!DOCTYPE result>", b"<!DOCTYPE result [<!ELEMENT result ANY>]>"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_with_a_document_type_is_refused_even_where_it_declares_no_entity(doctype: bytes, encoding: str) -> None:
    document = XML_SAMPLE.partition(b"\n")[2].decode()
    assert parse_account(document.encode(encoding)).credits.sms == 269070
    with pytest.raises(SMSPartnerResponseError):
        parse_account((doctype.decode() + document).encode(encoding))


@pytest.mark.parametrize(
    "prologue",
    [
        b'<!DOCTYPE result [<!ENTITY a "1">]>',
        b'<!DOCTYPE result [<!ENTITY a SYSTEM "file:///etc/hostname">]>',
        b'<!DOCTYPE result [<!ENTITY a "1"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
    ],
)
def test_xml_that_declares_entities_is_refused(prologue: bytes) -> None:
    document = XML_SAMPLE.partition(b"\n")[2].replace(b"269070", b"&a;")
    with pytest.raises(SMSPartnerResponseError):
        parse_account(prologue + document)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_read_in_each_of_its_encodings(encoding: str) -> None:
    assert parse_account(JSON_SAMPLE.decode().encode(encoding)).credits.sms == 269082


def test_a_declared_charset_holds_and_a_wrong_one_is_no_answer() -> None:
    latin = JSON_SAMPLE.replace(b"John", "Jérôme".encode("latin-1"))
    assert parse_account(latin, content_type="application/json; charset=ISO-8859-1").user.firstname == "Jérôme"
    for content_type in ("application/json; charset=utf-8", "application/json; charset=no-such", None):
        with pytest.raises(SMSPartnerResponseError):
            parse_account(latin, content_type=content_type)


def test_a_request_holds_the_key_percent_encoded_and_does_not_show_it() -> None:
    request = build_account_request("https://api.example/v1", "S3cr3t+Key/42=é%&#?", ResponseFormat.XML)
    assert request.url == ("https://api.example/v1/me?apiKey=S3cr3t%2BKey%2F42%3D%C3%A9%25%26%23%3F&_format=xml")
    assert "S3cr3t" not in repr(request)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("-3", 0),
        (None, None),
        ("soon", None),
        ("", None),
        ("31536000", 31536000),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),  # past
        ("Thu, 01 Jan 1970 00:00:00", None),  # of no time zone
        ("Thu, 32 Jan 1970 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_seconds(header: str | None, seconds: float | None) -> None:
    headers = {} if header is None else {"Retry-After": header}
    with pytest.raises(SMSPartnerUnavailableError) as refusal:
        read_answer(b"", http_status=429, headers=headers)
    assert refusal.value.retry_after == seconds


def test_retry_after_is_read_as_a_date() -> None:
    headers = {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)}
    with pytest.raises(SMSPartnerUnavailableError) as refusal:
        read_answer(b"", http_status=503, headers=headers)
    assert refusal.value.retry_after == pytest.approx(99, abs=2)


@pytest.mark.parametrize("encoding", ["identity", "Identity", "IDENTITY"])
def test_a_plain_body_that_says_so_is_read_however_it_spells_that(encoding: str) -> None:
    assert read_answer(JSON_SAMPLE, http_status=200, headers={"Content-Encoding": encoding}).credits.sms == 269082


def test_a_packed_body_that_nobody_asked_for_is_not_unpacked() -> None:
    with pytest.raises(SMSPartnerResponseError):
        read_answer(JSON_SAMPLE, http_status=200, headers={"Content-Encoding": "gzip"})


def test_an_answer_that_is_too_long_says_so_even_where_an_account_stands_in_front() -> None:
    assert read_answer(JSON_SAMPLE.ljust(MAX_BODY_BYTES), http_status=200, headers={}).credits.sms == 269082
    with pytest.raises(SMSPartnerResponseError, match=r"is longer than 64 KiB.*check the connection's host"):
        read_answer(JSON_SAMPLE.ljust(MAX_BODY_BYTES + 1), http_status=200, headers={})


def test_a_packed_answer_says_so() -> None:
    with pytest.raises(SMSPartnerResponseError, match="is packed.*check the proxy on the way"):
        read_answer(JSON_SAMPLE, http_status=200, headers={"Content-Encoding": "gzip"})


@pytest.mark.parametrize("surplus", [b" " * MAX_BODY_BYTES, b""])
def test_the_status_decides_before_the_length_and_the_packing(surplus: bytes) -> None:
    headers = {"Content-Encoding": "identity" if surplus else "br", "Retry-After": "7"}
    with pytest.raises(SMSPartnerUnavailableError, match="HTTP 503") as refusal:
        read_answer(JSON_SAMPLE + surplus, http_status=503, headers=headers)
    assert refusal.value.retry_after == 7


def test_a_proxy_that_asks_for_a_password_leads_to_the_proxy_and_not_to_the_host() -> None:
    with pytest.raises(SMSPartnerRejectedError, match=r"HTTP 407\): put a user and a password .* 'proxy'"):
        parse_account(b"", http_status=407)


@pytest.mark.parametrize("code", [..., None, "ten", 10.0])
@pytest.mark.parametrize("success", [False, "false", " False ", 0, "0"])
def test_a_failure_without_a_readable_code_is_not_taken_for_missing_credits(success: object, code: object) -> None:
    with pytest.raises(SMSPartnerResponseError, match="says that it failed, and gives no readable code"):
        parse_account(body({"creditSms": 5}, success=success, code=code))


@pytest.mark.parametrize(("status", "advice"), [(429, "else ask less often"), (503, "else ask its support")])
def test_a_transient_error_tells_what_to_do_if_it_stays(status: int, advice: str) -> None:
    with pytest.raises(SMSPartnerUnavailableError, match=advice):
        parse_account(b"", http_status=status)
