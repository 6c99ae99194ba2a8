"""nginx's configuration: that nginx itself accepts it, and that no option can turn into a directive."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from config.nginx import NginxOptionError, NginxOptions, render, write
from sessions import gateway
from tests.sessions.gateway_stack import NGINX


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    return {"listen": "127.0.0.1:18080", "web": "unix:/run/s/web.sock", "relay": "unix:/run/s/relay.sock", "run_dir": tmp_path / "run"}


def accept(options: dict[str, Any], *, user: str = "") -> subprocess.CompletedProcess[str]:
    """What `nginx -t` says of the configuration that these options make."""
    conf = options["run_dir"] / "nginx.conf"
    write(NginxOptions(**options, user=user), conf)
    return subprocess.run([NGINX, "-e", "stderr", "-t", "-p", str(options["run_dir"]), "-c", str(conf)], capture_output=True, text=True)


def certificate(folder: Path) -> dict[str, str]:
    key, made = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(made), "-subj", "/CN=x"]
    subprocess.run(command, check=True, capture_output=True)
    return {"tls_certificate": str(made), "tls_key": str(key)}


def on_https(settings: Any) -> None:
    settings.SLIPWAY_URL, settings.SLIPWAY_APPS_URL = "https://slipway.example.com", "https://apps.slipway.example.com"
    settings.ALLOWED_HOSTS, settings.SECURE = ["slipway.example.com"], True


def test_nginx_accepts_it(options: dict[str, Any]) -> None:
    result = accept(options, user="www-data" if os.geteuid() == 0 else "")
    assert result.returncode == 0, result.stderr
    assert "warn" not in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_unprivileged_nginx_accepts_it(options: dict[str, Any]) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder) / "nginx.conf"
        write(NginxOptions(**{**options, "run_dir": Path(folder)}), conf)
        for path in (Path(folder), *Path(folder).rglob("*")):
            os.chown(path, nobody, nobody)
        command = [NGINX, "-e", "stderr", "-t", "-p", folder, "-c", str(conf)]
        result = subprocess.run(command, capture_output=True, text=True, user=nobody, group=nobody, extra_groups=())
    assert result.returncode == 0, result.stderr


def test_nginx_accepts_upstreams_by_address_and_by_name(options: dict[str, Any]) -> None:
    result = accept({**options, "web": "10.1.2.3:8000", "relay": "localhost:8001"})
    assert result.returncode == 0, result.stderr
    text = (options["run_dir"] / "nginx.conf").read_text()
    assert "server 10.1.2.3:8000 max_fails=0;" in text
    assert "server localhost:8001 max_fails=0;" in text


def test_nginx_accepts_it_with_tls(options: dict[str, Any], settings: Any, tmp_path: Path) -> None:
    on_https(settings)
    result = accept({**options, **certificate(tmp_path)})
    assert result.returncode == 0, result.stderr


def test_nginx_accepts_it_behind_what_ends_tls(options: dict[str, Any], settings: Any) -> None:
    on_https(settings)
    result = accept({**options, "trusted_proxies": ("10.0.0.0/8", "fd00::/8")})
    assert result.returncode == 0, result.stderr


def test_https_needs_someone_to_end_tls(options: dict[str, Any], settings: Any) -> None:
    on_https(settings)
    with pytest.raises(NginxOptionError, match="--trusted-proxy"):
        render(NginxOptions(**options))


def test_the_file_is_for_nginx_alone(options: dict[str, Any]) -> None:
    conf = options["run_dir"] / "nginx.conf"
    conf.parent.mkdir()
    conf.touch(mode=0o644)
    write(NginxOptions(**options), conf)
    assert gateway.nginx_key() in conf.read_text()
    assert stat.S_IMODE(conf.stat().st_mode) == 0o600


def test_it_serves_the_hosts_of_the_settings(options: dict[str, Any], settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["localhost", "*", ".apps.localhost", "127.0.0.1"]
    text = render(NginxOptions(**options))
    assert "server_name localhost 127.0.0.1;" in text
    assert r'server_name "~^(?<slipway_host>[a-z0-9-]+)\.apps\.localhost$";' in text


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("listen", "127.0.0.1:80; include /etc/passwd"),
        ("web", "unix:/run/a b"),
        ("web", "http://example.com"),
        ("relay", "slipway-relay"),
        ("relay", "slipway-relay:80/path"),
        ("user", "root; x"),
        ("access_log", "/x {"),
        ("trusted_proxies", ("$remote_addr",)),
        ("run_dir", Path("relative")),
        ("tls_key", "/key.pem"),
    ],
)
def test_an_option_that_nginx_would_misread_is_refused(options: dict[str, Any], option: str, value: Any) -> None:
    with pytest.raises(NginxOptionError):
        render(NginxOptions(**{**options, option: value}))


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="--relay must be"):
        call_command("nginx_conf", listen="127.0.0.1:80", web="unix:/w", relay="relay", run_dir=tmp_path, output=tmp_path / "nginx.conf")


def test_networks_may_come_with_commas_between_or_be_none(tmp_path: Path) -> None:
    conf = tmp_path / "nginx.conf"
    fixed = {"listen": "127.0.0.1:80", "web": "unix:/w", "relay": "unix:/r", "run_dir": tmp_path, "output": conf}
    call_command("nginx_conf", **fixed, trusted_proxy=["10.0.0.0/8, 192.168.0.0/16", "fd00::/8"])
    assert conf.read_text().count("set_real_ip_from") == 3
    call_command("nginx_conf", **fixed, trusted_proxy=[""])
    assert "real_ip" not in conf.read_text()


def test_the_command_writes_the_file(tmp_path: Path) -> None:
    call_command("nginx_conf", listen="127.0.0.1:80", web="unix:/w", relay="unix:/r", run_dir=tmp_path, output=tmp_path / "nginx.conf")
    assert f"access_log {tmp_path}/access.log slipway;" in (tmp_path / "nginx.conf").read_text()
    assert "does not answer" in (tmp_path / "pages" / "session_unavailable.html").read_text()
