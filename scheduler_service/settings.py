"""Every setting, read from the environment; docs/reference/settings.md lists them."""

from __future__ import annotations

from pathlib import Path
from socket import gethostname
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

from scheduler_service.brokers import options as broker_options
from scheduler_service.brokers import urls as broker_urls
from scheduler_service.environment import DEVELOPMENT, env
from scheduler_service.local import state_files, urls
from scheduler_service.process import mail_urls, time_zones
from scheduler_service.redis import connections
from scheduler_service.settings_api import *  # noqa: F403 (all of them are settings)
from scheduler_service.settings_login import *  # noqa: F403 (all of them are settings)

BASE_DIR = Path(__file__).resolve().parent.parent

# Before any time zone is loaded.
TIME_ZONE_RULES = time_zones.use_newest_rules()

STATE_DIR = Path(env.str("SCHEDULER_STATE_DIR", str(BASE_DIR / "var"))).resolve()
HOST = env.str("HOST", "127.0.0.1")
PORT = env.int("PORT", 8000)
WEB_CONCURRENCY = env.int("WEB_CONCURRENCY", 2)
WEB_THREADS = env.int("WEB_THREADS", 4)
FLOWER_PORT = env.int("FLOWER_PORT", 5555)
FLOWER_BASIC_AUTH = env.str("FLOWER_BASIC_AUTH", "")
# Where workers and beats answer probes; 0 is nowhere.
METRICS_PORT = env.int("METRICS_PORT", 0)
METRICS_TOKEN = env.str("METRICS_TOKEN", "")
# Seconds without work after which a process counts as stuck.
PROBE_PATIENCE = env.float("PROBE_PATIENCE", 60.0)

# The name of this cell, where several serve their tenants behind one door.
SCHEDULER_CELL = env.str("SCHEDULER_CELL", "")
# The small PostgreSQL that says which cell a tenant lives in; empty: there is one cell.
DIRECTORY_URL = env.str("DIRECTORY_URL", "")
# The door of this machine: its name, its maps, and the runtime API of its HAProxy.
DOOR_NAME = env.str("DOOR_NAME", "") or gethostname()
DOOR_DIR = Path(env.str("DOOR_DIR", str(STATE_DIR / "door"))).resolve()
DOOR_SOCKET = Path(env.str("DOOR_SOCKET", str(DOOR_DIR / "haproxy.sock")))

DEBUG = False
SECRET_KEY = env.str("SECRET_KEY", "")
if not SECRET_KEY:
    if not DEVELOPMENT:
        raise ImproperlyConfigured("SECRET_KEY must be set in production.")
    SECRET_KEY = state_files.load_or_create_secret(
        STATE_DIR / "secret_key", get_random_secret_key
    )
if len(SECRET_KEY) < 32 and not DEVELOPMENT:
    raise ImproperlyConfigured(
        f"SECRET_KEY has {len(SECRET_KEY)} characters and may be guessed; in production it "
        'must have 32 at least: python -c "import secrets; print(secrets.token_urlsafe(50))"'
    )
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
# Encrypted columns derive their key from SECRET_KEY and this; the secret part is
# SECRET_KEY, which rotates through SECRET_KEY_FALLBACKS.
SALT_KEY = "scheduler-service"

ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["*"] if DEVELOPMENT else [])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# The number of proxies in front of us whose X-Forwarded-For is trusted.
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", 0)
# Wrong passwords for an account, and wrong tokens and secrets, from one address within
# five minutes, per web process.
SCHEDULER_MAX_FAILED_LOGINS = env.int("SCHEDULER_MAX_FAILED_LOGINS", 5)
SCHEDULER_MAX_FAILED_CALLS = env.int("SCHEDULER_MAX_FAILED_CALLS", 300)
# Characters of the shared secrets of tenants.
SCHEDULER_MIN_SECRET_LENGTH = env.int(
    "SCHEDULER_MIN_SECRET_LENGTH", 1 if DEVELOPMENT else 24
)

