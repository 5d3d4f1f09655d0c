from django.urls import path

from transfer import views

urlpatterns = [
    path("", views.alias_import, name="alias-import"),
    path("check/", views.alias_import_check, name="alias-import-check"),
    path("make/", views.alias_import_make, name="alias-import-make"),
    path("leave-out/", views.alias_import_leave_out, name="alias-import-leave-out"),
    path("cancel/", views.alias_import_cancel, name="alias-import-cancel"),
]
