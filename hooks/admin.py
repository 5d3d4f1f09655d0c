"""The installation's web hooks, which are told of everybody's aliases. People's own are not shown here."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from core.admin import QuickAdmin, ReadOnly, apply_to_each
from core.exceptions import RuleError
from hooks.messages import write_test
from hooks.models import Hook, HookEvent, HookMessage, Stopped, clean_events, clean_url


class HookAdminForm(forms.ModelForm[Hook]):
    """A hook of the installation; the model's own rules decide."""

    events = forms.MultipleChoiceField(
        label=_("Events"), choices=HookEvent.choices, widget=forms.CheckboxSelectMultiple
    )

    class Meta:
        model = Hook
        fields = ("url", "events")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["events"] = self.instance.events.split()

    def clean_url(self) -> str:
        try:
            return clean_url(self.cleaned_data["url"])
        except RuleError as error:
            raise forms.ValidationError(str(error)) from error

    def clean_events(self) -> str:
        return clean_events(self.cleaned_data["events"])


@admin.register(Hook)
class HookAdmin(QuickAdmin):
    """What is told of everybody's aliases, and where. A secret is shown once, when it is made."""

    list_display = ("host", "told_of", "created", "is_on")
    fields = ("url", "events", "is_on", "missed", "created")
    readonly_fields = ("is_on", "missed", "created")
    ordering = ("-pk",)
    actions = ("test", "renew_secret", "switch_on", "switch_off")
    form = HookAdminForm

    def get_queryset(self, request: HttpRequest) -> QuerySet[Hook]:
        return Hook.objects.of_installation()

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What a deletion names: the hooks, without their messages, which may be thousands."""
        hooks = [str(hook) for hook in objs]
        return hooks, {self.opts.verbose_name_plural: len(hooks)}, set(), []

    def save_model(self, request: HttpRequest, obj: Hook, form: Any, change: bool) -> None:
        """A new one gets its secret, which `response_add` shows."""
        if change:
            obj.save(update_fields=["url", "events"])
            return
        made, secret = Hook.objects.make(owner=None, url=obj.url, events=obj.events.split())
        obj.pk, obj._state.adding = made.pk, False
        request.hook_secret = secret  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: Hook, post_url_continue: Any = None) -> HttpResponse:
        return self._show_secret(request, obj, request.hook_secret)  # type: ignore[attr-defined]

    def _show_secret(self, request: HttpRequest, hook: Hook, secret: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("The web hook's secret"),
            "hook": hook,
            "secret": secret,
        }
        answer = TemplateResponse(request, "admin/hooks/secret.html", context)
        answer["Cache-Control"] = "no-store"
        return answer

    @admin.display(description=_("events"))
    def told_of(self, hook: Hook) -> str:
        return ", ".join(hook.event_labels)

    @admin.display(description=_("on"), boolean=True)
    def is_on(self, hook: Hook) -> bool:
        return not hook.is_stopped

    @admin.action(description=_("Send a test"))
    def test(self, request: HttpRequest, queryset: QuerySet[Hook]) -> None:
        apply_to_each(self, request, queryset, write_test, gettext("%(count)s tests are on their way."))

    @admin.action(description=_("Make a new secret"))
    def renew_secret(self, request: HttpRequest, queryset: QuerySet[Hook]) -> HttpResponse | None:
        hooks = list(queryset[:2])
        if len(hooks) != 1:
            self.message_user(request, gettext("Select one web hook."), "ERROR")
            return None
        secrets: list[str] = []
        one = queryset.filter(pk=hooks[0].pk)
        apply_to_each(
            self,
            request,
            one,
            lambda hook: secrets.append(hook.renew_secret()),
            gettext("%(count)s web hook has a new secret."),
        )
        return self._show_secret(request, hooks[0], secrets[0])

    @admin.action(description=_("Switch on"))
    def switch_on(self, request: HttpRequest, queryset: QuerySet[Hook]) -> None:
        apply_to_each(self, request, queryset, Hook.start, gettext("%(count)s switched on."))

    @admin.action(description=_("Switch off"))
    def switch_off(self, request: HttpRequest, queryset: QuerySet[Hook]) -> None:
        apply_to_each(
            self,
            request,
            queryset,
            lambda hook: hook.stop(Stopped.OWNER),
            gettext("%(count)s switched off."),
        )


@admin.register(HookMessage)
class HookMessageAdmin(ReadOnly, QuickAdmin):
    """What became of messages to the installation's hooks."""

    list_display = ("event", "hook", "created", "state", "attempts", "status", "problem", "due_at")
    list_select_related = ("hook",)
    list_filter = ("state",)
    fields = readonly_fields = (
        "hook",
        "event",
        "body",
        "created",
        "state",
        "attempts",
        "tried_at",
        "status",
        "problem",
        "due_at",
    )
    ordering = ("-pk",)
    actions = ("retry",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[HookMessage]:
        return HookMessage.objects.filter(hook__owner=None)

    @admin.action(description=_("Send again"))
    def retry(self, request: HttpRequest, queryset: QuerySet[HookMessage]) -> None:
        apply_to_each(
            self,
            request,
            queryset.select_related("hook"),
            HookMessage.retry,
            gettext("%(count)s are sent again."),
        )
