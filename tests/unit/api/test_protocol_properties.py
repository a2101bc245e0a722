"""Whatever comes over the wire: our errors and no others, and never a wrong number."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any
from xml.dom import minidom
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_smspartner.account import Account, Credits, User
from airflow_provider_smspartner.api.protocol import MAX_BODY_BYTES, parse_account, read_answer
from airflow_provider_smspartner.exceptions import SMSPartnerError, SMSPartnerUnavailableError


def times(factor: float) -> settings:
    """Try as many times more or fewer inputs than the profile says."""
    return settings(max_examples=int(settings.default.max_examples * factor))


MARK = "Qx7mark"
"""Stands in every answer, and so may stand in no error."""

COUNTS = ("creditSms", "creditSmsLowCost", "creditHlr", "toSend")
FIGURES = {
    "sms": ("creditSms",),
    "sms_low_cost": ("creditSmsECO", "creditSmsLowCost"),
    "hlr": ("creditHlr",),
    "to_send": ("toSend",),
    "balance": ("balance", "solde"),
}
XML_ORDER = (*COUNTS, "solde", "currency", "balance")
NAMES = ("username", "firstname", "lastname")
STATUSES = (200, 204, 302, 400, 401, 403, 404, 408, 429, 500, 503)


@dataclass(frozen=True)
class Field:
    """What stands in a field, what it means (None where it is no figure), and whether JSON has it without quotes."""

    text: str
    meaning: int | Decimal | str | None
    bare: bool = False

    @property
    def is_reported(self) -> bool:
        return not (self.bare and self.text == "null") and self.text.strip() != ""


@dataclass(frozen=True)
class Answer:
    """An answer, and what is written in it; credits are None where none of them means anything."""

    body: bytes
    content_type: str | None
    credits: Credits | None
    user: User


def unsigned(text: str) -> str:
    return text.strip()[1:] if text.strip().startswith(("+", "-")) else text.strip()


def means_a_count(text: str) -> int | None:
    digits = unsigned(text)
    count = int(text) if digits.isascii() and digits.isdigit() and len(digits) <= 19 else None
    return count if count is not None and -(2**63) < count < 2**63 else None


def means_an_amount(text: str) -> Decimal | None:
    before, point, behind = unsigned(text).partition(".")
    parts = [before, behind] if point else [before]
    plain = all(part.isascii() and part.isdigit() and len(part) <= 30 for part in parts)
    return Decimal(text.strip()) if plain else None


# Fields, as they may be written

blanks = st.sampled_from(["", "", " ", "\n\t ", "\u00a0"])
digit_like = st.text("0123456789 .,_+-eE'\u0661\uff12\u00b2\u00a0%x", max_size=24)
no_numbers = st.sampled_from(
    [
        *("", " ", "12 000", "1,000", "1_000", "\uff11\uff12", "0x10", "1e3", "1.5e1"),
        *("NaN", "Infinity", "--1", "+", ".5", "5."),
    ]
)
json_no_numbers = st.sampled_from(
    [
        *("null", "true", "false", "NaN", "-Infinity", "1e3", "1E-7", "1.0e1", "1e999999999999999999999", "9" * 400),
        *("[]", "[5]", "{}", '{"creditSms": 5}', "[" * 40 + "]" * 40),
    ]
).map(lambda text: Field(text, None, bare=True))


def padded(text: str, meaning: int | Decimal) -> st.SearchStrategy[Field]:
    return st.builds(lambda before, after: Field(before + text + after, meaning), blanks, blanks)


whole = st.one_of(st.integers(0, 10**6), st.integers(-(2**63) + 1, 2**63 - 1))
counts = st.one_of(
    whole.map(lambda number: Field(str(number), number, bare=True)),
    whole.flatmap(lambda number: padded(str(number), number)),
    st.integers(0, 10**17).flatmap(lambda number: padded(f"+0{number}", number)),
    st.one_of(digit_like, no_numbers).map(lambda text: Field(text, means_a_count(text))),
    st.sampled_from(["1.5", "1.0", "-0.0", str(2**63), str(-(2**63))]).map(lambda text: Field(text, None, bare=True)),
    json_no_numbers,
)
plain_amounts = st.builds(
    lambda number, places: format(Decimal(number).scaleb(-places), "f"),
    st.one_of(st.integers(-(10**9), 10**9), st.integers(-(10**27) + 1, 10**27 - 1)),
    st.one_of(st.just(3), st.integers(0, 27)),
)
amounts = st.one_of(
    plain_amounts.map(lambda text: Field(text, Decimal(text), bare=True)),
    plain_amounts.flatmap(lambda text: padded(text, Decimal(text))),
    st.one_of(digit_like, no_numbers).map(lambda text: Field(text, means_an_amount(text))),
    json_no_numbers,
)
currencies = st.one_of(
    st.sampled_from([Field("EUR", "EUR"), Field(" usd ", "USD"), Field("Chf", "CHF")]),
    st.sampled_from(["", "€", "EURO", "\uff25UR", "E R"]).map(lambda text: Field(text, None)),
)
kinds: dict[str, st.SearchStrategy[Field]] = {
    **dict.fromkeys((*COUNTS, "creditSmsECO"), counts),
    **dict.fromkeys(("solde", "balance"), amounts),
    "currency": currencies,
}
names = st.text("aZ é😀&<>]\"'\\5", max_size=8).map(lambda text: Field(f"{MARK}{text}", f"{MARK}{text}".strip()))
users = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, names))


def first_meaning(fields: Mapping[str, Field], *names: str) -> Any:
    return next((fields[name].meaning for name in names if name in fields and fields[name].meaning is not None), None)


def credits_meant(fields: Mapping[str, Field]) -> Credits | None:
    *credit, balance = (first_meaning(fields, *figure_names) for figure_names in FIGURES.values())
    currency = first_meaning(fields, "currency")
    if credit[:3] == [None] * 3 and balance is None:
        return None
    unreadable = {
        figure: reported[0]
        for figure, figure_names in FIGURES.items()
        if (reported := [name for name in figure_names if name in fields and fields[name].is_reported])
        and first_meaning(fields, *figure_names) is None
    }
    return Credits(*credit, balance, currency, unreadable)


def user_meant(fields: Mapping[str, Field]) -> User:
    return User(*(first_meaning(fields, name) for name in NAMES))


# Answers, as they may be written

JSON_ENCODINGS = (
    ("utf-8", None),
    ("utf-8", "application/json; charset=utf-8"),
    ("utf-8-sig", "text/plain"),
    ("utf-16", 'application/json; charset="utf-8"'),
    ("utf-16-le", None),
    ("utf-32-be", None),
    ("latin-1", "application/json; charset=ISO-8859-1"),
)
# Where else a number may stand that is not the one looked for.
json_decoys = st.sampled_from(
    [
        *(("creditSms", "77"), ("balance", '"77"'), ("id", "77"), ("Credits", '{"creditSms": 77}')),
        ("message", f'"{MARK} \\"creditSms\\": 77, \\"balance\\": \\"77\\""'),
        ("data", '{"credits": {"creditSms": 77, "code": 10}}'),
    ]
)


def json_object(members: Iterable[tuple[str, str]], gap: str) -> str:
    return "{" + ",".join(f"{gap}{json.dumps(name)}{gap}:{gap}{value}" for name, value in members) + gap + "}"


@st.composite
def json_answers(draw: st.DrawFn) -> Answer:
    fields = draw(st.fixed_dictionaries({}, optional=kinds))
    user = draw(users)
    encoding, content_type = draw(st.sampled_from(JSON_ENCODINGS))
    gap = draw(st.sampled_from(["", " ", "\r\n\t"]))

    def members(given: Mapping[str, Field]) -> list[tuple[str, str]]:
        spelled = {
            name: field.text if field.bare else json.dumps(field.text, ensure_ascii=encoding == "latin-1")
            for name, field in given.items()
        }
        decoys = [decoy for decoy in draw(st.lists(json_decoys, max_size=2)) if decoy[0] not in kinds]
        return draw(st.permutations(list((dict(decoys) | spelled).items())))

    told = draw(st.fixed_dictionaries({}, optional={"success": OKS, "code": CODES, "message": MESSAGES}))
    told |= dict(draw(st.lists(json_decoys, max_size=2)))
    told |= {"credits": json_object(members(fields), gap), "user": json_object(members(user), gap)}
    body = json_object(draw(st.permutations(list(told.items()))), gap).encode(encoding)
    return Answer(body, content_type, credits_meant(fields), user_meant(user))


OKS = st.sampled_from(["true", '"true"', "1"])
CODES = st.sampled_from(["200", '"200"', "null"])
MESSAGES = st.just(f'"{MARK}"')

XML_PROLOGUES = (
    ("utf-8", ""),
    ("utf-8", "<?xml version='1.0' encoding='UTF-8'?>\n"),
    ("utf-8-sig", '<?xml version="1.0"?>'),
    ("latin-1", "<?xml version='1.0' encoding='ISO-8859-1'?>"),
    ("utf-16", "<?xml version='1.0' encoding='UTF-16'?>"),
)


@st.composite
def xml_text(draw: st.DrawFn, text: str) -> str:
    ways = [escape(text), "".join(f"&#{ord(character)};" for character in text)]
    if text.isascii() and "]]>" not in text:
        ways += [f"<![CDATA[{text}]]>"]
    # Latin-1 has no other way for what it lacks.
    return draw(st.sampled_from(ways)) if text.isascii() else ways[1]


@st.composite
def xml_answers(draw: st.DrawFn) -> Answer:
    # All is text here, also what JSON would know better: its null is something that cannot be read.
    fields = {name: replace(draw(kinds[name]), bare=False) for name in XML_ORDER}
    user = draw(users)
    gap = draw(st.sampled_from(["", "\n  "]))
    encoding, prologue = draw(st.sampled_from(XML_PROLOGUES))
    credits = gap.join(f"<entry>{draw(xml_text(fields[name].text))}</entry>" for name in XML_ORDER)
    named = "".join(f"<{name}>{draw(xml_text(field.text))}</{name}>" for name, field in user.items())
    decoy = draw(st.sampled_from(["", "<creditSms>77</creditSms>", "<id>77</id>"]))
    parts = [f"<entry>{gap}{credits}{gap}</entry>", f"<entry>{named}{decoy}</entry>"]
    parts += draw(st.sampled_from([[], ["<entry>77</entry>"], ["<entry><entry>77</entry></entry>"]]))
    parts = ["<entry>true</entry>", "<entry>200</entry>", *draw(st.permutations(parts))]
    document = f"{prologue}<result>{gap.join(parts)}<!-- {MARK} --></result>"
    return Answer(document.encode(encoding), "text/xml", credits_meant(fields), user_meant(user))


answers = st.one_of(json_answers(), xml_answers())


def read(body: bytes, outcomes: Counter[str], **arguments: Any) -> Account | None:
    """Return the account in an answer, or None for an error of ours that gives nothing of it away."""
    try:
        account = parse_account(body, **arguments)
    except SMSPartnerError as error:
        refusal = error
    else:
        outcomes["account"] += 1
        return account
    outcomes[type(refusal).__name__] += 1
    assert MARK not in f"{refusal} {refusal!r} {refusal.as_event()} {vars(refusal)}"
    assert (refusal.__cause__, refusal.__context__) == (None, None)
    assert refusal.http_status == arguments.get("http_status", 200)
    return None


@times(3)
@pytest.mark.parametrize("kind", [json_answers, xml_answers])
@given(data=st.data(), status=st.sampled_from(STATUSES))
def test_what_is_read_is_what_was_written(kind: Any, data: st.DataObject, status: int, outcomes: Counter[str]) -> None:
    answer = data.draw(kind())
    account = read(answer.body, outcomes, http_status=status, content_type=answer.content_type)
    if account is None or answer.credits is None:
        assert (account, answer.credits) == (None, None)
    else:
        assert vars(account.credits) == vars(answer.credits)
        assert str(account.credits) == str(answer.credits), "equal Decimals may differ in what they look like"
        assert account.user == answer.user


@times(0.05)
@given(answer=answers)
def test_an_answer_that_is_cut_off_anywhere_is_no_answer(answer: Answer, outcomes: Counter[str]) -> None:
    for length in range(len(answer.body)):
        assert read(answer.body[:length], outcomes, content_type=answer.content_type) is None


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        ('{"credits": {"creditHlr": 1, "balance": ', "}}"),
        ("<r><entry>" + "<entry>1</entry>" * 6 + "<entry>", "</entry></entry></r>"),
    ],
)
def test_an_answer_longer_than_what_is_read_of_it_is_no_answer(
    opened: str, closed: str, outcomes: Counter[str]
) -> None:
    figure = "1" * 20
    for missing in range(len(closed) + len(figure)):
        body = (opened + (figure + closed).rjust(MAX_BODY_BYTES + missing - len(opened))).encode()
        assert (read(body[:MAX_BODY_BYTES], outcomes) is None) is (missing > 0)


# A reader of the tests' own, for answers that were damaged: where a number stands, and how it is spelled


class Number(str):
    """A number of a JSON document, as it is spelled there."""

    __slots__ = ()


Spelled = dict[str, list[str]]
"""What stands under each name that counts: the credits' own, and ``success`` and ``code``."""


