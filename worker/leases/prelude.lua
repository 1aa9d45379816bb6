-- What the lease scripts share: the keys, the clock, where a credential stands, how a lease ends.
-- KEYS of every script, all of the provider's tag:
--   1 limits HASH   version; config (JSON); opened -> the open models; headroom -> the share that batch leaves;
--                   scope -> model|credential, what a rate limit of the provider's is about;
--                   provider -> slots|batch|rpm|tpm; credential|C -> tier|weight|slots|batch|rpm|tpm;
--                   model|M -> slots|batch|rpm|tpm, for each credential; batch: the slots that batch jobs may fill;
--                   open|M -> the credentials that may serve M; serves|C -> the open models that C may serve
--   2 usage HASH    fence, the newest; n|C and n|C|M slots in use; last|C fence of its last turn; turn|C part of a
--                   turn that is used up; rank|C tier|load|last, as its members in ready have it; used|M fence;
--                   changes, how many cooling had; seen|M why|what|changes, of the last look that found none;
--                   probe|X the lease that tries X out after its cooldown, probed||M since when a model is tried out;
--                   failures|M how-many-in-a-row|0 or 1|job, 1: of several jobs; error|C outcome|ms|model, its last;
--                   sum|X calls|tokens ever granted
--   3 ready ZSET    M|class|rank|C, all scores 0: by model, class, then tier, then load, then last use
--   4 cooling ZSET  X -> ms until which it is not used. X is C, C|M, or |M: the model itself, its breaker open
--   5 marks HASH    X -> reason|since in ms|repetitions|newest fence then; gone with the first success after it
--   6 leases ZSET   lease id -> ms of its expiry
--   7 holders HASH  lease id -> C|M|class|tokens|fence|granted in ms|calls|tokens, the sum at its grant|channel|owner;
--                   channel: where its waiter was told of it, until the waiter has taken it up
--   8 rates HASH    the use of the last minute, see rates.lua
--   9 resting ZSET  C or C|M -> ms until which its rates leave nothing for any request
--  10 waiting ZSET  M|class|age|lease id of who waits in place, all scores 0, see waiting.lua
--  11 waiters HASH  M|lease id -> class|age|tokens|expiry in ms|channel|owner
--  12 parked ZSET   M|class|age|tokens|job id, all scores 0
-- ARGV of every script: 1 now in ms, 0 for the server's clock (as in production)
-- A class is 0, interactive, or 1, batch.
local LIMITS, USAGE, READY, COOLING, MARKS, LEASES, HOLDERS, RATES, RESTING, WAITING, WAITERS, PARKED = unpack(KEYS)
local AT_ONCE = 16 -- what one round sweeps, and what one page of ready holds
local UNLIMITED_SLOTS = 1000 -- as which a credential without max_concurrency is weighed

local function whole(number)
  return string.format('%.0f', number)
end

local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end

local function known(credential)
  return redis.call('HEXISTS', LIMITS, 'credential|' .. credential) == 1
end

local function below(used, slots)
  return (tonumber(used) or 0) < (tonumber(slots) or math.huge)
end

local function rank_of(limits, n, last)
  local tier, weight, slots, batch = string.match(limits, '^(.-)|(.-)|(.-)|(.-)|')
  local load = math.floor(1000 * n / ((tonumber(slots) or UNLIMITED_SLOTS) * weight))
  return string.format('%04d|%04d|%013.0f', tier, math.min(load, 9999), last), slots, batch
end

