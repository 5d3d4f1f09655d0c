from django.urls import path

from hooks import views

urlpatterns = [
    path("", views.hook_list, name="hook-list"),
    path("new/", views.hook_new, name="hook-new"),
    path("<key:pk>/", views.hook, name="hook"),
    path("<key:pk>/edit/", views.hook_edit, name="hook-edit"),
    path("<key:pk>/test/", views.hook_test, name="hook-test"),
    path("<key:pk>/secret/", views.hook_secret, name="hook-secret"),
    path("<key:pk>/start/", views.hook_start, name="hook-start"),
    path("<key:pk>/stop/", views.hook_stop, name="hook-stop"),
    path("<key:pk>/remove/", views.hook_remove, name="hook-remove"),
    path("messages/<key:pk>/retry/", views.message_retry, name="hook-message-retry"),
]
