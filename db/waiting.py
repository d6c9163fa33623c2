"""How many jobs of each tenant wait: what a queue limit is held against."""

from db.engine import Link


async def of_tenants(link: Link) -> dict[str, int]:
    """Tenant → waiting jobs; tenants without any are left out. Counts the whole queue: see the statement."""
    return {row["tenant"]: row["waiting"] for row in await link.fetch("waiting_of_tenants")}
