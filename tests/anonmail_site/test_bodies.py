"""Bodies that are too large, as Django gets them (test_slow_clients.py sends them to the real server)."""

from io import BytesIO

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from anonmail_site.bodies import body_limit
from transfer.views import UPLOAD_MAX_BYTES

pytestmark = pytest.mark.django_db


class Unread(BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise AssertionError("the body was read")


def test_each_path_has_its_limit() -> None:
    assert body_limit("/api/alias/random/new") == body_limit("//api/v1/aliases") == 256 * 1024
    assert body_limit(reverse("alias-import")) == UPLOAD_MAX_BYTES
    assert body_limit("/accounts/login/") == body_limit("/apiary") == 1024 * 1024


@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/accounts/signup/", "/admin/", "/unsubscribe/x/"])
@pytest.mark.parametrize(
    "length", [str(300 * 2**20), str(settings.PAGE_MAX_BODY_BYTES + 1), "9" * 5000, "-1", "²"]
)
def test_a_page_reads_nothing_of_a_body_that_is_too_large(path: str, length: str) -> None:
    answer = Client().generic(
        "POST",
        path,
        b"",
        "multipart/form-data; boundary=x",
        **{"CONTENT_LENGTH": length, "wsgi.input": Unread()},
    )

    assert answer.status_code == 413
    assert "can have at most 1024 KB" in answer.content.decode()
