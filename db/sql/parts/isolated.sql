    -- isolated: one more crash is the last that job j may have, so it runs alone (db.lifecycle.runs_isolated)
    (j.max_crashes > 1 AND j.crashes >= j.max_crashes - 1)