def spelled_in_json(text: str) -> Spelled:
    """Return every spelling of each name; raise ValueError where the text is no JSON object."""
    named = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=str, object_pairs_hook=tuple)
    found: Spelled = {}
    for name, value in named:
        members = value if name == "credits" and isinstance(value, tuple) else ()
        for member, spelling in [*members, *([(name, value)] if name in ("success", "code") else [])]:
            found.setdefault(member, []).append(spelling if isinstance(spelling, str) else repr(spelling))
    return found


def elements(node: minidom.Node) -> list[minidom.Element]:
    return [child for child in node.childNodes if isinstance(child, minidom.Element)]


def text_between_tags(node: minidom.Node) -> str:
    return "".join(child.data for child in node.childNodes if isinstance(child, minidom.Text))


def spelled_in_xml(body: bytes) -> Spelled:
    """Return every spelling of each name; one with markup in it or text around it is no number, whatever it says."""
    entries = elements(minidom.parseString(body).documentElement)
    scalars = [text_between_tags(entry) for entry in entries if not elements(entry)]
    found = {name: [text] for name, text in zip(("success", "code"), scalars, strict=False)}
    for entry in entries:
        figures = elements(entry)
        if len(figures) == len(XML_ORDER) and all(figure.localName == "entry" for figure in figures):
            for name, figure in zip(XML_ORDER, figures, strict=True):
                whole = not elements(figure) and not text_between_tags(entry).strip()
                found.setdefault(name, []).append(text_between_tags(figure) if whole else "cut")
    return found


