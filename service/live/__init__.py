"""Following jobs live: what clients are told by Server-Sent Events, and how one look at PostgreSQL serves all of them.

`job_feed` and `list_feed` look, while anybody listens, and put what changed into the outboxes of `outbox`; `lines` turns an
outbox into a stream's bytes, `stream` sends them. Nothing that changes a job knows of this package.
"""
