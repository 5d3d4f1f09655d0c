"""The text of an uploaded file. Pure: nothing here uses the database."""

import codecs

from django.utils.translation import gettext, gettext_lazy

from transfer.formats import simplelogin_data
from transfer.rows import ImportFileError

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
FILE_MAX_BYTES = 10 * 1024 * 1024
SPREADSHEET = gettext_lazy(
    "The file is a spreadsheet. Open it in a spreadsheet program, save it as “CSV UTF-8” and choose that."
)
ARCHIVE = gettext_lazy("The file is packed. Unpack it and choose the file inside.")


def decode(data: bytes) -> str:
    """The file's text. Raises ImportFileError if it is too large, or not text in Unicode."""
    if len(data) > FILE_MAX_BYTES:
        raise ImportFileError(too_large())
    if data.startswith(ZIP) and (unpacked := simplelogin_data.unpack(data)) is not None:
        return unpacked
    if sentence := _other_kind(data):
        raise ImportFileError(sentence)
    try:
        text = data.decode(_encoding(data))
    except UnicodeDecodeError as error:
        raise ImportFileError(
            gettext("The file is not text in UTF-8. Save it as “CSV UTF-8” and choose it again.")
        ) from error
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        raise ImportFileError(
            gettext("Line %(line)s of the file contains a NUL character, which no text may contain.")
            % {"line": line}
        )
    return text


def _encoding(data: bytes) -> str:
    """The encoding, by the byte order mark or the first letters. Excel's “Unicode text” is UTF-16."""
    for mark, name in (
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return name
    if len(data) >= 4 and data[:2].count(0) == data[2:4].count(0) == 1:
        return "utf-16-be" if data[0] == 0 else "utf-16-le"
    return "utf-8-sig"


def _other_kind(data: bytes) -> str:
    """What to do with a file that is not text, recognised by how it begins; "" for any other file."""
    if data.startswith(ZIP):
        inside = data[:4096]
        if any(name in inside for name in (b"[Content_Types].xml", b"xl/", b"application/vnd.")):
            return str(SPREADSHEET)
        return str(ARCHIVE)
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return str(SPREADSHEET)  # .xls
    if data.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"(\xb5/\xfd")):
        return str(ARCHIVE)
    if data.startswith((b"%PDF-", b"{\\rtf")) or data[:4096].lstrip(b"\xef\xbb\xbf\r\n\t ").startswith(b"<"):
        return gettext("The file is a document (PDF, RTF, HTML or XML). Export the aliases as CSV instead.")
    return ""


def too_large() -> str:
    """What to say about a file that is too large."""
    return gettext(
        "The file is too large: at most %(max)s MB can be imported at once. Split it into several files."
    ) % {"max": FILE_MAX_BYTES // 2**20}
