-- Takes up a provider's configuration, unless it is the one in force. Leases that are out stay so. Models are
-- closed, and opened again when they are next asked for; a credential that is gone drains.
-- ARGV: 2 version  3 config (JSON: provider, credentials and models as packed limits, globs, headroom, scope)
-- -> {'configured'} | {'same'}
if redis.call('HGET', LIMITS, 'version') == ARGV[2] then return { 'same' } end

local before = redis.call('HGETALL', LIMITS)
redis.call('DEL', LIMITS, READY, RESTING)
local config = cjson.decode(ARGV[3])
redis.call('HSET', LIMITS, 'version', ARGV[2], 'config', ARGV[3], 'provider', config.provider,
  'headroom', config.headroom, 'scope', config.scope)
for name, limits in pairs(config.credentials) do
  redis.call('HSET', LIMITS, 'credential|' .. name, limits)
end
for name, limits in pairs(config.models) do
  redis.call('HSET', LIMITS, 'model|' .. name, limits)
end
for i = 1, #before, 2 do
  local field = before[i]
  local credential = string.match(field, '^credential|(.*)$')
  if credential and not config.credentials[credential] then forget(credential) end
  local model = string.match(field, '^open|(.*)$')
  if model then forget_model(model, names_in(before[i + 1])) end
end
-- a hash with one long value is a table: as a list, it would be walked at every look-up
redis.call('HSET', USAGE, 'ballast', string.rep('-', 65))
return { 'configured' }
