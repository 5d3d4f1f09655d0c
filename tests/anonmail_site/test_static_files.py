"""What the pages load of our own."""

import pytest
from django.conf import settings


@pytest.mark.parametrize(("kind", "octets_max"), [("js", 10_000), ("css", 30_000)])
def test_scripts_and_styles_stay_small(kind: str, octets_max: int) -> None:
    files = list((settings.BASE_DIR / "static").glob(f"**/*.{kind}"))

    assert files
    assert sum(file.stat().st_size for file in files) < octets_max