def spellings(body: bytes, content_type: str | None) -> list[Spelled]:
    """Return what the answer spells in each encoding that it may have; one of them is the right one."""
    if body.strip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n")[:1] == b"<":
        return [spelled_in_xml(body)]
    declared = re.findall(r"charset=\W?([\w-]+)", content_type or "")
    read = []
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", *declared):
        try:
            read.append(spelled_in_json(body.decode(encoding, "surrogatepass" if "utf" in encoding else "strict")))
        except (ValueError, LookupError, TypeError):
            continue
    return read


def canonical(text: str) -> str:
    """Return a plain number without what does not change it, by its characters alone; other text as it is."""
    plain = re.fullmatch(r"\s*([+-]?)0*([0-9]*)(?:\.([0-9]*?)0*)?\s*", text)
    if plain is None or not re.search("[0-9]", text):
        return text
    sign, before, behind = plain[1], plain[2] or "0", plain[3] or ""
    return f"{'-' if sign == '-' and (before, behind) != ('0', '') else ''}{before}.{behind}"


def stands_there(figure: int | Decimal | None, names: tuple[str, ...], spelled: Spelled) -> bool:
    """Return whether a figure is spelled once, and whole, under one of its names."""
    if figure is None:
        return True
    candidates = [values[0] for name in names if len(values := spelled.get(name, [])) == 1]
    digits = format(figure, "f" if isinstance(figure, Decimal) else "d")
    return canonical(digits) in map(canonical, candidates)


