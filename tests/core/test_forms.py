"""Form fields and widgets of ours."""

import pytest
from django import forms
from django.utils.translation import gettext_lazy

from core.forms import PlainSelect

CHOICES = [("", gettext_lazy("Any status")), ("a&b", "<b>“A” & 'B'</b>"), (7, "seven"), ("7b", 'x "y"')]


@pytest.mark.parametrize("value", [None, "", "a&b", 7, "7", "<script>", "nothing"])
@pytest.mark.parametrize(
    "attrs", [None, {"id": "id_x"}, {"id": "id_x", "aria-invalid": "true", "required": True, "hidden": False}]
)
def test_a_plain_select_is_what_django_writes(value: object, attrs: dict[str, object] | None) -> None:
    ours, djangos = (kind(choices=CHOICES, attrs={"class": '"wide"'}) for kind in (PlainSelect, forms.Select))

    assert ours.render("na<me", value, attrs) == djangos.render("na<me", value, attrs)


def test_choices_that_are_asked_for_are_escaped_and_chosen() -> None:
    class Form(forms.Form):
        x = forms.ChoiceField(choices=lambda: [("<1>", "<one>"), ("2", "two")], widget=PlainSelect)

    html = str(Form({"x": "2"})["x"])

    assert '<option value="&lt;1&gt;">&lt;one&gt;</option>' in html
    assert '<option value="2" selected>two</option>' in html
