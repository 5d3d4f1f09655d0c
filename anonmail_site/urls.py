from typing import Any

from allauth.account import views as password_pages
from allauth.account.decorators import reauthentication_required, secure_admin_login
from allauth.mfa.webauthn.views import login_webauthn
from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.urls import include, path, re_path, register_converter
from django.views.generic import RedirectView

from accounts.local_passwords import with_local_passwords
from aliases.space_views import domain_space_take, domain_spaces
from anonmail_site import views
from anonmail_site.manifest import manifest
from anonmail_site.metrics import metrics
from api.docs_page import docs_page, schema
from core.converters import KeyConverter
from mail.figures import domain_figures, own_figures
from mail.views import address_resume
from mailboxes.views import address_confirm

register_converter(KeyConverter, "key")

admin.site.site_header = admin.site.site_title = "Anonmail"
# The home lists the same, and the columns need the room.
admin.site.enable_nav_sidebar = False
# Sign-in goes through allauth, so that its limits and the second factor protect the admin too.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
# There is one page for a new password, which is limited and notifies the owner.
to_new_password: Any = RedirectView.as_view(pattern_name="account_change_password")
admin.site.password_change = admin.site.password_change_done = to_new_password  # type: ignore[method-assign]

handler500 = "anonmail_site.errors.crashed"


def leads_to(name: str) -> Any:
    """A redirect from a SimpleLogin page that clients open to the corresponding page here."""
    return login_not_required(RedirectView.as_view(pattern_name=name))


# allauth's pages that exist only where people have passwords here. Before a first password it asks for no
# recent sign-in; but there may be a passkey.
RESET_KEY = r"^accounts/password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$"
SET_PASSWORD = reauthentication_required(password_pages.password_set)
PASSWORD_PAGES: list[Any] = [
    path("accounts/signup/", with_local_passwords(password_pages.signup), name="account_signup"),
    path(
        "accounts/password/change/",
        with_local_passwords(password_pages.password_change),
        name="account_change_password",
    ),
    path("accounts/password/set/", with_local_passwords(SET_PASSWORD), name="account_set_password"),
    path(
        "accounts/password/reset/",
        with_local_passwords(password_pages.password_reset),
        name="account_reset_password",
    ),
    re_path(
        RESET_KEY,
        with_local_passwords(password_pages.password_reset_from_key),
        name="account_reset_password_from_key",
    ),
    path("accounts/2fa/webauthn/login/", with_local_passwords(login_webauthn), name="mfa_login_webauthn"),
]

urlpatterns = [
    path("api/schema", schema, name="api-schema"),
    re_path("^api/docs/?$", docs_page, name="api-docs"),
    path("api/", include("api.urls")),
    path("", views.home, name="home"),
    path("metrics", metrics, name="metrics"),
    # What browsers ask for where a page names no icon, such as one of JSON.
    path("manifest.webmanifest", manifest, name="manifest"),
    path("favicon.ico", views.icon, name="icon"),
    path("aliases/import/", include("transfer.urls")),
    path("aliases/figures/", own_figures, name="figures"),
    path("aliases/", include("aliases.urls")),
    path("", include("contacts.urls")),
    path("addresses/", include("mailboxes.urls")),
    path("addresses/<key:pk>/resume/", address_resume, name="address-resume"),
    path("failed-deliveries/", include("mail.urls")),
    path("rules/", include("mail.rule_pages.urls")),
    path("tokens/", include("tokens.urls")),
    path("hooks/", include("hooks.urls")),
    path("domains/<str:name>/figures/", domain_figures, name="domain-figures"),
    path("domains/<str:name>/on-the-fly/", domain_spaces, name="domain-spaces"),
    path("domains/<str:name>/on-the-fly/<key:pk>/take/", domain_space_take, name="domain-space-take"),
    path("domains/", include("domains.urls")),
    path("account/", views.account, name="account"),
    path("account/replies/", views.account_replies, name="account-replies"),
    path("appearance/", views.appearance, name="appearance"),
    path("account/everything.json", views.download_json, name="account-json"),
    path("account/aliases.csv", views.download_csv, name="account-csv"),
    path("account/delete/", views.account_delete, name="account-delete"),
    path("", include("mail.unsubscribe")),
    path("dashboard/", leads_to("alias-list"), name="simplelogin-dashboard"),
    path("dashboard/api_key", leads_to("token-list"), name="simplelogin-api-key"),
    path("onboarding", leads_to("alias-list"), name="simplelogin-onboarding"),
    path("auth/register", leads_to("account_signup"), name="simplelogin-register"),
    path("admin/", admin.site.urls),
    # allauth's page would let people remove an address and leave an alias without a destination.
    path("accounts/email/", RedirectView.as_view(pattern_name="address-list"), name="account_email"),
    re_path(r"^accounts/confirm-email/(?P<key>[-:\w]+)/$", address_confirm, name="account_confirm_email"),
    path("", include("accounts.organisation.urls")),
    *PASSWORD_PAGES,
    path("accounts/", include("allauth.urls")),
]
