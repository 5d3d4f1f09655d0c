"""addy.io's calls about the OpenPGP keys of recipients, by its clients' words for them."""

from collections.abc import Callable
from uuid import UUID

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request

from api.addy.inputs import Input, RequiredTextField
from api.addy.recipients import COUNTED, RecipientId, RecipientView, recipient_of
from api.addy.schema import AddyCall
from api.answers import Answer
from api.errors import NotOffered, Unprocessable
from core.exceptions import RateLimited, RuleError
from mail.encryption.keys import give_key, remove_key, use_key
from mail.models import DestinationKey


class KeyData(Input):
    key_data = RequiredTextField(initial="-----BEGIN PGP PUBLIC KEY BLOCK-----…")


class KeyView(RecipientView):
    def key(self, uuid: UUID | None) -> DestinationKey | None:
        """The key of the caller's address of this id, None if that has none. Raises NotFound."""
        address = recipient_of(self.caller, uuid)
        keys = DestinationKey.objects.owned_by(self.caller).select_related("destination__user")
        return keys.filter(destination=address).first()


class RecipientKey(KeyView):
    @AddyCall(
        "Encrypt mail to one of your addresses, to this OpenPGP key",
        COUNTED,
        takes=KeyData,
        refuses=(404, 422, 429),
    )
    def patch(self, request: Request, uuid: UUID) -> Answer:
        address = recipient_of(self.caller, uuid)
        given = KeyData.read(self.fields)["key_data"]
        try:
            # Half a surrogate pair is in no key.
            give_key(address, given.encode(errors="replace"))
        except RateLimited:
            raise
        except RuleError as error:
            raise Unprocessable("key_data", error) from error
        return self.shown(address.pk)

    @AddyCall("Remove the key of one of your addresses", status=204, refuses=(404,))
    def delete(self, request: Request, uuid: UUID) -> Answer:
        remove_key(recipient_of(self.caller, uuid))
        return Answer(status=204)


def switch(
    apply: Callable[[DestinationKey, bool], None], what: str, refusal: object
) -> tuple[type[RecipientView], type[RecipientView]]:
    """The views that switch something about a key on, and off. `refusal`: why not, without a key."""

    class On(KeyView):
        @AddyCall(f"{what}, from now on", COUNTED, takes=RecipientId, refuses=(404, 422))
        def post(self, request: Request) -> Answer:
            key = self.key(RecipientId.read(self.fields)["id"])
            if key is None:
                raise Unprocessable("id", refusal)
            apply(key, True)
            return self.shown(key.pk)

    class Off(KeyView):
        @AddyCall(f"{what}: no longer", status=204, refuses=(404,))
        def delete(self, request: Request, uuid: UUID) -> Answer:
            if key := self.key(uuid):
                apply(key, False)
            return Answer(status=204)

    return On, Off


def _use(key: DestinationKey, is_on: bool) -> None:  # noqa: FBT001 - what a switch is set to
    use_key(key, is_used=is_on)


def _hide_subject(key: DestinationKey, is_on: bool) -> None:  # noqa: FBT001
    use_key(key, hides_subject=is_on)


def absent(what: str, refusal: Promise) -> tuple[type[RecipientView], type[RecipientView]]:
    """The same for what this server does not do: on is refused with this sentence, off changes nothing."""

    class On(RecipientView):
        @AddyCall(f"{what}: refused", takes=RecipientId, refuses=(403, 404, 422))
        def post(self, request: Request) -> Answer:
            recipient_of(self.caller, RecipientId.read(self.fields)["id"])
            raise NotOffered(str(refusal))

    class Off(RecipientView):
        @AddyCall(f"{what}, no longer: nothing changes", status=204, refuses=(404,))
        def delete(self, request: Request, uuid: UUID) -> Answer:
            recipient_of(self.caller, uuid)
            return Answer(status=204)

    return On, Off


_LEFT_ALONE = _("This server forwards OpenPGP keys and signatures as they came.")
_NO_KEY = _("This recipient has no OpenPGP key. Add one first.")
# By the beginning of the path.
SWITCHES: dict[str, tuple[type[RecipientView], type[RecipientView]]] = {
    "encrypted": switch(_use, "Encrypt mail to one of your addresses", _NO_KEY),
    "protected-headers": switch(_hide_subject, "Hide the subject of what is encrypted", _NO_KEY),
    "inline-encrypted": absent(
        "Encrypt a message's text alone",
        _("This server encrypts whole messages (PGP/MIME), and not their text alone."),
    ),
    "remove-pgp-keys": absent("Take keys out of forwarded mail", _LEFT_ALONE),
    "remove-pgp-signatures": absent("Take signatures off forwarded mail", _LEFT_ALONE),
}
