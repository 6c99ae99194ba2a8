"""import_kubeflow, import_jupyterhub, export_kubeflow from the shell."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command

from presets.models import Preset
from tests.presets.exchange import kind, pod_default, source
from tests.presets.test_exchange_jupyterhub import VALUES

pytestmark = pytest.mark.django_db


def run(*args: Any) -> tuple[int, str]:
    """Exit status and output."""
    out = StringIO()
    try:
        call_command(*map(str, args), stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lab.yaml"
    path.write_text(source(kind(extraEnv=[{"name": "X", "value": "s3cr3t"}]), pod_default()).text)
    return path


def test_a_preview_says_by_its_status_whether_anything_would_change(file: Path) -> None:
    status, told = run("import_kubeflow", file)
    assert status == 2 and "+ create preset Lab" in told and "cannot be carried" in told and "--apply" in told
    assert "s3cr3t" not in told
    assert not Preset.objects.exists()
    status, told = run("import_kubeflow", file, "--apply")
    assert status == 0 and "Imported: 5 created, 0 changed." in told
    status, told = run("import_kubeflow", file)
    assert status == 0 and "Nothing to do" in told
    Preset.objects.update(name="Curated")
    assert "Name: Curated → Lab" in run("import_kubeflow", file)[1]


def test_mistakes_of_all_files_are_told_at_once(file: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [")
    (tmp_path / "other.yaml").write_text("kind: Pod")
    with pytest.raises(CommandError) as error:
        run("import_kubeflow", file, tmp_path / "bad.yaml", tmp_path / "other.yaml", "--apply")
    assert "bad.yaml, line 1: This is not valid YAML" in str(error.value) and "other.yaml, document 1, kind" in str(error.value)
    assert not Preset.objects.exists()


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(CommandError, match=r"x\.yaml"):
        run("import_kubeflow", tmp_path / "x.yaml")


def test_each_command_reads_its_own_kind(file: Path, tmp_path: Path) -> None:
    hub = tmp_path / "values.yaml"
    hub.write_text(yaml.safe_dump(VALUES, sort_keys=False))
    with pytest.raises(CommandError, match="a profile_list of JupyterHub"):
        run("import_jupyterhub", file)
    with pytest.raises(CommandError, match="a WorkspaceKind or a PodDefault here"):
        run("import_kubeflow", hub)
    assert run("import_jupyterhub", hub, "--apply", "--prefix", "hub-")[0] == 0
    assert Preset.objects.filter(slug="hub-data-science").exists()


def test_what_is_exported_is_imported_without_a_change(file: Path, tmp_path: Path) -> None:
    run("import_kubeflow", file, "--apply")
    folder = tmp_path / "new" / "folder"
    status, told = run("export_kubeflow", "--to", folder)
    assert status == 0 and told.count("wrote") == 2
    assert {path.name for path in folder.iterdir()} == {"workspacekind-lab.yaml", "poddefault-proxy.yaml"}
    assert run("import_kubeflow", *folder.iterdir())[0] == 0


def test_an_export_takes_what_is_asked_for(file: Path, tmp_path: Path) -> None:
    run("import_kubeflow", file, "--apply")
    run("export_kubeflow", "lab", "--to", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["workspacekind-lab.yaml"]
    with pytest.raises(CommandError, match="nobody"):
        run("export_kubeflow", "nobody", "--to", tmp_path / "out")
    with pytest.raises(CommandError, match=r"lab\.yaml"):
        run("export_kubeflow", "--to", file)
