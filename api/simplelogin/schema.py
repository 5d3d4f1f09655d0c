"""SimpleLogin's calls, as the schema tells them."""

from typing import Any

from api.schema import (
    FLAG,
    TEXT,
    WHOLE,
    Call,
    Schema,
    body,
    describe,
    listing,
    nullable,
    query,
    record,
)
from api.simplelogin import account as simplelogin_account
from api.simplelogin import aliases as simplelogin
from api.simplelogin import custom_names as simplelogin_names
from api.simplelogin import refused as simplelogin_refused

MAILBOX = record(id=WHOLE, email=TEXT)
LATEST = record(
    timestamp=WHOLE,
    action={"type": "string", "enum": ["forward", "block", "bounced"]},
    contact=record(email=TEXT, name=nullable(TEXT), reverse_alias=TEXT),
)
FIGURES: dict[str, Schema] = {
    "id": WHOLE,
    "email": TEXT,
    "enabled": FLAG,
    "note": nullable(TEXT),
    "creation_date": TEXT,
    "creation_timestamp": WHOLE,
    "nb_forward": WHOLE,
    "nb_block": WHOLE,
    "nb_reply": WHOLE,
}
ALIAS_FIELDS: dict[str, Schema] = {
    **FIGURES,
    "name": nullable(TEXT),
    "pinned": FLAG,
    "mailbox": nullable(MAILBOX),
    "mailboxes": listing(MAILBOX),
    "support_pgp": FLAG,
    "disable_pgp": FLAG,
    "latest_activity": nullable(LATEST),
}
ALIAS = record(**ALIAS_FIELDS)
MADE = record(alias=TEXT, **ALIAS_FIELDS)
ALIAS_EXAMPLE: dict[str, Any] = {
    "id": 7,
    "email": "github.vendetta@example.com",
    "name": None,
    "enabled": True,
    "pinned": False,
    "note": "Website: www.github.com",
    "creation_date": "2026-11-24 12:00:00+00:00",
    "creation_timestamp": 1795521600,
    "nb_forward": 3,
    "nb_block": 0,
    "nb_reply": 0,
    "mailbox": {"id": 1, "email": "alice@example.com"},
    "mailboxes": [{"id": 1, "email": "alice@example.com"}],
    "support_pgp": False,
    "disable_pgp": False,
    "latest_activity": None,
}
MADE_EXAMPLE = {"alias": "github.vendetta@example.com", **ALIAS_EXAMPLE}
OK = record(ok=FLAG)

HOSTNAME = query("hostname", "The web site, in any form: a host, a URL, an app's identifier.")
PAGE = query(
    "page_id", "The page, from 0; twenty rows each.", required=True, schema={"type": "integer", "minimum": 0}
)
FLAGS = [
    query(name, f"Only {name} aliases; its presence counts, whatever its value.")
    for name in ("pinned", "disabled", "enabled")
]
SEARCH = body(query=nullable(TEXT))

LISTED = record(aliases=listing(ALIAS))
LIST = Call(
    "List aliases, twenty a page, pinned and recent ones first",
    LISTED,
    takes=SEARCH,
    sends={"query": "github"},
    parameters=[PAGE, *FLAGS],
    example={"aliases": [ALIAS_EXAMPLE]},
)
describe(simplelogin.AliasList, "alias_list", get=LIST, post=LIST)
OLD = record(**FIGURES)
OLD_LIST = Call(
    "List aliases, with the object of SimpleLogin's first version",
    record(aliases=listing(OLD)),
    takes=SEARCH,
    sends={"query": "github"},
    parameters=[PAGE, *FLAGS],
    example={"aliases": [{key: ALIAS_EXAMPLE[key] for key in FIGURES}]},
)
describe(simplelogin.OldAliasList, "alias_list_old", get=OLD_LIST, post=OLD_LIST)
CHANGES = body(
    note=nullable(TEXT),
    name=nullable(TEXT),
    pinned=FLAG,
    disable_pgp=FLAG,
    mailbox_id=WHOLE,
    mailbox_ids=listing(WHOLE),
)
CHANGE = Call(
    "Change an alias",
    OK,
    takes=CHANGES,
    sends={"note": "work", "pinned": True},
    refuses=(403,),
    example={"ok": True},
)
describe(
    simplelogin.AliasDetail,
    "alias",
    get=Call("One alias", ALIAS, example=ALIAS_EXAMPLE),
    put=CHANGE,
    patch=CHANGE,
    delete=Call(
        "Delete an alias; it can be restored on the web page", record(deleted=FLAG), example={"deleted": True}
    ),
)
describe(
    simplelogin.AliasToggle,
    "alias_toggle",
    post=Call("Switch an alias on or off", record(enabled=FLAG), example={"enabled": False}),
)
ACTIVITY = record(
    timestamp=WHOLE,
    action={"type": "string", "enum": ["forward", "block", "bounced"]},
    reverse_alias=TEXT,
    reverse_alias_address=TEXT,
    **{"from": TEXT, "to": TEXT},
)
describe(
    simplelogin.AliasActivities,
    "alias_activities",
    get=Call(
        "What happened to an alias's mail, the latest first",
        record(activities=listing(ACTIVITY)),
        parameters=[PAGE],
        example={"activities": []},
    ),
)

