"""`postfix_config existing` beside what a server has set: nothing is taken away."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domains.models import Domain
from mail.postfix.existing import existing
from mail.postfix.merging import privacy
from mail.postfix.parameters import Configuration
from mail.postfix.running import Parameters, parameters_of, split_list
from tests.mail.postfix.servers import MAIN_CF, main_cf

LISTS = {
    "smtpd_restriction_classes",
    "smtpd_recipient_restrictions",
    "relay_domains",
    "relay_recipient_maps",
    "virtual_alias_maps",
    "transport_maps",
    "smtpd_discard_ehlo_keywords",
    "smtpd_etrn_restrictions",
}
STRICTER: dict[str, Callable[[int, int], bool]] = {
    "smtpd_soft_error_limit": int.__le__,
    "smtpd_hard_error_limit": int.__le__,
    "smtpd_error_sleep_time": int.__ge__,
}
# Switches that only close something, and our own.
CLOSED = {
    "disable_vrfy_command": "yes",
    "show_user_unknown_table_name": "no",
    "smtpd_forbid_bare_newline": "yes",
}


@pytest.fixture(autouse=True)
def domains(db: None) -> None:
    Domain.objects.create(name="shared.test", is_shared=True)
    Domain.objects.create(name="ours.test")


@pytest.fixture(autouse=True)
def sockets(settings: object) -> None:
    settings.MAIL_POSTFIX_DIRECTORY = "/srv/anonmail"  # type: ignore[attr-defined]
    for name in ("LMTP", "POLICY", "SOCKETMAP"):
        setattr(settings, f"MAIL_{name}_LISTEN", f"unix:/srv/anonmail/{name.lower()}")


def number(value: str, *, stress: bool) -> int:
    """A limit, as Postfix reads it with and without stress; `2s` is 2."""
    readings = {
        "${stress?1}${stress:5}": (5, 1),
        "${stress?{1}:{10}}": (10, 1),
        "${stress?{1}:{20}}": (20, 1),
    }
    return readings[value][stress] if value in readings else int(value.removesuffix("s"))


def values(configuration: Configuration) -> dict[str, str]:
    return {parameter.name: parameter.value for parameter in configuration.parameters}


@pytest.mark.parametrize("server", MAIN_CF)
def test_nothing_that_a_server_had_is_taken_away(server: str) -> None:
    there = parameters_of(main_cf(server))

    written = values(existing(there, "/srv/tables", sockets="/srv/anonmail"))

    for name, value in written.items():
        before = there.as_written(name)
        if name in LISTS:
            assert [entry for entry in split_list(before) if entry not in split_list(value)] == [], name
            assert len(split_list(value)) == len(set(split_list(value))), name
        elif name in STRICTER:
            for stress in (False, True):
                assert STRICTER[name](number(value, stress=stress), number(before, stress=stress)), name
        elif name != "anonmail_policy":
            assert value == CLOSED[name], name
    # What lets through, or changes, other people's mail is not ours to say.
    assert {
        "smtputf8_enable",
        "disable_mime_output_conversion",
        "smtp_line_length_limit",
        "lmtp_line_length_limit",
        "message_size_limit",
    }.isdisjoint(written)


def test_a_second_run_changes_nothing() -> None:
    first = existing(parameters_of(main_cf("mailcow")), "/srv/tables", sockets="/srv/anonmail")
    lines = "".join(f"{name} = {value}\n" for name, value in values(first).items())

    again = existing(parameters_of(main_cf("mailcow") + lines), "/srv/elsewhere", sockets="/srv/anonmail")

    assert values(again) == {
        name: value.replace("/srv/tables", "/srv/elsewhere") for name, value in values(first).items()
    }


def test_a_table_of_theirs_in_a_directory_of_such_a_name_stays() -> None:
    theirs = "relay_recipient_maps = texthash:/srv/anonmail-mail/relayed\n"

    written = values(existing(parameters_of(theirs), "/srv/tables", sockets="/srv/anonmail"))

    assert written["relay_recipient_maps"].endswith(", texthash:/srv/anonmail-mail/relayed")


@pytest.mark.parametrize(
    ("name", "theirs", "merged"),
    [
        ("smtpd_discard_ehlo_keywords", "", "dsn, etrn, vrfy"),
        (
            "smtpd_discard_ehlo_keywords",
            "chunking, silent-discard, smtputf8",
            "chunking, silent-discard, smtputf8, dsn, etrn, vrfy",
        ),
        ("smtpd_discard_ehlo_keywords", "silent-discard, dsn", "silent-discard, dsn, etrn, vrfy"),
        ("smtpd_etrn_restrictions", "permit_mynetworks", "permit_mynetworks, reject"),
        ("smtpd_hard_error_limit", "${stress?1}${stress:5}", "${stress?1}${stress:5}"),
        ("smtpd_hard_error_limit", "${stress?{1}:{20}}", "${stress?{1}:{10}}"),
        ("smtpd_hard_error_limit", "5", "5"),
        ("smtpd_hard_error_limit", "50", "10"),
        ("smtpd_hard_error_limit", "$their_own", "$their_own"),
        ("smtpd_error_sleep_time", "10s", "10s"),
        ("smtpd_error_sleep_time", "1m", "1m"),
        ("smtpd_error_sleep_time", "1s", "2s"),
        ("smtpd_forbid_bare_newline", "reject", "reject"),
        ("smtpd_forbid_bare_newline", "note", "yes"),
        ("smtpd_forbid_bare_newline", "", "yes"),
        ("disable_vrfy_command", "no", "yes"),
    ],
)
def test_the_stricter_of_two_holds(name: str, theirs: str, merged: str) -> None:
    found = {
        parameter.name: parameter.value for parameter in privacy(Parameters({name: theirs}, {name: theirs}))
    }

    assert found[name] == merged


@given(theirs=st.integers(0, 100), unit=st.sampled_from(["", "s", "m"]))
def test_a_limit_never_becomes_weaker(theirs: int, unit: str) -> None:
    parameters = {name: f"{theirs}{unit if 'time' in name else ''}" for name in STRICTER}
    seconds = theirs * (60 if unit == "m" else 1)

    found = {parameter.name: parameter.value for parameter in privacy(Parameters(parameters, parameters))}

    assert int(found["smtpd_hard_error_limit"]) == min(theirs, 10)
    assert int(found["smtpd_soft_error_limit"]) == min(theirs, 3)
    sleep = found["smtpd_error_sleep_time"]
    assert int(sleep.rstrip("sm")) * (60 if sleep.endswith("m") else 1) == max(seconds, 2)