# What tenants may ask for.
SCHEDULER_MIN_FREQUENCY = env.int("SCHEDULER_MIN_FREQUENCY", 4 if DEVELOPMENT else 3600)
# For cron expressions and @every in every wire format, in seconds.
SCHEDULER_MIN_CRON_INTERVAL = env.int("SCHEDULER_MIN_CRON_INTERVAL", 1)
SCHEDULER_ALLOW_PRIVATE_TARGETS = env.bool("SCHEDULER_ALLOW_PRIVATE_TARGETS", False)
# Networks that no task may call, whatever else is allowed.
SCHEDULER_DENIED_NETWORKS = env.str("SCHEDULER_DENIED_NETWORKS", "")
# The secret and the endpoint of the tenant "default", whose timers need no more.
SECRET = env.str("SECRET", "")
ENDPOINT = env.str("ENDPOINT", "")
# The tenant of clients that send no token, in wire formats without one.
SCHEDULER_ANONYMOUS_TENANT = env.str("SCHEDULER_ANONYMOUS_TENANT", "")
SCHEDULER_MAX_BODY_BYTES = env.int("SCHEDULER_MAX_BODY_BYTES", 1024 * 1024)
# For requests that create many tasks.
SCHEDULER_MAX_BULK_BYTES = env.int("SCHEDULER_MAX_BULK_BYTES", 32 * 1024 * 1024)
# JSON values in a body, each of which takes far more memory than its characters.
SCHEDULER_MAX_BODY_VALUES = env.int("SCHEDULER_MAX_BODY_VALUES", 1_000_000)
DATA_UPLOAD_MAX_MEMORY_SIZE = SCHEDULER_MAX_BODY_BYTES
# Seconds for a body to arrive, and one more for each 256 KiB that have.
SCHEDULER_BODY_TIMEOUT = env.float("SCHEDULER_BODY_TIMEOUT", 10.0)

# Where targets reach this service; sent to targets of tasks with long work.
SCHEDULER_PUBLIC_URL = env.str("SCHEDULER_PUBLIC_URL", "")

# How mail leaves, such as smtp+tls://user:password@mail.example.com:587; empty: not at all.
EMAIL_URL = env.str("EMAIL_URL", "consolemail://" if DEVELOPMENT else "")
EMAIL_BACKEND, EMAIL_HOST, EMAIL_PORT, *_login = mail_urls.parse(EMAIL_URL)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD, EMAIL_USE_TLS, EMAIL_USE_SSL = _login
# Seconds for each step of the conversation with the mail server.
EMAIL_TIMEOUT = env.float("EMAIL_TIMEOUT", 10.0)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", "scheduler@localhost")
# Whether invitations, and links to choose another password, go out by mail.
SENDS_MAIL = bool(EMAIL_URL)

# How the engine works. Spans are seconds.
SCHEDULER_LOOK_AHEAD = env.float("SCHEDULER_LOOK_AHEAD", 1.0)
SCHEDULER_MISFIRE_GRACE = env.float("SCHEDULER_MISFIRE_GRACE", 5.0)
SCHEDULER_REQUEST_TIMEOUT = env.float("SCHEDULER_REQUEST_TIMEOUT", 30.0)
SCHEDULER_MAX_REQUEST_TIMEOUT = env.int("SCHEDULER_MAX_REQUEST_TIMEOUT", 300)
SCHEDULER_LEASE = env.float("SCHEDULER_LEASE", 10.0)
SCHEDULER_MAX_IN_FLIGHT = env.int("SCHEDULER_MAX_IN_FLIGHT", 1000)
SCHEDULER_MAX_PER_TENANT = env.int("SCHEDULER_MAX_PER_TENANT", 500)
SCHEDULER_MAX_PER_HOST = env.int("SCHEDULER_MAX_PER_HOST", 100)
SCHEDULER_LOOKUP_TIMEOUT = env.float("SCHEDULER_LOOKUP_TIMEOUT", 5.0)
# Bytes of bodies, headers and URLs that a worker holds at a time.
SCHEDULER_MAX_BYTES_IN_FLIGHT = env.int("SCHEDULER_MAX_BYTES_IN_FLIGHT", 64 * 2**20)
SCHEDULER_RETENTION_DAYS = env.int("SCHEDULER_RETENTION_DAYS", 30)
SCHEDULER_AUDIT_RETENTION_DAYS = env.int("SCHEDULER_AUDIT_RETENTION_DAYS", 365)

INSTALLED_APPS = [
    # Before the packages whose templates it replaces.
    "console",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
    "django_htmx",
    # After the packages whose models it keeps out of the admin.
    "accounts",
    "tasks_api",
    "scheduler_service",
    "scheduler_service.compat.celery_beat.WideIdsBeatConfig",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "tasks_api.api.early_responses.AllowedHostsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "scheduler_service.http.csp.ContentSecurityPolicy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.access.middleware.AuditActorMiddleware",
]
# A redirect would lose the body of a POST, so paths answer with and without a slash.
APPEND_SLASH = False

