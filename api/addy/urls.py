"""addy.io's paths, below `/api/`."""

from django.urls import register_converter

from api.addy import (
    absent,
    account,
    aliases,
    blocklist,
    bulk,
    charts,
    failed,
    keys,
    recipients,
    rules,
    spaces,
)
from api.addy.ids import UUIDInAnyCase
from api.views import route

register_converter(UUIDInAnyCase, "id")

urlpatterns = [
    route("auth/logout", account.SignOut, "addy-logout"),
    route("auth/delete-account", absent.DeleteAccount, "addy-delete-account"),
    route("v1/aliases", aliases.Aliases, "addy-aliases"),
    route("v1/aliases/<id:uuid>", aliases.OneAlias, "addy-alias"),
    route("v1/aliases/<id:uuid>/restore", aliases.Restore, "addy-alias-restore"),
    route("v1/aliases/<id:uuid>/forget", aliases.Forget, "addy-alias-forget"),
    route("v1/active-aliases", aliases.ActiveAliases, "addy-active-aliases"),
    route("v1/active-aliases/<id:uuid>", aliases.ActiveAlias, "addy-active-alias"),
    route("v1/pinned-aliases", aliases.PinnedAliases, "addy-pinned-aliases"),
    route("v1/pinned-aliases/<id:uuid>", aliases.PinnedAlias, "addy-pinned-alias"),
    route("v1/attached-recipients-only", absent.AttachedRecipientsOnly, "addy-attached-recipients-only"),
    route(
        "v1/attached-recipients-only/<id:uuid>",
        absent.OneAttachedRecipientsOnly,
        "addy-one-attached-recipients-only",
    ),
    route("v1/account-notifications", absent.Notifications, "addy-account-notifications"),
    route("v1/blocklist", blocklist.Blocklist, "addy-blocklist"),
    route("v1/blocklist/<id:uuid>", blocklist.OneBlocked, "addy-blocked"),
    route("v1/blocklist/store/bulk", blocklist.ManyBlocked, "addy-bulk-block"),
    route("v1/blocklist/delete/bulk", blocklist.ManyUnblocked, "addy-bulk-unblock"),
    route("v1/failed-deliveries", failed.FailedDeliveries, "addy-failed-deliveries"),
    route("v1/failed-deliveries/<id:uuid>", failed.OneFailedDelivery, "addy-failed-delivery"),
    route("v1/failed-deliveries/<id:uuid>/download", failed.DownloadedFailed, "addy-failed-download"),
    route("v1/failed-deliveries/<id:uuid>/resend", failed.ResentFailed, "addy-failed-resend"),
    route("v1/rules", rules.Rules, "addy-rules"),
    route("v1/rules/<id:uuid>", rules.OneRule, "addy-rule"),
    route("v1/reorder-rules", rules.ReorderedRules, "addy-reorder-rules"),
    route("v1/active-rules", rules.ActiveRules, "addy-active-rules"),
    route("v1/active-rules/<id:uuid>", rules.ActiveRule, "addy-active-rule"),
    route("v1/alias-recipients", aliases.AliasRecipients, "addy-alias-recipients"),
    *(route(f"v1/aliases/{action}/bulk", view, f"addy-bulk-{action}") for action, view in bulk.VIEWS.items()),
    route("v1/domain-options", account.DomainOptions, "addy-domain-options"),
    route("v1/api-token-details", account.TokenDetails, "addy-token-details"),
    route("v1/account-details", account.AccountDetails, "addy-account-details"),
    route("v1/recipients", recipients.Recipients, "addy-recipients"),
    route("v1/recipients/<id:uuid>", recipients.OneRecipient, "addy-recipient"),
    route("v1/recipients/email/resend", recipients.ResentVerification, "addy-recipient-resend"),
    route("v1/allowed-recipients", recipients.AllowedRecipients, "addy-allowed-recipients"),
    route("v1/allowed-recipients/<id:uuid>", recipients.AllowedRecipient, "addy-allowed-recipient"),
    route("v1/recipient-keys/<id:uuid>", keys.RecipientKey, "addy-recipient-key"),
    *(
        route(f"v1/{name}-recipients{one}", view, f"addy-{name}-recipient{'s' if not one else ''}")
        for name, views in keys.SWITCHES.items()
        for one, view in zip(("", "/<id:uuid>"), views, strict=True)
    ),
    *(
        route(f"v1/{path.format(word)}", spaces.VIEWS[name.format(word)], f"addy-{name.format(word)}")
        for word in ("domain", "username")
        for path, name in (
            ("{}s", "{}s"),
            ("{}s/<id:uuid>", "{}"),
            ("{}s/<id:uuid>/default-recipient", "{}-default-recipient"),
            ("active-{}s", "active-{}s"),
            ("active-{}s/<id:uuid>", "active-{}"),
            ("catch-all-{}s", "catch-all-{}s"),
            ("catch-all-{}s/<id:uuid>", "catch-all-{}"),
        )
    ),
    route("v1/loginable-usernames", spaces.VIEWS["loginable-usernames"], "addy-loginable-usernames"),
    route("v1/loginable-usernames/<id:uuid>", spaces.VIEWS["loginable-username"], "addy-loginable-username"),
    route("v1/chart-data", charts.ChartData, "addy-chart-data"),
    route("v1/app-version", account.AppVersion, "addy-app-version"),
]
