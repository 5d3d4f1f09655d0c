from django.urls import path

from mailboxes import views as views

urlpatterns = [
    path("", views.address_list, name="address-list"),
    path("undo/<str:token>/", views.address_undo, name="address-undo"),
    path("<key:pk>/primary/", views.address_primary, name="address-primary"),
    path("<key:pk>/verify/", views.address_verify, name="address-verify"),
    path("<key:pk>/remove/", views.address_remove, name="address-remove"),
]
