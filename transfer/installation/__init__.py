"""The whole installation as one JSON document, out and in again without loss.

It holds password hashes, second factors and token digests: keep it as you keep the database.
"""
