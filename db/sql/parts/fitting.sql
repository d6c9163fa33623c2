-- fitting: of the locked rows, in the order they are due, those whose payloads stay within :most_bytes together; the first
-- always. What is left over stays where it is, for the next claim.
picked AS MATERIALIZED (
    SELECT f.id
    FROM (
        SELECT l.id, sum(l.bytes) OVER (ORDER BY l.run_at, l.id ROWS UNBOUNDED PRECEDING) - l.bytes AS before
        FROM locked l
    ) f
    WHERE f.before < CAST(:most_bytes AS bigint)
),