OPTIONS_ANSWER: dict[str, Schema] = {
    "can_create": FLAG,
    "prefix_suggestion": TEXT,
    "recommendation": record(alias=TEXT, hostname=TEXT),
}
SUFFIX = record(suffix=TEXT, signed_suffix=TEXT, is_custom=FLAG, is_premium=FLAG)
describe(
    simplelogin_names.Options,
    "alias_options",
    get=Call(
        "The endings that a chosen name may have, signed for ten minutes",
        record(("recommendation",), suffixes=listing(SUFFIX), **OPTIONS_ANSWER),
        parameters=[HOSTNAME],
        example={
            "can_create": True,
            "prefix_suggestion": "github",
            "suffixes": [
                {
                    "suffix": ".word@example.com",
                    "signed_suffix": ".word@example.com:1vN…:…",
                    "is_custom": False,
                    "is_premium": False,
                }
            ],
        },
    ),
)
describe(
    simplelogin_names.OldOptions,
    "alias_options_old",
    get=Call(
        "The same, each ending as a pair",
        record(("recommendation",), suffixes=listing(listing(TEXT)), **OPTIONS_ANSWER),
        parameters=[HOSTNAME],
        example={"can_create": True, "prefix_suggestion": "", "suffixes": [["@example.com", "…"]]},
    ),
)
CUSTOM = {"alias_prefix": TEXT, "signed_suffix": TEXT, "note": nullable(TEXT), "name": nullable(TEXT)}
CUSTOM_EXAMPLE = {"alias_prefix": "shop", "signed_suffix": "one of GET /api/v5/alias/options", "note": "work"}
REFUSES = (403, 404, 409, 412)
describe(
    simplelogin_names.CustomAlias,
    "alias_custom",
    post=Call(
        "Make an alias with a chosen name",
        MADE,
        201,
        takes=body(mailbox_ids=listing(WHOLE), **CUSTOM),
        sends={**CUSTOM_EXAMPLE, "mailbox_ids": [1]},
        parameters=[HOSTNAME],
        refuses=REFUSES,
        example=MADE_EXAMPLE,
    ),
)
describe(
    simplelogin_names.OldCustomAlias,
    "alias_custom_old",
    post=Call(
        "The same, to the primary address",
        MADE,
        201,
        takes=body(**CUSTOM),
        sends=CUSTOM_EXAMPLE,
        parameters=[HOSTNAME],
        refuses=REFUSES,
        example=MADE_EXAMPLE,
    ),
)

