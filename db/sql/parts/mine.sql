    -- mine: the fence; from RUNNING, this attempt, this worker, on the locked row
    j.attempt = i.attempt AND j.worker_id = CAST(:worker AS uuid) AND j.status || '' = 'RUNNING'
