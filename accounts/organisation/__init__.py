"""Signing in with what an organisation has: OpenID Connect, a directory, a proxy in front (docs/sign-in.md).

`sources` says who is believed about what; `openid`, `ldap` and `proxy` find out who somebody is; `arriving`
decides which account that is, and `rights` what it may do.
"""