FULL_MAILBOX = record(
    id=WHOLE, email=TEXT, verified=FLAG, default=FLAG, creation_timestamp=WHOLE, nb_alias=WHOLE
)
FULL_MAILBOX_EXAMPLE = {
    "id": 1,
    "email": "alice@example.com",
    "verified": True,
    "default": True,
    "creation_timestamp": 1795521600,
    "nb_alias": 12,
}
MAILBOXES = record(mailboxes=listing(FULL_MAILBOX))
MAILBOXES_EXAMPLE = {"mailboxes": [FULL_MAILBOX_EXAMPLE]}
describe(
    simplelogin_account.Mailboxes,
    "mailboxes",
    get=Call("Your verified addresses", MAILBOXES, example=MAILBOXES_EXAMPLE),
    post=Call(
        "Add an address to receive at; you verify it on the page, by a mailed link",
        FULL_MAILBOX,
        201,
        takes=body(email=TEXT),
        sends={"email": "alice@elsewhere.example"},
        example={**FULL_MAILBOX_EXAMPLE, "verified": False, "default": False, "nb_alias": 0},
    ),
)
describe(
    simplelogin_account.AllMailboxes,
    "mailboxes_all",
    get=Call("All your addresses", MAILBOXES, example=MAILBOXES_EXAMPLE),
)
describe(
    simplelogin_account.OneMailbox,
    "mailbox",
    put=Call(
        "Change an address: refused, the primary one is chosen on the page",
        record(updated=FLAG),
        takes=body(default=FLAG, email=TEXT, cancel_email_change=FLAG),
        sends={"default": False},
        refuses=(403,),
        example={"updated": True},
    ),
    delete=Call(
        "Remove an address; aliases that forward to it alone need another one",
        record(deleted=FLAG),
        refuses=(409,),
        example={"deleted": True},
    ),
)
SETTING_FIELDS: dict[str, Schema] = {
    "alias_generator": {"type": "string", "enum": ["word", "uuid"]},
    "notification": FLAG,
    "random_alias_default_domain": TEXT,
    "sender_format": {"type": "string", "enum": list(simplelogin_account.SENDER_FORMATS)},
    "random_alias_suffix": {"type": "string", "enum": ["word", "random_string"]},
}
SETTING_EXAMPLE = {
    "alias_generator": "word",
    "notification": False,
    "random_alias_default_domain": "example.com",
    "sender_format": "AT",
    "random_alias_suffix": "word",
}
describe(
    simplelogin_account.Settings,
    "setting",
    get=Call("How you like new aliases", record(**SETTING_FIELDS), example=SETTING_EXAMPLE),
    patch=Call(
        "Change how you like them",
        record(**SETTING_FIELDS),
        takes=body(**SETTING_FIELDS),
        sends={"alias_generator": "word", "random_alias_suffix": "word"},
        example=SETTING_EXAMPLE,
    ),
)
describe(
    simplelogin_account.SettingDomains,
    "setting_domains",
    get=Call(
        "Where random aliases can be made",
        listing(record(domain=TEXT, is_custom=FLAG)),
        example=[{"domain": "example.com", "is_custom": False}],
    ),
)
describe(
    simplelogin_account.OldSettingDomains,
    "setting_domains_old",
    get=Call("The same as pairs", listing(listing({})), example=[[True, "example.com"]]),
)
CUSTOM_DOMAIN = record(
    id=WHOLE,
    domain_name=TEXT,
    is_verified=FLAG,
    nb_alias=WHOLE,
    creation_date=TEXT,
    creation_timestamp=WHOLE,
    catch_all=FLAG,
    name=nullable(TEXT),
    random_prefix_generation=FLAG,
    mailboxes=listing(MAILBOX),
)
describe(
    simplelogin_account.CustomDomains,
    "custom_domains",
    get=Call(
        "The domains that you may use",
        record(custom_domains=listing(CUSTOM_DOMAIN)),
        example={"custom_domains": []},
    ),
)
describe(
    simplelogin_account.CustomDomain,
    "custom_domain",
    patch=Call(
        "Change a domain: refused",
        None,
        takes=body(catch_all=FLAG),
        sends={"catch_all": False},
        refuses=(403,),
    ),
)
describe(
    simplelogin_account.CustomDomainTrash,
    "custom_domain_trash",
    get=Call("A domain's deleted aliases: refused", None, refuses=(403,)),
)
NOTIFICATION = record(id=WHOLE, title=TEXT, message=TEXT, read=FLAG, created_at=TEXT)
describe(
    simplelogin_account.Notifications,
    "notifications",
    get=Call(
        "What you should know: destinations that are paused",
        record(more=FLAG, notifications=listing(NOTIFICATION)),
        parameters=[query("page", "The page, from 0.", schema={"type": "integer", "minimum": 0})],
        example={"more": False, "notifications": []},
    ),
)
describe(
    simplelogin_account.ExportData,
    "export_data",
    get=Call(
        "Your aliases and domains as JSON",
        record(
            email=TEXT,
            name=TEXT,
            aliases=listing(record(email=TEXT, enabled=FLAG)),
            apps=listing(TEXT),
            custom_domains=listing(TEXT),
        ),
        example={"email": "alice@example.com", "name": "", "aliases": [], "apps": [], "custom_domains": []},
    ),
)
describe(
    simplelogin_account.ExportAliases,
    "export_aliases",
    get=Call(
        "Your aliases as CSV",
        TEXT,
        media_type="text/csv",
        example="alias,note,enabled,mailboxes\r\n",
    ),
)
describe(
    simplelogin_account.Logout,
    "logout",
    get=Call(
        "Revoke the token that this is called with", record(msg=TEXT), example={"msg": "User is logged out"}
    ),
)
USER = record(
    name=TEXT,
    email=TEXT,
    is_premium=FLAG,
    in_trial=FLAG,
    trial_end_timestamp=nullable(WHOLE),
    max_alias_free_plan=WHOLE,
    connected_proton_address=nullable(TEXT),
    can_create_reverse_alias=FLAG,
    profile_picture_url=nullable(TEXT),
)
USER_EXAMPLE = {
    "name": "Alice",
    "email": "alice@example.com",
    "is_premium": True,
    "in_trial": False,
    "trial_end_timestamp": None,
    "max_alias_free_plan": 0,
    "connected_proton_address": None,
    "can_create_reverse_alias": False,
    "profile_picture_url": None,
}
describe(
    simplelogin_account.UserInfo,
    "user_info",
    get=Call("Whose key it is", USER, example=USER_EXAMPLE),
    patch=Call(
        "Change your name",
        USER,
        takes=body(name=nullable(TEXT), profile_picture=nullable(TEXT)),
        sends={"name": "Alice"},
        example=USER_EXAMPLE,
    ),
)
describe(
    simplelogin_account.Stats,
    "stats",
    get=Call(
        "How many aliases, forwards, replies, blocks",
        record(nb_alias=WHOLE, nb_forward=WHOLE, nb_reply=WHOLE, nb_block=WHOLE),
        example={"nb_alias": 12, "nb_forward": 340, "nb_reply": 0, "nb_block": 5},
    ),
)
describe(
    simplelogin_account.Contacts,
    "alias_contacts",
    get=Call("The contacts of an alias: none yet", record(contacts=listing({})), example={"contacts": []}),
    post=Call(
        "Make a reverse alias: refused",
        None,
        takes=body(contact=TEXT),
        sends={"contact": "bob@elsewhere.example"},
        refuses=(403,),
    ),
)
describe(
    simplelogin_account.OneContact,
    "contact",
    delete=Call("Delete a contact: refused", None, refuses=(403,)),
)
describe(
    simplelogin_account.ContactToggle,
    "contact_toggle",
    post=Call("Block a contact: refused", None, refuses=(403,)),
)
# What is done on the web page alone.
CREDENTIALS = body(email=TEXT, password=TEXT)
CREDENTIALS_EXAMPLE = {"email": "alice@example.com", "password": "…"}
describe(
    simplelogin_refused.Register,
    "auth_register",
    post=Call(
        "Make an account: refused",
        None,
        takes=CREDENTIALS,
        sends=CREDENTIALS_EXAMPLE,
        refuses=(400,),
        needs_key=False,
    ),
)
describe(
    simplelogin_refused.Activate,
    "auth_activate",
    post=Call(
        "Verify an account: refused",
        None,
        takes=body(email=TEXT, code=TEXT),
        sends={"email": "alice@example.com", "code": "123456"},
        refuses=(400,),
        needs_key=False,
    ),
)
describe(
    simplelogin_refused.Reactivate,
    "auth_reactivate",
    post=Call(
        "Send the mail once more: refused",
        None,
        takes=body(email=TEXT),
        sends={"email": "alice@example.com"},
        refuses=(400,),
        needs_key=False,
    ),
)
describe(
    simplelogin_refused.ForgotPassword,
    "auth_forgot_password",
    post=Call(
        "Ask for a new password: refused",
        None,
        takes=body(email=TEXT),
        sends={"email": "alice@example.com"},
        refuses=(400,),
        needs_key=False,
    ),
)
describe(
    simplelogin_refused.Sudo,
    "sudo",
    patch=Call(
        "More rights for a token: refused",
        None,
        takes=body(password=TEXT),
        sends={"password": "…"},
        refuses=(403,),
    ),
)
describe(
    simplelogin_refused.DeleteUser, "user", delete=Call("Delete the account: refused", None, refuses=(440,))
)
describe(
    simplelogin_refused.CookieToken,
    "cookie_token",
    get=Call("Sign in a browser: refused", None, refuses=(403,)),
)
describe(
    simplelogin_refused.UnlinkProton,
    "unlink_proton_account",
    delete=Call("Unlink a Proton account: refused", None, refuses=(400,)),
)
describe(
    simplelogin_refused.NotificationRead,
    "notification_read",
    post=Call("Forget a notification: refused", None, refuses=(403,)),
)
