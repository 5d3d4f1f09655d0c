"""What browsers ask for where a page names no icon."""

from django.test import Client


def test_a_browser_finds_the_icon_where_no_page_names_one(client: Client) -> None:
    answer = client.get("/favicon.ico")

    assert answer.status_code == 301
    assert answer["Location"] == "/static/icon.svg"
