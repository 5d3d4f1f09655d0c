from django.urls import path

from mailboxes import key_views
from mailboxes import views as views

urlpatterns = [
    path("", views.address_list, name="address-list"),
    path("undo/<str:token>/", views.address_undo, name="address-undo"),
    path("<key:pk>/primary/", views.address_primary, name="address-primary"),
    path("<key:pk>/verify/", views.address_verify, name="address-verify"),
    path("<key:pk>/remove/", views.address_remove, name="address-remove"),
    path("<key:pk>/key/", key_views.address_key, name="address-key"),
    path("<key:pk>/key/look-up/", key_views.address_key_lookup, name="address-key-lookup"),
    path("<key:pk>/key/use/", key_views.address_key_use, name="address-key-use"),
    path("<key:pk>/key/remove/", key_views.address_key_remove, name="address-key-remove"),
]
