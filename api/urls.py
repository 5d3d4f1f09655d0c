"""`/api/…`, each path with and without a trailing slash: a redirect breaks clients."""

from collections.abc import Callable

from django.http import HttpResponseBase
from django.urls import URLPattern, re_path

import api.addy.schema  # noqa: F401 - describes its calls in the schema
import api.signin_schema  # noqa: F401
import api.simplelogin.schema  # noqa: F401
from api import signin
from api.addy import absent as addy_absent
from api.addy import account as addy_account
from api.addy import aliases as addy
from api.addy import bulk as addy_bulk
from api.simplelogin import account, refused
from api.simplelogin import aliases as simplelogin
from api.simplelogin import custom_names as names

# An id has at most 18 digits, so that it fits the column.
KEY = "(?P<key>[0-9]{1,18})"
UUID = "(?P<uuid>[0-9a-fA-F-]{36})"


def route(path: str, view: Callable[..., HttpResponseBase], name: str) -> URLPattern:
    """A path that is served with and without a trailing slash; `<key>` and `<uuid>` are ids."""
    return re_path(rf"^{path.replace('<key>', KEY).replace('<uuid>', UUID)}/?$", view, name=name)


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
    route("custom_domains/<key>", account.CustomDomain.as_view(), "api-custom-domain"),
    route("custom_domains/<key>/trash", account.CustomDomainTrash.as_view(), "api-custom-domain-trash"),
    route("notifications", account.Notifications.as_view(), "api-notifications"),
    route("export/data", account.ExportData.as_view(), "api-export-data"),
    route("export/aliases", account.ExportAliases.as_view(), "api-export-aliases"),
    route("auth/login", signin.Login.as_view(), "api-login"),
    route("auth/mfa", signin.Mfa.as_view(), "api-mfa"),
    route("api_key", signin.ApiKey.as_view(), "api-key"),
    route("logout", account.Logout.as_view(), "api-logout"),
    route("user_info", account.UserInfo.as_view(), "api-user-info"),
    route("stats", account.Stats.as_view(), "api-stats"),
    route("auth/register", refused.Register.as_view(), "api-register"),
    route("auth/activate", refused.Activate.as_view(), "api-activate"),
    route("auth/reactivate", refused.Reactivate.as_view(), "api-reactivate"),
    route("auth/forgot_password", refused.ForgotPassword.as_view(), "api-forgot-password"),
    route("sudo", refused.Sudo.as_view(), "api-sudo"),
    route("user", refused.DeleteUser.as_view(), "api-user"),
    route("user/cookie_token", refused.CookieToken.as_view(), "api-cookie-token"),
    route("setting/unlink_proton_account", refused.UnlinkProton.as_view(), "api-unlink-proton"),
    route("notifications/<key>/read", refused.NotificationRead.as_view(), "api-notification-read"),
    # addy.io
    route("auth/logout", addy_account.SignOut.as_view(), "addy-logout"),
    route("v1/aliases", addy.Aliases.as_view(), "addy-aliases"),
    route("v1/aliases/<uuid>", addy.OneAlias.as_view(), "addy-alias"),
    route("v1/aliases/<uuid>/restore", addy.Restore.as_view(), "addy-alias-restore"),
    route("v1/aliases/<uuid>/forget", addy.Forget.as_view(), "addy-alias-forget"),
    route("v1/active-aliases", addy.ActiveAliases.as_view(), "addy-active-aliases"),
    route("v1/active-aliases/<uuid>", addy.ActiveAlias.as_view(), "addy-active-alias"),
    route("v1/pinned-aliases", addy.PinnedAliases.as_view(), "addy-pinned-aliases"),
    route("v1/pinned-aliases/<uuid>", addy.PinnedAlias.as_view(), "addy-pinned-alias"),
    route("v1/attached-recipients-only", addy_absent.AttachedRecipientsOnly.as_view(), "addy-attached-only"),
    route(
        "v1/attached-recipients-only/<uuid>",
        addy_absent.OneAttachedRecipientsOnly.as_view(),
        "addy-attached-only-off",
    ),
    *(route(f"v1/{word}", view.as_view(), f"addy-{word}") for word, view in addy_absent.VIEWS.items()),
    route("v1/alias-recipients", addy.AliasRecipients.as_view(), "addy-alias-recipients"),
    *(
        route(f"v1/aliases/{deed}/bulk", view.as_view(), f"addy-bulk-{deed}")
        for deed, view in addy_bulk.VIEWS.items()
    ),
    route("v1/domain-options", addy_account.DomainOptions.as_view(), "addy-domain-options"),
    route("v1/api-token-details", addy_account.TokenDetails.as_view(), "addy-token-details"),
    route("v1/account-details", addy_account.AccountDetails.as_view(), "addy-account-details"),
    route("v1/recipients", addy_account.Recipients.as_view(), "addy-recipients"),
    route("v1/recipients/<uuid>", addy_account.OneRecipient.as_view(), "addy-recipient"),
    route("v1/app-version", addy_account.AppVersion.as_view(), "addy-app-version"),
]
