FROM python:3.11-slim-bookworm AS builder
RUN python -m venv /venv
COPY requirements.lock .
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock

FROM python:3.11-slim-bookworm AS guide
WORKDIR /guide
COPY requirements-docs.lock .
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-docs.lock
COPY docs/ docs/
COPY mkdocs.yml .
RUN mkdocs build --strict

FROM python:3.11-slim-bookworm
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    SCHEDULER_ENV=production \
    SCHEDULER_STATE_DIR=/var/lib/scheduler
# A fixed number, so that the owner of a volume stays the same from image to image.
RUN useradd --system --uid 10001 --no-create-home scheduler \
    && install -d -o scheduler -g scheduler -m 0700 /var/lib/scheduler
COPY --from=builder /venv /venv
WORKDIR /app
COPY accounts/ accounts/
COPY console/ console/
COPY scheduler_service/ scheduler_service/
COPY tasks_api/ tasks_api/
COPY manage.py .
COPY --from=guide /guide/var/site/ var/site/
# Nothing is connected to, but production refuses to load without these.
RUN SECRET_KEY=unused-while-the-image-is-being-built \
    DATABASE_URL=postgresql://unused/unused \
    REDIS_URL=redis://unused \
    python manage.py collectstatic --no-input

USER scheduler
EXPOSE 8000
STOPSIGNAL SIGTERM
# /healthz answers as long as the process lives; it asks neither database nor broker.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '8000') + '/healthz', timeout=4)"]
CMD ["python", "-m", "scheduler_service.web"]
