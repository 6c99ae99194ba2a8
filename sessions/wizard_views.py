"""The three-step wizard over HTTP. Every POST saves the answers first; only then are they judged. A GET never writes.

See docs/adr/0003-wizard-drafts.md.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpResponse, HttpResponseRedirect, QueryDict
from django.middleware.csrf import CsrfViewMiddleware
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import HttpResponseClientRedirect, push_url, replace_url, reswap, retarget

from compute.access import require_role, workspace_view
from compute.errors import Refused
from compute.models import Role, Workspace
from presets.catalog import runnable_presets
from presets.models import Preset
from sessions import drafts, services, wizard_forms
from sessions.models import Draft, Session
from sessions.spec import choices, defaults, suggest_name
from sessions.wizard import BY_IDENTIFIER, STEPS, Answers, Step, destination, first_with_problems, furthest_reached, position
from sessions.wizard_page import Page


@require_safe
@never_cache
@workspace_view
def new(request: Any) -> HttpResponse:
    """The first step with the preset's defaults (``?preset=``), under a draft id that the first POST will bring along."""
    require_role(request.membership, Role.MEMBER, "launch sessions")
    presets = runnable_presets(request.workspace)
    if not presets:
        return render(request, "sessions/wizard/nothing.html")
    answers = _fresh_answers(request.user, request.workspace, request.GET.get("preset") or presets[0].slug)
    page = Page(request.user, request.workspace, uuid.uuid4(), STEPS[0], answers)
    page.presets = presets
    recent = drafts.recent(request.user, request.workspace)
    context = {"page": page, "recent": recent, "recent_answers": Answers.from_data(recent.data) if recent else None}
    return render(request, "sessions/wizard/page.html", context)


# Checked in the view itself, so that a form that outlived its sign-in can still be saved (never launched).
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def draft(request: Any, workspace: str, draft_id: uuid.UUID, step: str) -> HttpResponse:
    if step not in BY_IDENTIFIER:
        raise Http404("No such step.")
    refusal = CsrfViewMiddleware(lambda _: HttpResponse()).process_view(request, _signed_in, (), {})
    if refusal is not None or (request.method == "POST" and not request.user.is_authenticated):
        return _keep_for_later(request, workspace, draft_id, step, refusal)
    return _signed_in(request, workspace, draft_id, BY_IDENTIFIER[step])


@workspace_view
def _signed_in(request: Any, draft_id: uuid.UUID, step: Step) -> HttpResponse:
    require_role(request.membership, Role.MEMBER, "launch sessions")
    return _post(request, draft_id, step) if request.method == "POST" else _get(request, draft_id, step)


def _keep_for_later(request: Any, workspace: str, draft_id: uuid.UUID, step: str, refusal: HttpResponse | None) -> HttpResponse:
    """Keep a POST whose sign-in has ended or been renewed until its user is (again) signed in, if it is truly our form's."""
    here = reverse("sessions:draft", args=(workspace, draft_id, step))
    owner = drafts.owner_of_key(request.POST.get("key", ""), draft_id)
    genuine = owner and (refusal is None or request.headers.get("Origin") in settings.CSRF_TRUSTED_ORIGINS)
    if request.user.is_authenticated and (not genuine or owner != str(request.user.pk)):
        return refusal or HttpResponse(status=403)
    if genuine:
        form = request.POST.copy()
        form.pop("csrfmiddlewaretoken", None)
        if not drafts.stash(request.session, draft_id, owner, drafts.Stashed(step, form.urlencode())):
            messages.warning(request, "Your newest changes were too long to keep while you sign in. What was saved before is still there.")
    elif refusal is not None:
        return refusal
    where = here if request.user.is_authenticated else redirect_to_login(here).url
    return HttpResponseClientRedirect(where) if request.htmx else redirect(where)


def _get(request: Any, draft_id: uuid.UUID, step: Step) -> HttpResponse:
    stashed = drafts.unstash(request.session, draft_id, request.user)
    if stashed is not None and stashed.step in BY_IDENTIFIER:
        # An earlier POST's answers are taken now; nothing else of what it wanted is done.
        with drafts.editing(request.user, request.workspace, draft_id) as draft:
            if not draft.launched_host:
                _take(request.user, request.workspace, draft, BY_IDENTIFIER[stashed.step], QueryDict(stashed.body))
        messages.info(request, "Your sign-in had ended. Everything you typed is still here.")
    draft = drafts.find(request.user, request.workspace, draft_id)
    if draft.launched_host:
        return _after_launch(request, draft)
    answers = Answers.from_data(draft.data)
    furthest = furthest_reached(answers)
    if position(step) > position(furthest):
        return _to_step(request, draft_id, furthest)
    page = Page(request.user, request.workspace, draft_id, step, answers)
    if not page.is_first and page.choices is None:
        return _to_step(request, draft_id, STEPS[0])
    return render(request, "sessions/wizard/page.html", {"page": page})


