"""The form that asks for the operator's password, and the way out.

No message passes here. access.py knows the password and counts the attempts.
"""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from console import access

LONGEST_PASSWORD = 1000


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Ask for the password; who knows it goes on to `next` with the operator's cookie."""
    if access.is_off():
        return render(request, "console/off.html", status=404)
    back = safe_address(request)
    if access.is_operator(request):
        return HttpResponse(status=303, headers={"Location": back})
    if request.method != "POST":
        return form(request, back)
    address = request.META.get("REMOTE_ADDR", "")
    if not access.may_try(address):
        refusal = form(request, back, "Too many attempts. Wait a minute, then try again.", 429)
        refusal["Retry-After"] = str(access.WINDOW_SECONDS)
        return refusal
    if not access.is_password(request.POST.get("password", "")[:LONGEST_PASSWORD]):
        return form(request, back, "That is not the password.", 403)
    access.forget_attempts(address)
    return access.let_in(HttpResponse(status=303, headers={"Location": back}))


@never_cache
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """Take the operator's cookie back."""
    response = HttpResponse(status=303, headers={"Location": reverse("home")})
    response.delete_cookie(access.COOKIE, samesite="Strict")
    return response


def form(request: HttpRequest, back: str, problem: str = "", status: int = 200) -> HttpResponse:
    context = {"next": back, "problem": problem}
    return render(request, "console/sign_in.html", context, status=status)


def safe_address(request: HttpRequest) -> str:
    """Where to go afterwards: a page of this site, whatever the request says."""
    back = request.POST.get("next") or request.GET.get("next") or ""
    mine = url_has_allowed_host_and_scheme(back, {request.get_host()}, request.is_secure())
    return back if mine and back.startswith("/") else reverse("console_messages")
