-- Appends to the answer of this epoch; its first two entries, the commit and a delta, come together.
-- What is in the stream already is skipped, so a publish whose reply was lost may be repeated.
-- ARGV: 3 epoch  4 owner  5 seq of the first entry given  6.. entries (JSON): seq 1 is the commit, then deltas
-- -> {'published', cancel 0|1} | {'gap', seq} send from seq on | {'lost'}
local held = owns(ARGV[3], ARGV[4])
if not held then return { 'lost' } end
local gap = append(ARGV[3], tonumber(held[4]), tonumber(ARGV[5]), 6)
if gap then return { 'gap', gap } end
return { 'published', tonumber(held[5]) }
