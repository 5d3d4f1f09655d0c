"""The pages of rules, as their owner uses them."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from accounts.models import User
from aliases.issuing import issue
from mail.rule_pages.trying import try_out
from rules.conditions import Of
from rules.models import RULES_MAX, Rule
from tests.rig.ruling import condition, rule

pytestmark = pytest.mark.django_db

HEADER = "From: Eve <eve@far.test>\nSubject: =?utf-8?q?B=C3=BCy?= now\nList-Id: Shop <news.shop.test>\n"


@pytest.fixture
def other(alice: User) -> EmailAddress:
    return EmailAddress.objects.create(user=alice, email="alice.shop@home.test", verified=True)


def form(*conditions: tuple[str, str, str], **more: Any) -> dict[str, Any]:
    """What a browser sends, with these conditions: all five forms of them, filled or not."""
    data: dict[str, Any] = {"name": "Shops", "needs_all": "all", "subject": "", **more}
    for number in range(1, 6):
        of, match, values = (
            conditions[number - 1] if number <= len(conditions) else ("sender", "contains", "")
        )
        of, _space, header = of.partition(" ")
        given = {"of": of, "match": match, "values": values, "header": header}
        data |= {f"condition{number}-{name}": value for name, value in given.items()}
    return data


SENDER = ("sender", "ends", "@far.test")


def names() -> list[str]:
    return list(Rule.objects.order_by("place", "pk").values_list("name", flat=True))


def test_somebody_makes_a_rule_and_reads_it_in_the_list(
    browser: Client, alice: User, other: EmailAddress
) -> None:
    conditions = (SENDER, ("header List-Id:", "contains", "news\r\noffers\r\n\r\n"))
    answer = browser.post(
        "/rules/new/", form(*conditions, destinations=[other.pk], subject="[Shop]"), follow=True
    )

    made = Rule.objects.in_order().get()
    assert made.owner == alice
    assert [each.of for each in made.condition_list] == [Of.SENDER, Of.HEADER]
    assert made.condition_list[1].header == "list-id"
    assert made.condition_list[1].values == ("news", "offers")
    assert made.subject == "[Shop] {{subject}}"
    page = answer.content.decode()
    assert "sender&#x27;s address ends with “@far.test”" in page
    assert "header field list-id contains “news”, “offers”" in page
    assert "forward it to alice.shop@home.test, give it the subject “[Shop] {{subject}}”" in page


@pytest.mark.parametrize(
    ("conditions", "more", "sentence"),
    [
        ((), {"blocks": "on"}, "A rule needs a condition."),
        ((SENDER,), {}, "Choose at least one thing that the rule does."),
        (
            (("sender", "matches", "(a"),),
            {"blocks": "on"},
            "This is not a regular expression that can be used here",
        ),
        ((("sender", "matches", r"(\pL{99})"),), {"blocks": "on"}, "This pattern is too large."),
        ((("header a:b", "is", "x"),), {"blocks": "on"}, "This is not the name of a header field"),
        ((("header", "is", "x"),), {"blocks": "on"}, "This is not the name of a header field"),
        ((("sender", "is", "x" * 201),), {"blocks": "on"}, "A value has at most 200 characters."),
        (
            (("sender", "is", "\n".join(map(str, range(51)))),),
            {"blocks": "on"},
            "A condition has at most 50 values.",
        ),
        ((("body", "is", "x"),), {"blocks": "on"}, "Select a valid choice."),
        ((("sender", "resembles", "x"),), {"blocks": "on"}, "Select a valid choice."),
        ((SENDER,), {"subject": "a\tb{{subject}}{{subject}}"}, "must not contain control characters"),
        ((SENDER,), {"subject": "{{subject}}{{subject}}"}, "at most once"),
        ((SENDER,), {"subject": "x" * 101}, "at most 100 characters"),
        ((SENDER,), {"blocks": "on", "name": "x" * 51}, "at most 50 characters"),
        ((SENDER,), {"blocks": "on", "name": " "}, "This field is required."),
        ((SENDER,), {"destinations": ["9" * 400]}, "Select a valid choice."),
        ((SENDER,), {"blocks": "on", "needs_all": "some"}, "Select a valid choice."),
    ],
)
def test_what_cannot_be_is_refused_beside_the_field(
    browser: Client, conditions: Any, more: dict[str, Any], sentence: str
) -> None:
    answer = browser.post("/rules/new/", form(*conditions, **more))

    assert answer.status_code == 422
    assert sentence in answer.content.decode()
    assert not Rule.objects.exists()


def test_a_rule_forwards_only_to_own_verified_addresses(browser: Client, alice: User, mallory: User) -> None:
    theirs = EmailAddress.objects.get(user=mallory)
    unverified = EmailAddress.objects.create(user=alice, email="new@home.test", verified=False)

    for address in (theirs, unverified):
        assert browser.post("/rules/new/", form(SENDER, destinations=[address.pk])).status_code == 422

    assert not Rule.objects.exists()


def test_a_form_that_is_sent_twice_makes_one_rule(browser: Client) -> None:
    for _time in range(2):
        assert browser.post("/rules/new/", form(SENDER, blocks="on")).status_code == 302

    assert Rule.objects.count() == 1


def test_a_rule_is_changed(browser: Client, alice: User, other: EmailAddress) -> None:
    made = rule(alice, condition("subject", "is", "a", "b"), blocks=True, destinations=[other])
    page = browser.get(f"/rules/{made.pk}/").content.decode()
    assert "a\nb</textarea>" in page

    browser.post(f"/rules/{made.pk}/", form(SENDER, disables="on", needs_all="any", stops="on"))

    made = Rule.objects.in_order().get()
    assert (made.blocks, made.disables, made.forwards, made.needs_all, made.stops) == (
        False,
        True,
        False,
        False,
        True,
    )
    assert not made.links.exists()
    assert [each.of for each in made.condition_list] == [Of.SENDER]


def test_a_subject_without_the_messages_own_stays_until_it_is_changed(browser: Client, alice: User) -> None:
    made = rule(alice, subject="Newsletter")

    browser.post(f"/rules/{made.pk}/", form(SENDER, subject="Newsletter"))
    assert Rule.objects.get().subject == "Newsletter"

    browser.post(f"/rules/{made.pk}/", form(SENDER, subject="News"))
    assert Rule.objects.get().subject == "News {{subject}}"


def test_rules_are_moved_up_and_down(browser: Client, alice: User) -> None:
    first, second, third = (rule(alice, name=name, blocks=True) for name in "abc")

    browser.post(f"/rules/{third.pk}/move/", {"to": "up"})
    assert names() == ["a", "c", "b"]
    browser.post(f"/rules/{first.pk}/move/", {"to": "down"})
    assert names() == ["c", "a", "b"]
    # Nothing comes before the first one, or after the last one.
    browser.post(f"/rules/{third.pk}/move/", {"to": "up"})
    browser.post(f"/rules/{second.pk}/move/", {"to": "down"})
    assert names() == ["c", "a", "b"]


def test_a_rule_is_switched_and_deleted(browser: Client, alice: User) -> None:
    made = rule(alice, blocks=True)

    browser.post(f"/rules/{made.pk}/switch/", {"to": "off"})
    assert not Rule.objects.get().is_on
    browser.post(f"/rules/{made.pk}/switch/", {"to": "on"})
    assert Rule.objects.get().is_on
    assert "Delete the rule “Rule”?" in browser.get(f"/rules/{made.pk}/remove/").content.decode()
    browser.post(f"/rules/{made.pk}/remove/")
    assert not Rule.objects.exists()


def test_there_are_only_so_many_rules(browser: Client, alice: User) -> None:
    for _number in range(RULES_MAX):
        rule(alice, blocks=True)

    answer = browser.post("/rules/new/", form(SENDER, blocks="on"))

    assert "You already have 50 rules." in answer.content.decode()
    assert "as many rules as one may have" in browser.get("/rules/").content.decode()


def test_the_list_takes_the_same_statements_for_one_rule_and_for_five(
    browser: Client, alice: User, other: EmailAddress, django_assert_max_num_queries: Any
) -> None:
    rule(alice, destinations=[other])
    with django_assert_max_num_queries(100) as one:
        browser.get("/rules/")
    for _number in range(4):
        rule(alice, destinations=[other])

    with django_assert_max_num_queries(len(one)):
        browser.get("/rules/")


def test_the_list_warns_of_a_rule_whose_destination_is_gone(
    browser: Client, alice: User, other: EmailAddress
) -> None:
    made = rule(alice, destinations=[other])
    other.delete()

    for page in ("/rules/", f"/rules/{made.pk}/"):
        assert "An address to which it forwards has been removed" in browser.get(page).content.decode()


def test_a_rule_is_told_in_german(browser: Client, alice: User) -> None:
    rule(alice, condition("subject", "contains", "invoice"), blocks=True)
    User.objects.filter(pk=alice.pk).update(language="de")

    page = browser.get("/rules/").content.decode()

    assert "Wenn Betreff enthält „invoice“: die Nachricht blockieren." in page


def test_what_somebody_writes_is_shown_as_text(browser: Client, alice: User) -> None:
    rule(alice, condition("subject", "is", "<script>x</script>"), name="<b>x</b>", subject="<i>{{subject}}")

    page = browser.get("/rules/").content.decode()

    assert "<script>x" not in page
    assert "<b>x</b>" not in page
    assert "<i>" not in page


def test_rules_are_tried_out_on_a_pasted_header(browser: Client, alice: User, other: EmailAddress) -> None:
    alias = issue(owner=alice)
    rule(
        alice,
        condition("subject", "is", "büy NOW"),
        name="Mine",
        destinations=[other],
        subject="[S] {{subject}}",
    )
    rule(alice, condition("sender", "is", "somebody@else.test"), name="Theirs", blocks=True)
    rule(alice, name="Sleeping", blocks=True).switch(on=False)
    rule(alice, condition("alias", "is", alias.address), name="Last", disables=True, stops=True)
    rule(alice, name="Never", blocks=True)

    answer = browser.post("/rules/try/", {"header": HEADER, "alias": alias.address.upper()})

    page = " ".join(answer.content.decode().split())
    for words in (
        '<strong>Mine</strong> <span class="badge badge--success">applies',
        '<strong>Theirs</strong> <span class="badge">does not apply',
        '<strong>Sleeping</strong> <span class="badge">is off',
        '<strong>Never</strong> <span class="badge">is not reached',
        "the message goes to alice.shop@home.test. Its subject is “[S] Büy now”. The alias is then disabled.",
    ):
        assert words in page
    assert alice.aliases.get().enabled
    assert Rule.objects.filter(applied=0).count() == 5


def test_a_message_that_was_forwarded_names_its_alias_and_its_author(browser: Client, alice: User) -> None:
    alias = issue(owner=alice)
    rule(alice, condition("sender", "is", "eve@far.test"), blocks=True)
    ours = f"X-Anonmail-Alias: {alias.address}\r\nX-Anonmail-Author: eve@far.test\r\nFrom: x@example.com\r\n"

    answer = browser.post("/rules/try/", {"header": ours, "alias": ""})

    assert "the message is blocked." in answer.content.decode()


def test_a_subject_that_decodes_to_half_a_character_is_tried_out(browser: Client, alice: User) -> None:
    rule(alice, condition("subject", "contains", "needle"), subject="[S] {{subject}}")
    header = "Subject: =?utf-7?q?+2AA-?= needle\r\n"

    answer = browser.post("/rules/try/", {"header": header, "alias": issue(owner=alice).address})

    assert "[S] \ufffd needle" in answer.content.decode()


@pytest.mark.parametrize("header", ["", "no header at all", "\n\n", "x" * 100_001])
def test_what_is_no_header_is_refused(browser: Client, alice: User, header: str) -> None:
    assert (
        browser.post("/rules/try/", {"header": header, "alias": issue(owner=alice).address}).status_code
        == 422
    )


def test_a_strangers_alias_is_none_to_try_out_on(browser: Client, mallory: User, example_com: Any) -> None:
    example_com.grant(mallory)
    theirs = issue(owner=mallory)
    answers = [
        browser.post("/rules/try/", {"header": HEADER, "alias": address}).content.decode()
        for address in (theirs.address, "nobody.there1@example.com", "x", "")
    ]

    assert all("Write the address of one of your aliases." in answer for answer in answers)


def test_a_strangers_rule_is_not_found(browser: Client, mallory: User) -> None:
    theirs = rule(mallory, blocks=True)

    for place in ("", "move/", "switch/", "remove/"):
        assert browser.post(f"/rules/{theirs.pk}/{place}").status_code == 404

    assert Rule.objects.get().is_on


def test_a_huge_header_is_judged_as_far_as_it_is_looked_at(alice: User) -> None:
    alias = issue(owner=alice)
    rule(alice, condition("header", "contains", "needle", header="x"), blocks=True)

    far = try_out(alice, [("x", "a" * 5000 + "needle")], alias)
    many = try_out(alice, [("x", "a" * 300) for _number in range(10_000)] + [("x", "needle")], alias)
    near = try_out(alice, [("x", "a" * 900 + "needle")], alias)

    assert (far.plan.blocks, many.plan.blocks, near.plan.blocks) == (False, False, True)


def test_the_owners_download_has_the_rules(browser: Client, alice: User, other: EmailAddress) -> None:
    rule(alice, condition("sender", "is", "eve@far.test"), destinations=[other], subject="[S] {{subject}}")

    (told,) = browser.get("/account/everything.json").json()["rules"]

    assert told["conditions"] == [{"of": "sender", "match": "is", "values": ["eve@far.test"]}]
    assert (told["forwards_to"], told["subject"]) == ([other.email], "[S] {{subject}}")
    assert (told["on"], told["blocks"], told["applied"]) == (True, False, 0)
