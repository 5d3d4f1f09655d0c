"""What texts have in common, whoever wrote them. Pure; no Django here."""


def with_plain_newlines(text: str) -> str:
    """The text with LF at each line end, where forms and spreadsheets write CR and LF, or CR alone."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
