"""Forms of the catalog's admin pages: what one row alone can't tell is checked here, across the page."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from adminsortable2.admin import CustomInlineFormSetMixin
from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q

from compute.admin_base import CatalogForm, CatalogFormSet
from compute.admin_usage import Use
from compute.models import Workspace
from presets.durations import parse, spell
from presets.models import Configuration, Image, Preset, PresetVolume, VolumeMount
from presets.pictures import MAX_BYTES, Picture, picture_of

MAX_VALUE = 32 * 1024
SHELL = "/bin/sh"
SESSIONS = Use("sessions", "session")


class EntryFormSet(CustomInlineFormSetMixin, CatalogFormSet):
    """Images or pod sizes of a preset: ordered, unique ids, and exactly one default among those that users see.

    ``elected`` is the entry that became the default because none was chosen.
    """

    unique_in_page = (("slug", "Another entry of this preset has this id."),)
    uses: Sequence[Use] = (SESSIONS,)
    noun = "entry"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.elected: Any = None
        self.default: Any = None

    def clean(self) -> None:
        super().clean()
        rows = self.rows()
        defaults = [form for form in rows if form.cleaned_data.get("is_default")]
        for form in defaults[1:]:
            form.add_error("is_default", f"“{defaults[0].instance}” is ticked as the default, too. Keep one.")
        if any(form.errors for form in rows):
            return
        offered = [form for form in rows if self.is_offered(form.cleaned_data)]
        if not offered and not self.instance.hidden:
            raise ValidationError(f"Add at least one {self.noun} that is not hidden, or hide the preset: it could not be launched.")
        if not defaults and offered:
            first = min(offered, key=lambda form: (form.cleaned_data.get("deprecated"), form.cleaned_data.get("position") or 10**6))
            self.elected = first.instance
            self.elected.is_default = True
        self.default = self.elected or (defaults[0].instance if defaults else None)

    def is_offered(self, row: dict[str, Any]) -> bool:
        return not row.get("hidden")

    def save(self, commit: bool = True) -> list[Any]:
        if commit and self.default is not None:
            # The old default steps down first: the database never sees two, in whatever order the rows are saved.
            others = type(self.default)._default_manager.filter(preset=self.instance, is_default=True)
            if self.default.pk:
                others = others.exclude(pk=self.default.pk)
            others.update(is_default=False)
        saved: list[Any] = super().save(commit)
        if commit and self.elected is not None and self.elected not in saved:
            self.elected.save()
        return saved


class ImageFormSet(EntryFormSet):
    noun = "image"
    uses = (SESSIONS, Use("redirected_from", "redirect of the image"))

    def is_offered(self, row: dict[str, Any]) -> bool:
        return not row.get("hidden") and not row.get("redirect_to")

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        if "redirect_to" in form.fields:
            # One query for the page instead of one per row; an image of another preset is no choice at all.
            field = form.fields["redirect_to"]
            field.queryset = Image.objects.filter(preset=self.instance) if self.instance.pk else Image.objects.none()
            field.choices = [
                ("", "– no successor –"),
                *((image.pk, image.name) for image in self._images() if image.pk != form.instance.pk),
            ]

    def _images(self) -> list[Image]:
        if not hasattr(self, "_siblings"):
            self._siblings = list(Image.objects.filter(preset=self.instance)) if self.instance.pk else []
        return self._siblings

    def clean(self) -> None:
        super().clean()
        rows = self.rows()
        kept = {form.instance.pk for form in rows}
        successors = {form.instance.pk: form.cleaned_data.get("redirect_to") for form in rows if form.instance.pk}
        for form in rows:
            successor = form.cleaned_data.get("redirect_to")
            if successor is None or form.errors:
                continue
            if successor.pk not in kept:
                form.add_error("redirect_to", f"“{successor}” is deleted on this page. Choose another successor.")
            elif form.instance.pk and _returns(form.instance.pk, successors):
                form.add_error("redirect_to", "These redirects go in a circle.")


def _returns(start: int, successors: dict[int, Image | None]) -> bool:
    """Whether following the successors from ``start`` never ends."""
    seen = {start}
    step = successors.get(start)
    while step is not None:
        if step.pk in seen:
            return True
        seen.add(step.pk)
        step = successors.get(step.pk)
    return False


class PodSizeFormSet(EntryFormSet):
    noun = "pod size"


class ScopedForm(CatalogForm):
    """Hands the chosen lists to the inlines: they are checked before the lists are saved."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        self.instance.scope = {name: list(cleaned.get(name) or ()) for name in ("workspaces", "presets")}
        return cleaned


class LengthField(forms.Field):
    """A length of time in seconds, typed and shown as people write it: "4 h", "90 min"."""

    def prepare_value(self, value: Any) -> Any:
        return spell(value) if isinstance(value, int) else value

    def to_python(self, value: Any) -> int | None:
        text = str(value or "").strip()
        if not text:
            return None
        try:
            return parse(text)
        except ValueError:
            raise ValidationError("Write a length of time, such as 4 h or 90 min.", code="length") from None

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class PictureField(forms.FileField):
    """An upload that is an SVG or a PNG; cleaned, it is the unsaved picture, or None."""

    widget = forms.FileInput(attrs={"accept": ".svg,.png"})

    def clean(self, data: Any, initial: Any = None) -> Picture | None:
        upload = super().clean(data, initial)
        # No more than tells that it is too large.
        return picture_of(upload.read(MAX_BYTES + 1)) if upload else None


