"""A Django site in one file, with its admin; an ordinary project is served by the same `main`.

Run `pip install django` and `python examples/django_app.py` (PORT=... for another port,
DATABASE=... for another file than example.sqlite3), then open http://127.0.0.1:8888/admin/: user
`admin`, password `admin`.
"""

import asyncio
import contextlib
import os
import signal

import django
from django.conf import settings
from django.contrib import admin
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.management import CommandError, call_command
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.wsgi import WSGIContainer

settings.configure(
    SECRET_KEY="of an example",
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("DATABASE", "example.sqlite3"),
        }
    },
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
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
    STATIC_URL="static/",
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()


def hello(request):
    return HttpResponse(f"Hello, {request.GET.get('name', 'you')}!\n", content_type="text/plain")


@csrf_exempt
def upload(request):
    file = request.FILES["file"]
    size = sum(len(chunk) for chunk in file.chunks())
    return HttpResponse(f"{file.name}: {size} bytes\n", content_type="text/plain")


def count(request):
    return StreamingHttpResponse((f"{number}\n" for number in range(1000)), "text/plain")


def source(request):
    return FileResponse(open(__file__, "rb"), content_type="text/plain")


urlpatterns = [
    path("", hello),
    path("upload", upload),
    path("count", count),
    path("source", source),
    path("admin/", admin.site.urls),
]


async def main(application):
    asked_to_end = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, asked_to_end.set)
    server = HTTPServer(WSGIContainer(application))
    server.listen(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
    await asked_to_end.wait()
    await server.drain(grace=0.1)


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    os.environ.setdefault("DJANGO_SUPERUSER_PASSWORD", "admin")
    with contextlib.suppress(CommandError):  # it has been made before
        call_command(
            "createsuperuser",
            interactive=False,
            username="admin",
            email="a@example.com",
            verbosity=0,
        )
    # The admin's own files. A site that many use has nginx or WhiteNoise for them.
    application = StaticFilesHandler(get_wsgi_application())
    asyncio.run(main(application))
