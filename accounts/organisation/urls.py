from django.urls import path

from accounts.organisation import views

urlpatterns = [
    path("accounts/login/", views.sign_in_page, name="account_login"),
    path("accounts/with/<slug:key>/", views.begin, name="organisation-begin"),
    path("accounts/with/<slug:key>/connect/", views.begin_connecting, name="organisation-connect"),
    path("accounts/with/<slug:key>/confirm/", views.confirm, name="organisation-confirm"),
    path("accounts/with/<slug:key>/back/", views.back, name="organisation-back"),
    path("accounts/emergency/<str:token>/", views.emergency, name="emergency"),
    path("account/connected/", views.connected, name="connected-list"),
    path("account/connected/<key:pk>/remove/", views.remove, name="connected-remove"),
]
