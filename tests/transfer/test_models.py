"""Files that were checked and wait for the word to go on."""

from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue_chosen
from aliases.models import Alias
from core.exceptions import RateLimited
from transfer import models as pending_import
from transfer.making import ImportRefused, Problem
from transfer.models import Made, PendingImport
from transfer.rows import ImportFileError

pytestmark = pytest.mark.django_db


def begin(owner: User, *addresses: str) -> PendingImport:
    text = "alias,note\n" + "".join(f"{address},\n" for address in addresses)
    return PendingImport.objects.begin(owner, text.encode(), "my file.csv")


def test_a_file_is_checked_piece_by_piece(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_import, "CHUNK", 2)
    issue_chosen(owner=alice, prefix="d")
    pending = begin(alice, *(f"{letter}@example.com" for letter in "acdef"), "root@example.com")
    seen = []
    while not pending.is_checked:
        pending.check_on(seconds=0)
        seen.append(pending.checked)

    again = PendingImport.objects.get()
    assert seen == [2, 4, 5]
    assert [(row.line, row.reason) for row in again.problems_shown] == [
        (4, "This alias is here already."),
        (7, "This name is reserved."),
    ]
    assert not again.is_ready


def test_two_windows_note_no_problem_twice(alice: User) -> None:
    issue_chosen(owner=alice, prefix="a")
    begin(alice, "a@example.com")
    one, other = PendingImport.objects.get(), PendingImport.objects.get()

    one.check_on()
    other.check_on()

    assert (other.problem_count, PendingImport.objects.get().problem_count) == (1, 1)


def test_a_file_that_was_taken_away_meanwhile_ends_the_check_without_a_word(alice: User) -> None:
    begin(alice, "a@example.com")
    one = PendingImport.objects.get()
    PendingImport.objects.all().delete()

    one.check_on()

    assert not PendingImport.objects.exists()


def test_what_is_wrong_can_be_taken_out_and_the_rest_is_imported(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_import, "PROBLEMS_KEPT", 1)
    issue_chosen(owner=alice, prefix="d")
    pending = begin(
        alice, "root@example.com", "a@example.com", "d@example.com", "c@gone.test", "e@example.com"
    )
    assert pending.right_count == 0  # nothing is checked yet
    pending.check_on()
    assert (pending.problem_count, pending.right_count, pending.is_ready) == (3, 2, False)

    pending.leave_out_wrong()

    pending = PendingImport.objects.get()
    assert (pending.left_out, pending.is_ready, pending.right_count) == ([2, 4, 5], True, 2)
    assert [row.address for row in pending.first_rows(100)] == ["a@example.com", "e@example.com"]
    assert pending.make() == Made(aliases=2)
    assert set(Alias.objects.values_list("address", flat=True)) == {
        "a@example.com",
        "d@example.com",
        "e@example.com",
    }


def test_what_goes_wrong_later_can_be_taken_out_too(alice: User) -> None:
    pending = begin(alice, "root@example.com", "a@example.com", "c@example.com")
    pending.check_on()
    pending.leave_out_wrong()
    issue_chosen(owner=alice, prefix="c")
    with pytest.raises(ImportRefused):
        pending.make()
    again = PendingImport.objects.get()

    again.leave_out_wrong()

    assert (again.left_out, again.make()) == ([2, 4], Made(aliases=1))


def test_a_file_that_was_taken_away_meanwhile_is_refused_as_it_was(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = begin(alice, "a@example.com")
    pending.check_on()
    issue_chosen(owner=alice, prefix="a")
    note = PendingImport._note

    def take_away(self: PendingImport, problems: list[Problem]) -> None:
        PendingImport.objects.all().delete()
        note(self, problems)

    monkeypatch.setattr(PendingImport, "_note", take_away)

    with pytest.raises(ImportRefused):
        pending.make()


@pytest.mark.parametrize("addresses", [["root@example.com"], ["a@gone.test", "c@gone.test"]])
def test_a_file_in_which_all_is_wrong_stays_as_it_is(alice: User, addresses: list[str]) -> None:
    pending = begin(alice, *addresses)
    pending.check_on()

    pending.leave_out_wrong()

    assert (PendingImport.objects.get().left_out, pending.right_count) == ([], 0)
    assert not pending.is_ready


def test_a_check_that_was_stopped_leaves_nothing_out(alice: User, root: User, settings: Settings) -> None:
    settings.TAKEN_PER_DAY = 1
    for name in "acd":
        issue_chosen(owner=root, prefix=name, domain="example.com")
    pending = begin(alice, *(f"{name}@example.com" for name in "acdef"))
    pending.check_on()

    pending.leave_out_wrong()

    assert (pending.is_stopped, pending.is_ready, PendingImport.objects.get().left_out) == (True, False, [])


def test_two_windows_import_once(alice: User) -> None:
    begin(alice, "a@example.com").check_on()
    one, other = PendingImport.objects.get(), PendingImport.objects.get()

    assert (one.make(), other.make()) == (Made(aliases=1), None)
    assert not PendingImport.objects.exists()


def test_what_was_right_at_the_check_is_checked_again(alice: User) -> None:
    pending = begin(alice, "a@example.com", "c@example.com")
    pending.check_on()
    assert pending.is_ready
    issue_chosen(owner=alice, prefix="c")

    with pytest.raises(ImportRefused):
        pending.make()

    assert Alias.objects.count() == 1
    assert [row.line for row in PendingImport.objects.get().problems_shown] == [3]
    assert not PendingImport.objects.get().is_ready


def test_a_new_file_takes_the_place_of_the_last(alice: User) -> None:
    begin(alice, "a@example.com")
    begin(alice, "c@example.com")

    assert "c@example.com" in PendingImport.objects.get().text


def test_the_check_tells_of_few_addresses_that_others_have(
    alice: User, root: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TAKEN_PER_DAY = 2
    monkeypatch.setattr(pending_import, "CHUNK", 3)
    for letter in "acde":
        issue_chosen(owner=root, prefix=letter, domain="example.com")
    pending = begin(alice, *(f"{letter}@example.com" for letter in "xaycdzew"))

    pending.check_on(seconds=None)

    assert [row.address for row in pending.problems_shown] == ["a@example.com", "c@example.com"]
    assert pending.is_stopped
    assert not pending.is_ready


def test_files_are_counted(alice: User) -> None:
    for _ in range(pending_import.UPLOADS.amount):
        begin(alice, "a@example.com")

    with pytest.raises(RateLimited):
        begin(alice, "a@example.com")


def test_a_file_without_aliases_is_refused(alice: User) -> None:
    with pytest.raises(ImportFileError, match="no aliases"):
        begin(alice)


def test_files_are_forgotten_after_a_day(alice: User) -> None:
    begin(alice, "a@example.com")
    call_command("forget_imports", stdout=StringIO())
    assert PendingImport.objects.exists()

    with time_machine.travel(timezone.now() + timedelta(days=1, minutes=1)):
        call_command("forget_imports", stdout=StringIO())

    assert not PendingImport.objects.exists()
