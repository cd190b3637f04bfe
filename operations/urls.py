"""The doctor's page, and where the doctor's own requests arrive."""

from django.urls import path

from operations import doctor_page, probes

urlpatterns = [
    path("queue/doctor", doctor_page.doctor, name="doctor"),
    path("api/doctor/seen", probes.seen, name="doctor_seen"),
    path("api/doctor/form", probes.form, name="doctor_form"),
    path("api/doctor/signature", probes.signature, name="doctor_signature"),
]
