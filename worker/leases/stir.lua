-- Looks after those who wait, where no release does: a cooldown has ended, a holder has died, a minute has gone by.
-- -> {jobs to wake}
local FARTHEST_LEASE_MS = 60000 -- one that ends later than any TTL comes from a clock that was set back
if redis.call('EXISTS', WAITING, PARKED) == 0 then return { {} } end
local beyond = redis.call('ZRANGEBYSCORE', LEASES, whole(now + FARTHEST_LEASE_MS), '+inf', 'LIMIT', 0, AT_ONCE)
for _, lease in ipairs(beyond) do redis.call('ZADD', LEASES, whole(now + FARTHEST_LEASE_MS), lease) end
sweep()
return { let_in() }
