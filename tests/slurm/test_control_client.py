"""Asking a controller: what is read from its answers, and what each failure is called."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from compute import slurm_client
from compute.slurm import has_expired, mint
from compute.slurm_causes import SlurmError
from compute.slurm_client import Client, Job, Nodes, Partition, answering, version_skew
from tests.slurm.fake import ZERO, FakeSlurm

NOW = datetime.now(UTC)
KEY = bytes(range(32))
TOKEN, _ = mint(KEY, "ada", timedelta(hours=5), NOW)  # longer than all tests take
EXPIRED, _ = mint(KEY, "ada", timedelta(minutes=5), NOW - timedelta(minutes=6))


@pytest.fixture
def client(fake: FakeSlurm) -> Client:
    return Client([fake.controller], TOKEN)


def refused(ask: object) -> SlurmError:
    with pytest.raises(SlurmError) as error:
        ask()  # type: ignore[operator]
    return error.value


def test_a_token_names_its_user_and_its_end_and_is_signed_with_the_key() -> None:
    token, expires = mint(KEY, "ada", timedelta(minutes=30), NOW)
    signed, _, signature = token.rpartition(".")
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in signed.split("."))
    assert header == {"alg": "HS256", "typ": "JWT"}
    issued = int(NOW.timestamp())
    assert claims == {"sun": "ada", "iat": issued, "exp": issued + 1800}
    assert expires == NOW.replace(microsecond=0) + timedelta(minutes=30)
    assert base64.urlsafe_b64decode(signature + "==") == hmac.digest(KEY, signed.encode(), hashlib.sha256)


def test_a_key_may_be_any_bytes_also_those_that_openssl_made() -> None:
    assert mint(b"-----BEGIN RSA PRIVATE KEY-----\n...", "ada", timedelta(minutes=5), NOW)[0].count(".") == 2


def test_an_expired_token_is_known_by_its_claims() -> None:
    assert not has_expired(TOKEN, NOW.timestamp())
    assert has_expired(EXPIRED, NOW.timestamp())
    assert has_expired("no token", 0)


def test_partitions_and_nodes_are_counted_by_what_can_be_had_of_them(client: Client, fake: FakeSlurm) -> None:
    fake.says(
        partitions="debug|up|10:00|idle|2\ndebug|up|10:00|mixed|1\ngpu|drain|infinite|allocated|4\ngpu|drain|infinite|down*|1\n",
        nodes="idle|2\nmixed|1\nallocated|4\ndown*|1\nidle*|1\ndrained|2\nidle~|5\n",
        version="23.11.4",
    )
    overview = client.overview()
    assert overview.partitions == [
        Partition("debug", "up", "10:00", Nodes(idle=2, in_use=1)),
        Partition("gpu", "drain", "infinite", Nodes(in_use=4, other=1)),
    ]
    assert (overview.nodes, overview.nodes.total) == (Nodes(idle=7, in_use=5, other=4), 16)  # one that does not respond is no idle one
    assert (overview.version, overview.client_version) == ("23.11.4", "22.05.8")


def test_only_the_users_own_jobs_are_taken_and_those_that_run_come_first(client: Client, fake: FakeSlurm) -> None:
    fake.says(
        jobs="2001|12|PENDING|0:00|gpu|Priority|later\n"
        "2001|11|RUNNING|1:02|gpu|None|odd | name\n"
        "2002|10|RUNNING|9:00|gpu|None|somebody else's\n"
        "broken in a name\n"
    )
    jobs = client.jobs(2001)
    assert list(jobs.listed) == [
        Job("11", "odd | name", "RUNNING", "1:02", "", "gpu"),
        Job("12", "later", "PENDING", "0:00", "Priority", "gpu"),
    ]
    assert (jobs.total, jobs.running) == (2, 1)
    assert fake.asked == ["squeue -h -u 2001 -o %U|%i|%T|%M|%P|%r|%j"]


def test_many_jobs_are_counted_and_only_some_are_listed(client: Client, fake: FakeSlurm) -> None:
    fake.says(jobs="".join(f"2001|{number}|PENDING|0:00|gpu|Priority|n\n" for number in range(300)))
    jobs = client.jobs(2001)
    assert (len(jobs.listed), jobs.total, jobs.running) == (slurm_client.LISTED, 300, 0)


def test_the_token_is_in_the_commands_environment_and_nowhere_else(
    client: Client, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_ENCRYPTION_KEYS", "canary")
    monkeypatch.setenv("SLURM_CONF", "/another/slurm.conf")
    client.overview()
    environments = (fake.folder / "environments").read_text()
    assert fake.tokens == {TOKEN}
    assert f"SLURM_CONF_SERVER={fake.controller}" in environments
    assert "canary" not in environments and "SLURM_CONF=" not in environments
    assert not any(TOKEN in line for line in fake.asked)
    assert TOKEN not in repr(client)


@pytest.mark.parametrize(
    ("printed", "code", "field", "word"),
    [
        (ZERO, "slurm_refused", "key", "signing key is another one"),
        ("sbatch: error: Batch job submission failed: Invalid user id", "slurm_invalid_user", "accounts", "“Invalid user id”"),
        ("x: error: ConfigLess mode is disabled in slurm configuration.", "slurm_not_configless", "", "enable_configless"),
        ("error: failed: Unable to contact slurm controller (connect failure)", "slurm_unreachable", "", "went away"),
        ("error: Incompatible versions of client and server code", "slurm_version", "", "releases"),
        ("error: plugin_load_from_file: cannot find auth plugin for auth/jwt", "slurm_no_jwt", "", "auth/jwt"),
        ("first\n  something new \n", "slurm_failed", "", "something new"),
        ("", "slurm_failed", "", "nothing at all"),
    ],
)
def test_a_failure_has_its_cause_in_words(client: Client, fake: FakeSlurm, printed: str, code: str, field: str, word: str) -> None:
    fake.says(error=printed or " ")
    error = refused(client.overview)
    assert (error.code, error.field) == (code, field)
    assert word in str(error)


def test_a_cluster_that_hides_its_nodes_may_show_jobs(client: Client, fake: FakeSlurm) -> None:
    denied = "#!/bin/sh\necho 'slurm_load_node: Access/permission denied' >&2\nexit 1\n"
    (fake.folder / "sinfo").write_text(denied)
    fake.says(jobs="2001|11|RUNNING|1:02|gpu|None|train\n")
    overview = client.overview()
    assert (overview.partitions, overview.nodes, overview.version) == ([], None, "22.05.8")
    assert client.jobs(2001).running == 1
    (fake.folder / "squeue").write_text(denied)
    assert refused(lambda: client.jobs(2001)).code == "slurm_denied"


def test_an_expired_token_is_told_from_a_wrong_key(fake: FakeSlurm) -> None:
    fake.says(error=ZERO)
    assert refused(Client([fake.controller], EXPIRED).overview).code == "slurm_expired"


def test_a_slurm_conf_of_this_machine_is_named_where_it_may_be_the_cause(
    client: Client, fake: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "slurm.conf"
    own.write_text("ClusterName=another")
    monkeypatch.setattr(slurm_client, "OWN_CONFS", (own,))
    fake.says(error=ZERO)
    assert str(own) in str(refused(client.overview))


def test_a_machine_without_a_client_says_so(fake: FakeSlurm, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(fake.folder / "nothing"))
    error = refused(client.overview)
    assert (error.code, error.for_all) == ("slurm_no_client", True)


def test_a_controller_that_hangs_is_given_up(fake: FakeSlurm, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    (fake.folder / "scontrol").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(slurm_client, "COMMAND", 0.2)
    assert refused(client.overview).code == "slurm_silent"


def test_only_controllers_that_answer_are_asked(fake: FakeSlurm) -> None:
    assert answering(f"127.0.0.1:1, {fake.controller}") == [fake.controller]
    down = refused(lambda: answering("127.0.0.1:1"))
    assert (down.code, down.field, down.for_all) == ("slurm_unreachable", "controllers", True)
    assert "nothing listens at 127.0.0.1:1" in str(down)
    assert refused(lambda: answering("no-such-host.invalid:6817")).code == "slurm_unknown_host"


@pytest.mark.parametrize(
    ("client", "controller", "word"),
    [
        ("22.05.8", "22.05.9", ""),
        ("22.05.8", "23.11.1", ""),
        ("23.11.4", "22.05.8", "newer than the controller"),
        ("22.05.8", "24.05.1", "years older"),
        ("", "24.05.1", ""),
    ],
)
def test_a_difference_of_versions_that_may_break_something_is_told(client: str, controller: str, word: str) -> None:
    told = version_skew(client, controller)
    assert word in told and bool(told) == bool(word)
