"""Where the tests' calls go: SimpleLogin's main ones, and the beginning of addy.io's."""

CREATE = "/api/alias/random/new"
LIST = "/api/v2/aliases?page_id=0"
V1 = "/api/v1"
