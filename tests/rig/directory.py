"""An LDAP directory of the tests' own: Debian's slapd on a loopback port, its files in a temporary place."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accounts.organisation.sources import Directory
from tests.rig.ports import free_port

BASE = "dc=example,dc=com"
ADMIN = f"cn=admin,{BASE}"
ADMIN_PASSWORD = "directory-password-1"
SCHEMA = Path("/etc/ldap/schema")
CONFIGURATION = """
{includes}
pidfile {directory}/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "{base}"
rootdn "{admin}"
rootpw {password}
directory {directory}/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=reader,{base}" read by * none
"""
ENTRIES = f"""
dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: cn=reader,{BASE}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: reader-password-1

dn: ou=people,{BASE}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{BASE}
objectClass: organizationalUnit
ou: groups
"""


def slapd() -> str | None:
    """The server's path, if it and the client library are installed."""
    found = shutil.which("slapd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    return found if found and find_spec("django_auth_ldap") else None


class Server:
    """A running directory."""

    def __init__(self, port: int) -> None:
        self.uri = f"ldap://127.0.0.1:{port}"

    def settings(self, **beliefs: Any) -> Directory:
        """What an installation that uses this directory has in its settings."""
        known: dict[str, Any] = {
            "key": "ldap",
            "name": "LDAP",
            "issuer": "ldap",
            "uri": self.uri,
            "bind_dn": f"cn=reader,{BASE}",
            "bind_password": "reader-password-1",
            "user_base": f"ou=people,{BASE}",
            "group_base": f"ou=groups,{BASE}",
            "trusts_addresses": True,
            "new_people": ("example.com",),
        }
        return Directory(**(known | beliefs))

    def _as_admin(self) -> Any:
        import ldap

        connection = ldap.initialize(self.uri)
        connection.simple_bind_s(ADMIN, ADMIN_PASSWORD)
        return connection

    def put_person(self, name: str, password: str, **attributes: str) -> str:
        """Add a person, in place of whoever had the name; returns the DN."""
        dn = f"uid={name},ou=people,{BASE}"
        held = {"uid": name, "cn": name.capitalize(), "sn": name, "mail": f"{name}@example.com"} | attributes
        self._put(dn, {**held, "userPassword": password}, ["inetOrgPerson"])
        return dn

    def put_group(self, name: str, *members: str) -> None:
        """Add a group, in place of the one of this name."""
        dn = f"cn={name},ou=groups,{BASE}"
        # groupOfNames must have a member.
        self._put(dn, {"cn": name, "member": [*members, ADMIN]}, ["groupOfNames"])

    def _put(self, dn: str, attributes: dict[str, Any], classes: list[str]) -> None:
        import ldap

        connection = self._as_admin()
        with contextlib.suppress(ldap.NO_SUCH_OBJECT):
            connection.delete_s(dn)
        lists = {name: value if isinstance(value, list) else [value] for name, value in attributes.items()}
        lists["objectClass"] = classes
        connection.add_s(dn, [(name, [text.encode() for text in texts]) for name, texts in lists.items()])
        connection.unbind_s()


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[Server]:
    """A directory without people, whose files are in `directory`."""
    program = slapd()
    assert program is not None
    (directory / "data").mkdir()
    includes = "\n".join(f"include {SCHEMA}/{name}.schema" for name in ("core", "cosine", "inetorgperson"))
    values = {"includes": includes, "directory": directory, "base": BASE}
    text = CONFIGURATION.format(**values, admin=ADMIN, password=ADMIN_PASSWORD)
    (directory / "slapd.conf").write_text(text)
    entries = directory / "entries.ldif"
    entries.write_text(ENTRIES)
    configured = ["-f", str(directory / "slapd.conf")]
    subprocess.run(
        [program, "-T", "add", *configured, "-l", str(entries)], check=True, capture_output=True, timeout=300
    )
    port = free_port()
    server = Server(port)
    process = subprocess.Popen(
        [program, *configured, "-h", server.uri, "-d", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(server)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait(server: Server) -> None:
    import ldap

    until = time.monotonic() + 20
    while True:
        try:
            server._as_admin().unbind_s()
            return
        except ldap.SERVER_DOWN:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
