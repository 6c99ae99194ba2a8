"""The starter catalog: what ``manage.py seed_catalog`` brings into an empty installation.

Each preset has its project's own container images, for clusters that run containers, and ``local:`` recipes where the
local driver can run the IDE. A workspace is offered what its cluster can run.
"""

from __future__ import annotations

from typing import Any

Fields = dict[str, Any]

POD_SIZES: list[Fields] = [
    {"slug": "small", "name": "Small", "cpu": "1", "memory": "2Gi", "description": "Editing, small data."},
    {"slug": "medium", "name": "Medium", "cpu": "2", "memory": "8Gi", "description": "Everyday analysis."},
    {"slug": "large", "name": "Large", "cpu": "8", "memory": "32Gi", "description": "Data that fills memory, parallel work."},
    {"slug": "gpu", "name": "GPU", "cpu": "8", "memory": "32Gi", "gpus": 1, "description": "Training and inference on one GPU."},
]

# The first image and the first pod size of each preset are its defaults.
PRESETS: list[tuple[Fields, list[Fields]]] = [
    (
        {"slug": "jupyterlab", "name": "JupyterLab", "ide": "jupyterlab", "description": "Notebooks, terminals and files."},
        [
            {
                "slug": "minimal",
                "name": "Minimal",
                "reference": "quay.io/jupyter/minimal-notebook:2026-09-07",
                "description": "Python, and room for your own packages.",
            },
            {
                "slug": "scipy",
                "name": "SciPy stack",
                "reference": "quay.io/jupyter/scipy-notebook:2026-09-07",
                "description": "Python with pandas, SciPy, scikit-learn and Matplotlib.",
            },
            {
                "slug": "minimal-local",
                "name": "Minimal (local)",
                "reference": "local:jupyterlab",
                "description": "JupyterLab in a Python environment on this machine.",
            },
            {
                "slug": "scipy-local",
                "name": "SciPy stack (local)",
                "reference": "local:scipy",
                "description": "JupyterLab with pandas, SciPy and Matplotlib on this machine.",
            },
        ],
    ),
    (
        {
            "slug": "vscode",
            "name": "VS Code",
            "ide": "code-server",
            "description": "VS Code in the browser, with extensions and a terminal.",
        },
        [
            {
                "slug": "code-server",
                "name": "code-server",
                "reference": "docker.io/codercom/code-server:4.138.0",
                "description": "The editor with Debian's usual tools.",
            },
            {
                "slug": "code-server-local",
                "name": "code-server (local)",
                "reference": "local:code-server",
                "description": "The code-server of this machine.",
            },
        ],
    ),
    (
        {"slug": "rstudio", "name": "RStudio", "ide": "rstudio", "description": "R, with plots, packages and help in one place."},
        [
            {
                "slug": "rstudio",
                "name": "RStudio Server",
                "reference": "docker.io/rocker/rstudio:4.5.2",
                "description": "R 4.5 and RStudio Server.",
            },
        ],
    ),
]

GIT_DEFAULTS = """\
# Sets what is not set yet; your own choices stay.
command -v git >/dev/null || exit 0
unset_yet() { ! git config --global --get "$1" >/dev/null; }
if unset_yet init.defaultBranch; then git config --global init.defaultBranch main; fi
if unset_yet pull.ff; then git config --global pull.ff only; fi
"""

# Configurations that need nothing of a site: each with its variables.
CONFIGURATIONS: list[tuple[Fields, dict[str, str]]] = [
    (
        {
            "slug": "one-thread-per-process",
            "name": "One thread per process",
            "description": "Keeps NumPy and friends to one thread each, for code that starts its own workers.",
        },
        {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    ),
    (
        {
            "slug": "git-defaults",
            "name": "Git defaults",
            "description": "New repositories start on “main”, and a pull never makes a merge by itself.",
            "init_script": GIT_DEFAULTS,
        },
        {},
    ),
]
