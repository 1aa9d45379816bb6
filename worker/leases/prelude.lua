-- What the lease scripts share.
-- KEYS of every script, all of the provider's tag:
--   1 limits HASH   version; config (JSON); opened -> the open models; provider -> slots|rpm|tpm;
--                   credential|C -> tier|weight|slots|rpm|tpm; model|M -> slots|rpm|tpm, for each credential;
--                   open|M -> the credentials that may serve M; serves|C -> the open models that C may serve
--   2 usage HASH    fence, the newest; n|C and n|C|M slots in use; last|C fence of its last turn; turn|C part of a
--                   turn that is used up; rank|C tier|load|last, as its members in ready have it; used|M fence;
--                   changes, how many cooling had; seen|M why|what|changes, of the last look that found none
--   3 ready ZSET    M|rank|C, all scores 0: by model, then tier, then load, then last use
--   4 cooling ZSET  C or C|M -> ms until which it is not used
--   5 marks HASH    C or C|M -> reason|since in ms|repetitions|newest fence then
--   6 leases ZSET   lease id -> ms of its expiry
--   7 holders HASH  lease id -> C|M|priority|tokens|fence|owner
-- ARGV of every script: 1 now in ms, 0 for the server's clock (as in production)
local LIMITS, USAGE, READY, COOLING, MARKS, LEASES, HOLDERS = unpack(KEYS)
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
  local tier, weight, slots = string.match(limits, '^(.-)|(.-)|(.-)|')
  local load = math.floor(1000 * n / ((tonumber(slots) or UNLIMITED_SLOTS) * weight))
  return string.format('%04d|%04d|%013.0f', tier, math.min(load, 9999), last), slots
end

-- keeps ready true for a credential: there, at its rank, for each open model that it can serve now.
-- `models` narrows it to models that are being opened
local function place(credential, models)
  local limits = redis.call('HMGET', LIMITS, 'credential|' .. credential, 'serves|' .. credential)
  if not limits[1] or not limits[2] then return end
  local names, pairs_of, in_use, slots_of = {}, { credential }, {}, {}
  for model in string.gmatch(models or limits[2], '[^|]+') do
    local pair = credential .. '|' .. model
    names[#names + 1] = model
    pairs_of[#pairs_of + 1] = pair
    in_use[#in_use + 1] = 'n|' .. pair
    slots_of[#slots_of + 1] = 'model|' .. model
  end
  local usage = redis.call('HMGET', USAGE, 'n|' .. credential, 'last|' .. credential, 'rank|' .. credential,
    unpack(in_use))
  local cooling = redis.call('ZMSCORE', COOLING, unpack(pairs_of))
  local model_limits = redis.call('HMGET', LIMITS, unpack(slots_of))

  local rank, slots = rank_of(limits[1], tonumber(usage[1]) or 0, tonumber(usage[2]) or 0)
  local usable = not cooling[1] and below(usage[1], slots)
  local stale, fresh = {}, {}
  for i, model in ipairs(names) do
    stale[i] = model .. '|' .. (usage[3] or '') .. '|' .. credential
    local model_slots = model_limits[i] and string.match(model_limits[i], '^(.-)|')
    if usable and not cooling[i + 1] and below(usage[i + 3], model_slots) then
      fresh[#fresh + 1] = 0
      fresh[#fresh + 1] = model .. '|' .. rank .. '|' .. credential
    end
  end
  redis.call('ZREM', READY, unpack(stale))
  if fresh[1] then redis.call('ZADD', READY, unpack(fresh)) end
  if rank ~= usage[3] then redis.call('HSET', USAGE, 'rank|' .. credential, rank) end
end

-- what is left of a credential that the configuration no longer names, once its last lease has ended
local function forget(credential)
  if redis.call('HEXISTS', USAGE, 'n|' .. credential) == 1 then return end
  redis.call('HDEL', USAGE, 'last|' .. credential, 'turn|' .. credential, 'rank|' .. credential)
  for _, member in ipairs(redis.call('HKEYS', MARKS)) do
    if string.match(member, '^[^|]+') == credential then
      redis.call('HDEL', MARKS, member)
      redis.call('ZREM', COOLING, member)
    end
  end
end

-- -> credential, model, priority, tokens, fence, owner
local function holder(record)
  return string.match(record, '^(.-)|(.-)|(.-)|(.-)|(.-)|(.*)$')
end

-- the one place where a lease ends and its slot returns
local function drop(lease)
  redis.call('ZREM', LEASES, lease)
  local record = redis.call('HGET', HOLDERS, lease)
  if not record then return end
  redis.call('HDEL', HOLDERS, lease)
  local credential, model = holder(record)
  for _, field in ipairs({ 'n|' .. credential, 'n|' .. credential .. '|' .. model }) do
    if redis.call('HINCRBY', USAGE, field, -1) <= 0 then redis.call('HDEL', USAGE, field) end
  end
  if known(credential) then place(credential) else forget(credential) end
end
