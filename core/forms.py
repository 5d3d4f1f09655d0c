"""Form fields that take whatever the API takes."""

from typing import Any

from django import forms

from core.text import with_plain_newlines


class TextField(forms.CharField):
    """A text, counted as the API and the database count it: a line end is one character, and so is an emoji.

    A browser sends each line end as CR and LF, and its `maxlength` counts most emojis as two (UTF-16), so
    that what another client wrote could not be sent back unchanged: there is no such attribute. It would
    also cut off what is pasted without a word.
    """

    def to_python(self, value: Any) -> Any:
        return super().to_python(with_plain_newlines(value) if isinstance(value, str) else value)

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        attributes: dict[str, Any] = super().widget_attrs(widget)
        attributes.pop("maxlength", None)
        return attributes
