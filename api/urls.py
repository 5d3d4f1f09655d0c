"""`/api/…`: SimpleLogin's calls, signing in, and addy.io's calls."""

from django.urls import path

import api.addy.schema  # noqa: F401 - describes its calls in the schema
import api.signin_schema  # noqa: F401
import api.simplelogin.schema  # noqa: F401
from api import signin
from api.addy.urls import urlpatterns as addy_urls
from api.simplelogin import account, refused
from api.simplelogin import aliases as simplelogin
from api.simplelogin import custom_names as names

urlpatterns = [
    path("alias/random/new", simplelogin.RandomAlias.as_view(), name="api-alias-random"),
    path("v2/alias/custom/new", names.OldCustomAlias.as_view(), name="api-alias-custom-old"),
    path("v3/alias/custom/new", names.CustomAlias.as_view(), name="api-alias-custom"),
    path("v4/alias/options", names.OldOptions.as_view(), name="api-alias-options-old"),
    path("v5/alias/options", names.Options.as_view(), name="api-alias-options"),
    path("v2/aliases", simplelogin.AliasList.as_view(), name="api-alias-list"),
    path("aliases", simplelogin.OldAliasList.as_view(), name="api-alias-list-old"),
    path("aliases/<key:key>", simplelogin.AliasDetail.as_view(), name="api-alias"),
    path("aliases/<key:key>/toggle", simplelogin.AliasToggle.as_view(), name="api-alias-toggle"),
    path("aliases/<key:key>/activities", simplelogin.AliasActivities.as_view(), name="api-alias-activities"),
    path("aliases/<key:key>/contacts", account.Contacts.as_view(), name="api-alias-contacts"),
    path("contacts/<key:key>", account.OneContact.as_view(), name="api-contact"),
    path("contacts/<key:key>/toggle", account.ContactToggle.as_view(), name="api-contact-toggle"),
    path("mailboxes", account.Mailboxes.as_view(), name="api-mailboxes"),
    path("v2/mailboxes", account.AllMailboxes.as_view(), name="api-mailboxes-all"),
    path("mailboxes/<key:key>", account.OneMailbox.as_view(), name="api-mailbox"),
    path("setting", account.Settings.as_view(), name="api-setting"),
    path("v2/setting/domains", account.SettingDomains.as_view(), name="api-setting-domains"),
    path("setting/domains", account.OldSettingDomains.as_view(), name="api-setting-domains-old"),
    path("custom_domains", account.CustomDomains.as_view(), name="api-custom-domains"),
    path("custom_domains/<key:key>", account.CustomDomain.as_view(), name="api-custom-domain"),
    path(
        "custom_domains/<key:key>/trash", account.CustomDomainTrash.as_view(), name="api-custom-domain-trash"
    ),
    path("notifications", account.Notifications.as_view(), name="api-notifications"),
    path("export/data", account.ExportData.as_view(), name="api-export-data"),
    path("export/aliases", account.ExportAliases.as_view(), name="api-export-aliases"),
    path("auth/login", signin.Login.as_view(), name="api-login"),
    path("auth/mfa", signin.Mfa.as_view(), name="api-mfa"),
    path("api_key", signin.ApiKey.as_view(), name="api-key"),
    path("logout", account.Logout.as_view(), name="api-logout"),
    path("user_info", account.UserInfo.as_view(), name="api-user-info"),
    path("stats", account.Stats.as_view(), name="api-stats"),
    path("auth/register", refused.Register.as_view(), name="api-register"),
    path("auth/activate", refused.Activate.as_view(), name="api-activate"),
    path("auth/reactivate", refused.Reactivate.as_view(), name="api-reactivate"),
    path("auth/forgot_password", refused.ForgotPassword.as_view(), name="api-forgot-password"),
    path("sudo", refused.Sudo.as_view(), name="api-sudo"),
    path("user", refused.DeleteUser.as_view(), name="api-user"),
    path("user/cookie_token", refused.CookieToken.as_view(), name="api-cookie-token"),
    path("setting/unlink_proton_account", refused.UnlinkProton.as_view(), name="api-unlink-proton"),
    path("notifications/<key:key>/read", refused.NotificationRead.as_view(), name="api-notification-read"),
    *addy_urls,
]
