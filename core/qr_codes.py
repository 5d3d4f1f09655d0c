"""QR codes as images."""

from base64 import b64encode

import qrcode
from qrcode.image.svg import SvgPathImage


def qr_code(text: str) -> str:
    """An image of a QR code with this text, as a `data:` URL."""
    svg = qrcode.make(text, image_factory=SvgPathImage).to_string()
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
