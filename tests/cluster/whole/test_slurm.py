"""A real pod and a real Slurm: a notebook's job whose output appears, a token that is renewed in the pod, and a client from
another image."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from compute.clusters.kubernetes import KubernetesDriver
from compute.clusters.kubernetes.client import Connection
from compute.namespaces import namespace_of
from compute.workload import Account, Workload
from sessions import slurm_programs
from sessions.models import Session
from sessions.slurm_models import SlurmTicket
from tests.cluster.kube import CORE, Kube
from tests.cluster.lab import BUSYBOX, START, Lab
from tests.cluster.test_driver import SERVE, workload
from tests.laboratory import wait_until
from tests.slurm.client_image import client_image
from tests.slurm.real import Slurm, own_address, user
from tests.slurm.whole.conftest import USERS, need_slurm, register
from tests.slurm.whole.walk import SOON, SlurmWalk

KUBELET = 150.0  # seconds that a kubelet takes to bring a changed Secret into a pod, at most; at once if the pod is changed, too
VOLUMES = Path(os.environ.get("CLUSTER_DIR", "/tmp/test-cluster")) / "volumes"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    need_slurm()
    with Slurm(own_address()) as running:
        yield running


@pytest.fixture(scope="module")
def image(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Debian's plugin for tokens is a package of its own, which the notebook's image does not have: both pods need a client."""
    return client_image(tmp_path_factory.mktemp("image"))


def in_the_pod(lab: Lab, host: str) -> str:
    """All that anybody with a look at the cluster's objects, but not at its Secrets, sees of the session."""
    statefulset, pod = lab.kube.statefulset(lab.namespace, host), lab.kube.pod(lab.namespace, host)
    return f"{statefulset}{pod}"


def test_a_notebook_in_a_pod_submits_a_job_and_its_token_is_renewed(lab: Lab, slurm: Slurm, image: str) -> None:
    account = user(USERS["member"])
    register(slurm, lab.workspace, enabled=True, client_image=image)
    walk = SlurmWalk(lab.stack)
    walk.workspace, walk.preset = lab.workspace.name, "lab"
    walk.sign_in()
    walk.launch()
    subject = lab.follow_host(walk.host)
    walk.wait_for_phase("Running", START)
    walk.open()
    walk.start_kernel()

    who = [str(account.pw_uid), str(account.pw_gid), USERS["member"], "/opt/slipway/bin/sbatch"]
    assert walk.sh("id -u; id -g; id -un; which sbatch").split() == who
    # What a site's shared home does: the node sees the pod's home, here at another path.
    (home,) = VOLUMES.glob(f"{lab.namespace}_{subject.claim}_*")
    told = walk.sh(f"sbatch --chdir {home} --output job.txt --wrap='id -un; srun echo from the job'")
    assert told.startswith("Submitted batch job"), told
    wait_until(lambda: walk.sh("cat job.txt") == f"{USERS['member']}\nfrom the job\n", SOON, "the job's output")
    walk.terminal("bash -lc 'which squeue' > terminal.txt")
    wait_until(lambda: walk.sh("cat terminal.txt") == "/opt/slipway/bin/squeue\n", SOON, "a login shell finds the commands")

    first = walk.sh("cat /opt/slipway/live/slurm").splitlines()[0]
    time.sleep(1.1)

    def secret() -> str:
        return str(lab.kube.secret(lab.namespace, walk.host)["data"]["live.slurm"])

    old = secret()
    SlurmTicket.objects.filter(session__host=walk.host).update(look_at=timezone.now() - timedelta(seconds=1))
    wait_until(lambda: secret() != old, SOON, "the fresh token is in the Secret")
    lab.kube.merge(f"{CORE}/namespaces/{lab.namespace}/pods/{walk.host}-0", {"metadata": {"annotations": {"test": "look"}}})
    wait_until(lambda: walk.sh("cat /opt/slipway/live/slurm").splitlines()[0] != first, KUBELET, "the fresh token is in the pod")
    second = walk.sh("cat /opt/slipway/live/slurm").splitlines()[0]
    assert "JOBID" in walk.sh("squeue")
    row = str(Session.objects.filter(host=walk.host).values()) + str(Session.objects.get(host=walk.host).snapshot)
    logs = lab.stack.logs(100_000)
    for token in (first, second, slurm.key.hex()):
        assert token and token not in in_the_pod(lab, walk.host) + row + logs
    assert f"'runAsUser': {account.pw_uid}" in in_the_pod(lab, walk.host)
    walk.channels.close()


def test_a_pod_whose_image_has_no_client_gets_that_of_another_image(slurm: Slurm, kube: Kube, lab: Lab, image: str) -> None:
    """BusyBox does not even have the C library that the client wants."""
    account = user(USERS["member"])
    live = {"slurm": f"{slurm.token(account.pw_name)}\n{int(time.time()) + 600}\n\n\n", "version.conf": ""}
    wanted: Workload = replace(
        workload(lab.namespace, image=BUSYBOX, mounts=(), claims=()),
        account=(me := Account(account.pw_uid, account.pw_gid, account.pw_name)),
        known_accounts=(me, Account(0, 0, "root")),  # whom this controller runs as
        programs=slurm_programs.PROGRAMS,
        live_files=live,
        supply=slurm_programs.supply(image),
        env={"SLURM_CONF_SERVER": slurm.controller},
        command=("sh", "-c", f"sinfo; sbatch --hold --wrap true; squeue; scancel --me; {SERVE}"),
    )
    driver = KubernetesDriver("test", connection=Connection(kube.context))
    driver.ensure_namespace(namespace_of(lab.workspace))
    driver.apply(wanted)
    try:
        wait_until(lambda: driver.observe(lab.namespace, wanted.name).ready, START, "the pod runs")
        assert not driver.observe(lab.namespace, wanted.name).drifted
        told = driver.logs(lab.namespace, wanted.name)
        assert "debug" in told and "Submitted batch job" in told and account.pw_name[:8] in told, told
    finally:
        driver.remove(lab.namespace, wanted.name, 2)
