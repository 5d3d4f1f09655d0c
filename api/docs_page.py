"""The schema for everybody to read, and the page that shows it, with the package's own assets."""

from functools import cache
from typing import Any

from csp.constants import NONE, SELF
from csp.decorators import csp_replace
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.utils.translation import get_language
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiYamlRenderer
from drf_spectacular.views import SpectacularSwaggerSplitView

# Swagger's page sets styles from its scripts, and shows images of its own style sheet.
_policy = csp_replace(
    {"style-src": [SELF, "'unsafe-inline'"], "img-src": [SELF, "data:"], "frame-ancestors": [NONE]}
)
docs_page = login_not_required(
    _policy(SpectacularSwaggerSplitView.as_view(url_name="api-schema", template_name="aliases/api_docs.html"))
)


@login_not_required
@require_safe
def schema(request: HttpRequest) -> HttpResponse:
    """`GET /api/schema/`. The package's own view makes it anew, slowly, for whoever asks, puts the query
    into a header, and keeps a catalogue of translations for every language that anybody can invent."""
    return HttpResponse(
        _schema_in(get_language()),
        content_type=OpenApiYamlRenderer.media_type,
        headers={"Content-Disposition": 'inline; filename="Anonmail.yaml"'},
    )


@cache
def _schema_in(language: str | None) -> bytes:
    generator: Any = SchemaGenerator
    renderer: Any = OpenApiYamlRenderer
    document = generator().get_schema(request=None, public=True)
    return bytes(renderer().render(document, renderer_context={}))
