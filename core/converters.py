"""Path converters."""

# An id has at most this many digits: the column holds 63 bits.
KEY_DIGITS_MAX = 18


class KeyConverter:
    """A row's id in a path: at most 18 digits, so that it fits the column."""

    regex = f"[0-9]{{1,{KEY_DIGITS_MAX}}}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)