def each_figure_stands_there(credits: Credits, spelled: Spelled) -> bool:
    return (
        all(stands_there(getattr(credits, figure), names, spelled) for figure, names in FIGURES.items())
        and all(len(values) == 1 for values in spelled.values())
        and not any(text.strip().lower() == "false" for text in spelled.get("success", []))
        and all(means_a_count(text) in (None, 200) for text in spelled.get("code", []))
    )


@pytest.mark.parametrize(
    ("body", "spelled"),
    [
        (b'{"credits": {"creditSms": 12}}', True),
        (b'{"credits": {"creditSms": " +012 "}}', True),
        (b'{"credits": {"creditSms": "12"}, "creditSms": 5}', True),
        (b'{"creditSms": 12, "credits": {"creditSms": 5}}', False),
        (b'{"credits": {"creditSms": 12, "creditSms": 12}}', False),
        (b'{"credits": {"creditSms": 12}, "credits": {"creditSms": 5}}', False),
        (b'{"credits": {"creditHlr": 12}}', False),
        (b'{"credits": {"creditSms": 1.2e1}}', False),
        (b'{"credits": {"creditSms": "1_2"}}', False),
        (b'{"credits": {"creditSms": 120}}', False),
        (b'{"credits": {"creditSms": -12}}', False),
        ('{"credits": {"creditSms": "\uff11\uff12"}}'.encode(), False),
        (b'{"credits": {"creditSms": [12]}}', False),
        (b'{"credits": {"creditSms": 12}, "success": false}', False),
        (b'{"credits": {"creditSms": 12}, "code": "10"}', False),
        (b"<r><entry><entry>12</entry>" + b"<entry/>" * 6 + b"</entry></r>", True),
        (b"<r><entry><entry><![CDATA[12]]></entry>" + b"<entry/>" * 6 + b"</entry></r>", True),
        (b"<r><entry><entry/><entry>12</entry>" + b"<entry/>" * 5 + b"</entry></r>", False),
        (b"<r><entry><entry>12<b/>0</entry>" + b"<entry/>" * 6 + b"</entry></r>", False),
        (b"<r><entry><entry>12<b>3</b></entry>" + b"<entry/>" * 6 + b"</entry></r>", False),
        (b"<r><entry><entry>12</entry>0" + b"<entry/>" * 6 + b"</entry></r>", False),
        (b"<r>" + (b"<entry><entry>12</entry>" + b"<entry/>" * 6 + b"</entry>") * 2 + b"</r>", False),
    ],
)
def test_the_tests_own_reader_can_tell_a_wrong_number(body: bytes, spelled: bool) -> None:
    credits = Credits(12, None, None, None, None, None)
    assert any(each_figure_stands_there(credits, found) for found in spellings(body, None)) is spelled


