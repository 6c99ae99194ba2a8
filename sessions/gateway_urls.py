"""What nginx asks of Django for the sessions' origins. From outside, nginx answers 404 for all of it."""

from django.urls import path

from sessions import gateway_views

app_name = "gateway"
urlpatterns = [
    path("authorize", gateway_views.authorize, name="authorize"),
    path("enter", gateway_views.enter, name="enter"),
    path("refused", gateway_views.refused, name="refused"),
]
