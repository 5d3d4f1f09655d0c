from django.urls import path

from domains import views
from domains.dns import views as dns_views

urlpatterns = [
    path("", views.domain_list, name="domain-list"),
    path("<str:name>/", views.domain_access, name="domain-access"),
    path("<str:name>/<key:pk>/revoke/", views.domain_revoke, name="domain-revoke"),
    path("<str:name>/dns/", dns_views.domain_dns, name="domain-dns"),
    path("<str:name>/dns/keys/", dns_views.domain_dkim_make, name="domain-dkim-make"),
    path("<str:name>/dns/keys/<key:pk>/drop/", dns_views.domain_dkim_drop, name="domain-dkim-drop"),
]
