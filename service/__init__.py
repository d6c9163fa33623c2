"""The front door: HTTP, the server's commands, and what runs everything on one machine.

Never runs a job itself. Imports `workers` and `db`, and is imported by neither.
"""