class PresetForm(ScopedForm):
    idle_pause_seconds = LengthField(
        label="Pause when idle for",
        required=False,
        help_text="Such as 4 h. Its running sessions are paused that long after the last activity in their IDE. Empty: never.",
    )
    new_icon = PictureField(label="Icon", required=False, help_text="For small places. An SVG or a square PNG, at most 64 KiB.")
    new_logo = PictureField(label="Logo", required=False, help_text="For cards and titles; without one the icon is shown there, too.")
    remove_icon = forms.BooleanField(label="Remove the icon", required=False)
    remove_logo = forms.BooleanField(label="Remove the logo", required=False)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        for role in ("icon", "logo"):
            if (picture := cleaned.get(f"new_{role}")) or cleaned.get(f"remove_{role}"):
                setattr(self.instance, role, picture)
        return cleaned

    @property
    def new_pictures(self) -> list[Picture]:
        return [picture for role in ("icon", "logo") if (picture := self.cleaned_data.get(f"new_{role}"))]


class ConfigurationForm(ScopedForm):
    def clean_init_script(self) -> str:
        """Browsers send CRLF, which no shell takes. A script that does not parse would fail every session."""
        script: str = self.cleaned_data["init_script"].replace("\r\n", "\n")
        if len(script) > 64 * 1024:
            raise ValidationError("Use at most 64 KiB. Put larger things into the image, or onto a volume.", code="script_long")
        if script:
            parsed = subprocess.run([SHELL, "-n"], input=script, capture_output=True, text=True, timeout=5, check=False)  # -n: parses only
            if parsed.returncode:
                where = parsed.stderr.strip().removeprefix(f"{SHELL}: ")
                raise ValidationError(f"This is not a POSIX shell script: {where}", code="script_syntax")
        return script


def _share_a_workspace(some: Iterable[Workspace], others: Iterable[Workspace]) -> bool:
    """Whether two lists of workspaces, of which an empty one means all, have one in common."""
    mine, theirs = {row.pk for row in some}, {row.pk for row in others}
    return not mine or not theirs or bool(mine & theirs)


class MountFormSet(CatalogFormSet):
    """Volumes that come together: no two of them, and none of what always comes with them, in each other's way."""

    unique_in_page = (
        ("volume", "This volume is mounted already. One session can mount it once."),
        ("mount_path", "This path is taken by another row."),
    )

    def clean(self) -> None:
        super().clean()
        rows = [form for form in self.rows() if not form.errors]
        for number, form in enumerate(rows):
            mine = form.instance
            for other in rows[:number]:
                if clash := mine.clash_with(other.instance):
                    form.add_error("mount_path", f"Another row {clash}. Choose a path outside of it.")
                    break
            else:
                for owner, mount in self.companions():
                    if clash := mine.clash_with(mount):
                        form.add_error("mount_path", f"{owner} {clash}, and both apply to the same sessions. Choose another path.")
                        break

    def companions(self) -> list[tuple[str, VolumeMount]]:
        """Mounts of others that can be in the same session, each with whose it is. Queried once per page."""
        if not hasattr(self, "_companions"):
            self._companions = list(self._find_companions())
        return self._companions

    def _find_companions(self) -> Iterator[tuple[str, VolumeMount]]:
        raise NotImplementedError


class PresetVolumeFormSet(MountFormSet):
    def _find_companions(self) -> Iterator[tuple[str, VolumeMount]]:
        applies = Q(presets=None) | Q(presets=self.instance) if self.instance.pk else Q(presets=None)
        workspaces = getattr(self.instance, "scope", {}).get("workspaces", ())
        for configuration in Configuration.objects.filter(applies).distinct().prefetch_related("volumes", "workspaces"):
            if _share_a_workspace(workspaces, configuration.workspaces.all()):
                for mount in configuration.volumes.all():
                    yield f"The configuration “{configuration}”", mount


class ConfigurationVolumeFormSet(MountFormSet):
    def _find_companions(self) -> Iterator[tuple[str, VolumeMount]]:
        scope = getattr(self.instance, "scope", {})
        chosen = [preset.pk for preset in scope.get("presets", ())]
        presets = Preset.objects.filter(pk__in=chosen) if chosen else Preset.objects.all()
        mounts = PresetVolume.objects.filter(preset__in=presets).select_related("preset").prefetch_related("preset__workspaces")
        for mount in mounts:
            if _share_a_workspace(scope.get("workspaces", ()), mount.preset.workspaces.all()):
                yield f"The preset “{mount.preset}”", mount


class VariableForm(CatalogForm):
    """A variable of a configuration or preset. The value of a secret one is never read back: not into the page, not after an error."""

    new_value = forms.CharField(
        label="Value", required=False, max_length=MAX_VALUE, strip=False, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.was_secret = bool(self.instance.pk and self.instance.is_secret)
        typed_as_secret = self.is_bound and self.add_prefix("is_secret") in self.data
        field = self.fields["new_value"]
        if self.was_secret or typed_as_secret:
            placeholder = "stored – leave empty to keep" if self.was_secret else ""
            field.widget = forms.PasswordInput(attrs={"autocomplete": "new-password", "placeholder": placeholder})
        elif self.instance.pk:
            field.initial = self.instance.value

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        value, is_secret = cleaned.get("new_value", ""), cleaned.get("is_secret", False)
        if value or not (self.was_secret or is_secret):
            self.instance.value = value
        elif not is_secret:
            self.add_error("new_value", "A stored secret can't be shown. Type the value again to make it an open one.")
        elif not self.was_secret and not (self.instance.pk and self.instance.value):
            self.add_error("new_value", "Type the secret's value.")
        return cleaned


class VariableFormSet(CatalogFormSet):
    unique_in_page = (("name", "Another row sets this variable already."),)
