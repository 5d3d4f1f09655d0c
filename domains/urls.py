from django.urls import path

from domains import views

urlpatterns = [
    path("", views.domain_list, name="domain-list"),
    path("<str:name>/", views.domain_access, name="domain-access"),
    path("<str:name>/<key:pk>/revoke/", views.domain_revoke, name="domain-revoke"),
]
