"""Tasks that come with Errander, in groups that `ERRANDER_BUILTIN_TASKS` names."""