# Damage

XML_FIGURES = b"<entry>1</entry>" * 7
XML = b"<result><entry>true</entry><entry>200</entry><entry>" + XML_FIGURES + b"</entry></result>"
CUT_BY_MARKUP = XML.replace(b">1<", b">269<b/>082<", 1)
CUT_BY_AN_ENTRY = XML.replace(b">1<", b">269<entry>5</entry>082<", 1)
CUT_BY_A_CLOSING_TAG = XML.replace(b">1</entry>", b">269</entry>082", 1)
TWO_CREDITS = XML.replace(b"</result>", b"<entry>" + XML_FIGURES + b"</entry></result>")
PLAIN_XML = Answer(XML, None, None, User(None, None, None))
PLAIN_JSON = replace(
    PLAIN_XML,
    body=b'{"success":true,"code":200,"credits":{"creditSms":1234,"creditHlr":"5","toSend":0,"solde":"6.7","balance":8.9}}',
)
FRAGMENTS = [
    *(b"<b/>", b"<b>", b"</b>", b"<entry>", b"</entry>", b"<entry/>", b"</entry><entry>", b"<!--5-->", b"<?p 5?>"),
    *(b"<![CDATA[", b"]]>", b"&#49;", b"&#x661;", b"&amp;", b"&a;", b'<!DOCTYPE r [<!ENTITY a "9">]>', b"<entry>77"),
    *(b"<entry>" + XML_FIGURES + b"</entry>", b"</result>", b"<result>", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf"),
    *(b"e5", b"E-2", b"_", b",", b".", b"0", b"00", b"-", b"+", b" ", b"'", b'"', b"\\", b"\\u0031", b"\\ud800"),
    *("\uff11".encode(), "²".encode(), "٣".encode(), b"\xc2\xa0", b"\x1c", b"null", b"NaN"),
    *(b"{", b"}", b"[", b"]", b":"),
    *(b'"balance":1,', b'"creditSms":5,', b'"credits":{"creditSms":5},', b'"code":10,', b'"success":false,'),
    *(b'"errors":[{"code":"96"}],', b'"error":5,', b"creditSmsECO", b"creditHlr", b"username", b"9" * 40, b"[" * 1000),
]
pieces = st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=3))
CONTENT_TYPES = (
    *(None, "application/json", "text/xml; charset=UTF-8", "application/json; charset=ISO-8859-1"),
    *("charset=utf-16-le", "charset=utf-7", "charset=cp037", "charset=shift_jis", "charset=no-such"),
    *("charset=idna", "charset=hex", "charset="),
)

