-- Builds the index of a model at its first use. Callers choose the models, so only so many are kept: the least
-- recently used that nobody holds makes room.
-- ARGV: 2 version the credentials were chosen under  3 model  4 how many models are kept  5... credentials
-- -> {'opened'} | {'changed'} another configuration is in force
local MODEL, KEPT = ARGV[3], tonumber(ARGV[4])

local function without(list, name)
  local left = {}
  for _, other in ipairs(names_in(list)) do
    if other ~= name then left[#left + 1] = other end
  end
  return table.concat(left, '|')
end

local function is_held(model, credentials)
  for _, credential in ipairs(credentials) do
    if redis.call('HEXISTS', USAGE, 'n|' .. credential .. '|' .. model) == 1 then return true end
  end
  return false
end

local function close(model, credentials)
  redis.call('ZREMRANGEBYLEX', READY, '[' .. model .. '|', '(' .. model .. '}')
  for _, credential in ipairs(credentials) do
    local field, pair = 'serves|' .. credential, credential .. '|' .. model
    local serves = without(redis.call('HGET', LIMITS, field), model)
    if serves == '' then redis.call('HDEL', LIMITS, field) else redis.call('HSET', LIMITS, field, serves) end
    if not redis.call('ZSCORE', COOLING, pair) then redis.call('HDEL', MARKS, pair) end
  end
  if not redis.call('ZSCORE', COOLING, '|' .. model) then redis.call('HDEL', MARKS, '|' .. model) end
  redis.call('HDEL', LIMITS, 'open|' .. model)
  forget_model(model, credentials)
end

-- closes what is too many, the longest unused first -> the models that stay open
local function make_room(opened)
  local used = {}
  for i, model in ipairs(opened) do
    used[i] = { model, tonumber(redis.call('HGET', USAGE, 'used|' .. model)) or 0 }
  end
  table.sort(used, function(a, b) return a[2] < b[2] end)
  local surplus, stay = #opened + 1 - KEPT, {}
  for _, entry in ipairs(used) do
    local credentials = surplus > 0 and names_in(redis.call('HGET', LIMITS, 'open|' .. entry[1])) or {}
    if surplus > 0 and not is_held(entry[1], credentials) then
      close(entry[1], credentials)
      surplus = surplus - 1
    else
      stay[#stay + 1] = entry[1]
    end
  end
  return stay
end

if redis.call('HGET', LIMITS, 'version') ~= ARGV[2] then return { 'changed' } end
if redis.call('HEXISTS', LIMITS, 'open|' .. MODEL) == 1 then return { 'opened' } end

local opened = names_in(redis.call('HGET', LIMITS, 'opened'))
if #opened >= KEPT then opened = make_room(opened) end
opened[#opened + 1] = MODEL
local credentials = {}
for i = 5, #ARGV do credentials[#credentials + 1] = ARGV[i] end
redis.call('HSET', LIMITS, 'opened', table.concat(opened, '|'), 'open|' .. MODEL, table.concat(credentials, '|'))
redis.call('HSET', USAGE, 'used|' .. MODEL, redis.call('HGET', USAGE, 'fence') or 0)
for _, credential in ipairs(credentials) do
  local serves = redis.call('HGET', LIMITS, 'serves|' .. credential)
  redis.call('HSET', LIMITS, 'serves|' .. credential, serves and serves .. '|' .. MODEL or MODEL)
  place(credential, MODEL)
end
return { 'opened' }
