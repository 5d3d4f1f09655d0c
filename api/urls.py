"""`/api/…`: SimpleLogin's calls, signing in, and addy.io's calls."""

from api import signin
from api.addy.urls import urlpatterns as addy_urls
from api.simplelogin.urls import urlpatterns as simplelogin_urls
from api.views import route

urlpatterns = [
    *simplelogin_urls,
    route("auth/login", signin.Login, "api-auth-login"),
    route("auth/mfa", signin.Mfa, "api-auth-mfa"),
    route("api_key", signin.ApiKey, "api-api-key"),
    *addy_urls,
]
