"""`/api/…`, each path with and without a trailing slash: a redirect breaks clients."""

from collections.abc import Callable

from django.http import HttpResponseBase
from django.urls import URLPattern, re_path

from aliases.api import simplelogin
from aliases.api import simplelogin_account as account
from aliases.api import simplelogin_docs as simplelogin_docs  # describes them in the schema
from aliases.api import simplelogin_names as names
from aliases.api import simplelogin_signin as signin

# An id has at most 18 digits, so that it fits the column.
KEY = "(?P<key>[0-9]{1,18})"


def route(path: str, view: Callable[..., HttpResponseBase], name: str) -> URLPattern:
    """A path that is served with and without a trailing slash; `<key>` is an id."""
    return re_path(rf"^{path.replace('<key>', KEY)}/?$", view, name=name)


urlpatterns = [
    route("alias/random/new", simplelogin.RandomAlias.as_view(), "api-alias-random"),
    route("v2/alias/custom/new", names.OldCustomAlias.as_view(), "api-alias-custom-old"),
    route("v3/alias/custom/new", names.CustomAlias.as_view(), "api-alias-custom"),
    route("v4/alias/options", names.OldOptions.as_view(), "api-alias-options-old"),
    route("v5/alias/options", names.Options.as_view(), "api-alias-options"),
    route("v2/aliases", simplelogin.AliasList.as_view(), "api-alias-list"),
    route("aliases", simplelogin.OldAliasList.as_view(), "api-alias-list-old"),
    route("aliases/<key>", simplelogin.AliasDetail.as_view(), "api-alias"),
    route("aliases/<key>/toggle", simplelogin.AliasToggle.as_view(), "api-alias-toggle"),
    route("aliases/<key>/activities", simplelogin.AliasActivities.as_view(), "api-alias-activities"),
    route("aliases/<key>/contacts", account.Contacts.as_view(), "api-alias-contacts"),
    route("contacts/<key>", account.OneContact.as_view(), "api-contact"),
    route("contacts/<key>/toggle", account.ContactToggle.as_view(), "api-contact-toggle"),
    route("mailboxes", account.Mailboxes.as_view(), "api-mailboxes"),
    route("v2/mailboxes", account.AllMailboxes.as_view(), "api-mailboxes-all"),
    route("mailboxes/<key>", account.OneMailbox.as_view(), "api-mailbox"),
    route("setting", account.Settings.as_view(), "api-setting"),
    route("v2/setting/domains", account.SettingDomains.as_view(), "api-setting-domains"),
    route("setting/domains", account.OldSettingDomains.as_view(), "api-setting-domains-old"),
    route("custom_domains", account.CustomDomains.as_view(), "api-custom-domains"),
    route("notifications", account.Notifications.as_view(), "api-notifications"),
    route("export/data", account.ExportData.as_view(), "api-export-data"),
    route("export/aliases", account.ExportAliases.as_view(), "api-export-aliases"),
    route("auth/login", signin.Login.as_view(), "api-login"),
    route("auth/mfa", signin.Mfa.as_view(), "api-mfa"),
    route("api_key", signin.ApiKey.as_view(), "api-key"),
    route("logout", account.Logout.as_view(), "api-logout"),
    route("user_info", account.UserInfo.as_view(), "api-user-info"),
    route("stats", account.Stats.as_view(), "api-stats"),
]
