        cancelled_by = CASE WHEN l.cancelled THEN coalesce(j.cancelled_by, 'client') ELSE j.cancelled_by END,
