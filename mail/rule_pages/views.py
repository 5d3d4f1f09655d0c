"""A person's rules: list, write, order, switch, try out, delete."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.requests import user_of
from core.repeats import forget, is_repeated
from mail.rule_pages.forms import RuleForm, TryForm
from mail.rule_pages.trying import try_out
from rules.keeping import move_rule
from rules.models import RULES_MAX, Rule


@require_GET
def rule_list(request: HttpRequest) -> HttpResponse:
    """The reader's rules, in the order in which they are looked at."""
    rules = list(Rule.objects.owned_by(user_of(request)).in_order())
    return render(request, "rules/list.html", {"rules": rules, "is_full": len(rules) >= RULES_MAX})


@require_http_methods(["GET", "POST"])
def rule_new(request: HttpRequest) -> HttpResponse:
    """The form for a new rule."""
    form = RuleForm(request.POST or None, user=user_of(request))
    if request.method == "POST" and form.is_valid():
        if is_repeated(request):
            messages.info(request, gettext("The form was sent twice; the second time was ignored."))
            return redirect("rule-list")
        made = None
        try:
            made = form.save()
        finally:
            if made is None:
                forget(request)
        if made:
            messages.success(request, gettext("The rule has been made. Try it out on a message."))
            return redirect("rule-list")
    return _form(request, form)


@require_http_methods(["GET", "POST"])
def rule(request: HttpRequest, pk: int) -> HttpResponse:
    """The form of one of the reader's rules."""
    form = RuleForm(request.POST or None, user=user_of(request), rule=_mine(request, pk))
    if request.method == "POST" and form.is_valid() and form.save():
        messages.success(request, gettext("The rule has been changed."))
        return redirect("rule-list")
    return _form(request, form)


def _form(request: HttpRequest, form: RuleForm) -> HttpResponse:
    is_wrong = bool(form.errors) or any(each.errors for each in form.conditions)
    return render(request, "rules/edit.html", {"form": form}, status=422 if is_wrong else 200)


@require_POST
def rule_move(request: HttpRequest, pk: int) -> HttpResponse:
    """Let one of the reader's rules change places with the one before it, or after it."""
    move_rule(_mine(request, pk), up=request.POST.get("to") == "up")
    return redirect("rule-list")


@require_POST
def rule_switch(request: HttpRequest, pk: int) -> HttpResponse:
    """Use one of the reader's rules from the next message on, or not any more."""
    found = _mine(request, pk)
    found.switch(on=request.POST.get("to") == "on")
    said = gettext("The rule is on.") if found.is_on else gettext("The rule is off.")
    messages.success(request, said)
    return redirect("rule-list")


@require_http_methods(["GET", "POST"])
def rule_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for confirmation, then delete one of the reader's rules."""
    found = _mine(request, pk)
    if request.method == "GET":
        return render(request, "rules/remove.html", {"rule": found})
    found.delete()
    messages.success(request, gettext("The rule has been deleted."))
    return redirect("rule-list")


@never_cache
@require_http_methods(["GET", "POST"])
def rule_try(request: HttpRequest) -> HttpResponse:
    """What each of the reader's rules says of a message whose header they paste. Nothing is kept or sent."""
    form = TryForm(request.POST or None, user=user_of(request))
    trial = None
    if request.method == "POST" and form.is_valid():
        trial = try_out(user_of(request), form.cleaned_data["fields"], form.cleaned_data["found_alias"])
    context = {"form": form, "trial": trial}
    return render(request, "rules/try.html", context, status=422 if form.errors else 200)


def _mine(request: HttpRequest, pk: int) -> Rule:
    """The reader's rule of this key. Raises Http404."""
    return get_object_or_404(Rule.objects.owned_by(user_of(request)).in_order(), pk=pk)
