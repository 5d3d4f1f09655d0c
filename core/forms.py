"""Form fields that accept what the API accepts, and a widget."""

from typing import Any

from django import forms
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

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


class PlainSelect(forms.Select):
    """A list of choices without groups, as Django writes it: that runs a template for each choice, which took
    a fifth of the time of the page of aliases."""

    def render(
        self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None
    ) -> SafeString:
        chosen = self.format_value(value)
        options = "".join(
            f'\n  <option value="{escape(key)}"{" selected" if str(key) in chosen else ""}>{escape(label)}'
            "</option>\n"
            for key, label in self.choices
        )
        attributes = "".join(
            f" {key}" if given is True else f' {key}="{escape(given)}"'
            for key, given in {"name": name, **self.build_attrs(self.attrs, attrs)}.items()
            if given is not False
        )
        # All of it is escaped.
        return mark_safe(f"<select{attributes}>{options}\n</select>")  # noqa: S308
