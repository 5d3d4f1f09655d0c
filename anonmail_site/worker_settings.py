"""The settings of the worker: those of the site, without the apps that it does not need.

It only sends web hooks, and starts other processes for the rest. With all apps in memory it would take half
as much again (docs/decisions.md).
"""

from anonmail_site.settings import *  # noqa: F403

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "allauth",
    "allauth.account",
    "allauth.usersessions",
    "anonmail_site.apps.WorkerConfig",
    "core",
    "accounts",
    "hooks",
]
