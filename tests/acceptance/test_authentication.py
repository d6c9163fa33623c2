"""`errander dev` with authentication: the first key, and what works with it and without."""

import os
import re
import subprocess

import httpx

from service.supervise import free_port
from tests.fixtures.dev import ERRANDER, DevProcess
from tests.fixtures.servers import open_folder

KEY = re.compile(r"errander_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}")


def test_the_first_key_is_made_and_opens_the_door() -> None:
    with (
        open_folder() as folder,
        DevProcess(folder, "--port", str(free_port()), env={"ERRANDER_AUTH": "required"}) as server,
    ):
        server.ready()
        (key,) = KEY.findall(server.output)
        url = server.url
        assert httpx.get(f"{url}/readyz").status_code == 200
        assert httpx.get(f"{url}/v1/jobs").status_code == 401
        assert httpx.get(f"{url}/v1/jobs", headers={"Authorization": f"Bearer {key[:-1]}x"}).status_code == 401

        def errander(*words: str, token: str = key) -> subprocess.CompletedProcess[str]:
            given = {name: value for name, value in os.environ.items() if not name.startswith("ERRANDER_")}
            given |= {"ERRANDER_URL": url, "ERRANDER_TOKEN": token} | server.env_file()
            command = [str(ERRANDER), *words]
            return subprocess.run(command, env=given, capture_output=True, text=True, check=False, cwd=folder)

        done = errander("job", "submit", "demo.echo", '{"hello": "world"}', "--wait", "-o", "json")
        assert done.returncode == 0, done.stderr
        refused = errander("job", "list", token="")
        assert refused.returncode == 4
        assert "set ERRANDER_TOKEN to an API key" in refused.stderr

        made = errander("key", "create", "--name", "shop", "--scope", "submitter", "--task", "demo.*")
        assert made.returncode == 0, made.stderr
        shop = made.stdout.strip()
        assert KEY.fullmatch(shop)
        lacking = errander("queue", "pause", "low", token=shop)
        assert lacking.returncode == 4
        assert "queues:manage" in lacking.stderr

        local = errander("key", "create", "--local", "--name", "ops", "--scope", "operator", "--tenant", "acme")
        assert local.returncode == 0, local.stderr
        of_acme = local.stdout.strip()
        assert len(local.stdout.splitlines()) == 1
        assert errander("job", "list", "-o", "id", token=of_acme).stdout == ""
        listed = errander("key", "list", "-o", "id").stdout.split()
        assert listed == [shop.split("_")[1], key.split("_")[1]], "newest first, of one tenant"

        next_one = errander("key", "rotate", shop.split("_")[1], "--overlap", "0").stdout.strip()
        assert errander("key", "revoke", next_one.split("_")[1]).returncode == 0
        assert errander("job", "list", token=next_one).returncode == 4
        assert server.stop() == 0
        for secret in (key, shop, of_acme, next_one):
            logged = [path for path in server.data.rglob("*.log") if secret in path.read_text(errors="replace")]
            assert not logged
