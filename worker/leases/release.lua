-- Ends a lease: what its call cost the credential is written before the slot is free, in one step, and who waits is
-- let in. A lease that was reclaimed in the meantime, or released before, only has its cooldown applied.
-- ARGV: 2 lease id  3 fence  4 credential  5 model  6 outcome, '' where the credential or the model is not to blame
--       7 called 0|1, 0: what was reserved is given back  8 tokens used, -1 unknown
--       9 success 0|1  10 transient 0|1, counts towards the model's breaker  11 job
--       12 mark none|cool|exhaust|lock_out  13 scope credential|model  14 cooldown in ms, 0 for the default, which is
--       15 first ms, doubled with each repetition up to  16 longest ms
-- -> {'released'|'gone', jobs to wake}
local LEASE, FENCE, CREDENTIAL, MODEL, OUTCOME = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local CALLED, USED, SUCCESS, TRANSIENT = ARGV[7] == '1', tonumber(ARGV[8]), ARGV[9], ARGV[10]
local JOB, REASON = ARGV[11], ARGV[12]
local PAIR = CREDENTIAL .. '|' .. MODEL

-- never shortens. Leases that were out when the mark was made tell of the same event: they are no repetition of it
local function cool(member, why, cooldown_ms, first_ms, longest_ms)
  local reason, repetitions, fence = mark_in(redis.call('HGET', MARKS, member))
  if reason ~= why then repetitions, fence = 0, 0 end
  if cooldown_ms == 0 then
    if tonumber(FENCE) > fence then repetitions = repetitions + 1 end
    cooldown_ms = math.min(first_ms * 2 ^ math.max(0, repetitions - 1), longest_ms)
  end
  local until_ms = now + cooldown_ms
  if until_ms <= tonumber(redis.call('ZSCORE', COOLING, member) or 0) then return end
  redis.call('ZADD', COOLING, whole(until_ms), member)
  redis.call('HINCRBY', USAGE, 'changes', 1)
  redis.call('HSET', MARKS, member,
    table.concat({ why, whole(now), repetitions, redis.call('HGET', USAGE, 'fence') or FENCE }, '|'))
end

-- opens the model's breaker at so many failures in a row, of at least two jobs; at the first one of its probe
local function count_failure()
  local count, several, job = string.match(redis.call('HGET', USAGE, 'failures|' .. MODEL) or '', '^(.-)|(.-)|(.*)$')
  count = (tonumber(count) or 0) + 1
  several = (job and job ~= JOB or several == '1') and '1' or '0'
  redis.call('HSET', USAGE, 'failures|' .. MODEL, count .. '|' .. several .. '|' .. JOB)
  local is_probe = redis.call('HGET', USAGE, 'probe||' .. MODEL) == LEASE
  if is_probe or (count >= BREAKER_FAILURES and several == '1') then
    cool('|' .. MODEL, 'breaker', 0, BREAKER_FIRST_MS, BREAKER_LONGEST_MS)
  end
end

local record = redis.call('HGET', HOLDERS, LEASE)
local is_held = record and select(5, holder(record)) == FENCE
if known(CREDENTIAL) then
  if REASON ~= 'none' then
    cool(ARGV[13] == 'model' and PAIR or CREDENTIAL, REASON, tonumber(ARGV[14]), tonumber(ARGV[15]), tonumber(ARGV[16]))
  end
  if OUTCOME ~= '' then
    redis.call('HSET', USAGE, 'error|' .. CREDENTIAL, table.concat({ OUTCOME, whole(now), MODEL }, '|'))
  end
end
if not is_held then
  place(CREDENTIAL)
  return { 'gone', {} }
end
if SUCCESS == '1' then forgive(CREDENTIAL, MODEL, FENCE) end
if TRANSIENT == '1' then count_failure() end
settle(record, USED >= 0 and USED or nil, CALLED)
drop(LEASE, record)
return { 'released', let_in() }
