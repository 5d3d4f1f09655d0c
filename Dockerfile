# Two images: `anonmail` (the last, so the default), and `postfix`, which has Postfix too (compose.yaml).
# Every dependency comes as a wheel for amd64 and arm64, so nothing is compiled.

ARG DEBIAN=debian:trixie-slim

# hadolint ignore=DL3006
FROM ${DEBIAN} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
# A layer of its own, which a change of Anonmail's code leaves as it is.
COPY requirements.txt .
RUN python3 -m venv --without-pip /opt/anonmail \
    && pip --python /opt/anonmail/bin/python install --no-cache-dir --requirement requirements.txt
COPY . .
# Translations into languages that Anonmail does not have, their sources, and tests are not used when it runs.
RUN pip --python /opt/anonmail/bin/python install --no-cache-dir --no-deps . \
    && find /opt/anonmail -path '*/locale/*' -name 'django*.?o' -not -path '*/de/*.mo' -not -path '*/en/*.mo' -delete \
    && find /opt/anonmail -type d -name tests -prune -exec rm -r {} +

# Debian with Python and Anonmail's user.
# hadolint ignore=DL3006
FROM ${DEBIAN} AS debian
# The ids are fixed, because volumes keep them.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 990 anonmail \
    && useradd --system --uid 990 --gid anonmail --home-dir /var/lib/anonmail --shell /usr/sbin/nologin anonmail \
    && install -d -m 0700 -o anonmail -g anonmail /var/lib/anonmail

FROM debian AS postfix
# hadolint ignore=DL3008
RUN groupadd --system --gid 991 postfix \
    && groupadd --system --gid 992 postdrop \
    && useradd --system --uid 991 --gid postfix --home-dir /var/spool/postfix --shell /usr/sbin/nologin postfix \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends postfix \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -m 2750 -o anonmail -g postfix /var/spool/postfix/anonmail
COPY --from=build /opt/anonmail /opt/anonmail
COPY container/start-postfix /usr/local/bin/
ENV PATH=/opt/anonmail/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ANONMAIL_DIR=/var/lib/anonmail \
    MAIL_LISTEN=0.0.0.0:2525
USER 990:990
WORKDIR /var/lib/anonmail
ENTRYPOINT ["anonmail"]

# Of that, what Python and backups need: no shell, no package manager.
FROM debian AS small
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client-17 \
    && rm -rf /var/lib/apt/lists/*
# Some files that packages list, such as manuals, are not there. Of PostgreSQL's client, two programs and what
# their library needs: the rest of it needs Perl.
RUN { dpkg --listfiles \
        base-files ca-certificates libbz2-1.0 libc6 libexpat1 libffi8 libgcc-s1 liblzma5 libpython3.13-minimal \
        libpython3.13-stdlib libsqlite3-0 libssl3t64 libstdc++6 libuuid1 libzstd1 media-types netbase openssl python3-minimal \
        python3.13-minimal tzdata zlib1g \
        libpq5 liblz4-1 libldap2 libsasl2-2 libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 libcom-err2 \
        libkeyutils1 libxxhash0; \
        printf '%s\n' /usr/lib/postgresql/17/bin/pg_dump /usr/lib/postgresql/17/bin/pg_restore; } \
    | sort --unique \
    | while read -r path; do if [ -e "$path" ] || [ -L "$path" ]; then printf '%s\n' "$path"; fi; done \
    | tar --create --no-recursion --files-from=- \
    | tar --extract --preserve-permissions --directory "$(mktemp -d /small.XXX)" \
    && mv /small.* /small \
    && chmod 0755 /small \
    && cp --archive --parents /etc/passwd /etc/group /etc/nsswitch.conf /etc/ssl/certs /var/lib/anonmail /small \
    && python3 -m compileall -q /small/usr/lib/python3.13 -s /small \
    && rm -rf /small/usr/share/doc /small/usr/share/man \
    # Fails if a library is missing.
    && chroot /small /usr/lib/postgresql/17/bin/pg_dump --version \
    && chroot /small /usr/lib/postgresql/17/bin/pg_restore --version

FROM scratch AS anonmail
COPY --from=small /small /
COPY --from=build /opt/anonmail /opt/anonmail
ENV PATH=/opt/anonmail/bin:/usr/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ANONMAIL_DIR=/var/lib/anonmail \
    HOST=0.0.0.0 \
    MAIL_LISTEN=0.0.0.0:2525
# Both fail if a library is missing: to Python, and to anything that was compiled, which may be loaded only when needed.
RUN ["anonmail", "help"]
# hadolint ignore=DL3059
RUN ["python", "-c", "from ctypes import CDLL; from pathlib import Path; [CDLL(str(file)) for file in Path('/opt').rglob('*.so')]"]
USER 990:990
WORKDIR /var/lib/anonmail
VOLUME /var/lib/anonmail
EXPOSE 8000 2525
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/ready', timeout=8)"]
ENTRYPOINT ["anonmail"]
CMD ["run"]
