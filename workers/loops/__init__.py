"""The leader's loops, one role a file, and the observation of silence that every worker process keeps up."""