-- keeps ready true for a credential: there, at its rank, for each open model and class that it can serve now.
-- `models` narrows it to models that are being opened
local function place(credential, models)
  local limits = redis.call('HMGET', LIMITS, 'credential|' .. credential, 'serves|' .. credential)
  if not limits[1] or not limits[2] then return end
  local names, pairs_of, slots_of = {}, { credential }, {}
  local uses = { 'n|' .. credential, 'last|' .. credential, 'rank|' .. credential, 'probe|' .. credential }
  for model in string.gmatch(models or limits[2], '[^|]+') do
    local pair = credential .. '|' .. model
    names[#names + 1] = model
    pairs_of[#pairs_of + 1] = pair
    uses[#uses + 1] = 'n|' .. pair
    uses[#uses + 1] = 'probe|' .. pair
    slots_of[#slots_of + 1] = 'model|' .. model
  end
  local usage = redis.call('HMGET', USAGE, unpack(uses))
  local cooling = redis.call('ZMSCORE', COOLING, unpack(pairs_of))
  local resting = redis.call('ZMSCORE', RESTING, unpack(pairs_of))
  local model_limits = redis.call('HMGET', LIMITS, unpack(slots_of))

  local n, in_rank = usage[1], usage[3] or ''
  local rank, slots, batch = rank_of(limits[1], tonumber(n) or 0, tonumber(usage[2]) or 0)
  local usable = not cooling[1] and not resting[1] and not usage[4]
  local stale, fresh = {}, {}
  for i, model in ipairs(names) do
    local pair_n, probe = usage[2 * i + 3], usage[2 * i + 4]
    local pair_slots, pair_batch = string.match(model_limits[i] or '', '^(.-)|(.-)|')
    local free = usable and not cooling[i + 1] and not resting[i + 1] and not probe
    stale[#stale + 1] = model .. '|0|' .. in_rank .. '|' .. credential
    stale[#stale + 1] = model .. '|1|' .. in_rank .. '|' .. credential
    if free and below(n, slots) and below(pair_n, pair_slots) then
      fresh[#fresh + 1] = 0
      fresh[#fresh + 1] = model .. '|0|' .. rank .. '|' .. credential
    end
    if free and below(n, batch) and below(pair_n, pair_batch) then
      fresh[#fresh + 1] = 0
      fresh[#fresh + 1] = model .. '|1|' .. rank .. '|' .. credential
    end
  end
  redis.call('ZREM', READY, unpack(stale))
  if fresh[1] then redis.call('ZADD', READY, unpack(fresh)) end
  if rank ~= in_rank then redis.call('HSET', USAGE, 'rank|' .. credential, rank) end
end

-- what is left of a credential that the configuration no longer names, once its last lease has ended
local function forget(credential)
  if redis.call('HEXISTS', USAGE, 'n|' .. credential) == 1 then return end
  local gone = { 'last|' .. credential, 'turn|' .. credential, 'rank|' .. credential, 'error|' .. credential }
  for _, member in ipairs(redis.call('HKEYS', MARKS)) do
    if string.match(member, '^[^|]*') == credential then
      redis.call('HDEL', MARKS, member)
      redis.call('ZREM', COOLING, member)
    end
  end
  for _, field in ipairs(redis.call('HKEYS', USAGE)) do
    local kind, owner = string.match(field, '^(%a+)|([^|]*)')
    if owner == credential and (kind == 'sum' or kind == 'probe') then gone[#gone + 1] = field end
  end
  redis.call('HDEL', USAGE, unpack(gone))
  for _, field in ipairs(redis.call('HKEYS', RATES)) do
    local scope = string.match(field, '^@%d+@(.*)$') or string.match(field, '^<(.*)$') or field
    if string.match(scope, '^[^|]*') == credential then redis.call('HDEL', RATES, field) end
  end
end

-- what is kept of a model only while it is open
local function forget_model(model, credentials)
  redis.call('HDEL', USAGE, 'used|' .. model, 'seen|' .. model, 'failures|' .. model, 'probed||' .. model)
  for _, credential in ipairs(credentials) do
    redis.call('HDEL', USAGE, 'sum|' .. credential .. '|' .. model)
    redis.call('HDEL', RATES, '<' .. credential .. '|' .. model)
  end
end

-- the names in a list a|b|c
local function names_in(list)
  local found = {}
  for name in string.gmatch(list or '', '[^|]+') do found[#found + 1] = name end
  return found
end

-- -> credential, model, class, tokens, fence, granted_ms, calls, tokens of the sum, channel, owner
local function holder(record)
  return string.match(record, '^(.-)|(.-)|(.-)|(.-)|(.-)|(.-)|(.-)|(.-)|(.-)|(.*)$')
end

-- its waiter knows of his turn: it is a lease as any other
local function take_up(lease, record)
  local before, channel, owner = string.match(record, '^(.-|.-|.-|.-|.-|.-|.-|.-|)(.-)(|.*)$')
  if channel ~= '' then redis.call('HSET', HOLDERS, lease, before .. owner) end
end

-- the one place where a lease ends and its slot returns
local function drop(lease, record)
  redis.call('ZREM', LEASES, lease)
  redis.call('HDEL', HOLDERS, lease)
  local credential, model = holder(record)
  local pair = credential .. '|' .. model
  for _, field in ipairs({ 'n|' .. credential, 'n|' .. pair }) do
    if redis.call('HINCRBY', USAGE, field, -1) <= 0 then redis.call('HDEL', USAGE, field) end
  end
  local probes = { 'probe|' .. credential, 'probe|' .. pair, 'probe||' .. model }
  for i, prober in ipairs(redis.call('HMGET', USAGE, unpack(probes))) do
    if prober == lease then redis.call('HDEL', USAGE, probes[i]) end
  end
  if known(credential) then place(credential) else forget(credential) end
end
