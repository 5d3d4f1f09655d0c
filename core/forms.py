"""Form fields that accept what the API accepts."""

from typing import Any

from django import forms

from core.text import with_plain_newlines


class TextField(forms.CharField):
    """A text whose length counts as in the API and the database: a line end or an emoji is one character.

    A browser sends each line end as CR LF, and its `maxlength` counts most emojis as two (UTF-16) and
    cuts off pasted text silently. So there is no `maxlength` attribute: what another client wrote can be
    sent back unchanged.
    """

    def to_python(self, value: Any) -> Any:
        return super().to_python(with_plain_newlines(value) if isinstance(value, str) else value)

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        attributes: dict[str, Any] = super().widget_attrs(widget)
        attributes.pop("maxlength", None)
        return attributes
