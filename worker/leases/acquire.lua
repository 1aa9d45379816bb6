-- Chooses a credential for a model and takes a slot on it, in one step.
-- ARGV: 2 lease id  3 owner  4 TTL in ms  5 model  6 priority  7 tokens  8... credentials to pass over
-- -> {'granted', credential, fence} also again, for a lease that is held
--  | {'unopened', config} the model is to be opened under this config (JSON; '' where there is none), then asked again
--  | {'denied', 'full'|'cooling'|'locked_out'|'no_credentials', ms to the earliest return, -1 where none is known}
local LEASE, OWNER, TTL_MS, MODEL, PRIORITY, TOKENS = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7]
local ROUNDS = 16
local BATCH = 100
local excluded = {}
for i = 8, #ARGV do excluded[ARGV[i]] = true end

-- gives back what time has ended, so many at once -> how many there were
local function sweep()
  local expired = redis.call('ZRANGEBYSCORE', LEASES, '-inf', whole(now), 'LIMIT', 0, AT_ONCE)
  for _, lease in ipairs(expired) do drop(lease) end
  local cooled = redis.call('ZRANGEBYSCORE', COOLING, '-inf', whole(now), 'LIMIT', 0, AT_ONCE)
  if cooled[1] then redis.call('HINCRBY', USAGE, 'changes', 1) end
  for _, member in ipairs(cooled) do
    local credential, model = string.match(member, '^([^|]+)|?(.*)$')
    redis.call('ZREM', COOLING, member)
    if model ~= '' and redis.call('HEXISTS', LIMITS, 'open|' .. model) == 0 then redis.call('HDEL', MARKS, member) end
    place(credential)
  end
  return #expired + #cooled
end

local function provider_is_full()
  local slots = string.match(redis.call('HGET', LIMITS, 'provider'), '^(.-)|')
  return slots ~= '' and redis.call('ZCARD', LEASES) >= tonumber(slots)
end

-- the best credential that is not passed over; goes on past a run of refusals
local function pick()
  if provider_is_full() then return nil end
  local from = 0
  repeat
    local page = redis.call('ZRANGEBYLEX', READY, '[' .. MODEL .. '|', '(' .. MODEL .. '}', 'LIMIT', from, AT_ONCE)
    for _, member in ipairs(page) do
      local credential = string.match(member, '[^|]+$')
      if not excluded[credential] then return credential end
    end
    from = from + AT_ONCE
  until #page < AT_ONCE
end

-- takes a slot; a credential goes to the back of the order of last use after as many grants as its weight says
local function grant(credential)
  local n, pair_n = 'n|' .. credential, 'n|' .. credential .. '|' .. MODEL
  local usage = redis.call('HMGET', USAGE, 'fence', n, pair_n, 'last|' .. credential, 'turn|' .. credential)
  local fence = whole(math.max((tonumber(usage[1]) or 0) + 1, now))
  local weight = string.match(redis.call('HGET', LIMITS, 'credential|' .. credential), '^.-|(.-)|')
  local last, turn = usage[4] or 0, (tonumber(usage[5]) or 0) + 1 / weight
  if turn > 0.9999 then last, turn = fence, math.max(0, turn - 1) end
  redis.call('HSET', USAGE, 'fence', fence, 'used|' .. MODEL, fence, n, (usage[2] or 0) + 1,
    pair_n, (usage[3] or 0) + 1, 'last|' .. credential, last, 'turn|' .. credential, turn)
  redis.call('ZADD', LEASES, whole(now + TTL_MS), LEASE)
  redis.call('HSET', HOLDERS, LEASE, table.concat({ credential, MODEL, PRIORITY, TOKENS, fence, OWNER }, '|'))
  place(credential)
  return { 'granted', credential, fence }
end

local function denied(why, until_ms)
  return { 'denied', why, until_ms and math.max(1, until_ms - now) or -1 }
end

