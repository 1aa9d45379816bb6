-- Journals a new job, and its due entry: the doorbell that follows may be lost.
-- ARGV: 3 digest  4 request (JSON)  5 deadline in ms from its due time  6 TTL of its result in ms
--       7 priority  8 countdown in ms  9 after_commit  10 canvas (JSON or '')
-- -> {'created', wait_ms} | {'same', state} the same request again | {'conflict', state} another one under this id
local held = redis.call('HMGET', RECORD, 'state', 'digest')
if held[1] then
  return { held[2] == ARGV[3] and 'same' or 'conflict', held[1] }
end
local countdown = tonumber(ARGV[8])
local due = now + countdown
local deadline = due + tonumber(ARGV[5])
redis.call('HSET', RECORD,
  'state', countdown > 0 and 'parked' or 'queued', 'digest', ARGV[3], 'request', ARGV[4],
  'created', whole(now), 'deadline', whole(deadline), 'ttl', ARGV[6], 'priority', ARGV[7],
  'not_before', whole(due), 'rung', whole(now), 'after_commit', ARGV[9], 'canvas', ARGV[10],
  'epoch', 0, 'seq', 0, 'owner', '', 'lease', 0, 'deaths', 0, 'cancel', 0)
redis.call('PEXPIRE', RECORD, whole(deadline - now + REAP_MS + tonumber(ARGV[6])))
redis.call('ZADD', DUE, whole(countdown > 0 and due or now + LOOK_MS), ID)
return { 'created', countdown }
