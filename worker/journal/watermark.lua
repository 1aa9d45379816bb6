-- Remembers the ring time of the newest doorbell that was received from a queue.
-- KEYS: 1 watermark STRING   ARGV: 1 ring time in ms  2 TTL in ms
-- -> the watermark
local newest = math.max(tonumber(ARGV[1]), tonumber(redis.call('GET', KEYS[1]) or 0))
redis.call('SET', KEYS[1], string.format('%.0f', newest), 'PX', ARGV[2])
return string.format('%.0f', newest)
