"""The page that shows the schema, with the package's own assets under a policy of its own."""

from csp.constants import NONE, SELF
from csp.decorators import csp_replace
from django.contrib.auth.decorators import login_not_required
from drf_spectacular.views import SpectacularSwaggerSplitView

# Swagger's page sets styles from its scripts, and shows images of its own style sheet.
_policy = csp_replace(
    {"style-src": [SELF, "'unsafe-inline'"], "img-src": [SELF, "data:"], "frame-ancestors": [NONE]}
)
docs_page = login_not_required(_policy(SpectacularSwaggerSplitView.as_view(url_name="api-schema")))
