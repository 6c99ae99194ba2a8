"""Examples for the schema. None holds a secret, nor anything that could be taken for one."""

BODY = {
    "name": "sales-forecast",
    "preset": "jupyterlab",
    "image": "scipy",
    "pod_size": "small",
    "home": {"create": {"size": "5Gi"}},
    "data_volumes": [{"claim": "sales", "mount_path": "/data/sales", "read_only": True}],
    "configurations": ["proxy"],
    "env": {"LOG_LEVEL": "debug"},
}
POD_SIZE = {"name": "small", "cpu": "500m", "memory": "1Gi", "gpus": 0}
PRICE = {"amount": "0.02500", "currency": "$"}
ORIGIN = "https://slipway.example.com"
SESSION = {
    "name": "sales-forecast",
    "host": "sales-forecast-x7k2p9",
    "workspace": "research",
    "owner": "ada",
    "preset": "jupyterlab",
    "image": "scipy",
    "pod_size": POD_SIZE,
    "compute_pool": "standard",
    "slurm_cluster": None,
    "home": {"claim": "home-sales-forecast"},
    "data_volumes": [{"claim": "sales", "mount_path": "/data/sales", "read_only": True}],
    "configurations": ["proxy"],
    "env": ["LOG_LEVEL"],
    "desired": "running",
    "phase": "Running",
    "is_settled": True,
    "reason": "Ready",
    "message": "",
    "steps": [
        {
            "step": "server",
            "label": "Start the server",
            "state": "done",
            "message": "",
            "started_at": "2026-11-23T09:30:02Z",
            "finished_at": "2026-11-23T09:30:05Z",
        }
    ],
    "warnings": [],
    "price_per_hour": PRICE,
    "created_at": "2026-11-23T09:30:00Z",
    "phase_since": "2026-11-23T09:30:05Z",
    "running_since": "2026-11-23T09:30:05Z",
    "last_activity": "2026-11-23T09:48:12Z",
    "pauses_at": "2026-11-23T13:48:12Z",
    "node": "node-3",
    "restarts": 0,
    "actions": {"open": True, "pause": True, "resume": False, "delete": True},
    "links": {
        "self": f"{ORIGIN}/api/v1/workspaces/research/sessions/sales-forecast",
        "page": f"{ORIGIN}/w/research/sessions/sales-forecast-x7k2p9/",
        "open": f"{ORIGIN}/api/v1/workspaces/research/sessions/sales-forecast/open",
    },
}
VALIDATION = {
    "errors": [
        {"field": "name", "code": "name_taken", "message": "Research has a session named “sales-forecast” already. Choose another name."}
    ],
    "warnings": [],
    "spec": {
        "name": "sales-forecast",
        "preset": "jupyterlab",
        "image": "scipy",
        "pod_size": POD_SIZE,
        "compute_pool": "standard",
        "slurm_cluster": None,
        "home": {"create": {"size": "5Gi"}},
        "data_volumes": [{"claim": "sales", "mount_path": "/data/sales", "read_only": True, "source": ""}],
        "configurations": ["proxy"],
        "env": ["LOG_LEVEL"],
    },
    "price_per_hour": PRICE,
    "quota": [{"name": "CPU", "unit": "cores", "used": "6", "would_be": "6.5", "limit": "32", "exceeded": False}],
}
OPENED = {"url": "https://sales-forecast-x7k2p9.apps.slipway.example.com/_slipway/enter?ticket=one-time", "expires_in": 30}
LOG = {"text": "Jupyter Server is running.", "previous": False, "has_previous": False, "problem": ""}
EVENT = {"at": "2026-11-23T09:30:02Z", "kind": "Normal", "reason": "Scheduled", "message": "Assigned to node-3."}
ACTIVITY = {
    "at": "2026-11-23T09:30:00Z",
    "verb": "launch",
    "actor": "ada",
    "phase": "",
    "reason": "",
    "message": "JupyterLab · SciPy · Small",
}
