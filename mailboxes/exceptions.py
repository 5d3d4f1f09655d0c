"""Why an own address cannot be added or changed."""

import logging

from django.utils.translation import gettext

from core.exceptions import RuleError

logger = logging.getLogger(__name__)


class AddressNeeded(RuleError, code="address_needed", status=409):
    """The user signs in with the address, or aliases have no other destination."""


class NotVerified(RuleError, code="address_not_verified"):
    """The user has not yet shown that mail to the address arrives."""


class NotAddable(RuleError, code="address_not_addable"):
    """This user, or anybody, cannot add the address."""


class ReceivesOnly(RuleError, code="address_receives_only", status=403):
    """The address was added through the API: it never signs in."""


class RightsEnded(RuleError, code="rights_ended", status=403):
    """An undo or a new password has just ended the session or token that asks."""


class MailAway(RuleError, code="mail_away", status=503):
    """The mail that verifies an address cannot be sent at the moment."""

    # Seconds: long enough to restart a mail server.
    retry_after = 300

    def __init__(self, error: OSError) -> None:
        logger.error("verification mail not sent: %s", type(error).__name__)
        super().__init__(gettext("The mail that verifies the address could not be sent. Try again later."))
