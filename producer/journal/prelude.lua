-- What the journal's scripts share.
-- KEYS of every script: 1 record HASH, 2 stream STREAM, 3 attempts HASH, 4 due ZSET, all of the job's tag
-- ARGV of every script: 1 now in ms, 0 for the server's clock (as in production); 2 job id
local RECORD, STREAM, ATTEMPTS, DUE = unpack(KEYS)
local ID = ARGV[2]

local function field(name)
  return redis.call('HGET', RECORD, name)
end

local FINAL = { completed = true, failed = true, cancelled = true }

-- the stream's keys outlive the deadline by the result's time, from their first entry on
local function keep(key)
  redis.call('PEXPIRE', key, math.max(1, redis.call('PTTL', RECORD)))
end

-- whether this run still owns the job: checked first by everything a run writes
-- -> false, or {epoch, owner, state, seq, cancel}
local function owns(epoch, owner)
  local held = redis.call('HMGET', RECORD, 'epoch', 'owner', 'state', 'seq', 'cancel')
  return held[1] == epoch and held[2] == owner and not FINAL[held[3]] and held
end
