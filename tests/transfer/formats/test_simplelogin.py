"""SimpleLogin's export, read into rows."""

from tests.transfer.samples import SIMPLELOGIN_CSV
from transfer.formats import SIMPLELOGIN, read


def test_simplelogins_export_is_read() -> None:
    one, off, bare = read(SIMPLELOGIN_CSV, SIMPLELOGIN).rows

    assert (one.line, one.address, one.enabled) == (2, "shop.one@example.com", True)
    assert one.note == 'Shoes, order "4711"\nsecond line'
    assert one.destinations == ("alice@example.com", "alice@home.test")
    assert (off.line, off.enabled) == (4, False)
    assert bare.destinations == ()


def test_the_columns_of_simplelogins_import_are_enough() -> None:
    (row,) = read("Alias, note ,mailboxes\nx.y@example.com,hello,\n", SIMPLELOGIN).rows

    assert (row.address, row.note, row.enabled, row.problem) == ("x.y@example.com", "hello", True, "")
