"""Breaking a whole deployment on purpose and judging what is left: `errander chaos`.

A run starts servers, APIs and workers of its own in a temporary folder, submits a seeded mix of jobs, carries out a
schedule of faults that follows from the seed alone, heals everything, waits until every job has ended, and then holds
what PostgreSQL, Redis, the clients and a ledger of what really ran say against each other.

Reads no address and no setting of the deployment around it. Never part of a server: nothing else imports this package.
"""
