"""Plain functions on texts. No Django here."""


def with_plain_newlines(text: str) -> str:
    """The text with LF at each line end; forms and spreadsheets write CR LF, or CR alone."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
