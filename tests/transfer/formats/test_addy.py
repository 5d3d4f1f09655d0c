"""addy's export, read into rows."""

import pytest

from tests.transfer.samples import ADDY_CSV
from transfer.formats import ADDY, format_of, read


def test_addys_export_is_read() -> None:
    shop, off, gone = read(ADDY_CSV, ADDY).rows

    assert (shop.line, shop.address, shop.enabled) == (2, "shop@example.com", True)
    assert (shop.note, shop.name, shop.destinations) == ("Shoes", "Alice A", ())
    assert (off.enabled, off.deleted) == (False, False)
    assert gone.deleted


@pytest.mark.parametrize(
    ("text", "address", "destinations"),
    [
        ("local_part,domain\nx,example.com\n", "x@example.com", ()),
        (
            "alias,description,recipient_ids\nx@example.com,a,5d1f7a8e-0000-4000-8000-000000000000\n",
            "x@example.com",
            (),
        ),
        (
            'email,active,recipients\nx@example.com,TRUE,"a@home.test,b@home.test"\n',
            "x@example.com",
            ("a@home.test", "b@home.test"),
        ),
    ],
)
def test_addys_columns_are_found_by_their_names(text: str, address: str, destinations: tuple[str]) -> None:
    assert format_of(text) == ADDY
    (row,) = read(text, ADDY).rows

    assert (row.address, row.destinations, row.problem) == (address, destinations, "")
