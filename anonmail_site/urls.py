from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from anonmail_site import views

admin.site.site_header = admin.site.site_title = "Anonmail"
# Sign-in goes through allauth, so that its limits and the second factor guard the admin too.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("", views.home, name="home"),
    path("api/", include("aliases.api.urls")),
    path("admin/", admin.site.urls),
    path("accounts/", include("allauth.urls")),
]
