#!/usr/bin/env python
"""Anonmail's command line in a checkout."""

from anonmail_site.command_line import main

if __name__ == "__main__":
    main()
