"""The site's own mail (links for passwords, notifications) with a DKIM signature."""

import smtplib
from email.utils import parseaddr
from typing import Any

from django.core.mail.backends.smtp import EmailBackend

from mail.delivery.dkim import sign


class _Signing(smtplib.SMTP):
    def sendmail(self, from_addr: str, to_addrs: Any, msg: Any, *args: Any, **kwargs: Any) -> Any:
        # Django passes From as it stands, with a name.
        domain = parseaddr(from_addr)[1].rpartition("@")[2].lower()
        return super().sendmail(from_addr, to_addrs, sign(domain, msg) + msg, *args, **kwargs)


class _SigningTLS(_Signing, smtplib.SMTP_SSL):
    pass


class SigningBackend(EmailBackend):
    """Django's SMTP backend; it signs if the sender's domain is one of ours and has a key that signs."""

    @property
    def connection_class(self) -> type[smtplib.SMTP]:
        return _SigningTLS if self.use_ssl else _Signing
