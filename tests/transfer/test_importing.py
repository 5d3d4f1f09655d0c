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
from transfer import importing
from transfer.importing import check_rows, leave_out_wrong, make_pending, upload
from transfer.making import ImportRefused, Made
from transfer.models import PendingImport, State
from transfer.rows import ImportFileError, Problem

pytestmark = pytest.mark.django_db


def begin(owner: User, *addresses: str) -> PendingImport:
    text = "alias,note\n" + "".join(f"{address},\n" for address in addresses)
    return upload(owner, text.encode(), "my file.csv")


def lines_left_out() -> list[int]:
    return sorted(Problem(*row).line for row in PendingImport.objects.get().left_out)


def test_a_file_is_checked_piece_by_piece(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)
    issue_chosen(owner=alice, prefix="d")
    pending = begin(alice, *(f"{letter}@example.com" for letter in "acdef"), "root@example.com")
    seen = []
    while pending.state == State.CHECKING:
        check_rows(pending, seconds=0)
        seen.append(pending.checked)

    again = PendingImport.objects.get()
    assert seen == [2, 4, 5]
    assert [(row.line, row.reason) for row in again.problems_in_order] == [
        (4, "This alias already exists here."),
        (7, "This name is reserved."),
    ]
    assert again.state != State.READY


def test_two_windows_note_no_problem_twice(alice: User) -> None:
    issue_chosen(owner=alice, prefix="a")
    begin(alice, "a@example.com")
    one, other = PendingImport.objects.get(), PendingImport.objects.get()

    check_rows(one)
    check_rows(other)

    assert (len(other.problems), len(PendingImport.objects.get().problems)) == (1, 1)


def test_a_file_that_was_taken_away_meanwhile_ends_the_check_without_a_word(alice: User) -> None:
    begin(alice, "a@example.com")
    one = PendingImport.objects.get()
    PendingImport.objects.all().delete()

    check_rows(one)

    assert not PendingImport.objects.exists()


def test_what_is_wrong_can_be_taken_out_and_the_rest_is_imported(alice: User) -> None:
    issue_chosen(owner=alice, prefix="d")
    pending = begin(
        alice, "root@example.com", "a@example.com", "d@example.com", "c@gone.test", "e@example.com"
    )
    assert pending.right_count == 0  # nothing is checked yet
    check_rows(pending)
    assert (len(pending.problems), pending.right_count, pending.state) == (3, 2, State.WRONG)

    leave_out_wrong(pending)

    pending = PendingImport.objects.get()
    assert (lines_left_out(), pending.state, pending.right_count) == ([2, 4, 5], State.READY, 2)
    assert [row.address for row in pending.valid_rows] == ["a@example.com", "e@example.com"]
    assert make_pending(pending) == Made(aliases=2)
    assert set(Alias.objects.values_list("address", flat=True)) == {
        "a@example.com",
        "d@example.com",
        "e@example.com",
    }


def test_what_goes_wrong_later_can_be_taken_out_too(alice: User) -> None:
    pending = begin(alice, "root@example.com", "a@example.com", "c@example.com")
    check_rows(pending)
    leave_out_wrong(pending)
    issue_chosen(owner=alice, prefix="c")
    with pytest.raises(ImportRefused):
        make_pending(pending)
    again = PendingImport.objects.get()

    leave_out_wrong(again)

    assert (lines_left_out(), make_pending(again)) == ([2, 4], Made(aliases=1))


def test_a_file_that_was_taken_away_meanwhile_is_refused_as_it_was(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = begin(alice, "a@example.com")
    check_rows(pending)
    issue_chosen(owner=alice, prefix="a")
    note = importing._note

    def take_away(pending: PendingImport, problems: list[Problem]) -> None:
        PendingImport.objects.all().delete()
        note(pending, problems)

    monkeypatch.setattr(importing, "_note", take_away)

    with pytest.raises(ImportRefused):
        make_pending(pending)


@pytest.mark.parametrize("addresses", [["root@example.com"], ["a@gone.test", "c@gone.test"]])
def test_a_file_in_which_all_is_wrong_stays_as_it_is(alice: User, addresses: list[str]) -> None:
    pending = begin(alice, *addresses)
    check_rows(pending)

    leave_out_wrong(pending)

    assert (lines_left_out(), pending.right_count) == ([], 0)
    assert pending.state != State.READY


def test_a_check_that_was_stopped_leaves_nothing_out(alice: User, root: User, settings: Settings) -> None:
    settings.TAKEN_PER_DAY = 1
    for name in "acd":
        issue_chosen(owner=root, prefix=name, domain="example.com")
    pending = begin(alice, *(f"{name}@example.com" for name in "acdef"))
    check_rows(pending)

    leave_out_wrong(pending)

    assert (pending.state, lines_left_out()) == (State.STOPPED, [])


def test_two_windows_import_once(alice: User) -> None:
    check_rows(begin(alice, "a@example.com"))
    one, other = PendingImport.objects.get(), PendingImport.objects.get()

    assert (make_pending(one), make_pending(other)) == (Made(aliases=1), None)
    assert not PendingImport.objects.exists()


def test_what_was_right_at_the_check_is_checked_again(alice: User) -> None:
    pending = begin(alice, "a@example.com", "c@example.com")
    check_rows(pending)
    assert pending.state == State.READY
    issue_chosen(owner=alice, prefix="c")

    with pytest.raises(ImportRefused):
        make_pending(pending)

    assert Alias.objects.count() == 1
    assert [row.line for row in PendingImport.objects.get().problems_in_order] == [3]
    assert PendingImport.objects.get().state != State.READY


def test_a_new_file_takes_the_place_of_the_last(alice: User) -> None:
    begin(alice, "a@example.com")
    begin(alice, "c@example.com")

    assert [row.address for row in PendingImport.objects.get().document.rows] == ["c@example.com"]


def test_the_check_tells_of_few_addresses_that_others_have(
    alice: User, root: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TAKEN_PER_DAY = 2
    monkeypatch.setattr(importing, "BATCH", 3)
    for letter in "acde":
        issue_chosen(owner=root, prefix=letter, domain="example.com")
    pending = begin(alice, *(f"{letter}@example.com" for letter in "xaycdzew"))

    check_rows(pending, seconds=None)

    assert [row.address for row in pending.problems_in_order] == ["a@example.com", "c@example.com"]
    assert pending.state == State.STOPPED
    assert pending.state != State.READY


def test_files_are_counted(alice: User) -> None:
    for _ in range(importing.UPLOADS.amount):
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
