"""Files of aliases as rows: a module for each format that is read or written."""

from django.utils.translation import gettext

from transfer.formats import addy, anonmail, mailu, simplelogin, simplelogin_data
from transfer.formats.table import header, records
from transfer.rows import Document, ImportFileError

SIMPLELOGIN, ADDY, MAILU, ANONMAIL = "simplelogin", "addy", "mailu", "anonmail"
READERS = {SIMPLELOGIN: simplelogin.read, ADDY: addy.read, MAILU: mailu.read, ANONMAIL: anonmail.read}


def format_of(text: str) -> str:
    """Which of READERS' formats the text is in, by its sections or columns. Raises ImportFileError."""
    if simplelogin_data.is_data(text):
        return SIMPLELOGIN
    if mailu.is_mailu(text):
        return MAILU
    columns = set(header(records(text)))
    if "address" in columns:
        return ANONMAIL
    if "alias" in columns and "description" not in columns:
        return SIMPLELOGIN
    if columns & {"alias", "email"} or {"local_part", "domain"} <= columns:
        return ADDY
    raise ImportFileError(
        gettext(
            "The first line names no column that is known here. SimpleLogin's files have “alias”, addy's "
            "“email”, Anonmail's “address”."
        )
    )


def read(text: str, format: str) -> Document:
    """What a text in one of READERS' formats contains. Raises ImportFileError."""
    return READERS[format](text)
