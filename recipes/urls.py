"""The tutorial's other examples: one module, one page and one endpoint each."""

from django.urls import path

from recipes import views
from recipes.how_it_works import HowItWorks

urlpatterns = [
    path("email", views.placeholder, name="email"),
    path("image", views.placeholder, name="image"),
    path("schedule", views.placeholder, name="schedule"),
    path("callback", views.placeholder, name="callback"),
    path("url-group", views.placeholder, name="url_group"),
    path("how-it-works", HowItWorks.as_view(), name="how_it_works"),
]
