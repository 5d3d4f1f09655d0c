from django.urls import path

from mail import views

urlpatterns = [
    path("", views.failed_list, name="failed-list"),
    path("keep/", views.failed_keep, name="failed-keep"),
    path("<key:pk>/message.eml", views.failed_download, name="failed-download"),
    path("<key:pk>/delete/", views.failed_delete, name="failed-delete"),
]
