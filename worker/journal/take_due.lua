-- The jobs of one tag that are to be looked at, each moved on so that no other sweep takes it meanwhile.
-- KEYS: 1 due ZSET   ARGV: 1 now in ms, 0 for the server's clock  2 how many at most  3 ms until the next look
-- -> job ids
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[3])), id)
end
return ids