ROOT_URLCONF = "scheduler_service.urls"
WSGI_APPLICATION = "scheduler_service.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "console.navigation.navigation",
            ]
        },
    }
]

DATABASE_URL = env.str("DATABASE_URL", "")
EMBEDDED_POSTGRES = not DATABASE_URL
# PostgreSQL itself, if the pooler of DATABASE_URL gives one session to several clients.
DATABASE_DIRECT_URL = env.str("DATABASE_DIRECT_URL", "")
if DATABASE_DIRECT_URL and EMBEDDED_POSTGRES:
    raise ImproperlyConfigured(
        "DATABASE_DIRECT_URL is set, and DATABASE_URL is not: it names the pooler in "
        "front of the same PostgreSQL."
    )
# Seconds; 0 leaves one to the server.
DATABASE_STATEMENT_TIMEOUT = env.float("DATABASE_STATEMENT_TIMEOUT", 30.0)
DATABASE_LOCK_TIMEOUT = env.float("DATABASE_LOCK_TIMEOUT", 10.0)
DATABASE_IDLE_TIMEOUT = env.float("DATABASE_IDLE_TIMEOUT", 60.0)
DATABASE_URL = DATABASE_URL or urls.postgres_url(STATE_DIR)


# A lost peer is noticed within 20 s, whether we wait for it or write to it.
PEER_LIMITS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
}


# What is prepared is planned once, for any values. Left alone, PostgreSQL may plan the take
# anew each time in a small database, for longer than it runs.
PLAN_ONCE = "-c plan_cache_mode=force_generic_plan"


def _session_options(given: str) -> str:
    """Limits and plans of a session, as options of the server's command line.

    What is `given` wins.
    """
    seconds = {
        "statement_timeout": DATABASE_STATEMENT_TIMEOUT,
        "lock_timeout": DATABASE_LOCK_TIMEOUT,
        "idle_in_transaction_session_timeout": DATABASE_IDLE_TIMEOUT,
    }
    ours = [f"-c {name}={limit * 1000:.0f}" for name, limit in seconds.items() if limit]
    return " ".join([*ours, PLAN_ONCE, given]).strip()


def _database(variable: str, url: str, *, shares_sessions: bool) -> dict[str, Any]:
    config: dict[str, Any] = env.db_url_config(url)
    if config.get("ENGINE") != "django.db.backends.postgresql":
        raise ImproperlyConfigured(
            f"{variable} must name a PostgreSQL database: "
            "postgresql://user:password@host:5432/name"
        )
    given = config.get("OPTIONS", {})
    # The threshold is for statements.prepared(); Django's cursors prepare nothing.
    threshold = None if shares_sessions else 2
    options = {**PEER_LIMITS, "prepare_threshold": threshold, **given}
    options["options"] = _session_options(given.get("options", ""))
    return {
        **config,
        "ENGINE": "scheduler_service.db.postgresql",
        "OPTIONS": {name: value for name, value in options.items() if value != ""},
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "SHARES_SESSIONS": shares_sessions,
        # Django declares such a cursor in one statement and reads it in the next ones.
        "DISABLE_SERVER_SIDE_CURSORS": shares_sessions,
    }


DATABASES = {
    "default": _database(
        "DATABASE_URL", DATABASE_URL, shares_sessions=bool(DATABASE_DIRECT_URL)
    )
}
if DATABASE_DIRECT_URL:
    DATABASES["direct"] = _database(
        "DATABASE_DIRECT_URL", DATABASE_DIRECT_URL, shares_sessions=False
    )
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en-us"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = "scheduler_service.formats"

STATIC_URL = "static/"
# Development serves the packages' files where they lie; production collects them.
STATIC_ROOT = None if DEVELOPMENT else BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = DEVELOPMENT
WHITENOISE_AUTOREFRESH = False
# Where `make docs` builds the site that /guide/ shows.
GUIDE_DIR = BASE_DIR / "var" / "site"

