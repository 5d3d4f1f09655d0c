"""addy.io's paths, below `/api/`."""

from django.urls import path, register_converter

from api.addy import absent, account, aliases, bulk
from api.addy.ids import UUIDInAnyCase

register_converter(UUIDInAnyCase, "id")

urlpatterns = [
    path("auth/logout", account.SignOut.as_view(), name="addy-logout"),
    path("v1/aliases", aliases.Aliases.as_view(), name="addy-aliases"),
    path("v1/aliases/<id:uuid>", aliases.OneAlias.as_view(), name="addy-alias"),
    path("v1/aliases/<id:uuid>/restore", aliases.Restore.as_view(), name="addy-alias-restore"),
    path("v1/aliases/<id:uuid>/forget", aliases.Forget.as_view(), name="addy-alias-forget"),
    path("v1/active-aliases", aliases.ActiveAliases.as_view(), name="addy-active-aliases"),
    path("v1/active-aliases/<id:uuid>", aliases.ActiveAlias.as_view(), name="addy-active-alias"),
    path("v1/pinned-aliases", aliases.PinnedAliases.as_view(), name="addy-pinned-aliases"),
    path("v1/pinned-aliases/<id:uuid>", aliases.PinnedAlias.as_view(), name="addy-pinned-alias"),
    path("v1/attached-recipients-only", absent.AttachedRecipientsOnly.as_view(), name="addy-attached-only"),
    path(
        "v1/attached-recipients-only/<id:uuid>",
        absent.OneAttachedRecipientsOnly.as_view(),
        name="addy-attached-only-off",
    ),
    *(path(f"v1/{word}", view.as_view(), name=f"addy-{word}") for word, view in absent.VIEWS.items()),
    path("v1/alias-recipients", aliases.AliasRecipients.as_view(), name="addy-alias-recipients"),
    *(
        path(f"v1/aliases/{deed}/bulk", view.as_view(), name=f"addy-bulk-{deed}")
        for deed, view in bulk.VIEWS.items()
    ),
    path("v1/domain-options", account.DomainOptions.as_view(), name="addy-domain-options"),
    path("v1/api-token-details", account.TokenDetails.as_view(), name="addy-token-details"),
    path("v1/account-details", account.AccountDetails.as_view(), name="addy-account-details"),
    path("v1/recipients", account.Recipients.as_view(), name="addy-recipients"),
    path("v1/recipients/<id:uuid>", account.OneRecipient.as_view(), name="addy-recipient"),
    path("v1/app-version", account.AppVersion.as_view(), name="addy-app-version"),
]
