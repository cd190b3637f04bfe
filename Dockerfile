# The site, and the queue alone (--target queue). docs/deploy.md says how to build and run them.
FROM python:3.13-slim-trixie AS build
COPY --from=astral/uv:0.13.9 /uv /usr/local/bin/uv
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /app
# The libraries first: they change less often than the code.
COPY pyproject.toml uv.lock .python-version ./
RUN uv sync --locked --no-dev
COPY . .
RUN SECRET_KEY=only-while-building .venv/bin/python manage.py collectstatic --noinput \
    && .venv/bin/python -m compileall -q -x '/[.]' . && mkdir /data

FROM python:3.13-slim-trixie AS run
COPY --from=build /app /app
# All that is written: the database if it is SQLite, and the secret.
COPY --from=build --chown=10001:10001 /data /data
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
VOLUME /data
# A number, as platforms that forbid root do not look up names.
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz')"]

FROM run AS queue
# Names a file: the queue keeps its database and its secret in the folder where it is started.
# hadolint ignore=DL3064
ENV PORT=8080 SECRET_KEY_FILE=/data/broker.sqlite3.secret
WORKDIR /data
EXPOSE 8080
ENTRYPOINT ["python", "/app/manage.py", "broker", "--host", "0.0.0.0"]

FROM run AS site
# Names a file; the secret in it is made when the site starts for the first time.
# hadolint ignore=DL3064
ENV PORT=8000 DATABASE_URL=sqlite:////data/db.sqlite3 SECRET_KEY_FILE=/data/secret-key
WORKDIR /app
EXPOSE 8000
# `exec`: SIGTERM must reach gunicorn and not a shell.
CMD ["sh", "-c", "python manage.py migrate_locked && exec gunicorn"]