# Behind TLS in production; `make run` speaks plain HTTP on loopback.
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", not DEVELOPMENT)
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics|health|v1/health)/?$"]
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", 0 if DEVELOPMENT else 31_536_000)
# Affects other names of the domain, so the operator must ask for it.
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", False)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", False)
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
# Seconds that a login lasts.
SESSION_COOKIE_AGE = env.int("SESSION_COOKIE_AGE", 12 * 3600)
SESSION_COOKIE_SECURE = not DEVELOPMENT
CSRF_COOKIE_SECURE = not DEVELOPMENT
X_FRAME_OPTIONS = "DENY"
if env.bool("BEHIND_TLS_PROXY", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Celery reads this variable itself, too.
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", "")
REDIS_URL = env.str("REDIS_URL", "")
EMBEDDED_REDIS = not REDIS_URL and not CELERY_BROKER_URL
if EMBEDDED_REDIS:
    REDIS_URL = urls.redis_url(STATE_DIR)
# Beside RabbitMQ there need not be a Redis.
if not REDIS_URL and not broker_urls.is_rabbitmq(CELERY_BROKER_URL):
    REDIS_URL = CELERY_BROKER_URL
CELERY_BROKER_URL = CELERY_BROKER_URL or REDIS_URL
# The name of the Redis that Sentinels watch, and the Sentinels' own password.
REDIS_SENTINEL_MASTER = env.str("REDIS_SENTINEL_MASTER", "")
REDIS_SENTINEL_PASSWORD = env.str("REDIS_SENTINEL_PASSWORD", "")
for _problem in (
    REDIS_URL and connections.find_url_problem(REDIS_URL, REDIS_SENTINEL_MASTER),
    broker_urls.find_url_problem(CELERY_BROKER_URL, REDIS_SENTINEL_MASTER),
):
    if _problem:
        raise ImproperlyConfigured(_problem)

CELERY_TIMEZONE = "UTC"
CELERY_TASK_DEFAULT_QUEUE = "deliver"
# The rows are the truth: messages are hints, acknowledged early, without results.
CELERY_TASK_IGNORE_RESULT = True
CELERY_RESULT_BACKEND = None
CELERY_RESULT_EXPIRES = None
CELERY_TASK_PUBLISH_RETRY = False
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_CONSUMER = "scheduler_service.consumer:TolerantConsumer"
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_CONCURRENCY = env.int("WORKER_THREADS", 4)
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = True
# An attempt that is under way when the broker drops is finished, not cut.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# Without it a worker exits when the broker is out of disk or memory.
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_BROKER_TRANSPORT_OPTIONS = broker_options.transport_options(
    CELERY_BROKER_URL, master=REDIS_SENTINEL_MASTER, password=REDIS_SENTINEL_PASSWORD
)
CELERY_BROKER_CONNECTION_TIMEOUT = broker_options.connect_timeout(CELERY_BROKER_URL)
CELERY_BROKER_USE_SSL = broker_options.tls_options(CELERY_BROKER_URL)
CELERY_TASK_DEFAULT_QUEUE_TYPE = broker_options.queue_type(CELERY_BROKER_URL)
# Seconds; RabbitMQ and its clients notice within two of them that the other is lost.
CELERY_BROKER_HEARTBEAT = 10
CELERY_BEAT_SCHEDULER = "tasks_api.scheduler.beat:TenantScheduler"
DJANGO_CELERY_BEAT_TZ_AWARE = True

LOG_LEVEL = env.str("LOG_LEVEL", "INFO")
LOG_FORMAT = env.str("LOG_FORMAT", "text" if DEVELOPMENT else "json")
if LOG_FORMAT not in {"text", "json"}:
    raise ImproperlyConfigured(f"LOG_FORMAT is {LOG_FORMAT!r}; it may be text or json.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {
            "()": "scheduler_service.process.logs.TextFormatter",
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        },
        "json": {
            "()": "scheduler_service.process.logs.JSONFormatter",
            "cell": SCHEDULER_CELL,
        },
    },
    "handlers": {
        "stderr": {
            "class": "scheduler_service.process.logs.NonBlockingHandler",
            "formatter": LOG_FORMAT,
        }
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # A refused request is an answer, not an incident.
        "django.request": {"level": "ERROR"},
        # It logs every message.
        "celery": {"level": "WARNING"},
        # Any client of Redis could write into the log.
        "kombu.pidbox": {"level": "CRITICAL"},
        "kombu.transport.redis": {"level": "ERROR"},
    },
}

# The variables read above; any other SCHEDULER_ variable is misspelt.
KNOWN_VARIABLES = frozenset(env.read_names)
