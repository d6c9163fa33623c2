"""The durable job: vocabulary, tables, statements, migrations.

Owns every statement that touches PostgreSQL. Never opens Redis, never runs a task, never imports `workers` or `service`.
"""
