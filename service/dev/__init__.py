"""`errander dev`: the whole service on this machine, in one go, out of real parts.

The data folder (`folder.py`), the environment of the parts (`environment.py`), the parts and their order
(`stack.py`), and the reload of workers when a task module changes (`reload.py`).
"""
