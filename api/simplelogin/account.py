"""SimpleLogin's calls about an account: its owner, settings, domains, notifications and exports."""

from django.http import HttpResponseBase
from django.utils.translation import gettext
from rest_framework.request import Request

from aliases.choosing import choose_domain, preferences_of
from aliases.exceptions import NoUsableDomain
from aliases.models import Alias, AliasPreferences
from api.answers import Answer
from api.errors import BadInput
from api.schema import Call
from api.simplelogin import objects
from api.simplelogin.domains import usable_domains
from api.simplelogin.inputs import PAGE, SettingChanges, UserChanges, page_number
from api.views import ApiView
from core.spreadsheets import csv_download
from domains.models import AliasStyle
from mail.models import PausedDestination
from tokens.scopes import ANY_TOKEN, Scope
from transfer.formats.simplelogin import simplelogin_csv


class UserInfo(ApiView):
    """The account; clients check their key with it."""

    scope = {"get": ANY_TOKEN, "patch": Scope.MANAGE}

    @Call("The account that the key belongs to", objects.UserObject)
    def get(self, request: Request) -> Answer:
        return Answer(objects.user_object(self.caller))

    @Call("Change your name", objects.UserObject, takes=UserChanges)
    def patch(self, request: Request) -> Answer:
        data = UserChanges.read(self.fields)
        if "name" in data:
            self.caller.name = data["name"]
            self.caller.save(update_fields=["name"])
        return Answer(objects.user_object(self.caller))


class Logout(ApiView):
    scope = ANY_TOKEN

    @Call("Revoke the token that this is called with", {"msg": str}, example={"msg": "User is logged out"})
    def get(self, request: Request) -> Answer:
        self.token.revoke()
        return Answer({"msg": gettext("User is logged out")})


class Stats(ApiView):
    scope = Scope.ACTIVITY

    @Call("The numbers of aliases, forwards, replies and blocks", objects.StatsObject)
    def get(self, request: Request) -> Answer:
        return Answer(objects.stats_object(Alias.objects.owned_by(self.caller).present().figures()))


class Settings(ApiView):
    scope = {"get": Scope.CREATE, "patch": Scope.MANAGE}

    def preferences(self) -> AliasPreferences:
        return preferences_of(self.caller)

    def answer(self, preferences: AliasPreferences) -> Answer:
        try:
            domain = choose_domain(self.caller)[0].name
        except NoUsableDomain:
            domain = ""
        return Answer(objects.setting_object(preferences, domain))

    @Call("Your preferences for new aliases and reverse aliases", objects.SettingObject)
    def get(self, request: Request) -> Answer:
        return self.answer(self.preferences())

    @Call(
        "Change your preferences for new aliases and reverse aliases",
        objects.SettingObject,
        takes=SettingChanges,
    )
    def patch(self, request: Request) -> Answer:
        preferences, data = self.preferences(), SettingChanges.read(self.fields)
        generator, suffix = objects.SETTINGS_OF_STYLE[AliasStyle(preferences.style)]
        if (data["alias_generator"] or generator) == "uuid":
            preferences.style = AliasStyle.UUID
        elif (data["random_alias_suffix"] or suffix) == "word":
            preferences.style = AliasStyle.WORDS
        else:
            preferences.style = AliasStyle.CHARACTERS
        if (name := data["random_alias_default_domain"]) is not None:
            chosen = [domain for domain in usable_domains(self.caller) if domain.name == name.lower()]
            if not chosen:
                raise BadInput(gettext("You cannot use this domain."))
            preferences.default_domain = chosen[0]
        preferences.sender_format = data["sender_format"] or preferences.sender_format
        changed = ("style", "default_domain", "sender_format")
        kept = {name: getattr(preferences, name) for name in changed}
        AliasPreferences.objects.update_or_create(user=self.caller, defaults=kept)
        return self.answer(preferences)


class Notifications(ApiView):
    scope = Scope.ACTIVITY

    @Call(
        "Notifications: your addresses that are paused",
        {"more": bool, "notifications": list[objects.NotificationObject]},
        parameters=[PAGE],
        example={"more": False, "notifications": []},
    )
    def get(self, request: Request) -> Answer:
        rows = PausedDestination.objects.filter(destination__user=self.caller).select_related("destination")
        if page_number(self.query, "page", "0") > 0:
            rows = rows.none()
        notifications = [objects.notification_object(row) for row in rows.order_by("-since")]
        return Answer({"more": False, "notifications": notifications})


class ExportData(ApiView):
    scope = Scope.MANAGE

    @Call("Your aliases and domains as JSON", objects.ExportObject)
    def get(self, request: Request) -> Answer:
        aliases = Alias.objects.owned_by(self.caller).present().order_by("pk")
        return Answer(objects.export_object(self.caller, aliases.values_list("address", "enabled")))


class ExportAliases(ApiView):
    scope = Scope.MANAGE

    @Call("Your aliases as CSV", str, media_type="text/csv", example="alias,note,enabled,mailboxes\r\n")
    def get(self, request: Request) -> HttpResponseBase:
        return csv_download(simplelogin_csv(self.caller), "aliases.csv")
