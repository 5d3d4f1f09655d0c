from django.urls import path

from contacts import views

urlpatterns = [
    path("aliases/<key:pk>/contacts/", views.contact_list, name="contact-list"),
    path("contacts/<key:pk>/", views.contact_detail, name="contact"),
    path("contacts/<key:pk>/block/", views.contact_block, name="contact-block"),
    path("contacts/<key:pk>/unblock/", views.contact_unblock, name="contact-unblock"),
    path("contacts/<key:pk>/remove/", views.contact_remove, name="contact-remove"),
    path("senders/<key:pk>/", views.sender_answer, name="sender-answer"),
]