def _post(request: Any, draft_id: uuid.UUID, step: Step) -> HttpResponse:
    intent = request.POST.get("intent", "next")
    if intent == "discard":
        drafts.discard(request.user, request.workspace, draft_id)
        return redirect("sessions:new", request.workspace.name)
    with drafts.editing(request.user, request.workspace, draft_id) as draft:
        if draft.launched_host:
            return _after_launch(request, draft)
        answers = _take(request.user, request.workspace, draft, step, request.POST)
        page = Page(request.user, request.workspace, draft_id, step, answers)
        unseen = answers.preset != request.POST.get(wizard_forms.RENDERED, answers.preset)  # the images of another preset
        target = step if unseen else destination(step, intent, answers, page.checked.problems)
        draft.data = answers.to_data()
    if unseen and intent != "save":
        messages.info(request, "The preset has changed: these are its images. Choose one and go on.")
    if target is None:
        return _launch(request, draft, page)
    if not request.htmx:
        return _to_step(request, draft_id, target, rows=wizard_forms.rows_of(intent))
    if intent == "save" or wizard_forms.rows_of(intent):
        return _saved(request, page, intent)
    return _swapped(request, page, target)


def _take(user: Any, workspace: Workspace, draft: Draft, step: Step, post: QueryDict) -> Answers:
    """The draft's answers with those of the POST, which are put into the draft. Nothing is judged."""
    start = post.get(wizard_forms.RENDERED) or post.get("preset", "")
    answers = Answers.from_data(draft.data) if draft.data else _fresh_answers(user, workspace, start)
    preset = answers.preset
    wizard_forms.read(answers, step, post)
    if answers.preset != preset and (row := _offered(workspace, answers.preset)):
        offered = choices(user, workspace, row)
        answers.follow(defaults(user, workspace, row, offered), offered)
    if "name" not in answers.touched and Session.objects.filter(workspace=workspace, name=answers.name).exists():
        # Our own suggestion has been taken meanwhile (by another tab, say): suggest the next one.
        answers.name = suggest_name(workspace, row) if (row := _offered(workspace, answers.preset)) else answers.name
    wizard_forms.apply_rows(answers, post.get("intent", ""))
    draft.data = answers.to_data()
    return answers


def _fresh_answers(user: Any, workspace: Workspace, preset: str) -> Answers:
    row = _offered(workspace, preset)
    return Answers.from_spec(defaults(user, workspace, row)) if row else Answers(preset=preset)


def _offered(workspace: Workspace, preset: str) -> Preset | None:
    return Preset.objects.offered_to(workspace).filter(slug=preset).first()


def _launch(request: Any, draft: Draft, page: Page) -> HttpResponse:
    try:
        session = services.launch(request.user, request.workspace, page.answers.to_spec(), draft=draft)
    except Refused as refused:
        target = first_with_problems(refused.problems) or page.step
        if not page.checked.problems:  # it went wrong between our look and the launch's
            messages.error(request, str(refused))
        return _swapped(request, page, target) if request.htmx else _to_step(request, page.draft_id, target)
    return _away(request, session.get_absolute_url())


def _after_launch(request: Any, draft: Draft) -> HttpResponse:
    """A draft that has launched leads to its session, whatever was asked of it."""
    if draft.session is not None:
        return _away(request, draft.session.get_absolute_url())
    messages.info(request, f"This draft was launched as {draft.launched_host}, which has been deleted since.")
    return _away(request, reverse("sessions:list", args=(request.workspace.name,)))


def _away(request: Any, url: str) -> HttpResponse:
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)


def _step_url(request: Any, draft_id: uuid.UUID, step: Step) -> str:
    return reverse("sessions:draft", args=(request.workspace.name, draft_id, step.identifier))


def _to_step(request: Any, draft_id: uuid.UUID, step: Step, rows: str = "") -> HttpResponseRedirect:
    """Redirect to the step; ``rows`` names rows that were added to or removed from, and where to look then."""
    return redirect(_step_url(request, draft_id, step) + (f"#id_{rows}" if rows else ""))


def _swapped(request: Any, page: Page, target: Step) -> HttpResponse:
    """The whole wizard at ``target``, for htmx."""
    moved = target != page.step
    shown = Page(request.user, request.workspace, page.draft_id, target, page.answers) if moved else page
    response = render(request, "sessions/wizard/page.html#wizard", {"page": shown, "moved": moved})
    url = _step_url(request, page.draft_id, target)
    return push_url(response, url) if moved else replace_url(response, url)


def _saved(request: Any, page: Page, intent: str) -> HttpResponse:
    """The summary and every message, and only those controls that the server changed: what is being typed stays untouched."""
    post, answers = request.POST, page.answers
    on_screen = {*post.getlist("volume_row"), *post.getlist("env_row")}
    volumes, variables = (page.volume_rows, page.variable_rows) if page.is_last else ([], [])
    added = [view for view in (*volumes, *variables) if view.row.id not in on_screen]
    new_regions = {cell.region for view in added for cell in view.cells.values()}
    verb, _, row_id = intent.rpartition(":")
    context = {
        "page": page,
        "regions": [region for region in page.regions if region.region not in new_regions],
        "name_changed": page.is_first and post.get("name", "").strip() != answers.name,
        "preset_changed": page.is_first and post.get(wizard_forms.RENDERED) != answers.preset,
        "paths_changed": [
            view
            for view in volumes
            if view not in added and post.get(f"volume.{view.row.id}.mount_path", "").strip() != view.row.mount_path
        ],
        "added_volumes": [view for view in volumes if view in added],
        "added_variables": [view for view in variables if view in added],
        "removed": row_id if verb.startswith("remove:") else "",
    }
    response = render(request, "sessions/wizard/saved.html", context)
    response = replace_url(response, _step_url(request, page.draft_id, page.step))
    return reswap(retarget(response, "#wizard-summary"), "innerHTML")
