# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"
"""A small Django project with its admin, on a database in the folder that DJANGO_FOLDER names."""

import os
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

FOLDER = os.environ["DJANGO_FOLDER"]

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(FOLDER, "database")}},
    DEBUG=False,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    FILE_UPLOAD_TEMP_DIR=FOLDER,
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="a secret of this test",
    STATIC_URL="/static/",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    USE_TZ=True,
)
django.setup()

from django.contrib import admin  # noqa: E402
from django.contrib.staticfiles.handlers import StaticFilesHandler  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402


def hello(_request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(f"Hello, {name}!")


def stream(_request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(f"{number}\n" for number in range(1000))


def file(_request: HttpRequest) -> FileResponse:
    return FileResponse(open(__file__, "rb"), as_attachment=True, filename="site.py")


@csrf_exempt
def upload(request: HttpRequest) -> JsonResponse:
    found: dict[str, Any] = {"post": dict(request.POST)}
    found["files"] = {name: [upload.name, upload.size] for name, upload in request.FILES.items()}
    found["body"] = None if request.FILES else len(request.body)
    return JsonResponse(found)


urlpatterns = [
    path("hello/<str:name>", hello),
    path("stream", stream),
    path("file", file),
    path("upload", upload),
    path("admin/", admin.site.urls),
]

if __name__ == "django_site":
    call_command("migrate", verbosity=0)
    os.environ["DJANGO_SUPERUSER_PASSWORD"] = "open sesame"
    call_command("createsuperuser", "--noinput", username="admin", email="admin@example.com", verbosity=0)

application = StaticFilesHandler(get_wsgi_application())