Damaged = tuple[bytes, str | None, int]
"""A body, the content type that it is said to have, the status."""


@st.composite
def damaged_answers(draw: st.DrawFn) -> list[Damaged]:
    """Splice, cut, double and overwrite parts of two good answers, several times over."""
    answer, other = draw(answers), draw(answers)
    spans = st.tuples(st.integers(0, len(answer.body)), st.one_of(st.integers(0, 8), st.integers(0, len(answer.body))))
    slices = st.tuples(st.sampled_from([answer.body, other.body]), st.integers(0, 400), st.integers(0, 1_000)).map(
        lambda slice_: slice_[0][slice_[1] : slice_[1] + slice_[2]]
    )
    edits = st.tuples(spans, st.one_of(pieces, slices))
    damaged = []
    for edited in draw(st.lists(st.lists(edits, min_size=1, max_size=3), min_size=1, max_size=10)):
        body = answer.body
        for (start, length), piece in edited:
            body = body[:start] + piece + body[start + length :]
        content_type = draw(st.one_of(st.just(answer.content_type), st.sampled_from(CONTENT_TYPES)))
        damaged.append((body, content_type, draw(st.sampled_from(STATUSES))))
    return damaged


def hold_to_what_it_spells(account: Account | None, body: bytes, content_type: str | None) -> None:
    found = spellings(body, content_type) if account else []
    assert account is None or any(each_figure_stands_there(account.credits, spelled) for spelled in found)


@given(damaged=damaged_answers())
@example(damaged=[(CUT_BY_MARKUP, None, 200)])
@example(damaged=[(CUT_BY_AN_ENTRY, None, 200)])
@example(damaged=[(CUT_BY_A_CLOSING_TAG, None, 200)])
@example(damaged=[(TWO_CREDITS, None, 200)])
def test_a_damaged_answer_is_one_of_our_errors_or_spells_each_of_its_figures(
    damaged: list[Damaged], outcomes: Counter[str]
) -> None:
    for body, content_type, status in damaged:
        account = read(body, outcomes, http_status=status, content_type=content_type)
        hold_to_what_it_spells(account, body, content_type)


