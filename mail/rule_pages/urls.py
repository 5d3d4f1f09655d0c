from django.urls import path

from mail.rule_pages import views

urlpatterns = [
    path("", views.rule_list, name="rule-list"),
    path("new/", views.rule_new, name="rule-new"),
    path("try/", views.rule_try, name="rule-try"),
    path("<key:pk>/", views.rule, name="rule"),
    path("<key:pk>/move/", views.rule_move, name="rule-move"),
    path("<key:pk>/switch/", views.rule_switch, name="rule-switch"),
    path("<key:pk>/remove/", views.rule_remove, name="rule-remove"),
]
