"""The audit log where credentials are asked for: who is named, who may read, and whose entries."""

import httpx

from tests.api.problems import problem
from tests.auth.conftest import MakeKey, bearer


async def test_an_entry_names_the_key_and_only_its_tenant_may_read_it(
    api: httpx.AsyncClient, make_key: MakeKey
) -> None:
    operator, auditor = await make_key("operator", tenant="acme"), await make_key("audit:read", tenant="acme")
    stranger = await make_key("admin", tenant="other")
    job = (await api.post("/v1/jobs", json={"task": "demo.echo"}, headers=bearer(operator))).json()
    path = f"/v1/jobs/{job['id']}/cancel"
    problem(await api.post(path, headers=bearer(stranger)), "not-found", 404)
    assert (await api.post(path, headers=bearer(operator))).status_code == 200
    assert (await api.post("/v1/queues/high/pause", headers=bearer(stranger))).status_code == 200
    problem(await api.get("/v1/audit", headers=bearer(operator)), "forbidden", 403)
    seen = (await api.get("/v1/audit?action=job.*", headers=bearer(auditor))).json()["items"]
    assert [(one["action"], one["actor"]) for one in seen] == [("job.cancel", f"key:{operator.split('_')[1]}")]
    # what all tenants share is in the log of the tenant that changed it
    for key, actions in ((auditor, []), (stranger, ["queue.pause"])):
        items = (await api.get("/v1/audit?object_kind=queue", headers=bearer(key))).json()["items"]
        assert [one["action"] for one in items] == actions
    about = await api.get(f"/v1/audit?object_id={job['id']}", headers=bearer(stranger))
    assert about.json()["items"] == []
