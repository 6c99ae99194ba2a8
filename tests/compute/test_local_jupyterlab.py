"""The real JupyterLab, built from its recipe (once per machine) and used over its socket."""

from __future__ import annotations

import json
import pwd
import socket
import uuid

import pytest
import websocket

from tests.compute.conftest import TOKEN, Machine

SIGNED_IN = {"Authorization": f"token {TOKEN}"}
IMAGE = "local:jupyterlab"


@pytest.fixture
def jupyterlab(machine: Machine) -> Machine:
    machine.driver.build_image(IMAGE)
    return machine


def run_cell(machine: Machine, code: str) -> str:
    """What a cell prints, run in a new kernel over its WebSocket as the gateway passes it on."""
    kernel = json.loads(machine.get("/api/kernels", headers=SIGNED_IN, method="POST", body="{}").text)["id"]
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(machine.see().endpoint.removeprefix("unix:"))
    host = "s.apps.localhost:8123"
    channel = websocket.create_connection(
        f"ws://{host}/api/kernels/{kernel}/channels", socket=connection, header=SIGNED_IN, origin=f"http://{host}", timeout=60
    )
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "username": "", "session": "s", "version": "5.3", "date": ""}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    channel.send(json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell", "buffers": []}))
    printed = ""
    while True:
        message = json.loads(channel.recv())
        if message["parent_header"].get("msg_id") != header["msg_id"]:
            continue
        if message["msg_type"] == "stream":
            printed += message["content"]["text"]
        elif message["msg_type"] == "error":
            printed += "\n".join(message["content"]["traceback"])
        elif message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            channel.close()
            return printed


def test_a_cell_runs_guarded_by_the_token_and_its_file_is_there_after_a_resume(jupyterlab: Machine) -> None:
    machine = jupyterlab
    seen = machine.start(image=IMAGE)
    assert seen.endpoint.startswith("unix:/")
    assert machine.get("/api/status").status == 403
    assert machine.get("/api/status", headers={"Authorization": "token wrong"}).status == 403
    assert machine.get("/api/status", headers=SIGNED_IN).status == 200
    page = machine.get("/lab", headers=SIGNED_IN)
    assert page.status == 200
    assert TOKEN not in page.text
    assert "@jupyterlab/apputils-extension:announcements" in page.text  # among the disabled ones: nobody is asked for news
    printed = run_cell(
        machine,
        "import os, sys\n"
        "open('cell.txt', 'w').write('from a cell')\n"
        "print(os.getuid(), os.environ['GREETING'], 'CONTROL_PLANE_CANARY' in os.environ, os.getcwd())\n"
        "print(sorted(os.listdir()))\n"
        "try:\n    open('archive/x', 'w')\nexcept OSError as error:\n    print(error.strerror)\n",
    )
    uid = pwd.getpwnam(machine.driver.user).pw_uid
    assert printed.splitlines()[0] == f"{uid} hello False {machine.claim('home')}"
    assert "Read-only file system" in printed
    assert TOKEN not in machine.driver.logs(machine.namespace, "s", 10_000)

    machine.driver.pause(machine.namespace, "s")
    machine.paused()
    assert machine.processes() == []
    assert (machine.claim("home") / "cell.txt").read_text() == "from a cell"
    machine.start(image=IMAGE, revision=2)
    assert json.loads(machine.get("/api/contents/cell.txt", headers=SIGNED_IN).text)["content"] == "from a cell"


def test_packages_can_be_installed_into_the_home_and_not_into_the_image(jupyterlab: Machine) -> None:
    """What pip would do, without the network: where it installs, and that the kernel looks there last."""
    machine = jupyterlab
    machine.start(image=IMAGE)
    home = machine.claim("home")
    asked = "import subprocess, sys; print(subprocess.run([sys.executable, '-m', 'pip', 'config', 'debug'], capture_output=True, text=True).stdout)"
    assert f"PIP_PREFIX='{home}/.local'" in run_cell(machine, asked)
    folder = (
        "import os, sys; d = os.path.expanduser(f'~/.local/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages'); "
    )
    run_cell(
        machine,
        folder + "os.makedirs(d, exist_ok=True); open(d + '/own.py', 'w').write('value = 42'); open(d + '/json.py', 'w').write('1/0')",
    )
    assert run_cell(machine, "import own, json; print(own.value, json.dumps([1]))") == "42 [1]\n"
    refused = run_cell(
        machine, "import sys\ntry:\n    open(sys.prefix + '/x', 'w')\nexcept OSError as error:\n    print('refused', error.strerror)"
    )
    assert refused.startswith("refused")
