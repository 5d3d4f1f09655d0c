from django.urls import path

from aliases import bulk_views, space_views, views

urlpatterns = [
    path("", views.alias_list, name="alias-list"),
    path("new/", views.alias_new, name="alias-new"),
    path("shape/", views.alias_shape, name="alias-shape"),
    path("quick/", views.alias_quick, name="alias-quick"),
    path("bulk/", bulk_views.alias_bulk, name="alias-bulk"),
    path("undo/", bulk_views.alias_undo, name="alias-undo"),
    path("on-the-fly/", space_views.space_list, name="name-space-list"),
    path("on-the-fly/<key:pk>/", space_views.space_edit, name="name-space"),
    path("on-the-fly/<key:pk>/switch/", space_views.space_switch, name="name-space-switch"),
    path("deleted/", views.alias_deleted, name="alias-deleted"),
    path("<key:pk>/", views.alias_detail, name="alias"),
    path("<key:pk>/enable/", views.alias_enable, name="alias-enable"),
    path("<key:pk>/disable/", views.alias_disable, name="alias-disable"),
    path("<key:pk>/note/", views.alias_note, name="alias-note"),
    path("<key:pk>/pin/", views.alias_pin, name="alias-pin"),
    path("<key:pk>/unpin/", views.alias_unpin, name="alias-unpin"),
    path("<key:pk>/delete/", views.alias_delete, name="alias-delete"),
    path("<key:pk>/restore/", views.alias_restore, name="alias-restore"),
    path("<key:pk>/remove/", views.alias_remove, name="alias-remove"),
]
