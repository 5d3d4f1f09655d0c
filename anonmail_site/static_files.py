"""Static files, with those that the next release has brought since this process started."""

import os
import re

from django.http import HttpRequest, HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import MissingFileError

# A name with a digest (Django's ManifestStaticFilesStorage) always stands for the same content.
_WITH_DIGEST = re.compile(r"\.[0-9a-f]{12}\.\w+\Z")


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """WhiteNoise, which lists the files when it starts, and then looks again for what it does not know.

    While hosts are upgraded one after the other, a page of the new release can ask an old process for its
    styles. `prepare` has put these beside the old ones by then.
    """

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        url = request.path_info
        if url.startswith(self.static_prefix) and url not in self.files:
            self._look_for(url)
        response: HttpResponseBase = super().__call__(request)
        return response

    def _look_for(self, url: str) -> None:
        if not _WITH_DIGEST.search(url) or not self.url_is_canonical(url):
            return
        path = os.path.join(self.static_root, url.removeprefix(self.static_prefix))
        try:
            self.files[url] = self.find_file_at_path(path, url)
        except MissingFileError:
            return
