"""Pages that are still to be written; each will be a module of its own."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def placeholder(request: HttpRequest) -> HttpResponse:
    return render(request, "recipes/placeholder.html")
