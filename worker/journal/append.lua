-- What makes an answer grow, for publish and finish.

-- Appends ARGV[from..] as the entries of this epoch from seq `first` on, behind those up to `stored`; the entry with
-- seq 1 is the commit.
-- What is in the stream already is skipped. -> nil, or the seq from which entries are missing
local function append(epoch, stored, first, from)
  if redis.call('EXISTS', STREAM) == 0 then stored = 0 end
  if first > stored + 1 then return stored + 1 end
  local last = first + #ARGV - from
  for seq = stored + 1, last do
    local value = ARGV[from + seq - first]
    if seq == 1 then
      redis.call('XADD', STREAM, epoch .. '-1', 't', 'committed', 'm', value)
    else
      redis.call('XADD', STREAM, epoch .. '-' .. seq, 'd', value)
    end
  end
  if last <= stored then return end
  if stored == 0 then keep(STREAM) end
  redis.call('HSET', RECORD, 'seq', last, 'state', 'streaming')
end