-- the end of the first cooldown that keeps a credential from this model, if it is among the next ones to end
local function next_return()
  local cooling = redis.call('ZRANGE', COOLING, 0, AT_ONCE - 1, 'WITHSCORES')
  for i = 1, #cooling, 2 do
    local credential, model = string.match(cooling[i], '^([^|]+)|?(.*)$')
    local serves = '|' .. (redis.call('HGET', LIMITS, 'serves|' .. credential) or '') .. '|'
    if (model == '' or model == MODEL) and not excluded[credential]
        and string.find(serves, '|' .. MODEL .. '|', 1, true) then
      local other = redis.call('ZSCORE', COOLING, model == '' and credential .. '|' .. MODEL or credential)
      if (tonumber(other) or 0) <= tonumber(cooling[i + 1]) then return tonumber(cooling[i + 1]) end
    end
  end
end

-- what the last look through the credentials found, as long as it holds: a busy one, or until when all of them cool
local function remembered()
  local usage = redis.call('HMGET', USAGE, 'seen|' .. MODEL, 'changes')
  local why, seen, changes = string.match(usage[1] or '', '^(.-)|(.-)|(.*)$')
  if why == 'full' then
    local cooling = redis.call('ZMSCORE', COOLING, seen, seen .. '|' .. MODEL)
    if not excluded[seen] and not cooling[1] and not cooling[2] then return denied('full', next_return()) end
  elseif why and changes == (usage[2] or '') and tonumber(seen) > now and not next(excluded) then
    return denied(why, tonumber(seen))
  end
end

local function remember(why, seen)
  local changes = redis.call('HGET', USAGE, 'changes') or ''
  redis.call('HSET', USAGE, 'seen|' .. MODEL, table.concat({ why, seen, changes }, '|'))
end

-- a batch of credentials -> one that is merely busy, or nil, the first end of a cooldown, whether all are locked out
local function look_at(batch)
  local members = {}
  for _, credential in ipairs(batch) do
    members[#members + 1] = credential
    members[#members + 1] = credential .. '|' .. MODEL
  end
  local cooling = redis.call('ZMSCORE', COOLING, unpack(members))
  local marks = redis.call('HMGET', MARKS, unpack(batch))
  local soonest, locked = math.huge, true
  for i, credential in ipairs(batch) do
    local whole_until, model_until = tonumber(cooling[2 * i - 1]), tonumber(cooling[2 * i])
    if not whole_until and not model_until then return credential end
    soonest = math.min(soonest, math.max(whole_until or 0, model_until or 0))
    locked = locked and whole_until and marks[i] and string.match(marks[i], '^[^|]+') == 'lock_out'
  end
  return nil, soonest, locked
end

-- why there is none: looks through the credentials until it meets one that is merely busy
local function look()
  local names = redis.call('HGET', LIMITS, 'open|' .. MODEL)
  local soonest, all_locked, batch = math.huge, true, {}
  for credential in string.gmatch(names .. '||', '([^|]*)|') do
    if credential ~= '' and not excluded[credential] then batch[#batch + 1] = credential end
    if #batch == BATCH or (credential == '' and batch[1]) then
      local busy, first, locked = look_at(batch)
      if busy then
        remember('full', busy)
        return denied('full', next_return())
      end
      soonest, all_locked, batch = math.min(soonest, first), all_locked and locked, {}
    end
  end
  local why = all_locked and 'locked_out' or 'cooling'
  if soonest == math.huge then return denied(why) end
  if not next(excluded) then remember(why, whole(soonest)) end
  return denied(why, soonest)
end

local record = redis.call('HGET', HOLDERS, LEASE)
if record then
  local credential, _, _, _, fence = holder(record)
  redis.call('ZADD', LEASES, whole(now + TTL_MS), LEASE)
  return { 'granted', credential, fence }
end
if redis.call('HEXISTS', LIMITS, 'open|' .. MODEL) == 0 then
  return { 'unopened', redis.call('HGET', LIMITS, 'config') or '' }
end
for _ = 1, ROUNDS do
  local swept = sweep()
  local credential = pick()
  if credential then return grant(credential) end
  if swept == 0 then break end
end
if redis.call('HSTRLEN', LIMITS, 'open|' .. MODEL) == 0 then return denied('no_credentials') end
if provider_is_full() then return denied('full') end
return remembered() or look()
