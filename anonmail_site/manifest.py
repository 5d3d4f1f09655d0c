"""What a browser needs to install the site as an app, and to share pages with it."""

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.templatetags.static import static
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_safe


@login_not_required
@require_safe
def manifest(request: HttpRequest) -> HttpResponse:
    """The web app manifest. A page that is shared with the app opens the form for a new alias."""
    start = reverse("alias-list")
    new = reverse("alias-new")
    icons = [
        {"src": static("icon.svg"), "sizes": "any", "type": "image/svg+xml"},
        *(
            {
                "src": static(f"icon-{size}.png"),
                "sizes": f"{size}x{size}",
                "type": "image/png",
                "purpose": purpose,
            }
            for size in (192, 512)
            for purpose in ("any", "maskable")
        ),
    ]
    content = {
        "id": start,
        "name": "Anonmail",
        "short_name": "Anonmail",
        "description": gettext("Anonymous aliases"),
        "start_url": start,
        "scope": "/",
        "display": "standalone",
        "theme_color": "#2a55cf",
        "background_color": "#f5f6f8",
        "icons": icons,
        "shortcuts": [{"name": gettext("New alias"), "url": new}],
        "share_target": {
            "action": new,
            "method": "GET",
            "enctype": "application/x-www-form-urlencoded",
            "params": {"text": "text", "url": "url"},
        },
    }
    return JsonResponse(content, content_type="application/manifest+json")
