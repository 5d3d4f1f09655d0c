from django.urls import path

from tokens import views

urlpatterns = [
    path("", views.token_list, name="token-list"),
    path("new/", views.token_new, name="token-new"),
    path("<key:pk>/revoke/", views.token_revoke, name="token-revoke"),
]
