-- What the journal's scripts share that have to do with time, behind the prelude.
local SEAL = '-18446744073709551615'
local LOOK_MS = 5000 -- an unclaimed job is looked at again after this
local REAP_MS = 5000 -- a job this far past its deadline is ended, whoever owns it

local function whole(number)
  return string.format('%.0f', number)
end

local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end

-- above every epoch there was, also above one whose record went with a lost tail of the log
local function next_epoch()
  local top = redis.call('XREVRANGE', STREAM, '+', '-', 'COUNT', 1)[1]
  local seen = top and tonumber(string.match(top[1], '^%d+')) or 0
  return whole(math.max(tonumber(field('epoch')) + 1, seen + 1, now))
end

-- the last event; from here on the job's keys live for its result's time, and its request is gone
local function seal(epoch, state, code, result)
  redis.call('XADD', STREAM, epoch .. SEAL, 't', state, 'c', code)
  redis.call('HSET', RECORD, 'state', state, 'epoch', epoch, 'lease', 0, 'result', result, 'ended', whole(now))
  redis.call('HDEL', RECORD, 'request')
  redis.call('ZREM', DUE, ID)
  for _, key in ipairs({ RECORD, STREAM, ATTEMPTS }) do
    redis.call('PEXPIRE', key, field('ttl'))
  end
end

-- an end that no owner writes: a new epoch fences whoever still believes to own the job
local function seal_from_outside(state, code, message)
  redis.call('HSET', RECORD, 'owner', '')
  seal(next_epoch(), state, code, cjson.encode({ code = code, message = message }))
end

-- when the sweep must look at an owned job: at its lease's end, or past its deadline
local function look_at_owned(lease)
  redis.call('ZADD', DUE, whole(math.min(lease, tonumber(field('deadline')) + REAP_MS)), ID)
end
