"""Other services' files, written as those services write them."""

SIMPLELOGIN_CSV = """alias,note,enabled,mailboxes
shop.one@example.com,"Shoes, order ""4711""
second line",True,alice@example.com alice@home.test
off@example.com,,False,alice@example.com
bare@example.com,,True,
"""

# The columns of its table, as its export has them.
ADDY_CSV = (
    "id,user_id,aliasable_id,aliasable_type,local_part,extension,domain,email,active,description,from_name,"
    "emails_forwarded,emails_blocked,emails_replied,emails_sent,created_at,updated_at,deleted_at\r\n"
    "50c9e585-e7f5-41c4-9016-9014c15454bc,u,,,shop,ext,example.com,shop@example.com,1,Shoes,Alice A,3,0,0,0,"
    "2024-01-02 03:04:05,2024-01-02 03:04:05,\r\n"
    "60c9e585-e7f5-41c4-9016-9014c15454bc,u,,,off,,example.com,off@example.com,,,,0,0,0,0,"
    "2024-01-02 03:04:05,2024-01-02 03:04:05,\r\n"
    "70c9e585-e7f5-41c4-9016-9014c15454bc,u,,,gone,,example.com,gone@example.com,,,,0,0,0,0,"
    "2024-01-02 03:04:05,2024-01-02 03:04:05,2024-02-02 03:04:05\r\n"
)

MAILU_YAML = """
domain:
  - name: example.com
    anonmail_enabled: true
    comment: 'ours'

  - name: other.org
    dkim_key: |
      -----BEGIN PRIVATE KEY-----
      <hidden>

user:
  - email: alice@example.com
    displayed_name: Alice
    password: <hidden>

  - email: old@example.com
    enabled: false
    password: <hidden>

alias:
  - email: github.word@example.com
    destination:
      - alice@example.com
    owner_email: alice@example.com
    hostname: github.com
    note: 'Website: github.com'
    disabled: true

  - email: sales.team@example.com
    comment: one person's
    destination: [alice@example.com]

  - email: everybody@example.com
    destination:
      - alice@example.com
      - old@example.com

  - email: away@example.com
    destination: [somebody@elsewhere.test]

  - email: Postmaster@example.com
    destination: [alice@example.com]

  - email: 'sales-%@example.com'
    wildcard: true
    destination: [alice@example.com]
"""
