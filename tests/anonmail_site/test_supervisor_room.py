"""The supervisor where there is no room for another process, and with processes that it has told to stop."""

import errno
import os
import time

import pytest

from anonmail_site import supervisor as supervising


class Refused:
    """A system that has no room for another process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.logged: list[str] = []
        monkeypatch.setattr(os, "posix_spawn", self.spawn)
        for name in ("error", "info"):
            monkeypatch.setattr(supervising.logger, name, lambda text, *args: self.logged.append(text % args))

    def spawn(self, *args: object, **more: object) -> int:
        self.asked += 1
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_where_there_is_no_room_for_a_process_the_supervisor_lives_and_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = Refused(monkeypatch)
    supervisor = supervising.Supervisor({"web": [], "mail": []})
    before = open_files()

    supervisor._start_due()
    supervisor._start_due()  # at once, it is not tried again
    dues = [part.due for part in supervisor.parts]
    for part in supervisor.parts:
        part.due = 0
    supervisor._start_due()

    assert refused.asked == 4
    assert all(due is not None and 0 < due - time.monotonic() <= supervising.PAUSE_MIN for due in dues)
    assert [part.pause for part in supervisor.parts] == [4 * supervising.PAUSE_MIN] * 2
    assert refused.logged[0] == "the web process cannot be started: Resource temporarily unavailable"
    assert open_files() == before


def test_where_there_is_no_room_for_a_reload_the_old_process_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = Refused(monkeypatch)
    supervisor = supervising.Supervisor({"web": []})
    [web] = supervisor.parts
    web.due, web.has_served = None, True
    supervisor.children[2**22] = supervising.Child(web, 2**22, report=-1, is_serving=True)

    supervisor._hang_up()

    assert refused.asked == 1
    assert web.due is None
    assert refused.logged[-1].startswith("there is no new web process (Resource temporarily unavailable)")


def test_one_that_was_told_to_stop_takes_nobodys_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may say that it serves all the same: nobody would serve then."""
    told: list[int] = []
    monkeypatch.setattr(os, "kill", lambda process, number: told.append(process))
    supervisor = supervising.Supervisor({"web": []})
    [web] = supervisor.parts
    old, new, dropped = 2**22, 2**22 + 1, 2**22 + 2
    pipes = {process: os.pipe() for process in (new, dropped)}
    supervisor.children = {
        old: supervising.Child(web, old, report=-1, is_serving=True),
        new: supervising.Child(web, new, report=pipes[new][0]),
        dropped: supervising.Child(web, dropped, report=pipes[dropped][0], stop_by=time.monotonic() + 25),
    }

    os.write(pipes[dropped][1], b"serving")
    supervisor._hear()

    assert told == []
    os.write(pipes[new][1], b"serving")
    supervisor._hear()
    assert told == [old]
    for ends in pipes.values():
        for end in ends:
            os.close(end)
