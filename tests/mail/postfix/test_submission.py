"""Services of master.cf where people sign in, with recipient restrictions of their own: they ask too."""

import os
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from domains.models import Domain
from mail.postfix.existing import RECIPIENTS, existing
from mail.postfix.running import Running
from tests.mail.postfix.test_readme import paste, place, steps  # noqa: F401 - a fixture

# In one round: what Postfix's programs do does not depend on our database.
pytestmark = pytest.mark.postgresql

# As Debian's template has submission, one with a table, an empty one, what a content filter hands back, and
# one with main.cf's restrictions.
SERVICES = """\
smtp inet n - y - - smtpd
submission inet n - y - - smtpd
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
465 inet n - y - - smtpd
  -o { smtpd_recipient_restrictions = check_recipient_access inline:{x@y.test=OK}, permit_sasl_authenticated }
2525 inet n - y - - smtpd
  -o smtpd_client_restrictions=permit_sasl_authenticated,reject
  -o smtpd_recipient_restrictions=
127.0.0.1:10025 inet n - n - - smtpd
  -o smtpd_recipient_restrictions=permit_mynetworks,reject
smtps inet n - y - - smtpd
  -o smtpd_sasl_auth_enable=yes
"""
WANTED = {
    "submission/inet/smtpd_recipient_restrictions": f"${RECIPIENTS},permit_sasl_authenticated,reject",
    "465/inet/smtpd_recipient_restrictions": (
        f"${RECIPIENTS},check_recipient_access,inline:{{x@y.test=OK}},permit_sasl_authenticated"
    ),
    "2525/inet/smtpd_recipient_restrictions": f"${RECIPIENTS}",
}


def postfix(place: Path, services: str = SERVICES) -> Path:  # noqa: F811
    etc = place / "etc"
    (etc / "main.cf").write_text("compatibility_level = 3.6\nvirtual_mailbox_domains = shared.test\n")
    (etc / "master.cf").write_text(services)
    os.utime(etc / "main.cf", (0, 0))
    Domain.objects.create(name="shared.test", is_shared=True)
    return etc


def follow(place: Path, etc: Path) -> None:  # noqa: F811
    call_command(
        "postfix_config", "existing", f"--directory={place}/new", f"--postfix={etc}", stdout=StringIO()
    )
    paste(steps(place / "new/README")[0], etc)
    os.utime(etc / "main.cf", (0, 0))


def test_services_where_people_sign_in_ask_anonmail_first(place: Path) -> None:  # noqa: F811
    etc = postfix(place)
    before = existing(Running(etc), str(place))
    lacking = "465/inet/smtpd_recipient_restrictions should be"
    with pytest.raises(Exception, match="things are missing"):
        call_command("postfix_config", "existing", "--check", f"--postfix={etc}", stdout=(said := StringIO()))

    follow(place, etc)
    follow(place, etc)
    after = Running(etc)

    assert before.overrides == WANTED
    assert lacking in said.getvalue()
    assert {name: after.overrides[name] for name in WANTED} == WANTED
    assert after.overrides["127.0.0.1:10025/inet/smtpd_recipient_restrictions"] == "permit_mynetworks,reject"
    assert after[RECIPIENTS].startswith("check_recipient_access pipemap:{")
    assert after[RECIPIENTS] == after["smtpd_recipient_restrictions"]
    assert existing(after, f"{place}/new").overrides == WANTED


def test_a_postfix_without_such_services_gets_no_parameter_for_them(place: Path) -> None:  # noqa: F811
    etc = postfix(
        place, "smtp inet n - y - - smtpd\nsmtps inet n - y - - smtpd\n  -o smtpd_sasl_auth_enable=yes\n"
    )

    follow(place, etc)

    assert RECIPIENTS not in (etc / "main.cf").read_text()
