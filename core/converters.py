"""Path converters."""


class KeyConverter:
    """A row's id in a path: at most 18 digits, so that every one of them fits the column."""

    regex = "[0-9]{1,18}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)
