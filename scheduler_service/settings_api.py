"""The settings of the API and of its OpenAPI document."""

from __future__ import annotations

from scheduler_service import __version__

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.access.authentication.TokenAuthentication"
    ],
    "DEFAULT_PERMISSION_CLASSES": [
        "rest_framework.permissions.IsAuthenticated",
        "accounts.access.permissions.HasTokenScope",
    ],
    "DEFAULT_PARSER_CLASSES": ["tasks_api.api.json_codec.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["tasks_api.api.json_codec.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "tasks_api.api.json_codec.AlwaysJSON",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "tasks_api.api.errors.exception_handler",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Scheduler Service",
    "VERSION": __version__,
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "tasks_api.api.openapi.add_rate_limit_responses",
        "tasks_api.api.quota_headers.add_quota_headers",
        "tasks_api.api.ops.document.arrange_document",
    ],
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    # Otherwise each field of the authorization dialog takes the focus, and the last wins.
    "SWAGGER_UI_SETTINGS": """{
      deepLinking: true,
      plugins: [{
        wrapComponents: {
          Input: (Input, system) => (props) =>
            system.React.createElement(Input, {...props, autoFocus: false}),
        },
      }],
    }""",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}
