-- A job waits no more for a model; if its turn had come meanwhile, that goes to the next.
-- ARGV: 2 lease id  3 model
-- -> {jobs to wake}
local LEASE, MODEL = ARGV[2], ARGV[3]
local has_waited = waiter(LEASE, MODEL)
leave(LEASE, MODEL)
local record = redis.call('HGET', HOLDERS, LEASE) or ''
if select(2, holder(record)) == MODEL then
  settle(record, nil, false)
  drop(LEASE, record)
elseif not has_waited then
  return { {} }
end
sweep()
return { let_in() }
