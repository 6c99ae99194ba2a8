"""What the catalog looks like, for the API's description."""

from __future__ import annotations

from typing import Any

PRESET: dict[str, Any] = {
    "name": "jupyterlab",
    "display_name": "JupyterLab",
    "description": "Notebooks, terminals and files.",
    "ide": "jupyterlab",
    "deprecated": False,
    "deprecation_message": "",
    "home_size": "5Gi",
    "home_claim": "",
    "idle_pause_seconds": 14400,
    "probe": {"path": "/api", "period": 1, "timeout": 5, "failures": 6, "delay": 0},
    "env": ["JUPYTER_ENABLE_LAB"],
    "data_volumes": [{"claim": "sales", "mount_path": "/data/sales", "read_only": True}],
    "images": [
        {
            "name": "scipy",
            "display_name": "SciPy stack",
            "description": "Python with pandas, SciPy, scikit-learn and Matplotlib.",
            "is_default": True,
            "deprecated": False,
            "deprecation_message": "",
            "reference": "registry.example.com/jupyter/scipy-notebook:2026-09-07",
            "port": None,
        }
    ],
    "pod_sizes": [
        {
            "name": "medium",
            "display_name": "Medium",
            "description": "Everyday analysis.",
            "is_default": True,
            "deprecated": False,
            "deprecation_message": "",
            "cpu": "2",
            "memory": "8Gi",
            "gpus": 0,
            "price_per_hour": {"amount": "0.12000", "currency": "$"},
        }
    ],
    "links": {
        "self": "https://slipway.example.com/api/v1/workspaces/research/presets/jupyterlab",
        "page": "https://slipway.example.com/w/research/presets/jupyterlab/",
        "icon": None,
        "logo": "https://slipway.example.com/w/research/presets/jupyterlab/pictures/0f3c5b7e9a1d2c4e6f8091a2b3c4d5e6/",
    },
}
COMPUTE_POOL: dict[str, Any] = {
    "name": "gpu",
    "display_name": "GPU nodes",
    "description": "One A100 each.",
    "is_default": False,
    "gpu_resource": "nvidia.com/gpu",
    "prices": {
        "cpu": {"amount": "0.04000", "currency": "$"},
        "memory": {"amount": "0.00500", "currency": "$"},
        "gpu": {"amount": "1.20000", "currency": "$"},
    },
}
SLURM_CLUSTER: dict[str, Any] = {"name": "hpc", "display_name": "HPC West"}
CONFIGURATION: dict[str, Any] = {
    "name": "one-thread-per-process",
    "display_name": "One thread per process",
    "description": "Keeps NumPy and friends to one thread each.",
    "on_by_default": False,
    "deprecated": False,
    "deprecation_message": "",
    "env": ["MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"],
    "has_init_script": False,
    "data_volumes": [],
}