@times(0.2)
@given(answer=answers, piece=pieces, length=st.sampled_from([0, 0, 1, 2, 8]))
@example(answer=PLAIN_JSON, piece=b'"creditSms":5,', length=0)
@example(answer=PLAIN_JSON, piece=b'"credits":{"creditSms":5},', length=0)
@example(answer=PLAIN_JSON, piece=b"e5", length=0)
@example(answer=PLAIN_JSON, piece=b"_", length=1)
@example(answer=PLAIN_JSON, piece="\uff11".encode(), length=1)
@example(answer=PLAIN_JSON, piece=b"\xff", length=0)
@example(answer=PLAIN_JSON, piece=b"false", length=4)
@example(answer=PLAIN_JSON, piece=b"999", length=3)
@example(answer=PLAIN_XML, piece=b"<b/>", length=0)
@example(answer=PLAIN_XML, piece=b"false", length=4)
@example(answer=PLAIN_XML, piece=b"999", length=3)
@example(answer=PLAIN_XML, piece=b"<entry>77</entry>", length=0)
@example(answer=PLAIN_XML, piece=b"<entry>" + XML_FIGURES + b"</entry>", length=0)
@example(answer=PLAIN_XML, piece=b"</entry><entry>", length=0)
def test_an_answer_that_is_damaged_anywhere_is_one_of_our_errors_or_spells_each_of_its_figures(
    answer: Answer, piece: bytes, length: int, outcomes: Counter[str]
) -> None:
    for start in range(len(answer.body) + 1):
        body = answer.body[:start] + piece + answer.body[start + length :]
        account = read(body, outcomes, content_type=answer.content_type)
        hold_to_what_it_spells(account, body, answer.content_type)


soups = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(
        st.sampled_from([*FRAGMENTS, b"<r>", b"</r>", b'{"credits":', b'"creditSms":', b"1", b"true", XML_FIGURES]),
        max_size=12,
    ).map(b"".join),
)


@times(3)
@given(
    body=soups,
    status=st.integers(100, 999),
    content_type=st.one_of(st.none(), st.text(max_size=20), st.sampled_from(CONTENT_TYPES)),
)
def test_whatever_bytes_come_only_our_errors_leave_the_parser(
    body: bytes, status: int, content_type: str | None, outcomes: Counter[str]
) -> None:
    account = read(body, outcomes, http_status=status, content_type=content_type)
    hold_to_what_it_spells(account, body, content_type)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize(
    "place", ['{{"credits": {{"creditHlr": 1, "creditSms": {}}}}}', '{{"success": {}, "credits": {{"creditHlr": 1}}}}']
)
@times(0.1)
@given(depth=st.integers(1, 2_000))
@example(depth=10_000)
def test_a_value_of_any_depth_breaks_nothing(opening: str, place: str, depth: int, outcomes: Counter[str]) -> None:
    value = opening * depth + "1" + {"[": "]", '{"a":': "}"}[opening] * depth
    account = read(place.format(value).encode(), outcomes)
    assert account is None or account.credits == Credits(None, None, 1, None, None, None)


dates = st.datetimes(timezones=st.just(UTC)).map(lambda date: format_datetime(date, usegmt=True))
retry_after = st.one_of(
    st.none(),
    st.integers().map(str),
    st.text(max_size=30),
    dates,
    st.builds(
        lambda date, at, junk: date[:at] + junk + date[at:],
        dates,
        st.integers(0, 29),
        st.text("0129 :+-,GMT\0é", max_size=6),
    ),
)


@given(body=st.binary(max_size=20), wait=retry_after, encoding=st.sampled_from([None, "identity", "gzip", "", "é"]))
def test_whatever_the_headers_say_the_wait_is_unknown_or_a_number_of_seconds(
    body: bytes, wait: str | None, encoding: str | None, outcomes: Counter[str]
) -> None:
    given = {"Retry-After": wait, "Content-Encoding": encoding}
    headers = {name: value for name, value in given.items() if value is not None}
    with pytest.raises(SMSPartnerUnavailableError) as refusal:
        read_answer(body, http_status=503, headers=headers)
    outcomes[type(refusal.value).__name__] += 1
    seconds = refusal.value.retry_after
    assert seconds is None or 0 <= seconds <= max(10**19, timedelta.max.total_seconds())
    assert (refusal.value.__cause__, refusal.value.__context__) == (None, None)
