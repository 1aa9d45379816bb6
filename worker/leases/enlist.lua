-- Notes that a parked job waits for a model, unless it would be granted a lease at this moment.
-- ARGV: 2 job id  3 model  4 class  5 tokens  6 ms at which it was submitted  7 ms that it may wait
-- -> {'enlisted', jobs to wake} | {'free', jobs to wake} it may come at once
local JOB, MODEL, CLASS, TOKENS, BORN_MS = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
if redis.call('HEXISTS', LIMITS, 'open|' .. MODEL) == 0 then return { 'free', {} } end -- who asks for it opens it
sweep()
local _, vacated = give_turns()
local must_wait = barred(MODEL, CLASS, TOKENS) or ahead_of(JOB, MODEL, CLASS, BORN_MS) > 0
if not must_wait and pick(MODEL, CLASS, TOKENS, {}) then return { 'free', wake_parked(vacated) } end
redis.call('ZADD', PARKED, 0, line_of(MODEL, CLASS, BORN_MS) .. '|' .. ARGV[5] .. '|' .. JOB)
redis.call('PEXPIRE', PARKED, math.max(redis.call('PTTL', PARKED), tonumber(ARGV[7]), 1))
return { 'enlisted', wake_parked(vacated) }
